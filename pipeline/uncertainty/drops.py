"""The interval of a difference between two independent samples, of the same trained networks.

A configuration is scored on its own test part and on another data set. The patients of the two are different people, so
that their errors add up as squares; the training runs are the same, so that what a seed does to both sides cancels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.metrics.registry import Metric
from pipeline.uncertainty import student
from pipeline.uncertainty.intervals import nested_error, spread
from pipeline.uncertainty.metric_intervals import metric_intervals
from pipeline.uncertainty.support import Support


class Measured(NamedTuple):
    """A metric of S training runs on one sample.

    Parameters
    ----------
    values : float [S, C]
        On the whole sample; NaN where undefined.
    draws : float [B, S, C]
        The same under draws of the sample's patients.
    support : Support
        What the values rest on.
    """

    values: np.ndarray
    draws: np.ndarray
    support: Support

    def mean(self, metric: Metric, confidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the mean over the runs [C] and its interval over patients alone, low and high."""
        value, drawn = self.values.mean(axis=0, keepdims=True), self.draws.mean(axis=1, keepdims=True)
        carried = self.support._replace(patients=self.support.fewest[None])
        low, high = metric_intervals(metric, value, drawn, carried, confidence)
        return value[0], low[0], high[0]


class Limits(NamedTuple):
    """A number of S training runs on one sample, with the interval of their mean over patients alone.

    Parameters
    ----------
    value, low, high : float [C]
        The mean over the runs and its limits.
    values, draws : float [S, C], [B, S, C]
        Of each run, on the whole sample and under draws of its patients.
    patients : int [C]
        That each number rests on.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    values: np.ndarray
    draws: np.ndarray
    patients: np.ndarray


def difference(
    metric: Metric, here: Measured, there: Measured, confidence: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interval of the difference there minus here of the mean over training runs.

    Parameters
    ----------
    metric : Metric
        What was measured.
    here, there : Measured
        Of the same S training runs, on samples without a patient in common.
    confidence : float
        In (0, 1).
    seed : int
        Of the pairing of draws.

    Returns
    -------
    value, low, high : float64 [C]
        NaN where a side is undefined, and without an interval where a side has none.

    Notes
    -----
    The limits over patients are recovered from those of the two sides (MOVER: Newcombe, Stat Med 17(8), 1998,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I; Zou & Donner, Stat Med 27(10), 2008,
    doi:10.1002/sim.3095), so that they lean where a side's do. Of several training runs the spread over seeds of their
    differences is added, as squares: t times the nested error of draws in which each draw of one side stands beside an
    independent one of the other, less what the patients alone make of it.
    """
    if here.values.shape != there.values.shape:
        raise ValueError(f"values {here.values.shape} here and {there.values.shape} there; must be of the same runs")
    first, second = (
        Limits(*of.mean(metric, confidence), of.values, of.draws, of.support.fewest) for of in (here, there)
    )
    end = {"share": 1.0, "correlation": 2.0}.get(metric.scale, here.support.end)
    return of_limits(first, second, end, confidence, seed)


def of_limits(
    here: Limits, there: Limits, end: float, confidence: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interval of the difference there minus here, see `difference`, of what has limits over patients on each side.

    Parameters
    ----------
    here, there : Limits
        Of the same S training runs, on samples without a patient in common.
    end : float
        How far from 0 a difference can be.
    confidence, seed
        As for `difference`.
    """
    value = there.value - here.value
    further = np.zeros_like(value)
    if len(here.values) > 1:
        # Both sides were drawn by the same generator: beside each other, draws of two sorted samples would resemble
        # each other.
        n = min(len(here.draws), len(there.draws))
        apart = there.draws[np.random.default_rng([seed, 1]).permutation(n)] - here.draws[:n]
        freedom = _together(
            [(spread(side.draws.mean(axis=1)), np.maximum(side.patients - 1, 1)) for side in (here, there)]
        )
        error, together = nested_error(there.values - here.values, apart, freedom)
        of_patients = student.quantile((1 + confidence) / 2, freedom) * spread(apart.mean(axis=1))
        further = np.maximum((student.quantile((1 + confidence) / 2, together) * error) ** 2 - of_patients**2, 0)
    low = value - np.sqrt((there.value - there.low) ** 2 + (here.high - here.value) ** 2 + further)
    high = value + np.sqrt((there.high - there.value) ** 2 + (here.value - here.low) ** 2 + further)
    return value, np.maximum(low, -end), np.minimum(high, end)


def _together(parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Degrees of freedom of a sum of independent errors (Satterthwaite), at least 1."""
    squares = [np.nan_to_num(error) ** 2 for error, _ in parts]
    below = sum(square**2 / freedom for square, (_, freedom) in zip(squares, parts))
    return np.maximum(np.divide(sum(squares) ** 2, below, out=np.ones_like(squares[0]), where=below > 0), 1)
