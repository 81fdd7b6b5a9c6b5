"""Means of scores over images, by class and over the classes, with intervals over patients and seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.registry import Scale
from pipeline.uncertainty.bootstrap import nested_draws, patient_draws
from pipeline.uncertainty.drops import Limits, of_limits
from pipeline.uncertainty.intervals import nested_error, one_sided, spread, t_interval
from pipeline.uncertainty.support import MIN_PATIENTS

FEW = f"fewer than {MIN_PATIENTS} patients"
NONE = "no image that it is defined for"
Array = NDArray[np.float64]


class Means(NamedTuple):
    """Means of a score.

    Parameters
    ----------
    whole : float64 [S, K + 1]
        By training run and class; last the mean over the classes that have one.
    drawn : float64 [B, S, K + 1]
        The same under draws of patients; NaN where a draw leaves a class without an image. B = 0 where there are fewer
        than `MIN_PATIENTS` patients.
    images, patients : int64 [K + 1]
        That the means are over; of the mean over the classes, those of any.
    """

    whole: Array
    drawn: Array
    images: NDArray[np.int64]
    patients: NDArray[np.int64]


class Interval(NamedTuple):
    """Values with their intervals [K + 1]; NaN where there is none."""

    value: Array
    low: Array
    high: Array


def means(values: Array, patients: NDArray[np.str_], draws: int, seed: int) -> Means:
    """Average scores over images.

    Parameters
    ----------
    values : float64 [S, N, K]
        Of training runs, images and classes; NaN where a score is undefined, for all runs alike.
    patients : str [N]
        Of each image.
    draws, seed : int
        See `pipeline.uncertainty.bootstrap.patient_draws`.
    """
    known = ~np.isnan(values[0])
    distinct, index = np.unique(patients, return_inverse=True)
    of_patient = np.zeros((len(distinct), values.shape[2]))
    np.add.at(of_patient, index, known)
    sums = np.zeros((len(distinct), *values[:, 0].shape))
    np.add.at(sums, index, np.nan_to_num(values).swapaxes(0, 1))
    whole = _with_macro(_ratio(sums.sum(0), of_patient.sum(0)), known.any(0))
    images = np.append(known.sum(0), known.any(1).sum())
    owners = np.append((of_patient > 0).sum(0), (of_patient > 0).any(1).sum())
    drawn = np.full((0, *whole.shape), np.nan)
    if len(distinct) >= MIN_PATIENTS:
        counts = patient_draws(patients, draws, seed)[0].astype(np.float64)
        shares = np.tensordot(counts, sums, 1), (counts @ of_patient)[:, None]
        drawn = _with_macro(_ratio(*shares), known.any(0))
    return Means(whole, drawn, images, owners)


def _ratio(sums: Array, numbers: Array) -> Array:
    return np.divide(sums, numbers, out=np.full(sums.shape, np.nan), where=np.broadcast_to(numbers > 0, sums.shape))


def _with_macro(of_classes: Array, defined: NDArray[np.bool_]) -> Array:
    """Add the mean over the classes that are `defined` on the whole sample: undefined where a draw loses one."""
    mean = of_classes[..., defined].mean(-1) if defined.any() else np.full(of_classes.shape[:-1], np.nan)
    return np.concatenate([of_classes, mean[..., None]], axis=-1)


def of_run(of: Means, run: int, confidence: float) -> Interval:
    """Return the means of one training run, with intervals over patients."""
    if not len(of.drawn):
        return _without(of.whole[run])
    return _bounded(of.whole[run], spread(of.drawn[:, run]), of.patients, confidence, "share")


def of_mean(of: Means, confidence: float, seed: int) -> Interval:
    """Return the means over the training runs, with intervals over patients and, of several runs, over seeds."""
    if len(of.whole) == 1:
        return of_run(of, 0, confidence)
    value = of.whole.mean(0)
    if not len(of.drawn):
        return _without(value)
    error, freedom = nested_error(of.whole, of.drawn, np.maximum(of.patients - 1, 1), seed=seed)
    low, high = t_interval(value, error, np.maximum(freedom, 1), confidence, "share")
    return Interval(value, *_only_of_many(low, high, of.patients))


def difference(first: Means, second: Means, confidence: float, seed: int) -> Interval:
    """Return the first's means minus the second's, paired by image; intervals as of `of_mean`."""
    value = first.whole.mean(0) - second.whole.mean(0)
    if not (len(first.drawn) and len(second.drawn)):
        return _without(value)
    # Two generators: the seeds of one configuration are not those of the other.
    sides = [
        each.drawn[:, 0] if each.drawn.shape[1] == 1 else nested_draws(each.drawn, seed + place)
        for place, each in enumerate((first, second))
    ]
    return _bounded(value, spread(sides[0] - sides[1]), first.patients, confidence, "correlation")


def drop(here: Means, there: Means, confidence: float, seed: int) -> Interval:
    """Return the means there minus those here, of the same training runs on images of other patients.

    See `pipeline.uncertainty.drops`.
    """
    value = there.whole.mean(0) - here.whole.mean(0)
    if not (len(here.drawn) and len(there.drawn)):
        return _without(value)
    sides = []
    for of in (here, there):
        mean = of.whole.mean(0)
        alone = _bounded(mean, spread(of.drawn.mean(1)), of.patients, confidence, "share")
        sides.append(Limits(*alone, of.whole, of.drawn, of.patients))
    return Interval(*of_limits(sides[0], sides[1], 1.0, confidence, seed))


def _bounded(value: Array, error: Array, patients: NDArray[np.int64], confidence: float, scale: Scale) -> Interval:
    low, high = t_interval(value, error, np.maximum(patients - 1, 1), confidence, scale)
    if scale == "share":  # no draw moves a mean of 0 or 1
        ends = one_sided(value, patients.astype(np.float64), confidence, scale, proportion=True)
        low, high = (np.where(np.isnan(inner), outer, inner) for inner, outer in zip((low, high), ends))
    return Interval(value, *_only_of_many(low, high, patients))


def _only_of_many(low: Array, high: Array, patients: NDArray[np.int64]) -> tuple[Array, Array]:
    enough = patients >= MIN_PATIENTS
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def _without(value: Array) -> Interval:
    return Interval(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
