"""Out-of-fold results: every image scored once per seed and deal by networks that have never seen its patient.

Outputs of networks that were trained on different folds do not lie on one scale. So images are ranked within a fold
only: AUROC is the share of pairs, of a positive and a negative of the same fold, that are ranked right, with the pairs
of all folds added up. Decisions and calibrated probabilities are made by what each fold's own validation part chose,
and are pooled over images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.metrics.calibration import fit
from pipeline.metrics.registry import METRICS, Metric, measure, metrics_of
from pipeline.metrics.scored import Scored, Weighted, ratio
from pipeline.metrics.thresholds import MAX_F1, operating_points
from pipeline.scoring.part import CALIBRATED, View
from pipeline.scoring.rows import COLUMNS, metric_rows, row
from pipeline.study.predictions import Predictions
from pipeline.uncertainty import student
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.comparisons import Measured
from pipeline.uncertainty.metric_intervals import metric_intervals, total_intervals
from pipeline.uncertainty.support import support

PART = "out_of_fold"
RANKED = ("auroc", "average_precision")
DECIDED = {
    "multilabel": ("f1", "sensitivity", "specificity", "precision", "mcc"),
    "multiclass": (
        "f1",
        "sensitivity",
        "overall_accuracy",
        "overall_balanced_accuracy",
        "overall_mcc",
        "overall_kappa",
    ),
}
GRADED = ("overall_qwk", "overall_grades_off", "overall_within_one")
"""Of ordered classes, too."""


class Fold(NamedTuple):
    """A tested fold: its number over all deals, and the predictions of the networks trained without it."""

    number: int
    predictions: Predictions


class OutOfFold(NamedTuple):
    """A configuration over folds.

    Parameters
    ----------
    metrics : DataFrame
        `pipeline.scoring.rows.COLUMNS`, part "out_of_fold", one row per seed (and "mean"), class and metric.
    measured : Measured
        The AUROC within folds, for `pipeline.uncertainty.comparisons.compare_measured`.
    folds : float64 [F]
        Macro AUROC of each fold, mean over seeds; NaN where undefined.
    validation : float64 [F]
        The same of the validation parts, which chose.
    right : DataFrame
        row, class ("overall" for single-label), runs (decisions about the image, over seeds and deals), right (how
        many of them were right).
    """

    metrics: pd.DataFrame
    measured: Measured
    folds: np.ndarray
    validation: np.ndarray
    right: pd.DataFrame


class FoldSpread(NamedTuple):
    """A mean over folds, their SD, the interval of Nadeau & Bengio, and p of a mean (of differences) of 0."""

    mean: float
    sd: float
    low: float
    high: float
    p: float


def nadeau_bengio(
    values: np.ndarray, test_share: float, confidence: float = 0.95, ends: tuple[float, float] = (-np.inf, np.inf)
) -> FoldSpread:
    """Return the mean of values of folds, and what may be said of it though the folds share training images.

    Parameters
    ----------
    values : float [F]
        A metric, or a difference of two, of each fold of every deal.
    test_share : float
        Tested images as a share of training images, of one fold: 1 / (k - 1) for k folds.
    confidence : float
        In (0, 1).
    ends : float, float
        Between which the mean lies, and with it its interval.

    Returns
    -------
    FoldSpread
        NaN throughout but for ``mean`` where there are fewer than two folds, or a value is missing.

    Notes
    -----
    The variance of the mean is estimated as (1 / F + `test_share`) s², not s² / F, with F - 1 degrees of freedom:
    Nadeau & Bengio, "Inference for the generalization error", Machine Learning 52, 2003, doi:10.1023/A:1024068626366;
    over repeated folds Bouckaert & Frank, PAKDD 2004, doi:10.1007/978-3-540-24775-3_3.
    """
    n, mean = len(values), float(np.mean(values)) if len(values) else np.nan
    if n < 2 or not np.isfinite(values).all():
        return FoldSpread(mean, *[np.nan] * 4)
    sd = float(np.std(values, ddof=1))
    error = np.sqrt((1 / n + test_share) * sd**2)
    reach = float(student.quantile((1 + confidence) / 2, n - 1)) * error
    p = float(2 * student.upper_tail(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0)
    return FoldSpread(mean, sd, max(mean - reach, ends[0]), min(mean + reach, ends[1]), p)


def common_seeds(folds: Sequence[Fold]) -> list[int]:
    """Return the seeds under which every fold has been trained, in the order of the first."""
    return [
        seed for seed in folds[0].predictions.seeds.tolist() if all(seed in fold.predictions.seeds for fold in folds)
    ]


@threadpool_limits.wrap(limits=1, user_api="blas")
def out_of_fold(folds: Sequence[Fold], *, draws: int = 2000, confidence: float = 0.95, seed: int = 0) -> OutOfFold:
    """Score a configuration over folds.

    Parameters
    ----------
    folds : sequence of Fold
        Of one configuration, at least one.
    draws, confidence, seed : int, float, int
        Of the bootstrap, which draws patients of all folds together. The same patients have the same draws, so that
        configurations are compared draw by draw.

    Returns
    -------
    OutOfFold

    Raises
    ------
    ValueError
        If no seed was trained on every fold.
    """
    seeds = common_seeds(folds)
    if not seeds:
        raise ValueError("no training seed has results on every fold")
    first = folds[0].predictions
    task, classes, labels = first.task, [str(name) for name in first.classes], [str(s) for s in seeds]
    parts = [_Part(fold.predictions, seeds) for fold in folds]
    counts, index = patient_draws(np.concatenate([part.patients for part in parts]), draws, seed)
    ends = np.cumsum([len(part.patients) for part in parts])[:-1]
    groups, whole = np.split(index, ends), (index, counts.shape[1])

    truth, ordered = _joined(parts, "targets"), first.ordered
    decided = Scored(task, truth, _joined(parts, "decided", 1), _points(parts), *whole, ordered=ordered)
    calibrated = Scored(task, truth, _joined(parts, "calibrated", 1), None, *whole)
    views = [
        View(decided, {key: METRICS[key] for key in (*DECIDED[task], *(GRADED if ordered else ()))}),
        View(calibrated, {k: m for k, m in CALIBRATED[task].items() if not m.inflates}),
    ]
    rows: list[dict[str, Any]] = []
    metrics = {key: metrics_of(task)[key] for key in RANKED}
    ranked = _ranked(task, parts, groups, counts, metrics)
    for key, metric in metrics.items():
        rows += _rows(metric, *ranked[key], decided, classes, labels, confidence)
    for view in views:
        resampled = metric_draws(view.scored, view.metrics, counts)
        rows += metric_rows(view, PART, classes, labels, True, resampled, confidence)
    table = pd.DataFrame(rows, columns=COLUMNS)
    # A class that has no threshold in one fold has none that counts for all.
    rests_on = support(metrics["auroc"], decided)
    measured = Measured(*ranked["auroc"], _joined(parts, "logits", 1), rests_on.refused, rests_on.freedom[0].tolist())
    return OutOfFold(
        table,
        measured,
        np.array([_macro(task, part.targets, part.logits) for part in parts]),
        np.array([_macro(task, part.val_targets, part.val_logits) for part in parts]),
        _right(parts, decided, classes),
    )


class _Part:
    """The tested part of a fold: logits of the seeds, decisions as logits of -1 and 1, and calibrated logits."""

    def __init__(self, predictions: Predictions, seeds: Sequence[int]) -> None:
        places = [predictions.seeds.tolist().index(seed) for seed in seeds]
        task = predictions.task
        self.rows, self.targets = predictions.test_rows, predictions.test_targets
        self.patients = predictions.test_patients.astype(str)
        self.logits = predictions.test_logits[places].astype(np.float64)
        self.val_logits, self.val_targets = predictions.val_logits[places], predictions.val_targets
        points = operating_points(task, self.val_targets, self.val_logits)
        self.undecided = np.isnan(points[MAX_F1]) if points else np.zeros((len(seeds), self.targets.shape[1]), bool)
        scored = Scored(task, self.targets, self.logits, points)
        self.decided = np.where(scored.decisions(), 1.0, -1.0)
        self.decided[scored.broken] = np.nan
        fits = [fit(task, logits, self.val_targets) for logits in self.val_logits]
        self.calibrated = np.stack([of.apply(logits) for of, logits in zip(fits, self.logits)])


def _joined(parts: Sequence[_Part], name: str, axis: int = 0) -> np.ndarray:
    return np.concatenate([getattr(part, name) for part in parts], axis=axis)


def _points(parts: Sequence[_Part]) -> dict[str, np.ndarray] | None:
    """Return the threshold at which logits of -1 and 1 are the decisions; NaN where a fold could not choose one."""
    lacking = np.any([part.undecided for part in parts], axis=0)
    return {MAX_F1: np.where(lacking, np.nan, 0.5)}


def _ranked(
    task: str,
    parts: Sequence[_Part],
    groups: Sequence[np.ndarray],
    counts: np.ndarray,
    metrics: dict[str, Metric],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return values [S, K + 1] and draws [B, S, K + 1] of metrics that rank, folds weighed by what they rank."""
    sums: dict[str, list[list[Any]]] = {key: [[0.0, 0.0], [0.0, 0.0]] for key in metrics}
    for part, group in zip(parts, groups):
        scored = Scored(task, part.targets, part.logits, None, group, counts.shape[1])
        once, drawn = Weighted(scored), _class_weights(scored, counts)
        resampled = metric_draws(scored, metrics, counts)
        for key, metric in metrics.items():
            sides = (measure(metric, once), _class_weights(scored, None)), (resampled[key], drawn)
            for side, (values, (positives, negatives)) in enumerate(sides):
                weight = positives * negatives if key == "auroc" else positives * (negatives > 0)
                values = values[..., :-1]
                known = np.isfinite(values) | (weight > 0)  # a network without finite logits stays undefined
                sums[key][0][side] = sums[key][0][side] + np.where(known, weight * values, 0.0)
                sums[key][1][side] = sums[key][1][side] + weight
    result = {}
    for key, (top, bottom) in sums.items():
        values, resampled_values = (ratio(a, np.broadcast_to(b, np.shape(a))) for a, b in zip(top, bottom))
        fixed = ~np.isnan(values[0])
        with_macro = []
        for of in (values, resampled_values):
            n = np.maximum(fixed.sum(axis=-1), 1)
            mean = np.where(fixed, of, 0.0).sum(axis=-1) / n
            mean = np.where(fixed.any(axis=-1), mean, np.nan)
            with_macro.append(np.concatenate([of, mean[..., None]], axis=-1))
        result[key] = with_macro[0][0], with_macro[1]
    return result


