"""The training loop: epochs, the choice of the best one on validation, and resuming after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.learning.images.augmentation import augment
from pipeline.learning.images.loader import PartData, epoch_order, even, with_metadata
from pipeline.learning.images.mixing import mix
from pipeline.learning.images.resizing import shrunk
from pipeline.learning.losses import Loss, no_mixing
from pipeline.learning.networks.inference import predict
from pipeline.learning.session import autocast, choose_precision, compiled, set_arithmetic
from pipeline.learning.settings import Augment, Train
from pipeline.learning.training import averaging, optimizers, schedules
from pipeline.learning.training.checkpoints import Checkpoint
from pipeline.learning.training.guards import LossWatch, TrainingError, check_validation_loss, enough_memory, last_good
from pipeline.metrics.functions import accuracy, auroc, f1, macro, quadratic_kappa
from pipeline.metrics.scored import Scored, Weighted
from pipeline.study.params import ParamsError

SELECT = {"segmentation": ("dice",), "regression": ("mae", "rmse")}
"""What may choose the epoch, of tasks that are no classification."""
OF_OTHER_TASKS = {metric for metrics in SELECT.values() for metric in metrics}
ERRORS = SELECT["regression"]
"""Metrics of which the lowest value is the best."""


@dataclass(frozen=True)
class FittedModel:
    """Result of a training run.

    Parameters
    ----------
    state : dict of Tensor
        Weights of the best epoch (averaged ones with EMA, and with SWA once it has begun), on the CPU.
    history : list of dict
        One row per epoch: epoch, lr (of the body, in the last step), train_loss, val_loss, val_auroc (macro), for
        single-label data also val_accuracy and val_macro_f1 (of the largest logits), of ordered classes val_qwk,
        images_per_second (of training alone), seconds (with validation); of another task the metrics of its `Handling`
        in their place.
    best_epoch : int
        From 1; the first with the highest value of the metric that ``train.select`` names. Epochs where it is
        undefined are never best; where it always is, the first is kept.
    """

    state: dict[str, Tensor]
    history: list[dict[str, float]]
    best_epoch: int


@dataclass(frozen=True)
class Handling:
    """What training does with images and what they are held to; other tasks than classification have their own.

    Parameters
    ----------
    change : callable
        Takes images, targets, settings of augmentation, and a generator on the CPU; returns both, changed.
    validate : callable
        Takes the model, the loss as it is in this epoch, the validation part, images per call, and precision; returns
        the validation loss, and the metrics by which an epoch may be chosen, by their names in the history.
    """

    change: Callable[[Tensor, Tensor, Augment, torch.Generator], tuple[Tensor, Tensor]]
    validate: Callable[[nn.Module, Loss, PartData, int, str], tuple[float, dict[str, float]]]


def derive(*numbers: int) -> int:
    """Derive an independent random seed, so that an epoch's draws depend on nothing but (seed, epoch, purpose)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def fit(
    model: nn.Module,
    loss: Loss,
    train: PartData,
    draws: np.ndarray,
    val: PartData,
    *,
    lr: float,
    head_lr: float | None = None,
    settings: Train,
    seed: int,
    checkpoint: Checkpoint,
    report: Callable[[dict[str, float]], None] = lambda row: None,
    handling: Handling | None = None,
) -> FittedModel:
    """Train `model` in place and return the weights of its best epoch.

    Parameters
    ----------
    model : Module
        On the device of the data. Its `train()` decides what is kept in evaluation mode.
    loss : Loss
        What is minimised; asked by `Loss.at_epoch` for the form it has in each epoch.
    train, val : PartData
        Trained on, and chosen on.
    draws : int64 [len(train)]
        Draws per epoch of each training image.
    lr : float
        Highest learning rate, see `schedules.create`.
    head_lr : float or None
        Highest learning rate of `model.head_parameters()`; None = `lr`.
    settings : Train
        The rest.
    seed : int
        Training seed.
    checkpoint : Checkpoint
        Saved after every epoch; where there is one, training resumes from it to the same result. It stays when
        training fails.
    report : callable
        Given each row of the history as it is made.
    handling : Handling, optional
        Of another task than classification.

    Raises
    ------
    ParamsError
        If ``train.select`` is not defined for the task of the loss, or ``train.mix`` not for the loss.
    TrainingError
        If there are fewer than two images to train on, a loss is not finite, or memory runs out.
    """
    if draws.sum() < 2:
        raise TrainingError(f"{draws.sum()} images to train on; must be at least 2 (see split in params.yaml)")
    if settings.select == "macro_f1" and loss.task != "multiclass":
        raise ParamsError(
            f"params.yaml:\ntrain.select: 'macro_f1' counts the largest logit of an image and is not defined for a "
            f"{loss.task} data set; it must be 'auroc'"
        )
    if settings.select == "qwk" and not loss.of_ordered:
        raise ParamsError("params.yaml:\ntrain.select: 'qwk' is defined for ordered classes alone; it must be 'auroc'")
    fitting = SELECT.get(loss.task, ("auroc",))
    if (loss.task in SELECT or settings.select in OF_OTHER_TASKS) and settings.select not in fitting:
        raise ParamsError(
            f"params.yaml:\ntrain.select: '{settings.select}' is not defined for a {loss.task} data set; it must be "
            f"{' or '.join(fitting)}"
        )
    if settings.mix is not None and (reason := no_mixing(loss, type(loss).__name__)):
        raise ParamsError(f"params.yaml:\ntrain.mix: {reason}; must be empty beside it")
    set_arithmetic(settings.threads, settings.tf32)
    state = _State(model, lr, head_lr, settings, len(even(int(draws.sum()), _per_step(settings))), handling)
    precision = choose_precision(settings.precision, train.device)

    def good() -> str:
        return last_good(checkpoint.path, len(state.history))

    with enough_memory(train.device, settings.batch_size, train.shape[1:], precision, good):
        state.restore(checkpoint.load())
        state.forward = compiled(model, settings.compile, train.device)
        while len(state.history) < settings.epochs and not state.patience_is_over():
            row = _epoch(state, loss, train, draws, val, precision, seed, good())
            checkpoint.save(state.content())
            report(row)
    return FittedModel(state.best, state.history, state.best_epoch)


