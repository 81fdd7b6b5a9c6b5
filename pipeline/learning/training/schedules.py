"""Learning rates over the steps of a training run, the same after a resume as without one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from pipeline.learning.settings import Plateau, Train


class Schedule(ABC):
    """Sets the learning rate of every parameter group: the group's highest one times a share that all groups have."""

    @abstractmethod
    def set(self, step: int) -> None:
        """Set the rates of `step`, counted from 0 over all epochs. Steps come in order, before the optimizer's own."""

    def epoch_ended(self, steps: int, metric: float) -> None:  # noqa: B027 (most schedules need nothing here)
        """Take note of the validation metric (the higher the better, NaN never is) after `steps` steps in all."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the optimizer's own state does not hold and the next step depends on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 (most schedules need nothing here)
        """Take over what `state_dict` returned; the optimizer's state is loaded before."""


def create(optimizer: Optimizer, settings: Train, steps: int) -> Schedule:
    """Build the schedule that ``train.schedule`` names.

    ========= ========================================================================================================
    cosine    Warm-up, then a cosine down to 0 at the end of the last epoch (Loshchilov & Hutter, ICLR 2017, arXiv
              1608.03983). The cosine runs from step 0: the warm-up covers its beginning.
    one_cycle From 1/25 of the rate up to it and down to 1/250,000 of it, in cosines, the rise as long as the warm-up
              would be; momentum (beta1 of AdamW) the other way, 0.95, 0.85, 0.95, in place of ``train.momentum``, where
              that is not 0 (Smith & Topin 2017, arXiv 1708.07120).
    plateau   Warm-up, then constant until more than `patience` epochs in a row had no better validation metric than
              the best before; that multiplies the rate by `factor`, and counting starts anew.
    constant  Warm-up, then constant.
    ========= ========================================================================================================

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' `lr` times their `lr_scale` (1 where there is none) are the highest rates.
    settings : Train
        schedule, epochs, warmup_epochs, plateau, momentum.
    steps : int
        Steps per epoch, at least 1.
    """
    warmup = round(settings.warmup_epochs * steps)
    if settings.schedule == "cosine":
        return _Cosine(optimizer, warmup, settings.epochs * steps)
    if settings.schedule == "one_cycle" and settings.epochs * steps > 1:  # torch's would give its only step no rate
        cycles_momentum = settings.optimizer == "adamw" or settings.momentum > 0
        return _OneCycle(optimizer, warmup, settings.epochs * steps, cycles_momentum)
    if settings.schedule == "plateau":
        return _Plateau(optimizer, warmup, settings.plateau)
    return _Constant(optimizer, warmup)  # and a single step, of any schedule, is at the highest rate


def _warm_up(optimizer: Optimizer, warmup: int) -> dict[str, Any]:
    """Arguments of timm's schedules for a linear warm-up that starts at one share of `warmup`, not at 0."""
    return {
        "warmup_t": warmup,
        "warmup_lr_init": optimizer.param_groups[0]["lr"] / max(1, warmup),
        "t_in_epochs": False,
    }


class _Cosine(Schedule):
    def __init__(self, optimizer: Optimizer, warmup: int, total: int) -> None:
        from pipeline.learning.training.libraries import scheduler

        self._timm = scheduler.CosineLRScheduler(optimizer, t_initial=total, **_warm_up(optimizer, warmup))

    def set(self, step: int) -> None:
        self._timm.step_update(step)


class _Constant(Schedule):
    def __init__(self, optimizer: Optimizer, warmup: int) -> None:
        from pipeline.learning.training.libraries import scheduler

        self._timm = scheduler.StepLRScheduler(optimizer, decay_t=1, decay_rate=1.0, **_warm_up(optimizer, warmup))

    def set(self, step: int) -> None:
        self._timm.step_update(step)


class _Plateau(Schedule):
    """torch's own schedule: timm's wrapper of it is deprecated, because it forgets its counters in a checkpoint."""

    def __init__(self, optimizer: Optimizer, warmup: int, settings: Plateau) -> None:
        self._warmup = warmup
        self._before = _Constant(optimizer, warmup)
        self._torch = ReduceLROnPlateau(
            optimizer, mode="max", factor=settings.factor, patience=settings.patience, threshold=0.0, eps=0.0
        )

    def set(self, step: int) -> None:
        if step <= self._warmup:  # later rates are the optimizer's own, cut down by `epoch_ended`
            self._before.set(step)

    def epoch_ended(self, steps: int, metric: float) -> None:
        if steps > self._warmup:  # a rate that still rises is not the reason why nothing gets better
            self._torch.step(metric)

    def state_dict(self) -> dict[str, Any]:
        return self._torch.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._torch.load_state_dict(state)


class _OneCycle(Schedule):
    def __init__(self, optimizer: Optimizer, warmup: int, total: int, cycles_momentum: bool) -> None:
        self._torch = OneCycleLR(
            optimizer,
            max_lr=[group["lr"] * group.get("lr_scale", 1.0) for group in optimizer.param_groups],
            total_steps=total,
            # A rise of one step would go from step 0 to step 0, by which torch divides.
            pct_start=warmup / total if warmup > 1 else 0.0,
            cycle_momentum=cycles_momentum,
        )

    def set(self, step: int) -> None:
        if step > self._torch.last_epoch:  # step 0 was set by the constructor
            self._torch.step()

    def state_dict(self) -> dict[str, Any]:
        return self._torch.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._torch.load_state_dict(state)
