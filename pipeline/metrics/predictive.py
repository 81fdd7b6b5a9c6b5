"""What a decision means for a patient: predictive values at any prevalence, and likelihood ratios.

Sensitivity and specificity are what a test is; predictive values are what it is worth where a class is as frequent as
stated. A study that enriched the class must not report the precision of its own images as the predictive value of a
clinic.
"""

from __future__ import annotations

import numpy as np


def positive_predictive_value(sensitivity: np.ndarray, specificity: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """Share of those called positive who have the class, by Bayes' theorem.

    Parameters
    ----------
    sensitivity, specificity, prevalence : float [...]
        In [0, 1].

    Returns
    -------
    float64 [...]
        NaN where nobody is called positive.

    Examples
    --------
    >>> round(positive_predictive_value(0.9, 0.95, 0.02).item(), 4)  # 0.018 / (0.018 + 0.049)
    0.2687
    """
    true = np.asarray(sensitivity, dtype=np.float64) * prevalence
    return _share(true, (1 - np.asarray(specificity, dtype=np.float64)) * (1 - np.asarray(prevalence)))


def negative_predictive_value(sensitivity: np.ndarray, specificity: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """Share of those called negative who do not have the class, by Bayes' theorem.

    Parameters
    ----------
    sensitivity, specificity, prevalence : float [...]
        In [0, 1].

    Returns
    -------
    float64 [...]
        NaN where nobody is called negative.

    Examples
    --------
    >>> round(negative_predictive_value(0.9, 0.95, 0.02).item(), 4)  # 0.931 / (0.931 + 0.002)
    0.9979
    """
    true = np.asarray(specificity, dtype=np.float64) * (1 - np.asarray(prevalence))
    return _share(true, (1 - np.asarray(sensitivity, dtype=np.float64)) * np.asarray(prevalence))


def _share(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    total = np.asarray(true + false, dtype=np.float64)
    return np.divide(true, total, out=np.full(total.shape, np.nan), where=total > 0)


def likelihood_ratios(sensitivity: np.ndarray, specificity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factor by which a decision multiplies the odds of the class.

    Parameters
    ----------
    sensitivity, specificity : float [...]
        In [0, 1].

    Returns
    -------
    positive, negative : float64 [...]
        sensitivity / (1 - specificity), infinity without a false positive; (1 - sensitivity) / specificity. NaN where
        nobody is called positive, or nobody negative.

    Examples
    --------
    >>> positive, negative = likelihood_ratios(0.9, 0.95)
    >>> round(positive.item(), 4), round(negative.item(), 4)
    (18.0, 0.1053)
    """
    hit, spared = np.asarray(sensitivity, dtype=np.float64), np.asarray(specificity, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return hit / (1 - spared), (1 - hit) / spared
