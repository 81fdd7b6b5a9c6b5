"""Rows of metrics.csv about what probabilities of the test part are worth: slope, intercept, and the noise of ECE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.metrics.recalibration import error_floor, group_errors, recalibrations
from pipeline.metrics.scored import Scored
from pipeline.scoring.part import View
from pipeline.scoring.rows import row
from pipeline.uncertainty import student
from pipeline.uncertainty.support import class_refusals

FLOOR = "expected of probabilities that mean what they say, from noise alone"


def calibration_on_test(
    view: View, suffix: str, classes: Sequence[str], labels: Sequence[str], with_mean: bool, confidence: float
) -> list[dict[str, Any]]:
    """Return the rows of one view of the test part.

    Parameters
    ----------
    view : View
        Predictions of the test part, as trained or calibrated, their images grouped by patient.
    suffix : str
        Of the metrics' names: "" or "_calibrated".
    classes : sequence of str [K]
        Class names.
    labels : sequence of str [S]
        Names of the seeds or models.
    with_mean : bool
        Whether the mean over `labels` has rows, too.
    confidence : float
        Of the intervals, in (0, 1).

    Returns
    -------
    list of dict
        Rows of `rows.COLUMNS`. "calibration_slope" and "calibration_intercept" of each class (multi-label) with
        intervals robust to several images of a patient; "ece_floor" of each class and their mean, or "overall".
    """
    scored = view.scored
    series = [*labels, "mean"] if with_mean else list(labels)
    rows = _floors(scored, suffix, classes, series, with_mean)
    if scored.task == "multilabel":
        rows += calibration_lines(scored, suffix, classes, series, with_mean, confidence)
    return rows


def _floors(
    scored: Scored, suffix: str, classes: Sequence[str], series: list[str], with_mean: bool
) -> list[dict[str, Any]]:
    likely, positives = scored.probabilities, scored.truth.sum(axis=0).tolist()
    if scored.task == "multiclass":
        names, of_class = ["overall"], np.array([[error_floor(p.max(axis=1))] for p in likely])
        counts = [sum(positives)]
    else:
        names, counts = [*classes, "macro"], [*positives, sum(positives)]
        rows = [scored.rows_of(k) for k in range(len(classes))]
        held = [bool(n) for n in scored.n_known]
        of_class = np.array([[error_floor(p[r, k]) if held[k] else np.nan for k, r in enumerate(rows)] for p in likely])
        counted = of_class if all(held) else of_class[:, held] if any(held) else of_class[:, :1]
        mean = counted.mean(axis=1, keepdims=True)
        of_class = np.concatenate([of_class, mean], axis=1)
    values = np.where(scored.broken[:, None], np.nan, of_class)
    if with_mean:
        values = np.concatenate([values, values.mean(axis=0, keepdims=True)])
    images = [scored.n_images] if scored.task == "multiclass" else [*scored.n_known.tolist(), scored.n_images]
    why = "logits are not finite" if scored.broken.any() else "no known label"
    return [
        row(s, "test", name, f"ece_floor{suffix}", v, n, count, why if np.isnan(v) else FLOOR)
        for s, by_class in zip(series, values)
        for name, v, n, count in zip(names, by_class, images, counts)
    ]


def calibration_lines(
    scored: Scored, suffix: str, classes: Sequence[str], series: list[str], with_mean: bool, confidence: float
) -> list[dict[str, Any]]:
    """Return slope and intercept of each class, of multiclass data each against all others; see `calibration_on_test`.

    `series` are the names of the models, and last "mean" if `with_mean`.
    """
    refused, n_all = class_refusals(scored), len(scored.truth)
    carriers = (scored.class_counts > 0).sum(axis=0).min(axis=0)
    rows = []
    n_models = len(scored.broken)
    pairs = scored.ranked_by.transpose(2, 0, 1).reshape(-1, n_all), np.repeat(scored.truth.T, n_models, axis=0)
    known = None if scored.known is None else np.repeat(scored.known.T, n_models, axis=0)
    fitted = recalibrations(*pairs, scored.groups, scored.n_groups, known)
    for k, name in enumerate(classes):
        n, truth, lines = int(scored.n_known[k]), scored.truth[:, k], fitted[k * n_models : (k + 1) * n_models]
        notes = [
            "logits are not finite" if broken else line.note for line, broken in zip(lines, scored.broken.tolist())
        ]
        estimates = np.array([[line.slope, line.intercept] for line in lines])
        estimates[scored.broken] = np.nan
        influence = np.stack([line.influence for line in lines])
        if with_mean:
            estimates = np.concatenate([estimates, estimates.mean(axis=0, keepdims=True)])
            influence = np.concatenate([influence, influence.mean(axis=0, keepdims=True)])
            notes.append(", ".join(dict.fromkeys(filter(None, notes))))
        reach = student.quantile((1 + confidence) / 2, max(int(carriers[k]) - 1, 1))
        for which, metric in enumerate(("calibration_slope", "calibration_intercept")):
            for label, estimate, moved, note in zip(series, estimates[:, which], influence[:, :, which], notes):
                error = np.nan if refused[k] else float(group_errors(moved))
                between = estimate - reach * error, estimate + reach * error
                text = "; ".join(filter(None, (note, refused[k] if np.isfinite(estimate) else "")))
                rows.append(row(label, "test", name, metric + suffix, estimate, n, int(truth.sum()), text, between))
    return rows
