"""What trials are compared by: the metric of ``train.select``, of validation images, on all patients and under draws.

The metrics are those that training chooses an epoch by, and have their definitions. What a training run chooses by
validation before it is scored (the thresholds of masks) it chooses anew in every draw, by the patients drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics.places import best_places
from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted, ratio
from pipeline.uncertainty.bootstrap import metric_draws
from pipeline.uncertainty.optimism import Measured, Sides
from pipeline.uncertainty.support import MIN_PATIENTS, support

Array = NDArray[np.float64]
_DRAWS = 256
"""Draws in which thresholds are chosen at once: each takes 2 KiB a structure."""


_OF_CLASSES = {"auroc": "auroc", "macro_f1": "f1", "qwk": "overall_qwk"}


def of_classes(
    metric: str, task: str, targets: np.ndarray, logits: np.ndarray, patients: np.ndarray, ordered: bool = False
) -> Measured:
    """Measure classifications.

    Parameters
    ----------
    metric : {"auroc", "macro_f1", "qwk"}
        The first two are means over classes; a class has no F1 where no image has it.
    task : {"multilabel", "multiclass"}
        Of the data set.
    targets : uint8 or float [N, K]
        0/1, NaN where not known.
    logits : float [R, N, K]
        Of R training runs.
    patients : str [N]
        Whose images they are.
    ordered : bool
        Whether the classes are grades.
    """
    distinct, index = np.unique(patients, return_inverse=True)
    scored = Scored(task, targets, logits, None, index, len(distinct), ordered)
    of = METRICS[_OF_CLASSES[metric]]
    macro = of.aggregate == "macro"

    def by_class(values: Array) -> Array:
        return values[..., :-1] if macro else values

    def drawn(counts: np.ndarray) -> Array:
        return by_class(metric_draws(scored, {metric: of}, counts)[metric])

    def sides(counts: np.ndarray, left_out: np.ndarray) -> Sides:
        return drawn(counts), drawn(left_out)

    whole = by_class(measure(of, Weighted(scored, None, False)))[0]
    limits = (-1.0, 1.0) if of.scale == "correlation" else (0.0, 1.0)
    return Measured(whole, sides, np.asarray(patients), support(of, scored).refused[-1], limits)


def of_numbers(metric: str, truth: np.ndarray, values: np.ndarray, patients: np.ndarray) -> Measured:
    """Measure predicted numbers.

    Parameters
    ----------
    metric : {"mae", "rmse"}
        In the unit of the truth.
    truth, values : float [N], [R, N]
        Of images, and as R training runs predict it.
    patients : str [N]
        Whose images they are.
    """
    squares = metric == "rmse"
    error = np.abs(np.asarray(values, np.float64) - truth)
    sums, images = (
        _of_patients((error**2 if squares else error).T, patients),
        _of_patients(np.ones(len(truth)), patients),
    )

    def drawn(weights: np.ndarray) -> Array:
        weighted = weights.astype(np.float64)
        number = np.broadcast_to((weighted @ images)[:, None], (len(weighted), len(error)))
        means = ratio(weighted @ sums, number)
        return (np.sqrt(means) if squares else means)[..., None]

    def sides(counts: np.ndarray, left_out: np.ndarray) -> Sides:
        return drawn(counts), drawn(left_out)

    whole = drawn(np.ones((1, len(images))))[0]
    return Measured(whole, sides, np.asarray(patients), _too_few(len(images)), (0.0, np.inf), False, squares)


def of_masks(curves: np.ndarray, patients: np.ndarray) -> Measured:
    """Measure masks by their mean Dice over the images that have a structure.

    Parameters
    ----------
    curves : float [R, N, K, T]
        Dice of each mask of R training runs at every threshold, the lowest of which is never chosen, as
        `pipeline.segmenting.probabilities.dice_curves` gives it: NaN where an image does not have the structure.
    patients : str [N]
        Whose images they are.
    """
    known = ~np.isnan(curves[0, :, :, 0])
    images = _of_patients(known.astype(np.float64), patients)

    def means(sums: Array, weights: np.ndarray) -> Array:
        """Average [P, K, T] over the images of the patients: [B, K, T]."""
        weighted = weights.astype(np.float64)
        total = (weighted @ sums.reshape(len(sums), -1)).reshape(len(weighted), *sums.shape[1:])
        return ratio(total, np.broadcast_to((weighted @ images)[..., None], total.shape))

    def sides(counts: np.ndarray, left_out: np.ndarray) -> Sides:
        inside, outside = (np.full((len(counts), len(curves), curves.shape[2]), np.nan) for _ in range(2))
        for run, of in enumerate(curves):
            sums = _of_patients(np.nan_to_num(of[..., 1:].astype(np.float64)), patients)
            for start in range(0, len(counts), _DRAWS):
                some = slice(start, start + _DRAWS)
                chosen = means(sums, counts[some])
                at = best_places(chosen)[..., None]
                inside[some, run] = np.take_along_axis(chosen, at, -1)[..., 0]
                outside[some, run] = np.take_along_axis(means(sums, left_out[some]), at, -1)[..., 0]
        return inside, outside

    everyone = np.ones((1, len(images)))
    whole = sides(everyone, everyone)[0][0]
    return Measured(whole, sides, np.asarray(patients), _too_few(int((images.sum(1) > 0).sum())))


def _of_patients(values: Array, patients: np.ndarray) -> Array:
    """Add up [N, ...] over the images of each patient, in sorted order: [P, ...]."""
    distinct, index = np.unique(patients, return_inverse=True)
    sums = np.zeros((len(distinct), *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums


def _too_few(patients: int) -> str:
    return f"fewer than {MIN_PATIENTS} patients ({patients})" if patients < MIN_PATIENTS else ""
