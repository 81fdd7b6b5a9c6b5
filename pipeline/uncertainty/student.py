"""Student's t distribution by scipy.special: scipy.stats has the same bits, and takes half a second to import."""

from __future__ import annotations

from typing import Any

from scipy.special import stdtr, stdtrit


def quantile(probability: Any, freedom: Any) -> Any:
    """Return the value that is exceeded with a probability of 1 - `probability`.

    Parameters
    ----------
    probability : float or array
        Above 0, up to 1.
    freedom : float or array
        Degrees of freedom, above 0; infinite is the normal distribution.

    Returns
    -------
    float64 of their common shape
        NaN where there is no such distribution.

    Examples
    --------
    >>> round(float(quantile(0.975, 2)), 3)
    4.303
    """
    return stdtrit(freedom, probability)


def upper_tail(value: Any, freedom: Any) -> Any:
    """Return the probability of more than `value`: half of a two-sided p-value.

    Parameters
    ----------
    value : float or array
    freedom : float or array
        As for `quantile`.

    Returns
    -------
    float64 of their common shape
        In [0, 1].

    Examples
    --------
    >>> round(float(upper_tail(4.303, 2)), 3)
    0.025
    """
    return stdtr(freedom, -value)
