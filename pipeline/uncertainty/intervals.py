"""Intervals from bootstrap draws and from counts, refused where there are too few patients."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, ndtri

from pipeline.metrics.registry import SCALES, Scale
from pipeline.uncertainty import student
from pipeline.uncertainty.bootstrap import nested_draws


def percentiles(draws: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles of bootstrap draws, linear between draws. Undefined draws are left out.

    Parameters
    ----------
    draws : float [B, ...]
        A statistic under each draw; NaN where undefined.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float64 [...]
        NaN where fewer than half of the draws are defined: what is left would describe the lucky draws only.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1).
    """
    _check(confidence)
    draws = np.asarray(draws, dtype=np.float64)
    ordered = np.sort(draws, axis=0)  # NaN last
    defined = (~np.isnan(draws)).sum(axis=0)
    last = np.maximum(defined - 1, 0)

    def quantile(level: float) -> np.ndarray:
        at = level * last
        left = np.floor(at).astype(np.int64)
        low, high = (np.take_along_axis(ordered, i[None], axis=0)[0] for i in (left, np.minimum(left + 1, last)))
        return np.where(2 * defined >= len(draws), low + (at - left) * (high - low), np.nan)

    tail = (1 - confidence) / 2
    return quantile(tail), quantile(1 - tail)


