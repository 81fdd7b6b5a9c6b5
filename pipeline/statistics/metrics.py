"""The metrics of a study, computed for any number of weightings of the images at once.

Every metric here is a function of sums that are linear in the weights: weights of images below and at each positive's
score (AUROC, average precision), the four counts of a decision (F1, sensitivity, specificity, MCC, accuracy) and the
summed loss. `Scored` prepares those sums once from the predictions, added up over groups of images (patients);
`Weighted` reads them under weights [B, G]. One weighting of ones is the metric itself, B counts of drawn patients are
its bootstrap: the same code computes both.

What a metric cannot say is NaN, never 0: `reasons` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_array
from scipy.special import logsumexp

from pipeline.statistics.thresholds import probabilities

Task = Literal["multilabel", "multiclass"]
TASKS: tuple[Task, ...] = ("multilabel", "multiclass")


class _Ranking:
    """Where the positives of one class lie among its negatives, ready to be read under many weightings.

    The distinct scores of the positives cut the line into points and open stretches. The negatives are summed a
    stretch, by one sparse product; a cumulative sum over the stretches then gives the weight below and at every
    positive. That is the sort-once method with the sort's full cumulative sum cut down to where it is read.
    """

    def __init__(self, positive: np.ndarray, scores: np.ndarray, groups: np.ndarray, n_groups: int) -> None:
        cuts, cut = np.unique(scores[positive], return_inverse=True)
        others = scores[~positive]
        # Stretch 2j + 1 is the j-th cut itself (a tie), 2j the open stretch below it.
        stretch = np.searchsorted(cuts, others, "left") + np.searchsorted(cuts, others, "right")
        occupied, negative_row = np.unique(stretch, return_inverse=True)
        ties = 2 * np.arange(len(cuts)) + 1
        self.below = np.searchsorted(occupied, ties, "left")
        self.through = np.searchsorted(occupied, ties, "right")
        self.n_cuts = len(cuts)
        rows = np.concatenate([cut, negative_row + self.n_cuts])
        columns = np.concatenate([groups[positive], groups[~positive]])
        # Entries that fall together (images of one patient in one stretch) are added up here, once.
        self.sums = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(cuts) + len(occupied), n_groups))

    def read(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return AUROC [B] and average precision [B] under `weights` [G, B], float64 and C-ordered."""
        sums = self.sums @ weights
        at = sums[: self.n_cuts]
        negatives = np.zeros((len(sums) - self.n_cuts + 1, weights.shape[1]))
        np.cumsum(sums[self.n_cuts :], axis=0, out=negatives[1:])
        below = negatives[self.below]
        n_negative = negatives[-1]
        called = np.cumsum(at[::-1], axis=0)[::-1]  # weight of positives at or above each cut
        n_positive = called[0] if self.n_cuts else np.zeros(weights.shape[1])

        possible = (n_positive > 0) & (n_negative > 0)
        wins = np.einsum("jb,jb->b", at, below + negatives[self.through]) / 2
        auroc = _ratio(wins, np.where(possible, n_positive * n_negative, 0))
        # A cut whose positives all weigh 0 may have nothing at or above it; it adds 0 whatever its precision.
        precision = called / np.where(at > 0, called + (n_negative - below), 1)
        average = _ratio(np.einsum("jb,jb->b", at, precision), np.where(possible, n_positive, 0))
        return auroc, average


