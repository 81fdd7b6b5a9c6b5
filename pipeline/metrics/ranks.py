"""Ranks from 1, ties sharing the mean of theirs, by pandas: scipy.stats takes half a second to import."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd


def average_ranks(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Rank values along an axis.

    Parameters
    ----------
    values : float array
        NaN are left out.
    axis : int

    Returns
    -------
    float64 of the same shape
        From 1; of equal values the mean of the ranks that they take together; NaN where the value is.

    Examples
    --------
    >>> average_ranks(np.array([0.5, 0.2, 0.5]))
    array([2.5, 1. , 2.5])
    """
    values = np.asarray(values)
    rows = np.moveaxis(values, axis, 0)
    ranks = pd.DataFrame(rows.reshape(len(rows), math.prod(rows.shape[1:]))).rank().to_numpy(np.float64)
    return np.moveaxis(ranks.reshape(rows.shape), 0, axis)
