"""The metrics of a study, computed for any number of weightings of the images at once.

Every metric here is a function of sums that are linear in the weights: weights of images below and at each positive's
score (AUROC, average precision, oracle F1), the four counts of a decision (F1, precision, MCC, kappa, ...), the summed
losses, and truth less probability in bins of the predictions (calibration error). `Scored` prepares those sums once
from the predictions, added up over groups of images (patients); `Weighted` reads them under weights [B, G]. One
weighting of ones is the metric itself, B counts of drawn patients are its bootstrap: the same code computes both.

What a metric cannot say is NaN, never 0: `reasons` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_array
from scipy.special import logsumexp

from pipeline.statistics.calibration import ECE_BINS, equal_mass_bins
from pipeline.statistics.thresholds import MAX_F1, MISSING, POOLED, SPECIFICITIES, ZERO, probabilities

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

    def read(self, weights: np.ndarray, curve: bool) -> tuple[np.ndarray, ...]:
        """Return AUROC [B] under `weights` [G, B], float64 and C-ordered; with `curve` average precision and best F1.

        F1 is highest at the score of a positive: a cut below it, at a negative, would add a false positive only.
        """
        sums = self.sums @ weights
        at = sums[: self.n_cuts]
        negatives = np.zeros((len(sums) - self.n_cuts + 1, weights.shape[1]))
        np.cumsum(sums[self.n_cuts :], axis=0, out=negatives[1:])
        below = negatives[self.below]
        n_negative = negatives[-1]
        n_positive = at.sum(axis=0)

        possible = (n_positive > 0) & (n_negative > 0)
        wins = np.einsum("jb,jb->b", at, below + negatives[self.through]) / 2
        auroc = _ratio(wins, np.where(possible, n_positive * n_negative, 0))
        if not curve:
            return (auroc,)
        hits = np.cumsum(at[::-1], axis=0)[::-1]  # weight of positives at or above each cut
        called = hits - below
        called += n_negative
        # Where all that a cut calls weighs 0 there is no hit either, and the ratios are 0 whatever they divide by.
        np.maximum(called, np.finfo(np.float64).tiny, out=called)
        average = _ratio(np.einsum("jb,jb->b", at, hits / called), np.where(possible, n_positive, 0))
        called += n_positive
        half_f1 = np.divide(hits, called, out=called).max(axis=0, initial=0)
        return auroc, average, np.where(n_positive > 0, 2 * half_f1, np.nan)


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
    thresholds : float [S, K], mapping of str to float [S, K], or None
        Multi-label only: a class is called positive where its probability is at or above the threshold. A mapping
        names operating points (`thresholds.operating_points`); an array is that of `thresholds.MAX_F1`. NaN, or a
        point that is not given, leaves the decisions undefined, except at `thresholds.ZERO`, which calls positive
        where the logit is above 0 and needs no threshold. Multiclass decides for the largest logit, the first among
        equals.
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
        thresholds: np.ndarray | Mapping[str, np.ndarray] | None = None,
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
        self.shape = (n_seeds, n_classes)
        named = thresholds if isinstance(thresholds, Mapping) else {} if thresholds is None else {MAX_F1: thresholds}
        self.thresholds = {point: np.asarray(chosen, dtype=np.float64) for point, chosen in named.items()}
        for point, chosen in self.thresholds.items():
            if chosen.shape != self.shape:
                raise ValueError(f"thresholds of {point}: {chosen.shape}; expected {self.shape}")
        self._counts: dict[str, np.ndarray] = {}

    def undecided(self, point: str = MAX_F1) -> np.ndarray:
        """Bool [S, K]: no decision can be made at `point`, for want of a threshold."""
        if self.task == "multiclass" or point == ZERO:
            return np.zeros(self.shape, dtype=bool)
        return np.isnan(self.thresholds[point]) if point in self.thresholds else np.ones(self.shape, dtype=bool)

    def decisions(self, point: str = MAX_F1) -> np.ndarray:
        """Bool [S, N, K]: called positive at `point` (False where undecided)."""
        if self.task == "multiclass":
            return self.logits.argmax(axis=-1)[..., None] == np.arange(self.shape[1])
        if point == ZERO:
            return self.logits > 0
        return self.probabilities >= self.thresholds.get(point, np.full(self.shape, np.nan))[:, None, :]

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Float64 [S, N, K]: sigmoid or softmax of the logits."""
        return probabilities(self.logits, self.task)

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

    def counts(self, point: str = MAX_F1) -> np.ndarray:
        """Float64 [G, 4, S, K]: true positives, false positives, false negatives, true negatives at `point`."""
        if point not in self._counts:
            truth, called = self.truth[None], self.decisions(point)
            four = np.stack([truth & called, ~truth & called, truth & ~called, ~truth & ~called])
            self._counts[point] = self._by_group(four, axis=2)
        return self._counts[point]

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

    @cached_property
    def squares(self) -> np.ndarray:
        """Float64 [G, S, K] (multi-label) or [G, S] (multiclass, over all classes): summed squared error."""
        squared = (self.probabilities - self.truth) ** 2
        return self._by_group(squared if self.task == "multilabel" else squared.sum(axis=-1), axis=1)

    @cached_property
    def bins(self) -> csr_array:
        """Float64 sparse [S * K * ECE_BINS, G] (multiclass: K is 1): truth less probability, summed in each bin.

        Multi-label bins the probability of a class; multiclass that of the class decided for, whose truth is whether
        it was right. The bins are those of the images as they are, not as they are weighted, so that the sums are
        linear in the weights.
        """
        forecast, outcome = self.probabilities, np.broadcast_to(self.truth, self.probabilities.shape)
        if self.task == "multiclass":
            best = self.logits.argmax(axis=-1)[..., None]
            forecast, outcome = (np.take_along_axis(a, best, axis=-1) for a in (forecast, outcome))
        n_seeds, n_images, n_forecasts = forecast.shape
        rows = np.empty((n_seeds, n_forecasts, n_images), dtype=np.int64)
        for s, k in np.ndindex(n_seeds, n_forecasts):
            rows[s, k] = (s * n_forecasts + k) * ECE_BINS + equal_mass_bins(forecast[s, :, k], ECE_BINS)
        entries = (outcome - forecast).swapaxes(1, 2).ravel()
        place = (rows.ravel(), np.tile(self.groups, n_seeds * n_forecasts))
        return csr_array((entries, place), shape=(n_seeds * n_forecasts * ECE_BINS, self.n_groups))

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
    curves : bool
        False leaves out what AUROC does not need of the ranking, in about half of the time; metrics that need the
        curve (``needs="curve"``) then raise.

    Raises
    ------
    ValueError
        If `weights` is not [B, G].
    """

    def __init__(self, scored: Scored, weights: np.ndarray | None = None, curves: bool = True) -> None:
        self.scored = scored
        self.weights = np.ones((1, scored.n_groups)) if weights is None else np.asarray(weights, dtype=np.float64)
        if self.weights.ndim != 2 or self.weights.shape[1] != scored.n_groups:
            raise ValueError(f"weights {self.weights.shape}; expected [B, {scored.n_groups}]")
        self.curves = curves
        self._counts: dict[str, tuple[np.ndarray, ...]] = {}

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

    def counts(self, point: str = MAX_F1) -> tuple[np.ndarray, ...]:
        """Float64 [B, S, K] each: tp, fp, fn, tn at `point`; NaN where nothing can be decided."""
        if point not in self._counts:
            sums = self._sum(self.scored.counts(point))
            sums = self._blank(np.where(self.scored.undecided(point), np.nan, sums))
            self._counts[point] = tuple(np.moveaxis(sums, 1, 0))
        return self._counts[point]

    @cached_property
    def _columns(self) -> np.ndarray:
        """Float64 [G, B] in C order: the weights as a sparse product reads them."""
        return np.ascontiguousarray(self.weights.T)

    @cached_property
    def ranks(self) -> np.ndarray:
        """Float64 [3, B, S, K]: AUROC, average precision, highest F1 of any threshold; without `curves` AUROC alone."""
        read = [[r.read(self._columns, self.curves) for r in row] for row in self.scored.rankings]
        return self._blank(np.moveaxis(np.array(read), (2, 3), (0, 1)))

    @cached_property
    def loss(self) -> np.ndarray:
        """Float64 [B, S, K] (multi-label) or [B, S] (multiclass): mean negative log-likelihood."""
        return self._mean(self._sum(self.scored.losses))

    @cached_property
    def squares(self) -> np.ndarray:
        """Float64 [B, S, K] (multi-label) or [B, S] (multiclass): mean squared error of the probabilities."""
        return self._mean(self._sum(self.scored.squares))

    @cached_property
    def calibration(self) -> np.ndarray:
        """Float64 [B, S, K] (multi-label) or [B, S] (multiclass): sum over the bins of their share times their gap."""
        sums = np.abs(self.scored.bins @ self._columns).reshape(self.scored.shape[0], -1, ECE_BINS, len(self.weights))
        values = np.moveaxis(sums.sum(axis=2), -1, 0)
        return self._mean(values if self.scored.task == "multilabel" else values[..., 0])

    def _mean(self, sums: np.ndarray) -> np.ndarray:
        """Divide `sums` [B, S, K] or [B, S] by the weight of the images; NaN for a model without finite logits."""
        if sums.ndim == 3:
            return self._blank(_ratio(sums, np.broadcast_to(self.total[..., None], sums.shape)))
        return np.where(self.scored.broken, np.nan, _ratio(sums, np.broadcast_to(self.total, sums.shape)))


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


def oracle_f1(sums: Weighted) -> np.ndarray:
    """Highest F1 of any threshold, chosen on the scored images themselves (anew under each weighting).

    What no honest threshold can reach: it bounds F1, and is not a result. Lipton et al., ECML PKDD 2014,
    doi:10.1007/978-3-662-44851-9_15.
    """
    return sums.ranks[2]


def f1(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """F1 = 2 TP / (2 TP + FP + FN)."""
    tp, fp, fn, _ = sums.counts(point)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def sensitivity(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Sensitivity (recall) = TP / (TP + FN)."""
    tp, _, fn, _ = sums.counts(point)
    return _ratio(tp, tp + fn)