class Scored:
    """Predictions of S models (training seeds, ensembles) for the same images, ready to be weighed.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Multi-label classes are ranked by their logit, which has the order of the sigmoid without its saturation.
        Multiclass classes are taken one against the rest, ranked by the log-odds of the softmax for the same reason.
    targets : 0/1 [N, K]
        Truth; exactly one 1 a row for multiclass.
    logits : float [S, N, K]
        A model with a logit that is not finite has no defined metric at all.
    thresholds : float [S, K] or None
        Multi-label only: a class is called positive where its probability is at or above the threshold. NaN, or None
        for all, leaves the decisions undefined. Multiclass decides for the largest logit, the first among equals.
    groups : int [N] or None
        Group (patient) of each image, 0..G-1; None gives every image its own. Weights are those of groups.
    n_groups : int or None
        G; None takes the largest group + 1.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no image, or targets are not 0/1 (one 1 a row for multiclass).
    """

    def __init__(
        self,
        task: str,
        targets: np.ndarray,
        logits: np.ndarray,
        thresholds: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        n_groups: int | None = None,
    ) -> None:
        targets, logits = np.asarray(targets), np.asarray(logits, dtype=np.float64)
        if task not in TASKS:
            raise ValueError(f"task {task!r}; allowed: {', '.join(TASKS)}")
        if targets.ndim != 2 or logits.ndim != 3 or logits.shape[1:] != targets.shape or not targets.size:
            raise ValueError(f"targets {targets.shape} and logits {logits.shape}; expected [N, K] and [S, N, K]")
        if not np.isin(targets, (0, 1)).all():
            raise ValueError("a target is neither 0 nor 1")
        if task == "multiclass" and not (targets.sum(axis=1) == 1).all():
            raise ValueError("a multiclass target has not exactly one 1 in its row")
        n_seeds, n_images, n_classes = logits.shape
        self.task = task
        self.truth = targets.astype(bool)
        self.broken = ~np.isfinite(logits).all(axis=(1, 2))
        self.logits = np.where(self.broken[:, None, None], 0.0, logits)
        self.groups = np.arange(n_images) if groups is None else np.asarray(groups)
        self.n_groups = int(self.groups.max()) + 1 if n_groups is None else n_groups
        if self.groups.shape != (n_images,):
            raise ValueError(f"groups {self.groups.shape}; expected ({n_images},)")
        shape = (n_seeds, n_classes)
        self.thresholds = np.full(shape, np.nan) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
        if self.thresholds.shape != shape:
            raise ValueError(f"thresholds {self.thresholds.shape}; expected {shape}")
        self.shape = shape

    @cached_property
    def undecided(self) -> np.ndarray:
        """Bool [S, K]: no decision can be made, for want of a threshold."""
        return np.isnan(self.thresholds) if self.task == "multilabel" else np.zeros(self.shape, dtype=bool)

    @cached_property
    def decisions(self) -> np.ndarray:
        """Bool [S, N, K]: called positive (False where undecided)."""
        if self.task == "multilabel":
            return probabilities(self.logits, self.task) >= self.thresholds[:, None, :]
        return self.logits.argmax(axis=-1)[..., None] == np.arange(self.shape[1])

    @cached_property
    def ranked_by(self) -> np.ndarray:
        """Float64 [S, N, K]: the scores that order the images of a class."""
        if self.task == "multilabel":
            return self.logits
        rest = [logsumexp(np.delete(self.logits, k, axis=-1), axis=-1) for k in range(self.shape[1])]
        return self.logits - np.stack(rest, axis=-1)

    @cached_property
    def rankings(self) -> list[list[_Ranking]]:
        """A `_Ranking` for each model and class."""
        n_seeds, n_classes = self.shape
        return [
            [_Ranking(self.truth[:, k], self.ranked_by[s, :, k], self.groups, self.n_groups) for k in range(n_classes)]
            for s in range(n_seeds)
        ]

    @cached_property
    def counts(self) -> np.ndarray:
        """Float64 [G, 4, S, K]: true positives, false positives, false negatives, true negatives of each group."""
        truth, called = self.truth[None], self.decisions
        return self._by_group(np.stack([truth & called, ~truth & called, truth & ~called, ~truth & ~called]), axis=2)

    @cached_property
    def class_counts(self) -> np.ndarray:
        """Float64 [G, 2, K]: positives and negatives of each group."""
        return self._by_group(np.stack([self.truth, ~self.truth]), axis=1)

    @cached_property
    def losses(self) -> np.ndarray:
        """Float64 [G, S, K] (multi-label) or [G, S] (multiclass): summed negative log-likelihood of each group."""
        if self.task == "multilabel":
            return self._by_group(np.logaddexp(0, self.logits) - self.truth * self.logits, axis=1)
        of_truth = (self.logits * self.truth).sum(axis=-1)
        return self._by_group(logsumexp(self.logits, axis=-1) - of_truth, axis=1)

    def _by_group(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Add `values` up over the images (on `axis`) of each group; the groups come first."""
        values = np.moveaxis(values, axis, 0)
        n_images = len(values)
        member = csr_array((np.ones(n_images), (self.groups, np.arange(n_images))), shape=(self.n_groups, n_images))
        return (member @ values.reshape(n_images, -1).astype(np.float64)).reshape(self.n_groups, *values.shape[1:])


class Weighted:
    """The sums of `Scored` under B weightings, each computed when first asked for.

    Parameters
    ----------
    scored : Scored
        The predictions.
    weights : float or int [B, G] or None
        Weight of each group, at least 0; None is one weighting of ones. Whole numbers are summed exactly. A [G, B]
        array in C order, handed over transposed, saves a copy.

    Raises
    ------
    ValueError
        If `weights` is not [B, G].
    """

    def __init__(self, scored: Scored, weights: np.ndarray | None = None) -> None:
        self.scored = scored
        self.weights = np.ones((1, scored.n_groups)) if weights is None else np.asarray(weights, dtype=np.float64)
        if self.weights.ndim != 2 or self.weights.shape[1] != scored.n_groups:
            raise ValueError(f"weights {self.weights.shape}; expected [B, {scored.n_groups}]")

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Sum `values` [G, ...] under each weighting: [B, ...]."""
        return (self.weights @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])

    def _blank(self, values: np.ndarray) -> np.ndarray:
        """Make `values` [B, ..., S, K] NaN for the models without finite logits."""
        return np.where(self.scored.broken[:, None], np.nan, values)

    @cached_property
    def total(self) -> np.ndarray:
        """Float64 [B, 1]: summed weight of the images."""
        return (self.positives + self.negatives)[..., 0]

    @cached_property
    def _classes(self) -> np.ndarray:
        return self._sum(self.scored.class_counts)

    @property
    def positives(self) -> np.ndarray:
        """Float64 [B, 1, K]: weight of the positives of each class."""
        return self._classes[:, None, 0]

    @property
    def negatives(self) -> np.ndarray:
        """Float64 [B, 1, K]: weight of the negatives of each class."""
        return self._classes[:, None, 1]

    @cached_property
    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Float64 [B, S, K] each: tp, fp, fn, tn; NaN where nothing can be decided."""
        sums = self._blank(np.where(self.scored.undecided, np.nan, self._sum(self.scored.counts)))
        return sums[:, 0], sums[:, 1], sums[:, 2], sums[:, 3]

    @cached_property
    def ranks(self) -> tuple[np.ndarray, np.ndarray]:
        """Float64 [B, S, K] each: AUROC and average precision."""
        weights = np.ascontiguousarray(self.weights.T)
        read = np.array([[ranking.read(weights) for ranking in row] for row in self.scored.rankings])
        auroc, average = np.moveaxis(read, (2, 3), (0, 1))
        return self._blank(auroc), self._blank(average)

    @cached_property
    def loss(self) -> np.ndarray:
        """Float64 [B, S, K] (multi-label) or [B, S] (multiclass): summed negative log-likelihood."""
        sums = self._sum(self.scored.losses)
        return self._blank(sums) if sums.ndim == 3 else np.where(self.scored.broken, np.nan, sums)


def auroc(sums: Weighted) -> np.ndarray:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, a tie counting half.

    Hanley & McNeil, Radiology 143(1), 1982, doi:10.1148/radiology.143.1.7063747.
    """
    return sums.ranks[0]


