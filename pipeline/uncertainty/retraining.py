"""What retraining alone changes: the spread over seeds of several configurations, and the margin that follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammaincinv, ndtri


class Retraining(NamedTuple):
    """The spread over seeds that configurations have in common.

    Parameters
    ----------
    sd : float
        Pooled standard deviation over seeds of a metric.
    low, high : float
        Its interval.
    freedom : int
        Training runs minus configurations.
    margin : float
        Difference that two trainings of one configuration exceed in one pair of twenty (at 95 %).
    margin_low, margin_high : float
        The same for the ends of the interval.
    """

    sd: float
    low: float
    high: float
    freedom: int
    margin: float
    margin_low: float
    margin_high: float


def retraining(values: Sequence[np.ndarray], confidence: float = 0.95) -> Retraining | None:
    """Pool the spread over seeds.

    Parameters
    ----------
    values : sequence of float [S]
        A metric of the training runs of each configuration; those with a single run say nothing.
    confidence : float
        In (0, 1).

    Returns
    -------
    Retraining or None
        None where no configuration has two runs with a value.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1).

    Notes
    -----
    The margin is the repeatability coefficient of Bland & Altman (Lancet 327(8476), 1986,
    doi:10.1016/S0140-6736(86)90837-8), 1.96 sqrt(2) SD: a difference below it between two networks is one that the same
    method shows when it is trained again. The interval is that of chi squared, for normal values of one variance.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must be between 0 and 1")
    finite = [np.asarray(v, dtype=np.float64)[np.isfinite(v)] for v in values]
    several = [v for v in finite if len(v) > 1]
    if not several:
        return None
    freedom = sum(len(v) - 1 for v in several)
    sd = math.sqrt(sum(float(((v - v.mean()) ** 2).sum()) for v in several) / freedom)
    tail = (1 - confidence) / 2
    low, high = (sd * math.sqrt(freedom / (2 * gammaincinv(freedom / 2, q))) for q in (1 - tail, tail))
    factor = float(ndtri(1 - tail)) * math.sqrt(2)
    return Retraining(sd, low, high, freedom, factor * sd, factor * low, factor * high)


def patients_needed(
    patients: int, of_cases: float, of_seeds: float, seeds: int, delta: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Patients of the test part with which a difference of two configurations is found.

    Parameters
    ----------
    patients : int
        Of this test part.
    of_cases : float
        Variance of a difference that is due to its patients; it falls as their number rises.
    of_seeds : float
        Variance over seeds of a training run; both configurations are taken to have it.
    seeds : int
        Planned of each configuration.
    delta : float
        True difference, above 0.
    power, alpha : float
        Of a two-sided test, in (0, 1).

    Returns
    -------
    float
        Whole, at least 10; infinity where the seeds alone leave too much uncertainty.

    Notes
    -----
    The normal formula: delta = (z(1 - alpha / 2) + z(power)) SE, SE^2 = of_cases patients / n + 2 of_seeds / seeds.
    With few seeds a t-test needs more of both (`power.seeds_needed` is exact for seeds alone).
    """
    allowed = (delta / (float(ndtri(1 - alpha / 2)) + float(ndtri(power)))) ** 2 - 2 * of_seeds / seeds
    return math.inf if allowed <= 0 else float(max(10, math.ceil(patients * of_cases / allowed)))
