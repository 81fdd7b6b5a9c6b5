"""Logits to probabilities, and decision thresholds chosen on a validation part."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, softmax

from pipeline.study.unknown import known_of

MAX_F1 = "max_f1"
"""Operating point: each class at its threshold of highest F1 on validation."""


POOLED = "pooled"
"""Operating point: one threshold for all classes, that of highest micro-averaged F1 on validation."""


ZERO = "zero"
"""Operating point: positive where the logit is above 0, the rule that ZLPR is trained for (arXiv 2208.02955)."""


SPECIFICITIES = {"90_specificity": 0.90, "95_specificity": 0.95}
"""Operating points: each class at the lowest threshold that reaches this specificity on validation."""


MISSING = {
    MAX_F1: "no positive in validation",
    POOLED: "no positive of any class in validation",
    **dict.fromkeys(SPECIFICITIES, "no negative in validation"),
}
"""Operating point: why a class has no threshold there, if its logits are finite."""


def probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Turn logits into probabilities, in float64 and without overflow.

    Parameters
    ----------
    logits : float [..., K]
        Finite.
    task : {"multilabel", "multiclass"}
        Sigmoid of each class, or softmax over the last axis.

    Returns
    -------
    float64 [..., K]
        In [0, 1].

    Raises
    ------
    ValueError
        If `task` is neither.
    """
    values = np.asarray(logits, dtype=np.float64)
    if task == "multilabel":
        return expit(values)
    if task == "multiclass":
        return softmax(values, axis=-1)
    raise ValueError(f"task {task!r} must be 'multilabel' or 'multiclass'")


def operating_points(task: str, targets: np.ndarray, logits: np.ndarray) -> dict[str, np.ndarray]:
    """Choose the thresholds of every operating point on a validation part.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Multiclass decides for the largest logit and has no operating points.
    targets : 0/1 [N, K]
        Truth of the validation part; NaN where it is not known, which counts for nothing.
    logits : float [S, N, K]
        Of S models for the same images.

    Returns
    -------
    dict of str to float64 [S, K]
        Keys as in `MISSING` (`ZERO` needs no threshold). NaN where nothing can be chosen: a class without a positive
        (or negative), a model whose logits are not all finite.
    """
    if task == "multiclass":
        return {}
    chosen = {point: np.full((len(logits), targets.shape[1]), np.nan) for point in MISSING}
    for s, one in enumerate(logits):
        if not np.isfinite(one).all():
            continue
        scores = probabilities(one, task)
        chosen[MAX_F1][s] = best_f1_thresholds(targets, scores)
        chosen[POOLED][s] = pooled_f1_threshold(targets, scores)
        for point, specificity in SPECIFICITIES.items():
            chosen[point][s] = specificity_thresholds(targets, scores, specificity)
    return chosen


def best_f1_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Choose for each class the threshold with the highest F1; an image is called positive at or above it.

    Every distinct score is a candidate cut. The threshold lies half-way between the lowest score called positive and
    the next lower one (0 below the lowest), so that a score moved by rounding does not move the decision. Where
    several cuts share the highest F1, the one that calls the fewest images positive is taken.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth of the validation part; NaN where it is not known, which counts for nothing.
    probabilities : float [N, K]
        Scores of the same images, in [0, 1].

    Returns
    -------
    float64 [K]
        NaN for a class without a positive: every cut then has F1 = 0, so that nothing can be chosen.

    Raises
    ------
    ValueError
        If the shapes differ or a score is not in [0, 1].

    Notes
    -----
    Lipton, Elkan, Naryanaswamy, "Optimal thresholding of classifiers to maximize F1 measure", ECML PKDD 2014,
    doi:10.1007/978-3-662-44851-9_15. The maximum found is optimistic on the part that chose it.
    """
    truth, scores, known = _checked(targets, probabilities)
    return np.array([_best_f1_threshold(truth[r, k], scores[r, k]) for k, r in enumerate(_rows(known, truth))])


def pooled_f1_threshold(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Choose one threshold for all classes: that of the highest micro-averaged F1, as `best_f1_thresholds` does.

    All (image, class) pairs are one sample. Micro and not macro, because it stays defined where a class has no
    positive; frequent classes weigh more in it.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth of the validation part; NaN where it is not known, which counts for nothing.
    probabilities : float [N, K]
        Scores of the same images, in [0, 1].

    Returns
    -------
    float
        NaN without any positive.

    Raises
    ------
    ValueError
        If the shapes differ or a score is not in [0, 1].
    """
    truth, scores, known = _checked(targets, probabilities)
    if known is not None:
        return _best_f1_threshold(truth[known], scores[known])
    return _best_f1_threshold(truth.ravel(), scores.ravel())