def average_precision(sums: Weighted) -> np.ndarray:
    """Average precision: the precision at the score of each positive, averaged over the positives; ties are one cut.

    Not interpolated, as in scikit-learn. Without a negative it would be 1 whatever the scores, and is undefined here.
    """
    return sums.ranks[1]


def f1(sums: Weighted) -> np.ndarray:
    """F1 = 2 TP / (2 TP + FP + FN)."""
    tp, fp, fn, _ = sums.counts
    return _ratio(2 * tp, 2 * tp + fp + fn)


def sensitivity(sums: Weighted) -> np.ndarray:
    """Sensitivity (recall) = TP / (TP + FN)."""
    tp, _, fn, _ = sums.counts
    return _ratio(tp, tp + fn)


def specificity(sums: Weighted) -> np.ndarray:
    """Specificity = TN / (TN + FP)."""
    _, fp, _, tn = sums.counts
    return _ratio(tn, tn + fp)


def mcc(sums: Weighted) -> np.ndarray:
    """Matthews correlation coefficient of each class; undefined where a margin of the 2 x 2 table is 0.

    Matthews, Biochim Biophys Acta 405(2), 1975, doi:10.1016/0005-2795(75)90109-9.
    """
    tp, fp, fn, tn = sums.counts
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn)))


def class_log_loss(sums: Weighted) -> np.ndarray:
    """Mean binary cross-entropy of each class in nats, from the logits: comparable whatever loss was trained."""
    return _ratio(sums.loss, np.broadcast_to(sums.total[..., None], sums.loss.shape))


