"""Predictions prepared for being weighed: the sums that every metric is a function of.

Every metric is a function of sums that are linear in the weights: weights of images below and at each positive's
score (AUROC, average precision, oracle F1), the four counts of a decision (F1, precision, MCC, kappa, ...), the summed
losses, and truth minus probability in bins of the predictions (calibration error). `Scored` prepares those sums once
from the predictions, added up over groups of images (patients); `Weighted` reads them under weights [B, G]. One
weighting of ones is the metric itself, B counts of drawn patients are its bootstrap: the same code computes both.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_array

from pipeline.metrics.calibration import ECE_BINS, equal_mass_bins
from pipeline.metrics.logistic import log_losses, log_odds
from pipeline.metrics.thresholds import MAX_F1, ZERO, probabilities
from pipeline.study.unknown import known_of

Task = Literal["multilabel", "multiclass"]
TASKS: tuple[Task, ...] = ("multilabel", "multiclass")


class _Ranking:
    """Where the positives of one class lie among its negatives, ready to be read under many weightings.

    The distinct scores of the positives cut the line into points and open stretches. The negatives of each stretch are
    summed by one sparse product; a cumulative sum over the stretches then gives the weight below and at every
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
        auroc = ratio(wins, np.where(possible, n_positive * n_negative, 0))
        if not curve:
            return (auroc,)
        hits = np.cumsum(at[::-1], axis=0)[::-1]  # weight of positives at or above each cut
        called = hits - below
        called += n_negative
        # Where all that a cut calls weighs 0 there is no hit either, and the ratios are 0 whatever they divide by.
        np.maximum(called, np.finfo(np.float64).tiny, out=called)
        average = ratio(np.einsum("jb,jb->b", at, hits / called), np.where(possible, n_positive, 0))
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
        Truth; exactly one 1 per row for multiclass. Multi-label: NaN where a label is not known, which then counts for
        nothing: neither as a positive nor as a negative.
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
    ordered : bool
        Whether the classes are grades, the first the lowest: distances between them have a meaning.
    compared : bool [K] or None
        The classes that have values of their own and are in the means over classes; None for all. A model decides
        among all of them all the same.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no image, or targets are not 0/1 (one 1 per row for multiclass).
    """

    def __init__(
        self,
        task: str,
        targets: np.ndarray,
        logits: np.ndarray,
        thresholds: np.ndarray | Mapping[str, np.ndarray] | None = None,
        groups: np.ndarray | None = None,
        n_groups: int | None = None,
        ordered: bool = False,
        compared: np.ndarray | None = None,
    ) -> None:
        targets, logits = np.asarray(targets), np.asarray(logits, dtype=np.float64)
        if task not in TASKS:
            raise ValueError(f"task {task!r} must be one of {', '.join(TASKS)}")
        if targets.ndim != 2 or logits.ndim != 3 or logits.shape[1:] != targets.shape or not targets.size:
            raise ValueError(f"targets {targets.shape} and logits {logits.shape}; expected [N, K] and [S, N, K]")
        self.known = known_of(targets) if task == "multilabel" else None
        if not (np.isin(targets, (0, 1)) if self.known is None else np.isin(targets, (0, 1)) | ~self.known).all():
            raise ValueError("a target is neither 0 nor 1")
        if task == "multiclass" and not (targets.sum(axis=1) == 1).all():
            raise ValueError("a multiclass target has not exactly one 1 in its row")
        n_seeds, n_images, n_classes = logits.shape
        self.task, self.ordered = task, ordered
        self.truth = targets.astype(bool) if self.known is None else targets == 1
        self.broken = ~np.isfinite(logits).all(axis=(1, 2))
        self.logits = np.where(self.broken[:, None, None], 0.0, logits)
        self.groups = np.arange(n_images) if groups is None else np.asarray(groups)
        self.n_groups = int(self.groups.max()) + 1 if n_groups is None else n_groups
        if self.groups.shape != (n_images,):
            raise ValueError(f"groups {self.groups.shape}; expected ({n_images},)")
        self.shape = (n_seeds, n_classes)
        self.compared = None if compared is None else np.asarray(compared, dtype=bool)
        if self.compared is not None and self.compared.shape != (n_classes,):
            raise ValueError(f"compared {self.compared.shape}; expected ({n_classes},)")
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
        return log_odds(self.logits, self.task)

    @cached_property
    def rankings(self) -> list[list[_Ranking]]:
        """A `_Ranking` for each model and class."""
        n_seeds, n_classes = self.shape
        if self.known is None:
            return [
                [
                    _Ranking(self.truth[:, k], self.ranked_by[s, :, k], self.groups, self.n_groups)
                    for k in range(n_classes)
                ]
                for s in range(n_seeds)
            ]
        rows = [self.rows_of(k) for k in range(n_classes)]
        return [
            [
                _Ranking(self.truth[r, k], self.ranked_by[s, r, k], self.groups[r], self.n_groups)
                for k, r in enumerate(rows)
            ]
            for s in range(n_seeds)
        ]

    def counts(self, point: str = MAX_F1) -> np.ndarray:
        """Float64 [G, 4, S, K]: true positives, false positives, false negatives, true negatives at `point`."""
        if point not in self._counts:
            truth, absent, called = self.truth[None], self.absent[None], self.decisions(point)
            four = np.stack([truth & called, absent & called, truth & ~called, absent & ~called])
            self._counts[point] = self.by_group(four, axis=2)
        return self._counts[point]

    @cached_property
    def class_counts(self) -> np.ndarray:
        """Float64 [G, 2, K]: positives and negatives of each group."""
        return self.by_group(np.stack([self.truth, self.absent]), axis=1)

    @cached_property
    def losses(self) -> np.ndarray:
        """Float64 [G, S, K] (multi-label) or [G, S] (multiclass): summed negative log-likelihood of each group."""
        return self.by_group(self._of_known(log_losses(self.logits, self.truth, self.task)), axis=1)

    @cached_property
    def squares(self) -> np.ndarray:
        """Float64 [G, S, K] (multi-label) or [G, S] (multiclass, over all classes): summed squared error."""
        squared = self._of_known((self.probabilities - self.truth) ** 2)
        return self.by_group(squared if self.task == "multilabel" else squared.sum(axis=-1), axis=1)

    @cached_property
    def distances(self) -> np.ndarray:
        """Float64 [G, 3, S]: sums over decisions of grades off, of these squared, of whether at most one; multiclass.

        What is decided is the likeliest grade, whatever was trained: the decision of every other metric.
        """
        off = np.abs(self.logits.argmax(axis=-1) - self.truth.argmax(axis=-1))
        return self.by_group(np.stack([off, off**2, off <= 1]), axis=2)

    @cached_property
    def bins(self) -> csr_array:
        """Float64 sparse [S * K * ECE_BINS, G] (multiclass: K is 1): truth minus probability, summed in each bin.

        Multi-label bins the probability of a class; multiclass that of the class decided for, whose truth is whether
        it was right. The bins are those of the images as they are, not as they are weighted, so that the sums are
        linear in the weights.
        """
        forecast, outcome = self.probabilities, np.broadcast_to(self.truth, self.probabilities.shape)
        if self.task == "multiclass":
            best = self.logits.argmax(axis=-1)[..., None]
            forecast, outcome = (np.take_along_axis(a, best, axis=-1) for a in (forecast, outcome))
        if self.known is not None:
            return self._bins_of_known(forecast, outcome)
        n_seeds, n_images, n_forecasts = forecast.shape
        rows = np.empty((n_seeds, n_forecasts, n_images), dtype=np.int64)
        for s, k in np.ndindex(n_seeds, n_forecasts):
            rows[s, k] = (s * n_forecasts + k) * ECE_BINS + equal_mass_bins(forecast[s, :, k], ECE_BINS)
        entries = (outcome - forecast).swapaxes(1, 2).ravel()
        place = (rows.ravel(), np.tile(self.groups, n_seeds * n_forecasts))
        return csr_array((entries, place), shape=(n_seeds * n_forecasts * ECE_BINS, self.n_groups))

    def _bins_of_known(self, forecast: np.ndarray, outcome: np.ndarray) -> csr_array:
        """Return `bins` of multi-label data, cut and filled by the images with a known label of the class."""
        assert self.known is not None
        n_seeds, _, n_classes = forecast.shape
        rows, columns, entries = [], [], []
        for s, k in np.ndindex(n_seeds, n_classes):
            kept = np.flatnonzero(self.known[:, k])
            if len(kept):
                rows.append((s * n_classes + k) * ECE_BINS + equal_mass_bins(forecast[s, kept, k], ECE_BINS))
                columns.append(self.groups[kept])
                entries.append(outcome[s, kept, k] - forecast[s, kept, k])
        shape = (n_seeds * n_classes * ECE_BINS, self.n_groups)
        if not rows:
            return csr_array(shape, dtype=np.float64)
        place = (np.concatenate(rows), np.concatenate(columns))
        return csr_array((np.concatenate(entries), place), shape=shape)

    @cached_property
    def absent(self) -> np.ndarray:
        """Bool [N, K]: known not to be there."""
        return ~self.truth if self.known is None else self.known & ~self.truth

    @property
    def targets(self) -> np.ndarray:
        """The truth as it was given, [N, K]: bool, or float64 with NaN where a label is not known."""
        return self.truth if self.known is None else np.where(self.known, self.truth, np.nan)

    def rows_of(self, k: int) -> Any:
        """Return which images have a known label of class `k`: a slice of all, or int64 [n]."""
        return slice(None) if self.known is None else np.flatnonzero(self.known[:, k])

    @property
    def everything(self) -> np.ndarray:
        """Bool [N, K]: which labels are known; all ones where all are."""
        return np.ones(self.truth.shape, dtype=bool) if self.known is None else self.known

    @property
    def n_known(self) -> np.ndarray:
        """Int64 [K]: images with a known label of each class."""
        return np.full(self.shape[1], len(self.truth)) if self.known is None else self.known.sum(axis=0)

    @property
    def n_images(self) -> int:
        """Images with any known label."""
        return len(self.truth) if self.known is None else int(self.known.any(axis=1).sum())

    def _of_known(self, values: np.ndarray) -> np.ndarray:
        """Set `values` [S, N, K] to 0 where the label is not known; other shapes are those of multiclass data."""
        return values if self.known is None else np.where(self.known, values, 0.0)

    @cached_property
    def _member(self) -> csr_array:
        """Which images are a group's: sparse [G, N]."""
        n_images = len(self.groups)
        return csr_array((np.ones(n_images), (self.groups, np.arange(n_images))), shape=(self.n_groups, n_images))

    def by_group(self, values: np.ndarray, axis: int = 0) -> np.ndarray:
        """Add `values` up over the images (on `axis`) of each group; the groups come first, float64 [G, ...]."""
        values = np.moveaxis(values, axis, 0)
        flat = values.reshape(len(values), -1).astype(np.float64)
        return (self._member @ flat).reshape(self.n_groups, *values.shape[1:])


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
        """Float64 [B, 1]: summed weight of the images; not to be asked for where labels are unknown."""
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
    def distances(self) -> np.ndarray:
        """Float64 [3, B, S]: mean over the images of grades off, of these squared, share of at most one grade off."""
        sums = np.moveaxis(self._sum(self.scored.distances), 1, 0)
        return np.stack([self._mean(each) for each in sums])

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
        if sums.ndim == 3 and self.scored.known is not None:
            return self._blank(ratio(sums, np.broadcast_to(self.positives + self.negatives, sums.shape)))
        if sums.ndim == 3:
            return self._blank(ratio(sums, np.broadcast_to(self.total[..., None], sums.shape)))
        return np.where(self.scored.broken, np.nan, ratio(sums, np.broadcast_to(self.total, sums.shape)))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is 0 or NaN."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)