def _epoch(
    state: _State,
    loss: Loss,
    train: PartData,
    draws: np.ndarray,
    val: PartData,
    precision: str,
    seed: int,
    good: str,
) -> dict[str, float]:
    """Train and validate once, enter the result into `state`, and return the epoch's row."""
    started = time.perf_counter()
    epoch, settings = len(state.history) + 1, state.settings
    loss = loss.at_epoch(epoch, settings.epochs)
    train_loss, images = _train(state, loss, train, draws, precision, seed, epoch, good)
    trained = time.perf_counter()
    scored = state.average.of_epoch(epoch, lambda: _views(train, draws, settings, seed, epoch), precision)
    val_loss, scores = state.handling.validate(scored, loss, val, 4 * settings.batch_size, precision)
    check_validation_loss(val_loss, epoch, state.lr, good)
    row = {
        "epoch": epoch,
        "lr": state.lr,
        "train_loss": train_loss,
        "val_loss": val_loss,
        **scores,
        "images_per_second": images / (trained - started),
        "seconds": time.perf_counter() - started,
    }
    state.finish(row, scored)
    return row


def _train(
    state: _State,
    loss: Loss,
    data: PartData,
    draws: np.ndarray,
    precision: str,
    seed: int,
    epoch: int,
    good: str,
) -> tuple[float, int]:
    """Go through the training images once; return the mean loss and the number of images."""
    settings = state.settings
    torch.manual_seed(derive(seed, epoch, 0))  # dropout; set each epoch, so that a checkpoint needs no generator
    generator = torch.Generator().manual_seed(derive(seed, epoch, 1))
    rng = np.random.default_rng(derive(seed, epoch, 3))
    order = epoch_order(draws, torch.Generator().manual_seed(derive(seed, epoch, 2)))
    state.model.train()
    watch = LossWatch(epoch, state.steps, data.device, good)
    first, sizes = (epoch - 1) * state.steps, even(len(order), _per_step(settings))
    for step, (images, targets, known) in enumerate(with_metadata(data, order, sizes), first):
        if epoch < state.first_averaged:
            state.schedule.set(step)
        if settings.progressive is not None:
            images = shrunk(images, settings.progressive, epoch, settings.epochs)
        images, targets = state.handling.change(images, targets, settings.augment, generator)
        if settings.mix is not None:
            images, beside = mix(images, torch.cat([targets, *known], 1), settings.mix, rng)
            targets, *known = beside.split([targets.shape[1], *(values.shape[1] for values in known)], 1)
        value = state.gradients(loss, images, targets, known, precision)
        watch.enter(value, len(images), state.lr)
        state.step(step)
    return watch.mean(), len(order)


def _views(
    data: PartData, draws: np.ndarray, settings: Train, seed: int, epoch: int
) -> Iterator[Tensor | tuple[Tensor, ...]]:
    """Yield the training images once more, changed anew, and their metadata: what batch norms are measured on."""
    torch.manual_seed(derive(seed, epoch, 4))  # dropout
    generator = torch.Generator().manual_seed(derive(seed, epoch, 5))
    order = epoch_order(draws, torch.Generator().manual_seed(derive(seed, epoch, 6)))
    for images, _, known in with_metadata(data, order, even(len(order), settings.batch_size)):
        changed = augment(images, settings.augment, generator)
        yield (changed, *known) if known else changed


