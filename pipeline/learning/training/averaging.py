"""Averages of the weights of a training run: which ones are validated, kept and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.learning.session import autocast
from pipeline.learning.settings import Train

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3  # noqa: TID251  # for the type alone
    from torch.optim.swa_utils import AveragedModel


Batches = Callable[[], Iterable[Tensor | tuple[Tensor, ...]]]
"""Returns training images, float [N, C, H, W], or tuples of them and their metadata [N, I]."""


class Average:
    """The weights as they are: no average at all."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    @property
    def averaged(self) -> nn.Module | None:
        """What a checkpoint holds beside the model itself."""
        return None

    def stepped(self, step: int) -> None:
        """Take note of the weights after `step`, from 0 over all epochs."""

    def of_epoch(self, epoch: int, batches: Batches, precision: str) -> nn.Module:
        """Return what is validated after `epoch`, from 1; `batches` are training images for batch normalisation."""
        return self._model

    def resumed(self, epochs: int) -> None:
        """Take note that `averaged` was restored as it was after so many epochs."""


class Exponential(Average):
    """Weights and statistics of batch normalisation, averaged exponentially over the steps.

    The same decay from the first step on keeps (decay ** steps) of the first weights, 0.67 of them after 400 steps of
    0.999; ``train.ema_warmup`` lets it rise from 0, as 1 - (1 + n) ** (-2/3) in step n, up to ``train.ema``.

    References
    ----------
    Polyak & Juditsky, SIAM J. Control Optim. 30:838, 1992; of networks Tarvainen & Valpola, NeurIPS 2017, arXiv
    1703.01780, whose decay rises, too. The rise is that of timm's ModelEmaV3.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: bool) -> None:
        from pipeline.learning.training.libraries import utils

        super().__init__(model)
        self._warmup = warmup
        self._ema: ModelEmaV3 = utils.ModelEmaV3(model, decay=decay, use_warmup=warmup)

    @property
    def averaged(self) -> nn.Module:
        """See `Average.averaged`."""
        return self._ema.module

    def stepped(self, step: int) -> None:
        """See `Average.stepped`."""
        self._ema.update(self._model, step + 1 if self._warmup else None)

    def of_epoch(self, epoch: int, batches: Batches, precision: str) -> nn.Module:
        """See `Average.of_epoch`: the average."""
        return self._ema.module


class Stochastic(Average):
    """SWA: the mean of the weights at the ends of the last epochs, its batch normalisation measured anew.

    Until averaging begins the weights are validated as they are; then the average is, after each epoch, and validation
    chooses among all of them.

    References
    ----------
    Izmailov et al., UAI 2018, arXiv 1803.05407.
    """

    def __init__(self, model: nn.Module, first: int) -> None:
        from torch.optim.swa_utils import AveragedModel

        super().__init__(model)
        self._first = first
        self._swa: AveragedModel = AveragedModel(model)

    @property
    def averaged(self) -> nn.Module:
        """See `Average.averaged`."""
        return self._swa.module

    def of_epoch(self, epoch: int, batches: Batches, precision: str) -> nn.Module:
        """See `Average.of_epoch`: the model, and from the first epoch of averaging on the average."""
        if epoch < self._first:
            return self._model
        self._swa.update_parameters(self._model)
        measure_batch_norms(self._swa.module, batches, precision)
        return self._swa.module

    def resumed(self, epochs: int) -> None:
        """See `Average.resumed`."""
        self._swa.n_averaged.fill_(max(0, epochs - self._first + 1))


def create(model: nn.Module, settings: Train) -> Average:
    """Return the average that ``train.ema`` or ``train.swa`` asks for."""
    if settings.swa is not None:
        return Stochastic(model, first_averaged(settings))
    return Average(model) if settings.ema is None else Exponential(model, settings.ema, settings.ema_warmup)


def first_averaged(settings: Train) -> int:
    """Return the first epoch, from 1, that ``train.swa`` averages; beyond the last one where it is off.

    From then on the learning rate stays where it is: at a rate that falls to 0 the weights would hardly differ.
    """
    return settings.before_averages + 1


@torch.no_grad()
def measure_batch_norms(model: nn.Module, batches: Batches, precision: str) -> None:
    """Replace the statistics of batch normalisation by their means over `batches`.

    As ``torch.optim.swa_utils.update_bn``, which would also reset and then use the statistics of frozen layers
    (torch 2.14): what stays in evaluation mode when `model` is set to training mode keeps them here.

    Parameters
    ----------
    model : Module
        Is left in evaluation mode.
    batches : callable
        Not called where there is nothing to measure.
    precision : {"float32", "bfloat16"}
        Of the model's arithmetic.
    """
    model.train()
    measured = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    momenta = [norm.momentum for norm in measured]
    for norm in measured:
        norm.reset_running_stats()
        norm.momentum = None
    if measured:
        for batch in batches():
            images, *known = batch if isinstance(batch, tuple) else (batch,)
            with autocast(images.device, precision):
                model(images, *known)
    for norm, momentum in zip(measured, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
