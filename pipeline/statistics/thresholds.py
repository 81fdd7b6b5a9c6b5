"""Logits to probabilities, and decision thresholds chosen on a validation part."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, softmax


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
    raise ValueError(f"task {task!r}; allowed: 'multilabel', 'multiclass'")


def best_f1_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Choose for each class the threshold with the highest F1; an image is called positive at or above it.

    Every distinct score is a candidate cut. The threshold lies half-way between the lowest score called positive and
    the next lower one (0 below the lowest), so that a score moved by rounding does not move the decision. Where
    several cuts share the highest F1, the one that calls the fewest images positive is taken.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth of the validation part.
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
    truth, scores = np.asarray(targets).astype(bool), np.asarray(probabilities, dtype=np.float64)
    if truth.shape != scores.shape or truth.ndim != 2:
        raise ValueError(f"targets {truth.shape} and probabilities {scores.shape}; expected [N, K] twice")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("a probability is not in [0, 1]")
    return np.array([_best_f1_threshold(truth[:, k], scores[:, k]) for k in range(truth.shape[1])])


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
    lowest_called = ordered[ends[cut]]
    next_lower = ordered[ends[cut] + 1] if cut + 1 < len(ends) else 0.0
    middle = (lowest_called + next_lower) / 2
    # Between neighbouring floats the midpoint rounds to one of them, and the lower one would be called positive too.
    return float(middle if middle > next_lower else lowest_called)