def _per_step(settings: Train) -> int:
    """Return the images of a step; `train.batch_size` of them at a time go through the network."""
    return settings.batch_size * settings.accumulate


def _scores(logits: np.ndarray, targets: np.ndarray, task: str, ordered: bool = False) -> dict[str, float]:
    """Compute the metrics of one epoch from validation logits [N, K] and targets [N, K]."""
    sums = Weighted(Scored(task, targets, logits[None], ordered=ordered))
    scores = {"val_auroc": macro(auroc(sums)).item()}
    if task == "multiclass":
        scores |= {"val_accuracy": accuracy(sums).item(), "val_macro_f1": macro(f1(sums)).item()}
    if ordered:
        scores["val_qwk"] = quadratic_kappa(sums).item()
    return scores


def _classified(
    model: nn.Module, loss: Loss, val: PartData, batch_size: int, precision: str
) -> tuple[float, dict[str, float]]:
    """Compute the loss and the metrics of a validation part whose targets are classes."""
    logits = predict(model, val, batch_size, precision)
    value = loss(logits, val.targets.float()).item()
    if not math.isfinite(value):  # it ends the run, with a message of its own; there is nothing to score
        return value, {}
    return value, _scores(logits.cpu().numpy(), val.targets.cpu().numpy(), loss.task, loss.of_ordered)


CLASSIFICATION = Handling(lambda images, targets, *how: (augment(images, *how), targets), _classified)


class _State:
    """Everything that a training run carries from step to step and from epoch to epoch."""

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        head_lr: float | None,
        settings: Train,
        steps: int,
        handling: Handling | None = None,
    ) -> None:
        self.handling = handling or CLASSIFICATION
        self.model, self.settings, self.steps = model, settings, steps
        self.forward: Callable[..., Tensor] = model
        self.optimizer = optimizers.create(model, lr, head_lr, settings)
        self.schedule = schedules.create(self.optimizer, settings, steps)
        self.average = averaging.create(model, settings)
        self.first_averaged = averaging.first_averaged(settings)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0

    @property
    def lr(self) -> float:
        """The body's learning rate; the head's where nothing else is trained."""
        return float(self.optimizer.param_groups[0]["lr"])

    def gradients(self, loss: Loss, images: Tensor, targets: Tensor, known: Sequence[Tensor], precision: str) -> Tensor:
        """Compute the gradients of a step's loss, the mean over its images, and return the loss; `known` are metadata.

        Of several batches (`train.accumulate`) each has its share by its images, so that the gradients are those of one
        large batch. They are as equal as can be, and none is a single image, which batch normalisation cannot train on.
        """
        self.optimizer.zero_grad(set_to_none=True)
        parts = max(1, min(math.ceil(len(images) / self.settings.batch_size), len(images) // 2))
        values = []
        split = (values.tensor_split(parts) for values in (images, targets, *known))
        for some, truth, *about in zip(*split, strict=True):
            with autocast(images.device, precision):
                logits = self.forward(some, *about)
            value = loss(logits, truth) if parts == 1 else loss.of_part(logits, truth, targets)
            value.backward()
            values.append(value.detach())
        return values[0] if parts == 1 else torch.stack(values).sum()

    def step(self, number: int) -> None:
        """Move the weights down their gradients, and the averaged ones after them, in step `number` from 0."""
        if self.settings.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_grad)
        self.optimizer.step()
        self.average.stepped(number)

    def patience_is_over(self) -> bool:
        return len(self.history) - max(1, self.best_epoch) >= self.settings.patience

    def finish(self, row: dict[str, float], scored: nn.Module) -> None:
        """Enter an epoch; keep its weights if it is the best so far."""
        metric = f"val_{self.settings.select}"
        sign = -1.0 if self.settings.select in ERRORS else 1.0
        value, best = sign * row[metric], math.nan
        if self.best_epoch:
            best = sign * self.history[self.best_epoch - 1][metric]
        self.history.append(row)
        better = value > best or (math.isnan(best) and not math.isnan(value))
        if better or not self.best:
            self.best_epoch = len(self.history)
            self.best = {k: v.detach().to("cpu", copy=True) for k, v in scored.state_dict().items()}
        if len(self.history) < self.first_averaged:
            self.schedule.epoch_ended(len(self.history) * self.steps, value)

    def content(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "averaged": None if (averaged := self.average.averaged) is None else averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
        }

    def restore(self, content: dict[str, Any] | None) -> None:
        if content is None:
            return
        self.model.load_state_dict(content["model"])
        if self.average.averaged is not None:
            self.average.averaged.load_state_dict(content["averaged"])
            self.average.resumed(len(content["history"]))
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        self.history, self.best, self.best_epoch = content["history"], content["best"], content["best_epoch"]
