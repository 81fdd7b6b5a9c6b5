"""Precision-recall curves on a common grid, so that curves of classes and seeds can be averaged."""

from __future__ import annotations

import numpy as np

GRID = np.linspace(0, 1, 101)
"""Recalls at which every curve is read."""


def curve(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Read the precision-recall curve of one class on `GRID`.

    Parameters
    ----------
    scores : float [N]
        Higher means more likely positive.
    truth : bool [N]
        The class is present.

    Returns
    -------
    float [G]
        Precision at the highest threshold that reaches each recall; NaN where the class has no positive.

    Notes
    -----
    A step, not a line between points: between two points of this plane precision does not change linearly (Davis &
    Goadrich, ICML 2006, doi:10.1145/1143844.1143874). The area below the steps is the average precision.
    """
    positives = int(truth.sum())
    if not positives:
        return np.full(len(GRID), np.nan)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(truth[order])[ends]
    precision = hits / (ends + 1)
    # A recall of 0 is reached by the first threshold, too: what is read there is the precision of the top scores.
    return precision[np.searchsorted(hits, np.maximum(GRID * positives, 1) - 1e-9, side="left")]