def specificity(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Specificity = TN / (TN + FP)."""
    _, fp, _, tn = sums.counts(point)
    return _ratio(tn, tn + fp)


def precision(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Precision (positive predictive value) = TP / (TP + FP)."""
    tp, fp, _, _ = sums.counts(point)
    return _ratio(tp, tp + fp)


def mcc(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Matthews correlation coefficient of each class; undefined where a margin of the 2 x 2 table is 0.

    Matthews, Biochim Biophys Acta 405(2), 1975, doi:10.1016/0005-2795(75)90109-9.
    """
    tp, fp, fn, tn = sums.counts(point)
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn)))


def log_loss(sums: Weighted) -> np.ndarray:
    """Mean cross-entropy in nats, of each class (multi-label) or of the softmax (multiclass).

    From the logits: comparable whatever loss was trained.
    """
    return sums.loss


def brier(sums: Weighted) -> np.ndarray:
    """Mean squared error of the probability: of each class, in [0, 1], or summed over the classes, in [0, 2].

    Brier, Monthly Weather Review 78(1), 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    return sums.squares


def calibration_error(sums: Weighted) -> np.ndarray:
    """Expected calibration error in `ECE_BINS` bins of equal mass: mean of |frequency - mean probability|, in [0, 1].

    Multi-label: of the probability of each class. Multiclass: of the class decided for (top-1). The bins are cut once
    (`calibration.equal_mass_bins`) and stay as they are when images are weighted, so that a repeated row counts twice
    in its bin but moves no edge. The error of a finite sample is above 0 even for a perfect forecast.

    Naeini, Cooper & Hauskrecht, AAAI 2015; equal mass: Nguyen & O'Connor, EMNLP 2015, arXiv 1508.05154.
    """
    return sums.calibration


def accuracy(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Share of the images whose class was decided right."""
    tp = sums.counts(point)[0].sum(axis=-1)
    return _ratio(tp, np.broadcast_to(sums.total, tp.shape))


def balanced_accuracy(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Mean sensitivity over the classes that have a positive."""
    return macro(sensitivity(sums, point))


def multiclass_mcc(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Matthews correlation of all classes together (R_K); undefined where the truth or the decisions are one class.

    Gorodkin, Comput Biol Chem 28(5-6), 2004, doi:10.1016/j.compbiolchem.2004.09.006.
    """
    tp, fp, fn, _ = sums.counts(point)
    called, true, total = tp + fp, tp + fn, np.broadcast_to(sums.total, tp.shape[:2])
    # Sums over the off-diagonal, not differences of squares, so that one class only gives exactly 0.
    spread_called = (called * (called.sum(axis=-1, keepdims=True) - called)).sum(axis=-1)
    spread_true = (true * (true.sum(axis=-1, keepdims=True) - true)).sum(axis=-1)
    covariance = tp.sum(axis=-1) * total - (called * true).sum(axis=-1)
    return _ratio(covariance, np.sqrt(spread_called) * np.sqrt(spread_true))


def kappa(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Cohen's kappa of truth and decisions; undefined where both are one and the same class.

    Cohen, Educ Psychol Meas 20(1), 1960, doi:10.1177/001316446002000104.
    """
    expected = _chance_disagreement(sums, point)
    observed = sums.counts(point)[1].sum(axis=-1) * np.broadcast_to(sums.total, expected.shape)
    return _ratio(expected - observed, expected)


def _chance_disagreement(sums: Weighted, point: str) -> np.ndarray:
    """Disagreement of truth and decisions [B, S] if they were independent, times the squared weight of the images.

    Not 1 less the agreement, so that one and the same class on both sides gives exactly 0.
    """
    tp, fp, fn, _ = sums.counts(point)
    called, true = tp + fp, tp + fn
    return (called * (true.sum(axis=-1, keepdims=True) - true)).sum(axis=-1)


@dataclass(frozen=True)
class Metric:
    """A metric of the registry.

    Parameters
    ----------
    name : str
        As it stands in metrics.csv.
    function : callable
        `Weighted` to float64 [B, S, K] if ``aggregate`` is "macro", else [B, S]. One that needs decisions takes the
        operating point as its second argument.
    tasks : tuple of str
        Tasks it fits.
    needs : {"scores", "curve", "decisions"}
        "curve": the whole ranking (`Weighted`'s ``curves``). "decisions": a threshold matters.
    aggregate : {"macro", "overall"}
        "macro": a value a class, then their mean over the classes where it is defined. "overall": one value.
    undefined_when : tuple of str
        Keys of `CONDITIONS`, any of which makes a value NaN.
    higher_is_better : bool
        False for losses.
    point : str
        Operating point of the decisions.
    inflates : bool
        Noise makes it larger: the values under draws lie around a higher centre than the value itself, as that lies
        above the truth.
    """

    name: str
    function: Callable[..., np.ndarray]
    tasks: tuple[Task, ...]
    needs: Literal["scores", "curve", "decisions"]
    aggregate: Literal["macro", "overall"]
    undefined_when: tuple[str, ...] = ()
    higher_is_better: bool = True
    point: str = MAX_F1
    inflates: bool = False


CONDITIONS: dict[str, Callable[[Weighted, str], np.ndarray]] = {
    "no positive": lambda s, _: s.positives == 0,
    "no negative": lambda s, _: s.negatives == 0,
    "nothing predicted positive": lambda s, at: _called(s, at) == 0,
    "everything predicted positive": lambda s, at: s.counts(at)[2] + s.counts(at)[3] == 0,
    "no positive and nothing predicted positive": lambda s, at: _called(s, at) + s.counts(at)[2] == 0,
    "one class only in the truth": lambda s, _: ((s.positives > 0).sum(axis=-1) == 1)[..., None],
    "one class only predicted": lambda s, at: ((_called(s, at) > 0).sum(axis=-1) == 1)[..., None],
    "one and the same class in the truth and predicted": lambda s, at: (_chance_disagreement(s, at) == 0)[..., None],
}
"""Reason text: `Weighted` and operating point to bool, broadcastable to [B, S, K] (or [B, S, 1] if overall)."""


def _called(sums: Weighted, point: str) -> np.ndarray:
    """Return the weight called positive [B, S, K]."""
    return sums.counts(point)[0] + sums.counts(point)[1]


_RANKS: dict[str, Any] = {"tasks": TASKS, "aggregate": "macro", "undefined_when": ("no positive", "no negative")}
_DECIDES: dict[str, Any] = {"tasks": TASKS, "needs": "decisions", "aggregate": "macro"}
_OVERALL: dict[str, Any] = {"tasks": ("multiclass",), "needs": "decisions", "aggregate": "overall"}
_ERROR: dict[str, Any] = {"needs": "scores", "higher_is_better": False}
_ERROR_OF_CLASS: dict[str, Any] = {**_ERROR, "tasks": ("multilabel",), "aggregate": "macro"}
_ERROR_OF_ALL: dict[str, Any] = {**_ERROR, "tasks": ("multiclass",), "aggregate": "overall"}
_MARGINS = ("no positive", "no negative", "nothing predicted positive", "everything predicted positive")
_ONE_CLASS = ("one class only in the truth", "one class only predicted")

_DECISIONS: dict[str, Metric] = {
    "f1": Metric("f1", f1, **_DECIDES, undefined_when=("no positive and nothing predicted positive",)),
    "sensitivity": Metric("sensitivity", sensitivity, **_DECIDES, undefined_when=("no positive",)),
    "specificity": Metric("specificity", specificity, **_DECIDES, undefined_when=("no negative",)),
    "mcc": Metric("mcc", mcc, **_DECIDES, undefined_when=_MARGINS),
}


def _at(point: str, suffix: str, *names: str) -> dict[str, Metric]:
    """Return the metrics `names` of multi-label decisions at another operating point, as ``name_suffix``."""
    return {
        f"{name}_{suffix}": replace(_DECISIONS[name], name=f"{name}_{suffix}", tasks=("multilabel",), point=point)
        for name in names
    }


METRICS: dict[str, Metric] = {
    "auroc": Metric("auroc", auroc, needs="scores", **_RANKS),
    "average_precision": Metric("average_precision", average_precision, needs="curve", **_RANKS),
    **_DECISIONS,
    "precision": Metric("precision", precision, **_DECIDES, undefined_when=("nothing predicted positive",)),
    "log_loss": Metric("log_loss", log_loss, **_ERROR_OF_CLASS),
    "brier": Metric("brier", brier, **_ERROR_OF_CLASS),
    "ece": Metric("ece", calibration_error, **_ERROR_OF_CLASS, inflates=True),
    **_at(POOLED, "pooled", *_DECISIONS),
    **{k: m for point in SPECIFICITIES for k, m in _at(point, f"at_{point}", "sensitivity", "specificity").items()},
    **_at(ZERO, "zero", *_DECISIONS),
    "oracle_f1": Metric("oracle_f1", oracle_f1, ("multilabel",), "curve", "macro", ("no positive",)),
    "overall_accuracy": Metric("accuracy", accuracy, **_OVERALL),
    "overall_balanced_accuracy": Metric("balanced_accuracy", balanced_accuracy, **_OVERALL),
    "overall_mcc": Metric("mcc", multiclass_mcc, **_OVERALL, undefined_when=_ONE_CLASS),
    "overall_kappa": Metric(
        "kappa", kappa, **_OVERALL, undefined_when=("one and the same class in the truth and predicted",)
    ),
    "overall_log_loss": Metric("log_loss", log_loss, **_ERROR_OF_ALL),
    "overall_brier": Metric("brier", brier, **_ERROR_OF_ALL),
    "overall_ece": Metric("ece", calibration_error, **_ERROR_OF_ALL, inflates=True),
}
"""Every metric, by a key that is its name, led by ``overall_`` where one value stands for all classes.

Decisions of a multi-label class are at its threshold of highest F1 on validation; those of other operating points
(`thresholds.operating_points`) carry its name: ``f1_pooled``, ``sensitivity_at_90_specificity`` (and, beside it,
``specificity_at_90_specificity``: the specificity that this threshold really reaches), ``f1_zero``. What is tuned on
the scored part itself begins with ``oracle_``.
"""


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
        If the metric does not fit the task, or needs the curve of a `Weighted` without.
    """
    if sums.scored.task not in metric.tasks:
        raise ValueError(f"{metric.name} ({metric.aggregate}) does not fit task {sums.scored.task!r}")
    if metric.needs == "curve" and not sums.curves:
        raise ValueError(f"{metric.name} needs the curve, which these sums were told to leave out")
    values = metric.function(sums, metric.point) if metric.needs == "decisions" else metric.function(sums)
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
    holds = {
        c: np.broadcast_to(CONDITIONS[c](sums, metric.point)[0], (n_seeds, per_class)) for c in metric.undefined_when
    }
    decides, undecided = metric.needs == "decisions", sums.scored.undecided(metric.point)

    def why(s: int, c: int) -> str:
        if sums.scored.broken[s]:
            return "logits are not finite"
        if decides and metric.aggregate == "macro" and undecided[s, c]:
            return f"no threshold: {MISSING[metric.point]}"
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


def confusion(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Count the images of each true class (row) that each model decided for each class (column); multiclass.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth, one 1 a row.
    logits : float [S, N, K]
        Finite; the largest decides, the first among equals.

    Returns
    -------
    int64 [S, K, K]
        Each model's matrix sums to N.

    Raises
    ------
    ValueError
        As `Scored`, or if a logit is not finite.
    """
    scored = Scored("multiclass", targets, logits)
    if scored.broken.any():
        raise ValueError("a logit is not finite")
    return np.einsum("nk,snl->skl", scored.truth.astype(np.int64), scored.decisions().astype(np.int64))


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
    values = auroc(Weighted(Scored("multilabel", targets, np.asarray(scores)[None]), weights, curves=False))[:, 0]
    return values[0] if weights is None else values


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is 0 or NaN."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)
