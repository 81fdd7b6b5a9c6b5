"""Shares and means under draws of patients, and the interval of what a configuration is expected to reach.

Whatever is a sum over images divided by another one (a coverage, a net benefit, the accuracy of the images kept) is
added up once per patient. All draws of patients are then one product of matrices, with the draws that every other
metric has seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import t as student

from pipeline.metrics.registry import Scale
from pipeline.metrics.scored import ratio
from pipeline.uncertainty.intervals import nested_error, one_sided, spread, t_interval

_CHUNK = 2**23
"""Numbers of a chunk of draws that are held as float64 at once."""


class Drawn(NamedTuple):
    """A statistic of S training runs, on the whole sample and under draws of patients.

    Parameters
    ----------
    values : float64 [S, ...]
        NaN where undefined.
    draws : float64 [B, S, ...]
        Likewise.
    """

    values: np.ndarray
    draws: np.ndarray

    def minus(self, other: Drawn) -> Drawn:
        """Return the difference from another statistic of the same runs, draw by draw."""
        return Drawn(self.values - other.values, self.draws - other.draws)

    def error(self, freedom: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Return standard error and degrees of freedom [...] of the mean over the training runs.

        Over patients and seeds (`intervals.nested_error`), of a single run over patients only. `freedom` is that of the
        patients.
        """
        if len(self.values) > 1:
            return nested_error(self.values, self.draws, freedom)
        error = spread(self.draws[:, 0])
        return np.where(np.isnan(self.values[0]), np.nan, error), np.broadcast_to(freedom, error.shape)


def by_group(values: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Add up images by patient.

    Parameters
    ----------
    values : float or bool [N, ...]
        One row per image.
    groups : int [N]
        Patient of each, in 0..n_groups-1.
    n_groups : int
        G.

    Returns
    -------
    float64 [G, ...]
    """
    values = np.asarray(values)
    member = csr_array((np.ones(len(values)), (groups, np.arange(len(values)))), shape=(n_groups, len(values)))
    return (member @ values.reshape(len(values), -1).astype(np.float64)).reshape(n_groups, *values.shape[1:])


def ratio_draws(above: np.ndarray, below: np.ndarray, counts: np.ndarray) -> Drawn:
    """Divide two sums over patients, as they are and under every draw.

    Parameters
    ----------
    above, below : float [G, S, ...]
        What each patient adds to the numerator and to the denominator; of `below`, axes may have length 1.
    counts : int [B, G]
        How often each patient was drawn (`bootstrap.patient_draws`).

    Returns
    -------
    Drawn
        NaN where the denominator is 0.
    """
    shape, narrow = above.shape[1:], below.shape[1:]
    tops, bottoms = above.reshape(len(above), -1), below.reshape(len(below), -1)

    def divided(weights: np.ndarray) -> np.ndarray:
        top, bottom = (weights @ tops).reshape(-1, *shape), (weights @ bottoms).reshape(-1, *narrow)
        return ratio(top, np.broadcast_to(bottom, top.shape))

    step = max(1, _CHUNK // len(above))
    draws = [divided(counts[at : at + step].astype(np.float64)) for at in range(0, len(counts), step)]
    return Drawn(divided(np.ones((1, len(above))))[0], np.concatenate(draws))


def linear_draws(values: np.ndarray, influence: np.ndarray, counts: np.ndarray) -> Drawn:
    """Put the first-order approximation of a statistic in the place of its values under draws.

    Parameters
    ----------
    values : float [S, ...]
        On the whole sample.
    influence : float [G, S, ...]
        What each patient adds to it; they sum to 0.
    counts : int [B, G]
        How often each patient was drawn.

    Returns
    -------
    Drawn
    """
    flat = influence.reshape(len(influence), -1)
    step = max(1, _CHUNK // len(influence))
    moved = [counts[at : at + step].astype(np.float64) @ flat for at in range(0, len(counts), step)]
    return Drawn(values, values + np.concatenate(moved).reshape(-1, *influence.shape[1:]))


def expected_interval(
    of: Drawn, patients: np.ndarray | float, confidence: float, scale: Scale | None, *, proportion: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over training runs, and its interval on other patients and under other seeds.

    Parameters
    ----------
    of : Drawn
        Of S training runs.
    patients : float [...]
        That it rests on.
    confidence : float
        In (0, 1).
    scale : {"share", "correlation", "loss"} or None
        Where it lies (`intervals.t_interval`); None where any number is possible, as of a difference.
    proportion : bool
        Whether it is a share of what `patients` counts, so that Wilson's bound holds at its ends.

    Returns
    -------
    mean, low, high : float64 [...]
        low and high are NaN where no draw moves the mean, and nothing else bounds it.

    Notes
    -----
    The rule of `metric_intervals`: a standard error over draws, on the scale on which the value is unbounded, with the
    t distribution.
    """
    mean = of.values.mean(axis=0)
    error, freedom = of.error(np.maximum(np.asarray(patients, dtype=np.float64) - 1, 1))
    if scale is None:
        reach = np.where(error > 1e-12, student.ppf((1 + confidence) / 2, freedom) * error, np.nan)
        return mean, mean - reach, mean + reach
    low, high = t_interval(mean, error, freedom, confidence, scale)
    low_end, high_end = one_sided(mean, patients, confidence, scale, proportion=proportion)
    fixed = ~np.isnan(low_end) & ~(error > 1e-12)
    return mean, np.where(fixed, low_end, low), np.where(fixed, high_end, high)
