"""The interval of every metric, by one rule.

A value has the interval of its standard error over draws of patients, on the scale on which it is unbounded, by the t
distribution with as many degrees of freedom as there are patients that carry it; a mean over seeds, of the decisions of
a class or of all, has Wilson's of that error. A value at the end of its range, which no draw can move, has the
one-sided bound of its number of patients. The calibration error, which noise inflates, has no interval: none of those
in use holds its level. What too few patients carry has none either.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from pipeline.metrics.registry import Metric
from pipeline.uncertainty.intervals import (
    mean_freedom,
    nested_error,
    one_sided,
    score_interval,
    spread,
    t_interval,
)
from pipeline.uncertainty.support import Support


def metric_intervals(
    metric: Metric, values: np.ndarray, draws: np.ndarray, support: Support, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of a metric of S models, over patients.

    Parameters
    ----------
    metric : Metric
        What was measured.
    values : float [S, C]
        On the whole sample, columns as `registry.columns` names them; NaN where undefined.
    draws : float [B, S, C]
        The same under draws of patients (`bootstrap.metric_draws`).
    support : Support
        What the values rest on. Refused columns have no interval.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float64 [S, C]
        Around the value and inside the metric's range; NaN where there is no interval: refused, undefined, defined in
        fewer than half of the draws, or of a metric that noise inflates.
    """
    if metric.inflates:
        nothing = np.full(values.shape, np.nan)
        return nothing, nothing
    error = spread(draws)
    low, high = _bounds(metric, values, error, support.freedom, support.patients, confidence, support.end)
    low = _lowered(low, values, draws) if metric.needs == "curve" else low
    usable = ~np.isnan(error) & ~np.array([bool(text) for text in support.refused])
    return np.where(usable, low, np.nan), np.where(usable, high, np.nan)


def total_intervals(
    metric: Metric, values: np.ndarray, draws: np.ndarray, support: Support, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of what a configuration is expected to reach: on other patients, under other seeds.

    Parameters
    ----------
    metric, values, draws, support, confidence
        As for `metric_intervals`, of S >= 2 training seeds.

    Returns
    -------
    low, high : float64 [C]
        Around the mean over seeds; NaN where there is no interval.
    """
    mean, patients = values.mean(axis=0), support.fewest
    freedom = np.maximum(patients - 1, 1)
    if metric.aggregate == "macro":
        freedom[-1] = mean_freedom(spread(draws.mean(axis=1))[:-1], freedom[:-1])
    error, together = nested_error(values, draws, freedom)
    low, high = _bounds(metric, mean, error, together, patients, confidence, support.end, seeds=True)
    low = _lowered(low, mean, draws.mean(axis=1)) if metric.needs == "curve" else low
    usable = ~np.isnan(error) & ~np.array([bool(text) for text in support.refused])
    return np.where(usable, low, np.nan), np.where(usable, high, np.nan)


def share_interval(value: float, draws: np.ndarray, patients: int, confidence: float) -> tuple[float, float]:
    """Interval of one share, such as of errors that all seeds make.

    Parameters
    ----------
    value : float
        On the whole sample, in [0, 1]; NaN gives no interval.
    draws : float [B]
        The same under draws of patients; NaN where undefined.
    patients : int
        That the share rests on.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float
    """
    error = spread(draws[:, None])[0]
    inner = t_interval(np.asarray(value), error, max(patients - 1, 1), confidence, "share")
    outer = one_sided(np.asarray(value), np.asarray(patients), confidence, "share", proportion=True)
    low, high = inner if np.isnan(outer[0]) or np.isnan(error) else outer
    return float(low), float(high)


def _bounds(
    metric: Metric,
    values: np.ndarray,
    error: np.ndarray,
    freedom: np.ndarray,
    patients: np.ndarray,
    confidence: float,
    end: float,
    seeds: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return intervals [..., C] from standard errors, those at the ends of the range and of the mean included.

    With `seeds` the errors are those of means over training seeds, and the last of `freedom` is that of the mean over
    classes.
    """
    low_end, high_end = one_sided(values, patients, confidence, metric.scale, proportion=metric.proportion)
    if metric.aggregate == "macro":
        # A mean at the end of the range is one of classes that all lie there: that of their bounds is a bound of it.
        at_end = ~np.isnan(low_end[..., -1])
        counted = ~np.isnan(values[..., :-1])
        for ends in (low_end, high_end):
            mean = np.where(counted, ends[..., :-1], 0).sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)
            ends[..., -1] = np.where(at_end, mean, np.nan)
        if not seeds:
            freedom = np.array(np.broadcast_to(freedom, error.shape), dtype=np.float64)
            freedom[..., -1] = mean_freedom(error[..., :-1], freedom[..., :-1])
    widened = _near_one(values, error, patients) if metric.needs == "scores" and metric.scale == "share" else error
    if metric.aggregate == "macro":  # many classes hold a mean away from the end
        widened = np.concatenate([widened[..., :-1], error[..., -1:]], axis=-1)
    low, high = t_interval(values, widened, freedom, confidence, metric.scale, end)
    if seeds and metric.needs == "decisions" and metric.scale == "share":
        single = np.s_[..., :-1] if metric.aggregate == "macro" else np.s_[...]  # a mean over classes is no share
        low[single], high[single] = (end[single] for end in score_interval(values, error, freedom, confidence))
    if metric.aggregate == "macro":
        below, above = _unmoved(values, error, low_end, high_end)
        low[..., -1] = values[..., -1] - np.hypot(values[..., -1] - low[..., -1], below)
        high[..., -1] = values[..., -1] + np.hypot(high[..., -1] - values[..., -1], above)
        bottom, top = {"share": (0.0, 1.0), "correlation": (-1.0, 1.0)}.get(metric.scale, (0.0, end))
        low[..., -1], high[..., -1] = np.maximum(low[..., -1], bottom), np.minimum(high[..., -1], top)
    fixed = ~np.isnan(low_end) & ~(error > 1e-12)
    if metric.aggregate == "macro":
        fixed[..., -1] = ~np.isnan(low_end[..., -1])
    return np.where(fixed, low_end, low), np.where(fixed, high_end, high)


