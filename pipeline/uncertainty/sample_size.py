"""How many patients a test part needs for precise estimates of a binary prediction, one image each.

Riley et al., "Minimum sample size for external validation of a clinical prediction model with a binary outcome", Stat
Med 40(19), 2021, doi:10.1002/sim.9025, as in the R package pmvalsampsize; the widths that it aims at are the defaults
here. They count independent patients: where a patient has several images, count patients and not images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtri


class Needed(NamedTuple):
    """Patients needed for each measure; NaN for one that cannot be planned."""

    observed_expected: float
    slope: float
    c_statistic: float
    net_benefit: float

    @property
    def most(self) -> float:
        """Patients that serve every measure."""
        return float(np.nanmax(self))


def observed_expected(prevalence: float, width: float = 0.2, confidence: float = 0.95) -> int:
    """Patients for the ratio of observed to expected events, of a model that is calibrated in the large.

    Parameters
    ----------
    prevalence : float
        In (0, 1).
    width : float
        Of the interval around a ratio of 1, from limit to limit.
    confidence : float
        Of the interval.

    Returns
    -------
    int

    Notes
    -----
    The interval is exp(-+ z SE), so that its width is 2 sinh(z SE); SE^2 = (1 - prevalence) / (n prevalence).
    """
    _check(prevalence, width, confidence)
    error = math.asinh(width / 2) / _reach(confidence)
    return math.ceil((1 - prevalence) / (prevalence * error**2))


def calibration_slope(linear_predictor: np.ndarray, width: float = 0.2, confidence: float = 0.95) -> int:
    """Patients for the calibration slope, of a model that is calibrated.

    Parameters
    ----------
    linear_predictor : float [N]
        Logits of calibrated probabilities, distributed as in the planned test part.
    width, confidence : float
        As for `observed_expected`.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If all logits are equal or one is not finite: the slope is then undefined.

    Notes
    -----
    From the information matrix of a logistic regression of the outcome on the logit, at intercept 0 and slope 1.
    """
    _check(0.5, width, confidence)
    x = np.asarray(linear_predictor, dtype=np.float64)
    if not np.isfinite(x).all() or np.ptp(x) == 0:
        raise ValueError("logits must be finite and not all equal")
    weight = expit(x) * expit(-x)
    a, b, c = weight.mean(), (weight * x).mean(), (weight * x * x).mean()
    error = width / (2 * _reach(confidence))
    return math.ceil(a / (error**2 * (a * c - b * b)))


def c_statistic(prevalence: float, auroc: float, width: float = 0.1, confidence: float = 0.95) -> int:
    """Patients for the AUROC.

    Parameters
    ----------
    prevalence : float
        In (0, 1).
    auroc : float
        That is expected, in (0, 1).
    width, confidence : float
        As for `observed_expected`.

    Returns
    -------
    int

    Notes
    -----
    The standard error of Newcombe, Stat Med 25(4), 2006, doi:10.1002/sim.2324, method 4.
    """
    from scipy.optimize import brentq  # not at the top: a quarter of a second

    _check(prevalence, width, confidence)
    if not 0 < auroc < 1:
        raise ValueError(f"auroc {auroc} must be between 0 and 1")
    reach = _reach(confidence)

    def excess(n: float) -> float:
        return 2 * reach * c_statistic_error(n, prevalence, auroc) - width

    if excess(2.0) <= 0:
        return 2
    return math.ceil(brentq(excess, 2.0, 1e12, xtol=1e-9, rtol=1e-12))


def c_statistic_error(n: float, prevalence: float, auroc: float) -> float:
    """Standard error of an AUROC of `n` patients, a share `prevalence` of whom are positive; see `c_statistic`."""
    pairs = 1 + (n / 2 - 1) * ((1 - auroc) / (2 - auroc) + auroc / (1 + auroc))
    return math.sqrt(auroc * (1 - auroc) * pairs / (n**2 * prevalence * (1 - prevalence)))


def net_benefit(
    prevalence: float,
    sensitivity: float,
    specificity: float,
    threshold: float,
    width: float = 0.2,
    confidence: float = 0.95,
) -> int:
    """Patients for the net benefit over the prevalence (standardised: 1 is perfect) at a threshold of risk.

    Parameters
    ----------
    prevalence : float
        In (0, 1).
    sensitivity, specificity : float
        Expected at the threshold, in [0, 1].
    threshold : float
        Calibrated probability from which on a patient is treated, in (0, 1).
    width, confidence : float
        As for `observed_expected`.

    Returns
    -------
    int
        At least 1.
    """
    _check(prevalence, width, confidence)
    if not (0 <= sensitivity <= 1 and 0 <= specificity <= 1 and 0 < threshold < 1):
        raise ValueError(f"sensitivity {sensitivity}, specificity {specificity}, threshold {threshold}: must be shares")
    harm = (1 - prevalence) / prevalence * threshold / (1 - threshold)
    variance = (
        sensitivity * (1 - sensitivity) / prevalence
        + harm**2 * specificity * (1 - specificity) / (1 - prevalence)
        + harm**2 * (1 - specificity) ** 2 / (prevalence * (1 - prevalence))
    )
    return max(1, math.ceil(variance / (width / (2 * _reach(confidence))) ** 2))


def _reach(confidence: float) -> float:
    return float(ndtri((1 + confidence) / 2))


def _check(prevalence: float, width: float, confidence: float) -> None:
    if not (0 < prevalence < 1 and width > 0 and 0 < confidence < 1):
        raise ValueError(
            f"prevalence {prevalence}, width {width}, confidence {confidence}: prevalence and confidence must be "
            "between 0 and 1, the width above 0"
        )