def t_interval(
    value: np.ndarray,
    error: np.ndarray,
    freedom: np.ndarray | float,
    confidence: float,
    scale: Scale,
    end: float = np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of a value from its standard error, symmetric on a scale on which the value is unbounded.

    Parameters
    ----------
    value : float [...]
        A metric; NaN where undefined.
    error : float [...]
        Its standard error, at least 0; NaN where it cannot be had.
    freedom : float [...]
        Degrees of freedom of `error`, at least 1; infinity for a normal distribution.
    confidence : float
        In (0, 1).
    scale : {"share", "correlation", "loss"}
        Where the value lies: [0, 1] (log-odds), [-1, 1] (Fisher's z) or [0, infinity) (logarithm).
    end : float
        Largest value that a loss can have: of one with an end the log-odds of its share of that are taken, which close
        to 0 are its logarithm.

    Returns
    -------
    low, high : float64 [...]
        Inside the range of the scale and around the value; NaN where the error is 0 or unknown, or the value lies at
        an end of its range, where no error says anything: see `one_sided`.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1) or the scale is unknown.

    Notes
    -----
    The error on the scale is the error times the slope of the transformation at the value (the delta method). The t
    distribution stands for an error that itself rests on few patients. In simulations this covers 93 to 98 % where
    there are 10 to 30 positive patients and the AUROC is 0.7 to 0.99, BCa intervals of the same draws 82 to 93 %. Pepe,
    The Statistical Evaluation of Medical Tests, 2003, section 5.2 (log-odds of an AUROC).
    """
    _check(confidence)
    value, error = np.asarray(value, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if scale not in SCALES:
        raise ValueError(f"scale {scale!r} must be one of {', '.join(SCALES)}")
    if scale == "loss" and np.isfinite(end):
        low, high = t_interval(value / end, error / end, freedom, confidence, "share")
        return low * end, high * end
    reach = student.quantile((1 + confidence) / 2, freedom)
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "share":
            inside = (value > 0) & (value < 1)
            at, slope, back = logit(value), 1 / (value * (1 - value)), expit
        elif scale == "correlation":
            inside = (value > -1) & (value < 1)
            at, slope, back = np.arctanh(value), 1 / (1 - value**2), np.tanh
        else:
            inside = value > 0
            at, slope, back = np.log(value), 1 / value, np.exp
        moved = reach * error * slope
        with np.errstate(over="ignore"):  # a loss whose error is many times its value has no upper limit
            low, high = back(at - moved), back(at + moved)
    usable = inside & (error > 1e-12)
    return np.where(usable, np.minimum(low, value), np.nan), np.where(usable, np.maximum(high, value), np.nan)


def score_interval(
    value: np.ndarray, error: np.ndarray, freedom: np.ndarray | float, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of a share of decisions from its standard error: Wilson's, of as many decisions as have this error.

    Parameters
    ----------
    value : float [...]
        In [0, 1]; NaN where undefined.
    error : float [...]
        Its standard error, at least 0; NaN where it cannot be had.
    freedom : float [...]
        Degrees of freedom of `error`, at least 1; infinity for a normal distribution.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float64 [...]
        In [0, 1], around the value; NaN where the error is 0 or unknown, or the value is 0 or 1: see `one_sided`.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1).

    Notes
    -----
    For a mean over training seeds, whose error has few degrees of freedom. On the log-odds of `t_interval` a value a
    hair below 1 has a slope that makes the interval reach almost to 0: a sensitivity of 0.974 over three seeds (13, 13,
    and 12 of 13 patients) from 0.144. Wilson's formula takes the error of shares that are further from the end, too. In
    simulations both cover 93 to 100 %, this one in as little as half of the width (docs/statistics.md). The number of
    decisions is value (1 - value) / error²: Korn & Graubard, Survey Methodology 24(2), 1998; compared with others by
    Franco, Little, Louis & Slud, J Surv Stat Methodol 7(3), 2019, doi:10.1093/jssam/smy019.
    """
    _check(confidence)
    value, error = np.broadcast_arrays(np.asarray(value, dtype=np.float64), np.asarray(error, dtype=np.float64))
    usable = (value > 0) & (value < 1) & (error > 1e-12)
    share, spare = np.where(usable, value, 0.5), np.where(usable, error, 1.0)
    decisions = share * (1 - share) / spare**2
    ends = _wilson(share * decisions, decisions, student.quantile((1 + confidence) / 2, freedom))
    low, high = (np.clip(end, 0, 1) for end in ends)
    return np.where(usable, np.minimum(low, value), np.nan), np.where(usable, np.maximum(high, value), np.nan)


def one_sided(
    value: np.ndarray, carriers: np.ndarray, confidence: float, scale: Scale, *, proportion: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of a value at an end of its range, which no draw of the same patients can move.

    Parameters
    ----------
    value : float [...]
        A metric; anything but an end of its range has no interval here.
    carriers : float [...]
        Independent patients that the value rests on: the denominator of a proportion, else the rarer side.
    confidence : float
        In (0, 1).
    scale : {"share", "correlation", "loss"}
        As for `t_interval`. A loss of 0 has no bound: one patient can cost any amount.
    proportion : bool
        Whether the value is a proportion of `carriers`.

    Returns
    -------
    low, high : float64 [...]
        One of them is the value; NaN where there is no interval.

    Notes
    -----
    For a proportion the interval of Wilson (12 of 12: 0.758 to 1). Else what is right for every one of n patients is
    right for a share of at least ((1 - confidence) / 2) ** (1 / n) of them (Clopper & Pearson, Biometrika 26(4), 1934,
    doi:10.1093/biomet/26.4.404); a ranking in which that share of the positives lies above all negatives has at least
    that AUROC. A correlation takes the same bound on the scale from -1 to 1.
    """
    _check(confidence)
    value, n = np.broadcast_arrays(np.asarray(value, dtype=np.float64), np.asarray(carriers, dtype=np.float64))
    bottom = -1.0 if scale == "correlation" else 0.0
    upper, lower = np.abs(value - 1) <= 1e-12, np.abs(value - bottom) <= 1e-12
    size = np.maximum(n, 1)
    bound = wilson(size, size, confidence)[0] if proportion else ((1 - confidence) / 2) ** (1 / size)
    bound = bound if scale == "share" else 2 * bound - 1
    opposite = 1 + bottom - bound
    known = (n > 0) & (scale != "loss")
    low = np.where(known & upper, bound, np.where(known & lower, bottom, np.nan))
    high = np.where(known & upper, 1.0, np.where(known & lower, opposite, np.nan))
    return low, high


def mean_freedom(errors: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Find the degrees of freedom of the standard error of a mean over classes.

    Parameters
    ----------
    errors : float [..., K]
        Standard error of each class in the mean; NaN for the others.
    freedom : float [..., K]
        Degrees of freedom of each.

    Returns
    -------
    float64 [...]
        At least 1. Those of Satterthwaite (Biometrics Bulletin 2(6), 1946, doi:10.2307/3002019), as if the classes were
        independent: a mean that rests on one class of few patients is known as well as that class.
    """
    parts = np.where(np.isnan(errors), 0, errors) ** 2
    below = (parts**2 / freedom).sum(axis=-1)
    effective = np.divide(parts.sum(axis=-1) ** 2, below, out=np.full(below.shape, np.inf), where=below > 0)
    return np.maximum(effective, 1)


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must be between 0 and 1")


def nested_error(
    values: np.ndarray, draws: np.ndarray, freedom: np.ndarray | float = np.inf, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Standard error of what a configuration is expected to reach: over the seeds and over the patients.

    Parameters
    ----------
    values : float [S, ...]
        A statistic of S training runs on the whole sample.
    draws : float [B, S, ...]
        The same under draws of patients (`metric_draws`).
    freedom : float [...]
        Degrees of freedom of the part of the patients; infinity for many.
    seed : int
        Of `nested_draws`.

    Returns
    -------
    error, freedom : float64 [...]
        Standard deviation of the nested draws, NaN where the mean over seeds is undefined or fewer than half of the
        draws are defined; and its degrees of freedom.

    Raises
    ------
    ValueError
        If the shapes do not fit, or there is one training only.

    Notes
    -----
    Percentiles of nested draws cannot reach beyond the S values at hand where seeds make most of the difference, and
    with three seeds miss the truth several times too often. The interval is therefore made from the standard deviation
    of the nested draws and the t distribution, with the degrees of freedom of Satterthwaite (Biometrics Bulletin 2(6),
    1946, doi:10.2307/3002019): S - 1 for the variance over seeds, `freedom` for the variance over patients.
    """
    values, draws = np.asarray(values, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    if draws.shape[1:] != values.shape:
        raise ValueError(f"values {values.shape} and draws {draws.shape}; expected [S, ...] and [B, S, ...]")
    error = spread(nested_draws(draws, seed))
    of_patients = spread(draws.mean(axis=1)) ** 2
    of_seeds = np.maximum(error**2 - of_patients, 0)
    below = of_seeds**2 / (len(values) - 1) + of_patients**2 / freedom
    together = np.divide(error**4, below, out=np.full(error.shape, np.inf), where=below > 0)
    return np.where(np.isnan(values.mean(axis=0)), np.nan, error), np.maximum(together, 1)


def spread(draws: np.ndarray) -> np.ndarray:
    """Standard deviation over the defined draws.

    Parameters
    ----------
    draws : float [B, ...]
        NaN where undefined.

    Returns
    -------
    float64 [...]
        With ddof 1; NaN where fewer than half of the draws (or than 2) are defined.
    """
    defined = ~np.isnan(draws)
    n = defined.sum(axis=0)
    mean = np.where(defined, draws, 0).sum(axis=0) / np.maximum(n, 1)
    squares = (np.where(defined, draws - mean, 0) ** 2).sum(axis=0)
    enough = (2 * n >= len(draws)) & (n > 1)
    return np.where(enough, np.sqrt(squares / np.maximum(n - 1, 1)), np.nan)


def wilson(successes: np.ndarray | int, n: np.ndarray | int, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Interval of Wilson for a share, such as an accuracy, of images taken for independent.

    It ignores that images of one patient resemble each other, so that with several images per patient it is too narrow:
    a reference beside the patient bootstrap, as published work mostly states it, and not a replacement. It suits
    shares only; for MCC or F1, which are none, use the bootstrap.

    Parameters
    ----------
    successes : int [...]
        Images that were right, 0 to `n`.
    n : int [...]
        Images.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float64 [...]
        In [0, 1]; NaN where n = 0.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1) or successes lie outside [0, n].

    Notes
    -----
    Wilson, "Probable inference, the law of succession, and statistical inference", J Am Stat Assoc 22(158), 1927,
    doi:10.1080/01621459.1927.10502953.
    """
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must be between 0 and 1")
    if ((k < 0) | (k > n)).any():
        raise ValueError("successes outside 0 to n")
    some = n > 0
    low, high = _wilson(k, np.where(some, n, 1), ndtri((1 + confidence) / 2))
    # At the ends the formula is exactly 0 or 1 but for rounding.
    low, high = np.where(k == 0, 0, low), np.where(k == n, 1, high)
    return np.where(some, low, np.nan), np.where(some, high, np.nan)


def _wilson(k: np.ndarray, n: np.ndarray, z: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares that `k` of `n`, whole numbers or not, are `z` of their own standard errors away from."""
    centre = (k + z**2 / 2) / (n + z**2)
    reach = z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    return centre - reach, centre + reach
