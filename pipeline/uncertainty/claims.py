"""The probability that a claim "this one is better" is false, given what the study saw.

The claim is about the expected difference: on other patients and, where both sides have several seeds, under other
seeds. It is false if that difference is zero or has the other sign. What is observed of it is the difference with its
standard error; how probable the claim's being false is depends on what is thought of differences beforehand, and is
given for two such priors. See docs/statistics.md for their calibration.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from pipeline.uncertainty import student

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)
_ROOT, _MASS = (_NODES + 1) / 2, _WEIGHTS / 2
"""Of the integral over the root of the share that the error has in the variance of a difference, in (0, 1)."""
_FARTHEST = 37.0
"""Standard errors beyond which the normal distribution has no tail in float64."""


class FalseClaim(NamedTuple):
    """Probability that the side with the higher value is not the better one, by what is thought beforehand.

    Parameters
    ----------
    flat : float64 [...]
        Every difference is as likely as any other. The lower of the two.
    sceptical : float64 [...]
        Small differences are likelier: see `false_claim`.
    """

    flat: np.ndarray
    sceptical: np.ndarray


def false_claim(p: np.ndarray | float) -> FalseClaim:
    """Turn the p-value of a difference into the probability that its sign is wrong.

    Parameters
    ----------
    p : float [...]
        Two-sided, of the one comparison that the claim is about, not corrected for others; in [0, 1]. NaN where there
        is no test.

    Returns
    -------
    FalseClaim
        In [0, 0.5]; NaN where `p` is.

    Raises
    ------
    ValueError
        If a p-value lies outside [0, 1].

    Notes
    -----
    ``flat`` is p / 2, the posterior of the difference under a flat prior being the t distribution around what was
    observed (for segmentation the formula of Christodoulou et al., "False promises in medical imaging AI?", 2025,
    arXiv:2505.04720, whose error counts cases only). It takes a true difference of 0.3 AUROC for as likely as one of
    0.003.

    ``sceptical`` has true differences of comparisons like this one normal around 0 with a standard deviation tau of its
    own, of which as much is known as the study says: the share B = s^2 / (s^2 + tau^2) of the error in the variance of
    an observed difference is uniform in (0, 1), so that tau is as likely below the standard error s as above
    (Daniels, Can J Stat 27(3), 1999, doi:10.2307/3316112). With z = the normal deviate of p / 2,

        P(false) = E[ sqrt(B) exp(-B z^2 / 2) Phi(-z sqrt(1 - B)) ] / E[ sqrt(B) exp(-B z^2 / 2) ].

    A prior that is centred at 0 needs no correction for the number of comparisons: a difference that was picked because
    it is the largest is shrunk as any other.
    """
    p = np.asarray(p, dtype=np.float64)
    if ((p < 0) | (p > 1)).any():
        raise ValueError("p outside 0 to 1")
    z = np.minimum(-ndtri(np.clip(p / 2, np.finfo(np.float64).tiny, 0.5)), _FARTHEST)
    # Over the root of B, on which the density is smooth at 0 and never narrower than 1 / 37.
    share = _ROOT**2
    density = _MASS * 2 * share * np.exp(-share * z[..., None] ** 2 / 2)
    wrong = (density * ndtr(-z[..., None] * np.sqrt(1 - share))).sum(axis=-1) / density.sum(axis=-1)
    return FalseClaim(p / 2, np.where(np.isnan(p), np.nan, wrong))


class Prospect(NamedTuple):
    """What a study of this size makes of a true difference.

    Parameters
    ----------
    difference : float
        The true one, in units of the metric.
    found : float
        Probability that the test finds it, uncorrected.
    wrong_way : float
        Probability that the worse one has the higher value.
    exaggerated : float
        Mean of the observed differences that the test finds, over the true one.
    """

    difference: float
    found: float
    wrong_way: float
    exaggerated: float


def prospect(difference: float, error: float, alpha: float = 0.05, freedom: float = np.inf) -> Prospect:
    """Say what comparisons with a standard error of `error` make of a true difference.

    Parameters
    ----------
    difference : float
        Above 0.
    error : float
        Standard error of an observed difference, above 0.
    alpha : float
        Two-sided level of the test, in (0, 1).
    freedom : float
        Degrees of freedom of the test, above 0: few of them ask for a larger difference.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Observed differences are normal around the true one, and the error of the test is as stated. Gelman & Carlin,
    "Beyond power calculations", Perspect Psychol Sci 9(6), 2014, doi:10.1177/1745691614551642 (errors of type S and M).
    """
    if not (difference > 0 and error > 0 and 0 < alpha < 1):
        raise ValueError(f"difference {difference}, error {error}, alpha {alpha}: must be above 0, alpha below 1")
    at, critical = difference / error, float(student.quantile(1 - alpha / 2, freedom))
    above, below = ndtr(at - critical), ndtr(-at - critical)
    # Means of the two tails of a normal deviate, times their probabilities.
    tails = (at * above + _density(critical - at)) - (at * below - _density(critical + at))
    return Prospect(difference, float(above + below), float(ndtr(-at)), float(tails / (above + below) / at))


def _density(x: float) -> float:
    """Return the density of the normal distribution."""
    return float(np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))