def _near_one(values: np.ndarray, error: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Enlarge the error of an AUROC that few pairs hold away from an end of its range.

    At 1 no draw moves it, and its bound is that of the number of patients; a hair below, the draws move it by one or
    two patients, and their error is far too small. On the scale of the log-odds 4 (2 AUROC - 1)^16 / n is added to its
    square: nothing up to an AUROC of 0.85, and at 0.99 what brings the coverage from 0.92 to 0.95 (docs/statistics.md).
    """
    near = 4 * (2 * values - 1) ** 16 / np.maximum(patients, 1)
    return np.where(error > 1e-12, np.sqrt(error**2 + near * (values * (1 - values)) ** 2), error)


def _lowered(low: np.ndarray, values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Let the interval of an average precision, or of the best F1 of a curve, reach down by what chance raises it.

    Among few positives chance raises the precision at the first of them more than it lowers it, and the best of many
    thresholds is the best by chance as well. Draws of the sample lie above its value by the same, though only by about
    half as much as the value lies above the truth (average precision: 0.015 for 0.028 in a mean over 14 classes, 0.027
    for 0.061 of one class with 10 positive patients; docs/statistics.md).
    """
    defined = ~np.isnan(draws)
    centre = np.where(defined, draws, 0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    raised = 2 * np.maximum(centre - values, 0)
    inside = (low > 0) & (low < values) & (values < 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(inside, expit(logit(low) - raised / (values * (1 - values))), low)


def _unmoved(
    values: np.ndarray, error: np.ndarray, low_end: np.ndarray, high_end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far a mean over classes may lie below and above, for the classes that no draw moves.

    They are at an end of their range, and the draws say nothing of their error; their one-sided bounds do. The limits
    of a sum are recovered from those of its parts, as squares (Zou & Donner, Stat Med 27(10), 2008,
    doi:10.1002/sim.3095).
    """
    n = np.maximum((~np.isnan(values[..., :-1])).sum(axis=-1), 1)
    still = (error <= 1e-12)[..., :-1]
    sides = (values - low_end, high_end - values)
    below, above = (np.where(still, np.nan_to_num(side[..., :-1]), 0) for side in sides)
    return np.sqrt((below**2).sum(axis=-1)) / n, np.sqrt((above**2).sum(axis=-1)) / n