def _class_weights(scored: Scored, counts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of positives and negatives [B, 1, K] under draws; without any, of the images as they are."""
    weights = np.ones((1, scored.n_groups)) if counts is None else counts.astype(np.float64)
    positives, negatives = (weights @ scored.class_counts[:, side] for side in (0, 1))
    return positives[:, None], negatives[:, None]


def _rows(
    metric: Metric,
    values: np.ndarray,
    draws: np.ndarray,
    scored: Scored,
    classes: list[str],
    labels: list[str],
    confidence: float,
) -> list[dict[str, Any]]:
    """Return the rows of a metric that ranks within folds; `scored` is whose images they are."""
    rests_on = support(metric, scored)
    low, high = metric_intervals(metric, values, draws, rests_on, confidence)
    mean, of_mean = values.mean(axis=0), (low[0], high[0])
    if len(labels) > 1:
        of_mean = total_intervals(metric, values, draws, rests_on, confidence)
    per_class = scored.truth.sum(axis=0).tolist()
    rows = []
    for label, value, between in [*zip(labels, values, zip(low, high)), ("mean", mean, of_mean)]:
        for c, name in enumerate([*classes, "macro"]):
            n_positive = sum(per_class) if name == "macro" else per_class[c]
            n = scored.n_images if name == "macro" else int(scored.n_known[c])
            note = "no pair of a positive and a negative in one fold" if np.isnan(value[c]) else rests_on.refused[c]
            ends = float(between[0][c]), float(between[1][c])
            rows.append(row(label, PART, name, metric.name, float(value[c]), n, n_positive, note, ends))
    return rows


def macro_auroc(predictions: Predictions, part: Literal["val", "test"]) -> float:
    """Return the macro AUROC of a part of predictions, mean over their seeds; NaN where one is undefined."""
    return _macro(predictions.task, getattr(predictions, f"{part}_targets"), getattr(predictions, f"{part}_logits"))


def _macro(task: str, targets: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean over seeds of the macro AUROC."""
    return float(measure(METRICS["auroc"], Weighted(Scored(task, targets, logits), curves=False))[0, :, -1].mean())


def _right(parts: Sequence[_Part], decided: Scored, classes: Sequence[str]) -> pd.DataFrame:
    """Count for each image and class how many decisions there were, and how many were right."""
    rows = _joined(parts, "rows")
    agrees: np.ndarray = np.asarray(~np.logical_xor(decided.decisions(), decided.truth[None]), dtype=bool)
    overall = decided.task == "multiclass"
    names = ["overall"] if overall else list(classes)
    right = np.asarray(agrees.all(axis=-1, keepdims=True)) if overall else agrees
    usable = np.repeat(~decided.broken[:, None], len(names), axis=1)
    if decided.task == "multilabel":
        usable &= ~decided.undecided()
    tables = []
    for k, name in enumerate(names):
        known = slice(None) if overall else decided.rows_of(k)
        kept = right[usable[:, k], :, k][:, known]
        table = pd.DataFrame({"row": rows[known], "class": name, "runs": len(kept), "right": kept.sum(axis=0)})
        tables.append(table.groupby(["row", "class"], as_index=False, sort=True).sum())
    return pd.concat(tables, ignore_index=True)