def log_loss(sums: Weighted) -> np.ndarray:
    """Mean cross-entropy of the softmax in nats, from the logits: comparable whatever loss was trained."""
    return _ratio(sums.loss, np.broadcast_to(sums.total, sums.loss.shape))


def accuracy(sums: Weighted) -> np.ndarray:
    """Share of the images whose class was decided right."""
    tp = sums.counts[0].sum(axis=-1)
    return _ratio(tp, np.broadcast_to(sums.total, tp.shape))


def balanced_accuracy(sums: Weighted) -> np.ndarray:
    """Mean sensitivity over the classes that have a positive."""
    return macro(sensitivity(sums))


def multiclass_mcc(sums: Weighted) -> np.ndarray:
    """Matthews correlation of all classes together (R_K); undefined where the truth or the decisions are one class.

    Gorodkin, Comput Biol Chem 28(5-6), 2004, doi:10.1016/j.compbiolchem.2004.09.006.
    """
    tp, fp, fn, _ = sums.counts
    called, true, total = tp + fp, tp + fn, np.broadcast_to(sums.total, tp.shape[:2])
    # Sums over the off-diagonal, not differences of squares, so that one class only gives exactly 0.
    spread_called = (called * (called.sum(axis=-1, keepdims=True) - called)).sum(axis=-1)
    spread_true = (true * (true.sum(axis=-1, keepdims=True) - true)).sum(axis=-1)
    covariance = tp.sum(axis=-1) * total - (called * true).sum(axis=-1)
    return _ratio(covariance, np.sqrt(spread_called) * np.sqrt(spread_true))


@dataclass(frozen=True)
class Metric:
    """A metric of the registry.

    Parameters
    ----------
    name : str
        As it stands in metrics.csv.
    function : callable
        `Weighted` to float64 [B, S, K] if ``aggregate`` is "macro", else [B, S].
    tasks : tuple of str
        Tasks it fits.
    needs : {"scores", "decisions"}
        Whether a threshold matters.
    aggregate : {"macro", "overall"}
        "macro": a value a class, then their mean over the classes where it is defined. "overall": one value.
    undefined_when : tuple of str
        Keys of `CONDITIONS`, any of which makes a value NaN.
    higher_is_better : bool
        False for losses.
    """

    name: str
    function: Callable[[Weighted], np.ndarray]
    tasks: tuple[Task, ...]
    needs: Literal["scores", "decisions"]
    aggregate: Literal["macro", "overall"]
    undefined_when: tuple[str, ...] = ()
    higher_is_better: bool = True


CONDITIONS: dict[str, Callable[[Weighted], np.ndarray]] = {
    "no positive": lambda s: s.positives == 0,
    "no negative": lambda s: s.negatives == 0,
    "nothing predicted positive": lambda s: s.counts[0] + s.counts[1] == 0,
    "everything predicted positive": lambda s: s.counts[2] + s.counts[3] == 0,
    "no positive and nothing predicted positive": lambda s: s.counts[0] + s.counts[1] + s.counts[2] == 0,
    "one class only in the truth": lambda s: ((s.positives > 0).sum(axis=-1) == 1)[..., None],
    "one class only predicted": lambda s: ((s.counts[0] + s.counts[1] > 0).sum(axis=-1) == 1)[..., None],
}
"""Reason text: `Weighted` to bool, broadcastable to [B, S, K] (or [B, S, 1] for overall metrics)."""

_RANKS: dict[str, Any] = {
    "tasks": TASKS,
    "needs": "scores",
    "aggregate": "macro",
    "undefined_when": ("no positive", "no negative"),
}
_DECIDES: dict[str, Any] = {"tasks": TASKS, "needs": "decisions", "aggregate": "macro"}
_OVERALL: dict[str, Any] = {"tasks": ("multiclass",), "needs": "decisions", "aggregate": "overall"}
_LOSS: dict[str, Any] = {"name": "log_loss", "needs": "scores", "higher_is_better": False}
_MARGINS = ("no positive", "no negative", "nothing predicted positive", "everything predicted positive")
_ONE_CLASS = ("one class only in the truth", "one class only predicted")

