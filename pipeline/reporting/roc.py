"""ROC curves on a common grid, so that curves of classes and seeds can be averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.study.predictions import Predictions
from pipeline.study.unknown import known_of

GRID = np.linspace(0, 1, 199)
"""False-positive rates at which every curve is read; few enough for a file that is diffed."""


def curve(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Read the ROC curve of one class on `GRID`.

    Parameters
    ----------
    scores : float [N]
        Higher means more likely positive; ties are crossed in a straight line.
    truth : bool [N]
        The class is present.

    Returns
    -------
    float [G]
        Sensitivity; NaN where the class has no positive or no negative.
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return np.full(len(GRID), np.nan)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.concatenate([[0.0], np.cumsum(truth[order])[ends] / positives])
    alarms = np.concatenate([[0.0], np.cumsum(~truth[order])[ends] / negatives])
    # The last point at or before a rate is the top of the vertical step there; from it the curve runs to the next
    # point, flat where that is the foot of another step. To join the tops alone would cut the corners in its favour.
    left = np.searchsorted(alarms, GRID, side="right") - 1
    right = np.minimum(left + 1, len(alarms) - 1)
    run = alarms[right] - alarms[left]
    share = np.divide(GRID - alarms[left], run, out=np.zeros_like(GRID), where=run > 0)
    return hits[left] + share * (hits[right] - hits[left])


def ranking_scores(predictions: Predictions) -> np.ndarray:
    """Return what ranks the test images in each class: logits, or for single-label logarithms of probabilities.

    One class against the rest ranks images by probability, which depends on the logits of the other classes.

    Returns
    -------
    float64 [S, N, K]
        Higher means more likely positive.
    """
    logits = predictions.test_logits.astype(np.float64)
    if predictions.task == "multiclass":
        logits = logits - logits.max(axis=2, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=2, keepdims=True))
    return logits


def of_classes(predictions: Predictions, read: Callable[[np.ndarray, np.ndarray], np.ndarray] = curve) -> np.ndarray:
    """Read the curves of every seed (or ensemble) and class on the test set, float [S, K, G].

    Parameters
    ----------
    predictions : Predictions
        S models, K classes.
    read : callable
        Gives the curve [G] of scores [N] and truth [N].
    """
    targets = predictions.test_targets
    known = known_of(targets)
    if known is None:
        rows: list[Any] = [slice(None)] * targets.shape[1]
    else:
        rows = list(known.T)
    return np.array(
        [[read(scores[r, k], targets[r, k] == 1) for k, r in enumerate(rows)] for scores in ranking_scores(predictions)]
    )


def mean(curves: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Average curves vertically.

    Parameters
    ----------
    curves : float [..., G]
        NaN where there is none; such a curve does not count.
    axis : int or tuple of int
        Axes that are averaged over.

    Returns
    -------
    float [..., G]
        0 where no curve counts.
    """
    axes = (axis,) if isinstance(axis, int) else axis
    defined = np.isfinite(curves).all(axis=-1, keepdims=True)
    return np.where(defined, curves, 0).sum(axis=axes) / np.maximum(defined.sum(axis=axes), 1)
