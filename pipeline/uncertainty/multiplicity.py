"""Tests of many pairs at once: paired p-values under shared draws, and their correction for their number."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.stats import t as student

from pipeline.uncertainty.intervals import spread

AGGREGATES = ("macro", "overall")


def holm(p: np.ndarray) -> np.ndarray:
    """Adjust p-values for their number by Holm's step-down method.

    Parameters
    ----------
    p : float [...]
        One family, in any shape; NaN is a comparison that was not made and does not count.

    Returns
    -------
    float64 [...]
        Adjusted p-values, at most 1; NaN where `p` is.

    Notes
    -----
    Holm, "A simple sequentially rejective multiple test procedure", Scand J Stat 6(2), 1979.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    compared = ~np.isnan(values)
    given = values[compared]
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(np.minimum(1.0, given[order] * np.arange(len(given), 0, -1)))
    back = np.empty_like(stepped)
    back[order] = stepped
    adjusted[compared] = back
    return adjusted


def paired_p(
    values: np.ndarray, draws: np.ndarray, patients: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test every pair of columns for a difference, under shared bootstrap draws.

    The difference over the standard deviation of its bootstrap is compared with a t distribution. Its degrees of
    freedom are the patients that carry the rarer side of the class, minus one, because a standard error that rests on
    few clusters is itself uncertain and the normal distribution would call too much a difference (Cameron & Miller,
    "A practitioner's guide to cluster-robust inference", J Hum Resour 50(2), 2015). A tail count of the draws could
    not go below 2 / B, which the correction would always undo.

    Parameters
    ----------
    values : float [S, C]
        A metric of S seeds for C classes.
    draws : float [B, S, C]
        The same under each draw.
    patients : int [C] or None
        Patients that a column's value rests on; None for many, where t is the normal distribution.

    Returns
    -------
    difference, standard_error, p : float64 [S (S - 1) / 2, C]
        For the pairs (0, 1), (0, 2), ... in the order of `itertools.combinations`. Two columns that are equal under
        every draw have p = 1. NaN where a value is missing, or where the error cannot be had: fewer than half of
        the draws defined, or a difference that no draw changes.
    """
    n_seeds = values.shape[0]
    first, second = np.array(list(combinations(range(n_seeds), 2)), dtype=np.int64).reshape(-1, 2).T
    difference = values[first] - values[second]
    error = np.stack([spread(draws[:, i] - draws[:, j]) for i, j in zip(first, second)]) if len(first) else difference
    # A constant difference has an error of rounding only.
    fixed = error <= 1e-12
    z = np.divide(difference, error, out=np.full(difference.shape, np.nan), where=~fixed & ~np.isnan(error))
    freedom = np.full(values.shape[1], np.inf) if patients is None else np.maximum(np.asarray(patients) - 1, 1)
    p = np.where(fixed & (np.abs(difference) <= 1e-12), 1.0, 2 * student.sf(np.abs(z), freedom))
    return difference, error, p