METRICS: dict[str, Metric] = {
    "auroc": Metric("auroc", auroc, **_RANKS),
    "average_precision": Metric("average_precision", average_precision, **_RANKS),
    "f1": Metric("f1", f1, **_DECIDES, undefined_when=("no positive and nothing predicted positive",)),
    "sensitivity": Metric("sensitivity", sensitivity, **_DECIDES, undefined_when=("no positive",)),
    "specificity": Metric("specificity", specificity, **_DECIDES, undefined_when=("no negative",)),
    "mcc": Metric("mcc", mcc, **_DECIDES, undefined_when=_MARGINS),
    "log_loss": Metric(function=class_log_loss, **_LOSS, tasks=("multilabel",), aggregate="macro"),
    "overall_accuracy": Metric("accuracy", accuracy, **_OVERALL),
    "overall_balanced_accuracy": Metric("balanced_accuracy", balanced_accuracy, **_OVERALL),
    "overall_mcc": Metric("mcc", multiclass_mcc, **_OVERALL, undefined_when=_ONE_CLASS),
    "overall_log_loss": Metric(function=log_loss, **_LOSS, tasks=("multiclass",), aggregate="overall"),
}
"""Every metric, by a key that is its name, led by ``overall_`` where one value stands for all classes."""


def metrics_of(task: str) -> dict[str, Metric]:
    """Return the part of `METRICS` that fits `task`, in order."""
    return {key: metric for key, metric in METRICS.items() if task in metric.tasks}


def columns(metric: Metric, classes: Sequence[str]) -> list[str]:
    """Return the names of the last axis of `measure`: the classes, then "macro"; or "overall" alone."""
    return [*classes, "macro"] if metric.aggregate == "macro" else ["overall"]


def measure(metric: Metric, sums: Weighted) -> np.ndarray:
    """Compute a metric with its aggregate.

    Parameters
    ----------
    metric : Metric
        One that fits the task of the predictions.
    sums : Weighted
        Predictions under B weightings.

    Returns
    -------
    float64 [B, S, C]
        C as `columns` names them; NaN where undefined.

    Raises
    ------
    ValueError
        If the metric does not fit the task.
    """
    if sums.scored.task not in metric.tasks:
        raise ValueError(f"{metric.name} ({metric.aggregate}) does not fit task {sums.scored.task!r}")
    values = metric.function(sums)
    if metric.aggregate == "overall":
        return values[..., None]
    return np.concatenate([values, macro(values)[..., None]], axis=-1)


def reasons(metric: Metric, sums: Weighted) -> list[list[str]]:
    """Say why values are missing, or what an aggregate leaves out.

    Parameters
    ----------
    metric : Metric
        The metric.
    sums : Weighted
        The predictions under one weighting, that of ones.

    Returns
    -------
    list of list of str [S][C]
        "" where there is nothing to say.
    """
    values = measure(metric, sums)[0]
    missing = np.isnan(values)
    n_seeds, n_columns = values.shape
    n_classes = sums.scored.shape[1]
    per_class = n_columns - 1 if metric.aggregate == "macro" else 1
    holds = {c: np.broadcast_to(CONDITIONS[c](sums)[0], (n_seeds, per_class)) for c in metric.undefined_when}
    decides = metric.needs == "decisions"

    def why(s: int, c: int) -> str:
        if sums.scored.broken[s]:
            return "logits are not finite"
        if decides and metric.aggregate == "macro" and sums.scored.undecided[s, c]:
            return "no threshold: no positive in validation"
        return ", ".join(condition for condition, where in holds.items() if where[s, c])

    texts = [[why(s, c) if missing[s, c] else "" for c in range(per_class)] for s in range(n_seeds)]
    for s in range(n_seeds):
        if metric.aggregate == "macro":
            defined = n_classes - int(missing[s, :-1].sum())
            partial = f"mean over {defined} of {n_classes} classes" if defined < n_classes else ""
            texts[s].append("logits are not finite" if sums.scored.broken[s] else partial)
        elif metric.function is balanced_accuracy and not missing[s, 0]:
            defined = int((sums.positives[0, 0] > 0).sum())
            texts[s][0] = f"mean over {defined} of {n_classes} classes" if defined < n_classes else ""
    return texts


def macro(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is defined; NaN where nothing is.

    Parameters
    ----------
    values : float [..., K]
        NaN where undefined.

    Returns
    -------
    float64 [...]
    """
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def class_auroc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """AUROC of each class from bare arrays; see `auroc`.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth.
    scores : float [N, K]
        Finite; the larger, the more positive.
    weights : float [B, N] or None
        Weights of the images.

    Returns
    -------
    float64 [K], or [B, K] with weights
        NaN for a class without a positive or a negative.
    """
    values = auroc(Weighted(Scored("multilabel", targets, np.asarray(scores)[None]), weights))[:, 0]
    return values[0] if weights is None else values


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is 0 or NaN."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)
