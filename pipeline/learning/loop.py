"""The training loop: epochs, the choice of the best one on validation, and going on after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.learning.augmentation import augment
from pipeline.learning.checkpoints import Checkpoint
from pipeline.learning.inference import autocast, choose_precision, predict
from pipeline.learning.loader import ResidentImages, epoch_order
from pipeline.learning.losses import Loss
from pipeline.params import Train
from pipeline.statistics.metrics import class_auroc, macro
from pipeline.statistics.thresholds import probabilities


class TrainingError(UserError):
    """A training cannot go on. The message names the epoch and what to change."""


@dataclass(frozen=True)
class Fitted:
    """What a training ends with.

    Parameters
    ----------
    state : dict of Tensor
        Weights of the best epoch (averaged ones if EMA is on).
    history : list of dict
        A row an epoch: epoch, lr, train_loss, val_loss, val_auroc, seconds.
    best_epoch : int
        From 1; the first with the highest validation macro AUROC.
    """

    state: dict[str, Tensor]
    history: list[dict[str, float]]
    best_epoch: int


def derive(*numbers: int) -> int:
    """Derive an independent random seed, so that an epoch's draws depend on nothing but (seed, epoch, purpose)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def fit(
    model: nn.Module,
    loss: Loss,
    train: ResidentImages,
    copies: np.ndarray,
    val: ResidentImages,
    *,
    lr: float,
    settings: Train,
    seed: int,
    checkpoint: Checkpoint,
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> Fitted:
    """Train `model` in place and return the weights of its best epoch.

    Parameters
    ----------
    model : Module
        On the device of the data.
    loss : Loss
        What is minimised.
    train, val : ResidentImages
        Trained on, and chosen on.
    copies : int64 [len(train)]
        Draws of each training image an epoch.
    lr : float
        Highest learning rate: reached after the warm-up, then a cosine down to 0 (Loshchilov & Hutter 2017,
        arXiv 1608.03983).
    settings : Train
        The rest of the schedule.
    seed : int
        Training seed.
    checkpoint : Checkpoint
        Saved after every epoch; where one is found, the training goes on from it to the same result.
    report : callable
        Given each row of the history as it is made.

    Raises
    ------
    TrainingError
        If there are fewer than two images to train on, or the loss is no longer finite.
    """
    if copies.sum() < 2:
        raise TrainingError(f"{copies.sum()} images to train on; allowed: at least 2 (see split in params.yaml)")
    state = _State(model, lr, settings, _steps(int(copies.sum()), settings.batch_size))
    state.restore(checkpoint.load())
    precision = choose_precision(settings.precision, train.images.device)
    for epoch in range(len(state.history) + 1, settings.epochs + 1):
        if state.patience_is_over(settings.patience):
            break
        started = time.perf_counter()
        train_loss = _one_epoch(state, loss, train, copies, settings, precision, seed, epoch)
        scored = state.averaged.module if state.averaged else model
        logits = predict(scored, val, 4 * settings.batch_size, precision)
        targets = val.targets.float()
        likely = probabilities(logits.cpu().numpy(), loss.task)
        row = {
            "epoch": epoch,
            "lr": state.optimizer.param_groups[0]["lr"],
            "train_loss": train_loss,
            "val_loss": loss(logits, targets).item(),
            "val_auroc": float(macro(class_auroc(val.targets.cpu().numpy(), likely))),
            "seconds": time.perf_counter() - started,
        }
        state.finish(row, scored)
        checkpoint.save(state.content())
        report(row)
    return Fitted(state.best, state.history, state.best_epoch)


def _one_epoch(
    state: _State,
    loss: Loss,
    data: ResidentImages,
    copies: np.ndarray,
    settings: Train,
    precision: str,
    seed: int,
    epoch: int,
) -> float:
    """Go through the training images once; return the mean loss."""
    torch.manual_seed(derive(seed, epoch, 0))  # dropout; set each epoch, so that a checkpoint needs no generator
    draws = torch.Generator().manual_seed(derive(seed, epoch, 1))
    order = epoch_order(copies, torch.Generator().manual_seed(derive(seed, epoch, 2)))
    if len(order) % settings.batch_size == 1:  # see _steps
        order = order[:-1]
    device, model = data.images.device, state.model.train()
    total = torch.zeros((), device=device)
    for step, (images, targets) in enumerate(data.batches(order, settings.batch_size)):
        state.schedule((epoch - 1) * state.steps + step)
        images = augment(images, settings.augment, draws)
        with autocast(device, precision):
            logits = model(images)
        value = loss(logits, targets)
        state.optimizer.zero_grad(set_to_none=True)
        value.backward()
        if settings.clip_grad is not None:
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_grad)
        state.optimizer.step()
        if state.averaged:
            state.averaged.update(model)
        total += value.detach() * len(images)
    mean = (total / len(order)).item()
    if not np.isfinite(mean):
        lr = state.optimizer.param_groups[0]["lr"]
        raise TrainingError(f"the training loss of epoch {epoch} is {mean} at learning rate {lr:g}; lower models.*.lr")
    return mean


def _steps(images: int, batch_size: int) -> int:
    """Count an epoch's batches; a last one of a single image is left out: batch normalisation cannot train on it."""
    return images // batch_size + (images % batch_size > 1)


class _State:
    """Everything that a training carries from epoch to epoch."""

    def __init__(self, model: nn.Module, lr: float, settings: Train, steps: int) -> None:
        from timm.optim import param_groups_weight_decay
        from timm.scheduler import CosineLRScheduler

        self.model, self.steps = model, steps
        groups = param_groups_weight_decay(model, settings.weight_decay)  # none on biases and norms
        self.optimizer = torch.optim.AdamW(groups, lr=lr)
        warmup = round(settings.warmup_epochs * steps)
        self._scheduler = CosineLRScheduler(
            self.optimizer,
            t_initial=settings.epochs * steps,
            warmup_t=warmup,
            warmup_lr_init=lr / max(1, warmup),
            t_in_epochs=False,
        )
        self.averaged = None
        if settings.ema is not None:
            from timm.utils import ModelEmaV3

            self.averaged = ModelEmaV3(model, decay=settings.ema)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0

    def schedule(self, step: int) -> None:
        """Set the learning rate of `step`, counted over all epochs: the schedule needs no state of its own."""
        self._scheduler.step_update(step)

    def patience_is_over(self, patience: int) -> bool:
        return len(self.history) - max(1, self.best_epoch) >= patience

    def finish(self, row: dict[str, float], scored: nn.Module) -> None:
        """Enter an epoch; keep its weights if it is the best so far. An undefined AUROC never is."""
        best = self.history[self.best_epoch - 1]["val_auroc"] if self.best_epoch else float("-inf")
        self.history.append(row)
        if row["val_auroc"] > best or not self.best:
            self.best_epoch = len(self.history)
            self.best = {k: v.detach().to("cpu", copy=True) for k, v in scored.state_dict().items()}

    def content(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.module.state_dict() if self.averaged else None,
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
        }

    def restore(self, content: dict[str, Any] | None) -> None:
        if content is None:
            return
        self.model.load_state_dict(content["model"])
        if self.averaged:
            self.averaged.module.load_state_dict(content["averaged"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.history, self.best, self.best_epoch = content["history"], content["best"], content["best_epoch"]
