"""Shares and means under draws of patients, and the interval of what a configuration is expected to reach.

Whatever is a sum over images divided by another one (a coverage, a net benefit, the accuracy of the images kept) is
added up once per patient. All draws of patients are then one product of matrices, with the draws that every other
metric has seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.metrics.registry import Scale
from pipeline.uncertainty import student
from pipeline.uncertainty.intervals import nested_error, one_sided, score_interval, spread, t_interval

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

    def error(self, freedom: np.ndarray | float, *, curve: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return standard error and degrees of freedom [...] of the mean over the training runs.

        Parameters
        ----------
        freedom : float [...]
            That of the patients.
        curve : bool
            Whether the variance over the seeds drawn is taken in closed form, in the place of draws of them: for the
            many points of a curve, at a third of the time.

        Notes
        -----
        Over patients and seeds (`intervals.nested_error`), of a single run over patients only.
        """
        n_seeds = len(self.values)
        if n_seeds > 1 and not curve:
            return nested_error(self.values, self.draws, freedom)
        mean = self.draws.mean(axis=1)
        error = np.where(np.isnan(self.values.mean(axis=0)), np.nan, spread(mean))
        if n_seeds < 2:
            return error, np.broadcast_to(np.asarray(freedom, dtype=np.float64), error.shape)
        squares = np.einsum("bs...,bs...->b...", self.draws, self.draws) / n_seeds - mean**2
        known = ~np.isnan(squares)
        of_seeds = np.where(known, squares, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1) / (n_seeds - 1)
        of_seeds, of_patients = np.maximum(of_seeds, 0), error**2
        below = of_seeds**2 / (n_seeds - 1) + of_patients**2 / freedom
        total = of_seeds + of_patients
        together = np.divide(total**2, below, out=np.full(error.shape, np.inf), where=below > 0)
        return np.sqrt(total), np.maximum(together, 1)


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
        NaN where the denominator is 0, and the numerator with it.
    """
    shape, narrow = above.shape[1:], below.shape[1:]
    tops, bottoms = above.reshape(len(above), -1), below.reshape(len(below), -1)

    def divided(weights: np.ndarray) -> np.ndarray:
        top, bottom = (weights @ tops).reshape(-1, *shape), (weights @ bottoms).reshape(-1, *narrow)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.divide(top, bottom, out=top)

    step = max(1, _CHUNK // len(above))
    draws = [divided(counts[at : at + step].astype(np.float64)) for at in range(0, len(counts), step)]
    return Drawn(divided(np.ones((1, len(above))))[0], np.concatenate(draws))


def carriers(influence: np.ndarray) -> np.ndarray:
    """Count the patients that the standard error of a mean rests on, where a few make most of it.

    Parameters
    ----------
    influence : float [G, ...]
        What each patient moves the mean by; they sum to 0.

    Returns
    -------
    float64 [...]
        1 plus the degrees of freedom 2 G / (kurtosis - 1) of a variance of G such patients (its own variance is that
        of their squares); at most G, at least 2. Of 100 patients of whom 4 are missed at a cost of 9, it is near 9.
    """
    n, squares = len(influence), influence**2
    total = squares.sum(axis=0)
    kurtosis = np.divide(n * (squares**2).sum(axis=0), total**2, out=np.full(total.shape, 3.0), where=total > 0)
    return np.clip(1 + 2 * n / np.maximum(kurtosis - 1, 1e-9), 2, n)


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
    of: Drawn,
    patients: np.ndarray | float,
    confidence: float,
    scale: Scale | None,
    *,
    proportion: bool = False,
    curve: bool = False,
    end: float = np.inf,
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
    curve : bool
        See `Drawn.error`.
    end : float
        Largest value of a loss; without a scale, how far from 0 the mean can be.

    Returns
    -------
    mean, low, high : float64 [...]
        low and high are NaN where no draw moves the mean, and nothing else bounds it.

    Notes
    -----
    The rule of `metric_intervals`: a standard error over draws, on the scale on which the value is unbounded, with the
    t distribution; the mean over seeds of a proportion has Wilson's of that error.
    """
    mean, n = of.values.mean(axis=0), np.asarray(patients, dtype=np.float64)
    error, freedom = of.error(np.maximum(n - 1, 1), curve=curve)
    if scale is None:
        reach = np.where(error > 1e-12, student.quantile((1 + confidence) / 2, freedom) * error, np.nan)
        return mean, np.maximum(mean - reach, -end), np.minimum(mean + reach, end)
    if proportion and scale == "share" and len(of.values) > 1:
        low, high = score_interval(mean, error, freedom, confidence)
    else:
        low, high = t_interval(mean, error, freedom, confidence, scale, end)
    low_end, high_end = one_sided(mean, n, confidence, scale, proportion=proportion)
    fixed = ~np.isnan(low_end) & ~(error > 1e-12)
    return mean, np.where(fixed, low_end, low), np.where(fixed, high_end, high)
