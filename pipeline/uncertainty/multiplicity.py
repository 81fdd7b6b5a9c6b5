"""Tests of many pairs at once: paired p-values under shared draws, and their correction for their number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from pipeline.uncertainty import student
from pipeline.uncertainty.intervals import spread

AGGREGATES = ("macro", "overall")
RESERVED = 0.5
"""Share of the level of a rejected leading hypothesis that is kept for those below it."""


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


def holm_in_two_tiers(leading: np.ndarray, below: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Adjust p-values of one family in which some hypotheses are asked only below another one that was rejected.

    Parameters
    ----------
    leading : float [M]
        p-values of what is asked in any case; NaN where there is no test.
    below : sequence of float [K_i] [M]
        p-values of what is asked only if its leading hypothesis is rejected, or has no test; may be empty.

    Returns
    -------
    leading, below : float64 [M], list of float64 [K_i]
        Adjusted p-values, at most 1, of the whole family: all of them that are below a level are wrong together in at
        most that share of studies, however the tests depend on each other and whichever hypotheses are true. None below
        is smaller than that of its leading hypothesis. NaN where there is no test. Without anything below, those of
        `holm`.

    Raises
    ------
    ValueError
        If there are not as many groups as leading hypotheses.

    Notes
    -----
    A weighted Holm procedure. Each of the m leading hypotheses has 1 / m of the level. One that is rejected hands
    `RESERVED` of it to its group, which tests within itself by Holm's method, and the rest to the leading ones that are
    left; without a group, or with a group that is rejected as a whole, it hands them all of it. When no leading one is
    left, the groups share the whole level. No weight ever falls when a hypothesis is rejected, and those of what is
    left add up to 1 at most, which is what strong control needs: Goeman & Solari, "The sequential rejection principle
    of familywise error control", Ann Stat 38(6), 2010, doi:10.1214/10-AOS829; Bretz et al., "A graphical
    approach to sequentially rejective multiple test procedures", Stat Med 28(4), 2009, doi:10.1002/sim.3495. What has
    no test neither counts nor closes the way to what is below it.
    """
    first = np.asarray(leading, dtype=np.float64)
    groups = [np.asarray(group, dtype=np.float64) for group in below]
    if first.ndim != 1 or len(groups) != len(first):
        raise ValueError(f"{len(groups)} groups below {first.shape} leading hypotheses; expected one for each")
    tested = ~np.isnan(first)
    orders = [np.argsort(group, kind="stable")[: int((~np.isnan(group)).sum())] for group in groups]
    left = np.array([len(order) for order in orders])
    size = int((tested | (left > 0)).sum())
    adjusted, adjusted_below = np.full(first.shape, np.nan), [np.full(group.shape, np.nan) for group in groups]
    open_, so_far = tested.copy(), 0.0
    lowest = np.array([group[order[0]] if len(order) else 1.0 for group, order in zip(groups, orders)])
    while open_.any() or left.any():
        reached = ~open_ & (left > 0)
        if open_.any():
            each, of_group = (1 - RESERVED * reached.sum() / size) / open_.sum(), RESERVED / size
        else:
            each, of_group = 0.0, 1 / reached.sum()
        smallest = int(np.where(open_, first, np.inf).argmin())
        within = np.where(reached, lowest * left, np.inf)
        next_group = int(within.argmin())
        of_leading = first[smallest] / each if open_.any() else np.inf
        if of_leading <= within[next_group] / of_group:
            so_far = max(so_far, min(of_leading, 1.0))
            adjusted[smallest], open_[smallest] = so_far, False
        else:
            so_far = max(so_far, min(within[next_group] / of_group, 1.0))
            order = orders[next_group]
            adjusted_below[next_group][order[len(order) - left[next_group]]] = so_far
            left[next_group] -= 1
            rest = left[next_group]
            lowest[next_group] = groups[next_group][order[len(order) - rest]] if rest else 1.0
    return adjusted, adjusted_below


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
    p = np.where(fixed & (np.abs(difference) <= 1e-12), 1.0, 2 * student.upper_tail(np.abs(z), freedom))
    return difference, error, p
