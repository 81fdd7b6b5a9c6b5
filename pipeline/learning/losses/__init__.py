"""Losses, one file each: ``pipeline/learning/losses/<kind>.py`` defines the `Loss` that `kind` names.

A loss is added by adding its file; its settings are the fields of its class and stand under ``losses.<name>`` in
params.yaml. torch is imported inside the functions that need it, so that settings are checked without that start-up.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from pipeline.learning.constants import constant
from pipeline.study.params import ParamsError, describe

if TYPE_CHECKING:
    from torch import Tensor


class Loss(BaseModel, ABC):
    """A loss and its settings. Calling it gives the mean over the batch."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    tasks: ClassVar[frozenset[str]]
    """Kinds of data set it is defined for: "multilabel", "multiclass", "segmentation"."""

    soft_targets: ClassVar[bool] = False
    """Whether it is defined for targets between 0 and 1, as ``train.mix`` makes them."""

    output: ClassVar[str] = "classes"
    """What the head computes, see `pipeline.learning.networks.outputs`; the loss gets logits of K classes always."""

    ordered: ClassVar[bool] = False
    """Whether it is defined for ordered classes alone."""

    _task: str = PrivateAttr("multilabel")
    """Which of `tasks` it is used for; set by `create`, not by params.yaml: the data set decides."""

    _class_weights: tuple[float, ...] | None = PrivateAttr(None)
    """Weight of each class; set by `weighted`: the training part decides."""

    @property
    def proper(self) -> bool:
        """Whether it is a proper scoring rule, so that sigmoid or softmax of the logits is meant as a probability."""
        return False

    _positives: tuple[float, ...] | None = PrivateAttr(None)
    _total: float | tuple[float, ...] | None = PrivateAttr(None)
    _partial: bool | None = PrivateAttr(None)
    """Whether labels may be unknown; set by `for_training`. None: each batch is looked at."""

    _of_ordered: bool = PrivateAttr(False)

    @property
    def task(self) -> str:
        """What it is used for, "multilabel", "multiclass" or "segmentation"."""
        return self._task

    @property
    def of_ordered(self) -> bool:
        """Whether the classes that it is used for are ordered."""
        return self._of_ordered

    @property
    def needs_counts(self) -> bool:
        """Whether, with these settings, it depends on class frequencies: `counted` must come before it is called."""
        return False

    @property
    def balances(self) -> bool:
        """Whether, with these settings, it makes up for class frequencies: weights on top would do so twice."""
        return self.needs_counts

    @property
    def class_weights(self) -> tuple[float, ...] | None:
        """Weight of each class, or None where all samples count alike."""
        return self._class_weights

    def weighted(self, weights: Iterable[float]) -> Self:
        """Return the same loss with each sample's value times the weight of its class (see `balanced_weights`)."""
        changed = self.model_copy()
        changed._class_weights = tuple(float(w) for w in weights)
        return changed

    def counted(self, positives: Sequence[float], total: float | Sequence[float]) -> Self:
        """Return the same loss for a training part in which class k is positive in `positives[k]` of `total` draws.

        Parameters
        ----------
        positives : sequence of float [K]
            Draws of an epoch (not images: what balancing has evened out is not evened a second time), at least 0.
        total : float or sequence of float [K]
            Draws of an epoch, at least 1; those in which the label is known, if some are not.

        Raises
        ------
        ValueError
            If there is no draw, or a class is positive in fewer than none or more than all of them.
        """
        totals = [float(total)] * len(positives) if isinstance(total, (int, float, np.number)) else list(total)
        if min(totals) < 1 or not all(0 <= p <= t for p, t in zip(positives, totals, strict=True)):
            raise ValueError(
                f"positives {list(positives)} of {total} draws; each must be in [0, {total}], draws must be at least 1"
            )
        changed = self.model_copy()
        changed._positives = tuple(float(p) for p in positives)
        changed._total = totals[0] if isinstance(total, (int, float, np.number)) else tuple(float(t) for t in totals)
        return changed

    def at_epoch(self, epoch: int, epochs: int) -> Self:
        """Return the loss as it is in epoch `epoch` (from 1) of `epochs`: itself, unless it follows a schedule."""
        return self

    def check_task(self) -> None:
        """Refuse settings that `task` has no meaning for; `create` calls it and names the loss.

        Raises
        ------
        ValueError
            "<setting> = <value>: <reason>; must be <what>".
        """

    def counts(self, like: Tensor) -> tuple[Tensor, Any]:
        """Return positives [K], of the type and on the device of `like`, and the total: a float, or a tensor [K].

        Raises
        ------
        ValueError
            If `counted` has not been called.
        """
        if self._positives is None or self._total is None:
            raise ValueError(f"{type(self).__name__} needs the class frequencies of the training part: call counted()")
        total = constant(self._total, like) if isinstance(self._total, tuple) else self._total
        return constant(self._positives, like), total

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean loss of a batch, in float32 also under autocast.

        With class weights it is the sum of the weighted losses over the number of samples, not over the sum of their
        weights: a batch's share in the gradient must not depend on which other classes it holds.

        Parameters
        ----------
        logits : Tensor, any float [N, K], for segmentation [N, K, H, W]
            Before sigmoid or softmax.
        targets : Tensor of the same shape
            0/1, for multiclass one 1 per row; where `soft_targets`, anything between, for multiclass of sum 1. NaN
            where a label is not known: it has no part in the value, and its logit a gradient of exactly 0.

        Returns
        -------
        Tensor, float32 []
            Float64 if the logits are.

        Raises
        ------
        ValueError
            If the shapes differ or are not these, or a label is not known and the loss is not defined for that.
        """
        import torch

        of_masks = self.task == "segmentation"
        if logits.ndim != (4 if of_masks else 2) or logits.shape != targets.shape:
            expected = "[N, K, H, W]" if of_masks else "[N, K]"
            raise ValueError(
                f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)}; both must be {expected}"
            )
        if of_masks and self.tasks != {"segmentation"}:  # a loss of labels: every pixel is a sample
            logits, targets = (each.movedim(1, -1).flatten(0, 2) for each in (logits, targets))
        dtype = torch.promote_types(logits.dtype, torch.float32)
        with torch.autocast(logits.device.type, enabled=False):
            logits, targets = logits.to(dtype), targets.to(dtype)
            if self._partial is False:
                return self.of_batch(logits, targets)
            known = ~targets.isnan()
            if self._partial is None and bool(known.all()):
                return self.of_batch(logits, targets)
            zero = logits.new_zeros(())
            return self.of_known(torch.where(known, logits, zero), torch.where(known, targets, zero), known)

    def of_batch(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of a batch, []: the weighted mean of `per_sample`, for most losses."""
        values = self.per_sample(logits, targets)
        if self._class_weights is not None:
            values = values * (targets @ constant(self._class_weights, values))
        return values.mean()

    def of_known(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Compute the loss of a batch of which some labels are not known, []: the mean of `per_label` over the others.

        Every known label of the batch weighs alike, however many its image has. Without any it is 0.

        Parameters
        ----------
        logits, targets : Tensor, float [N, K]
            0 where a label is not known, so that nothing flows back to the network from there.
        known : Tensor, bool [N, K]
            Which labels are.
        """
        if not self.masks():
            raise ValueError(f"{type(self).__name__} is not defined where labels are unknown")
        import torch

        values = self.per_label(logits, targets)
        return torch.where(known, values, values.new_zeros(())).sum() / self.share(known).clamp_min(1)

    def share(self, known: Tensor) -> Tensor:
        """Return what the mean over a batch divides by, []: its known labels."""
        return known.sum()

    def of_part(self, logits: Tensor, some: Tensor, targets: Tensor) -> Tensor:
        """Compute what `some` entries of a batch, with their `logits`, add to its mean; `targets` are those of all."""
        share: Tensor = self(logits, some) * self.part_of(some, targets)
        return share

    def part_of(self, some: Tensor, targets: Tensor) -> Any:
        """Return the share of a batch's mean that `some` of its `targets` have."""
        if not self._partial:
            return len(some) / len(targets)
        return self.share(~some.isnan()).double() / self.share(~targets.isnan()).clamp_min(1)

    @classmethod
    def masks(cls) -> bool:
        """Return whether it is defined for labels of which some are not known."""
        return cls.per_label is not Loss.per_label or cls.of_known is not Loss.of_known

    def per_label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of each label, [N, K], where `per_sample` is its mean over the labels."""
        raise NotImplementedError

    @abstractmethod
    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of each sample, [N], from logits and targets [N, K] of one float type.

        Of segmentation, a loss that is defined for nothing else gets [N, K, H, W]; for the others a pixel is a sample.
        """


def available() -> list[str]:
    """Kinds of all losses, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def loss_class(kind: str) -> type[Loss]:
    """Return the class that file `kind` defines.

    Raises
    ------
    ParamsError
        If there is no such loss.
    """
    if kind not in available():
        raise ParamsError(f"'{kind}' is not a loss; use one of: {', '.join(available())}")
    module = importlib.import_module(f"{__name__}.{kind}")
    (cls,) = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    return cls


def loss_module(kind: str) -> Path:
    """Return the file that defines `kind`."""
    return Path(__file__).with_name(f"{kind}.py")


def kind_of(name: str, settings: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Return the kind of ``losses.<name>`` and its other settings."""
    settings = dict(settings or {})
    kind = settings.pop("kind", name)
    if kind not in available():
        raise ParamsError(
            f"params.yaml:\nlosses.{name}.kind: '{kind}' is not a loss; use one of: {', '.join(available())}"
        )
    return kind, settings


def no_mixing(loss: Loss, name: str) -> str | None:
    """Say why ``train.mix`` cannot be used with `loss`, which the message calls `name`; None if it can."""
    if loss.class_weights is not None:
        return "train.class_weights: 'balanced' weighs an image by its one class, which a mixed one does not have"
    if loss.soft_targets:
        return None
    fitting = _kinds(loss.task, lambda cls: cls.soft_targets)
    if not fitting:
        return f"images of a {loss.task} data set are not mixed"
    return f"{name} is defined for labels of 0 and 1 alone; these kinds take others: {', '.join(fitting)}"


def create(name: str, settings: Mapping[str, Any] | None, task: str, ordered: bool = False) -> Loss:
    """Build the loss that ``losses.<name>`` describes.

    Parameters
    ----------
    name : str
        Key under ``losses``; also the kind unless the settings hold ``kind``.
    settings : mapping or None
        As in params.yaml.
    task : {"multilabel", "multiclass", "segmentation"}
        Task of the data set.
    ordered : bool
        Whether its classes are ordered.

    Raises
    ------
    ParamsError
        For an unknown kind or key, a value out of range, or a loss or setting that is not defined for `task`, or for
        classes without an order.
    """
    kind, settings = kind_of(name, settings)
    cls = loss_class(kind)
    if cls.ordered and not ordered:
        raise ParamsError(
            f"params.yaml:\nstudy.losses: '{name}' ({kind}) is defined for ordered classes alone; say that they are by "
            "task: ordinal under the data set, or use another loss"
        )
    if task not in cls.tasks:
        fitting = [k for k in available() if task in loss_class(k).tasks and (ordered or not loss_class(k).ordered)]
        raise ParamsError(
            f"params.yaml:\nstudy.losses: '{name}' ({kind}) is not defined for a {task} data set; "
            f"use one of these kinds: {', '.join(fitting)}"
        )
    try:
        loss = cls.model_validate(settings)
    except ValidationError as error:
        raise ParamsError(f"params.yaml:\n{describe(error, cls, f'losses.{name}')}") from None
    loss._task, loss._of_ordered = task, ordered
    try:
        loss.check_task()
    except ValueError as error:
        raise ParamsError(f"params.yaml:\nlosses.{name}.{error}") from None
    return loss


def for_training(
    name: str,
    settings: Mapping[str, Any] | None,
    task: str,
    targets: NDArray[np.uint8],
    draws: NDArray[np.int64],
    class_weights: str,
    ordered: bool = False,
) -> Loss:
    """Build the loss that ``losses.<name>`` describes for a training part, which its counts and weights come from.

    Parameters
    ----------
    name, settings, task, ordered
        As for `create`.
    targets : uint8 [N, K]
        Of the training part; float32 with NaN where labels of the data set are not known.
    draws : int64 [N]
        Draws per epoch of each row.
    class_weights : {"none", "balanced"}
        As ``train.class_weights``; see `balanced_weights`.

    Raises
    ------
    ParamsError
        As `create` and `check_labels`, and for balanced weights on a multi-label data set or beside a loss that
        balances classes itself.
    """
    loss = create(name, settings, task, ordered)
    if class_weights == "balanced" and loss.balances:
        raise ParamsError(
            "params.yaml:\ntrain.class_weights: 'balanced' makes up for how rare a class is, and so does "
            f"losses.{name} by itself; must be none beside it (or take a loss that does not, such as ce)"
        )
    partial = targets.dtype.kind == "f"
    if partial:
        check_labels(loss, name, targets)
        known, labels = ~np.isnan(targets), np.nan_to_num(targets)
        each = (known * draws[:, None]).sum(0)
        loss = loss.counted((labels.astype(np.float64) * draws[:, None]).sum(0), np.maximum(each, 1).tolist())
    else:
        loss = loss.counted((targets * draws[:, None]).sum(0), draws.sum())
    loss._partial = partial
    return loss.weighted(balanced_weights(targets, draws, task)) if class_weights == "balanced" else loss


def check_labels(loss: Loss, name: str, labels: NDArray[Any]) -> None:
    """Refuse unknown and soft labels, NaN and between 0 and 1, beside a loss that is not defined for them.

    Raises
    ------
    ParamsError
        Naming the loss, and those that are.
    """
    if ((labels > 0) & (labels < 1)).any() and not loss.soft_targets:
        raise ParamsError(f"params.yaml:\nlosses.{name}: {_hard_alone(loss, name)}")
    if not loss.masks() and np.isnan(labels).any():
        raise ParamsError(
            f"params.yaml:\nstudy.losses: '{name}' is not defined where labels are unknown, as some of this data set "
            f"are; use one of these kinds: {', '.join(_kinds(loss.task, lambda cls: cls.masks()))}"
        )


def no_soft_labels(loss: Loss, name: str, uncertain: Mapping[str, float | None]) -> str | None:
    """Say why ``losses.<name>`` cannot be used where `uncertain` makes soft labels of some class; None if it can."""
    soft = any(value is not None and 0 < value < 1 for value in uncertain.values())
    return _hard_alone(loss, name) if soft and not loss.soft_targets else None


def _hard_alone(loss: Loss, name: str) -> str:
    fitting = ", ".join(_kinds(loss.task, lambda cls: cls.soft_targets))
    return (
        f"losses.{name} is defined for labels of 0 and 1 alone, not for soft ones of what is uncertain; "
        f"'uncertain' must be ignore, positive or negative beside it, or the loss one of these kinds: {fitting}"
    )


def _kinds(task: str, fits: Callable[[type[Loss]], bool]) -> list[str]:
    """Return the kinds of losses for `task` that fit."""
    return [k for k in available() if task in (cls := loss_class(k)).tasks and fits(cls)]


def balanced_weights(targets: NDArray[np.uint8], draws: NDArray[np.int64], task: str) -> NDArray[np.float64]:
    """Compute the weights by which every class has the same share in the loss of an epoch.

    ``N / (K n_k)`` for class k with n_k of the N draws of an epoch, K the number of classes that are drawn: the formula
    of scikit-learn's ``class_weight="balanced"``, after King & Zeng, "Logistic regression in rare events data",
    Political Analysis 9 (2001). The mean weight of a draw is 1, so that learning rates keep their meaning. Draws, not
    images, are counted: what balancing has evened out already is not weighed a second time.

    Parameters
    ----------
    targets : uint8 [N, K]
        Of the training part; one 1 per row.
    draws : int64 [N]
        Draws per epoch of each row.
    task : {"multilabel", "multiclass"}
        Task of the data set.

    Returns
    -------
    float64 [K]
        Above 0. A class that is never drawn has 1: it is met in the validation loss only.

    Raises
    ------
    ParamsError
        For a multi-label data set: a sample has no class or several there, and no one weight.
    """
    if task == "multilabel":
        raise ParamsError(
            "params.yaml:\ntrain.class_weights: 'balanced' weighs a sample by its one class, and a multi-label data "
            "set has samples with none or several; must be none (split.balance.method: oversample draws rare classes "
            "more often, losses of kind focal weigh what is still wrong)"
        )
    positives = (targets * draws[:, None]).sum(0)
    weights = draws.sum() / (np.count_nonzero(positives) * np.maximum(positives, 1))
    return np.where(positives > 0, weights, 1.0)


def check_study(
    names: Sequence[str], losses: Mapping[str, Mapping[str, Any] | None], task: str, ordered: bool = False
) -> None:
    """Refuse, before any work is spent, a study with a loss that cannot be built for `task` (see `create`).

    Parameters
    ----------
    names : sequence of str
        As ``study.losses`` lists them.
    losses : mapping
        Section ``losses`` of params.yaml.
    task, ordered
        As for `create`.
    """
    for name in names:
        create(name, losses[name], task, ordered)