def specificity_thresholds(targets: np.ndarray, probabilities: np.ndarray, specificity: float) -> np.ndarray:
    """Choose for each class the lowest threshold, so the highest sensitivity, whose specificity is at least as given.

    Cuts and half-way thresholds as in `best_f1_thresholds`; one cut more calls nothing positive (specificity 1), for
    a class whose highest score is shared by too many negatives. Its threshold may be just above 1.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth of the validation part; NaN where it is not known, which counts for nothing.
    probabilities : float [N, K]
        Scores of the same images, in [0, 1].
    specificity : float
        In (0, 1].

    Returns
    -------
    float64 [K]
        NaN for a class without a negative, whose specificity is undefined.

    Raises
    ------
    ValueError
        If the shapes differ, or a score is not in [0, 1] or `specificity` not in (0, 1].
    """
    truth, scores, known = _checked(targets, probabilities)
    if not 0 < specificity <= 1:
        raise ValueError(f"specificity {specificity} must be above 0 and at most 1")
    return np.array(
        [_specificity_threshold(~truth[r, k], scores[r, k], specificity) for k, r in enumerate(_rows(known, truth))]
    )


def _rows(known: np.ndarray | None, truth: np.ndarray) -> list[Any]:
    """Return for each class which rows have a known label: all of them, or their positions."""
    return [slice(None)] * truth.shape[1] if known is None else [np.flatnonzero(of_class) for of_class in known.T]


def _checked(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return truth (bool) and scores (float64) [N, K], and which labels are known (None: all), or raise."""
    targets, scores = np.asarray(targets), np.asarray(probabilities, dtype=np.float64)
    known = known_of(targets)
    truth = targets.astype(bool) if known is None else targets == 1
    if truth.shape != scores.shape or truth.ndim != 2:
        raise ValueError(f"targets {truth.shape} and probabilities {scores.shape}; expected [N, K] twice")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("a probability is not in [0, 1]")
    return truth, scores, known


def _best_f1_threshold(positive: np.ndarray, scores: np.ndarray) -> float:
    """Return the threshold of one class; see `best_f1_thresholds`."""
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # last image of each distinct score
    hits = np.cumsum(positive[order])[ends]
    f1 = 2 * hits / (ends + 1 + hits[-1])
    cut = int(np.argmax(f1))  # first maximum = fewest called positive
    return _between(ordered[ends[cut]], ordered[ends[cut] + 1] if cut + 1 < len(ends) else 0.0)


def _specificity_threshold(negative: np.ndarray, scores: np.ndarray, specificity: float) -> float:
    """Return the threshold of one class; see `specificity_thresholds`."""
    if not negative.any():
        return float("nan")
    distinct, place = np.unique(scores, return_inverse=True)
    spared = np.cumsum(np.bincount(place[negative], minlength=len(distinct)))  # negatives at or below each score
    cut = int(np.argmax(spared / spared[-1] >= specificity))  # lowest score that may be left uncalled
    above = distinct[cut + 1] if cut + 1 < len(distinct) else np.nextafter(1.0, 2.0)
    return _between(above, distinct[cut])


def _between(lowest_called: float, next_lower: float) -> float:
    """Return a threshold half-way between the lowest score called positive and the next lower one."""
    middle = (lowest_called + next_lower) / 2
    # Between neighbouring floats the midpoint rounds to one of them, and the lower one would be called positive too.
    return float(middle if middle > next_lower else lowest_called)
