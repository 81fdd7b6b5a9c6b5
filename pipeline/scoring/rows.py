"""The rows of metrics.csv: values with their intervals and notes, thresholds and parameters of calibrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.metrics.calibration import Calibration
from pipeline.metrics.registry import columns, measure, reasons
from pipeline.metrics.thresholds import MAX_F1, MISSING, POOLED, SPECIFICITIES
from pipeline.scoring.part import PartLogits, View
from pipeline.study.unknown import known_of
from pipeline.uncertainty.metric_intervals import metric_intervals, total_intervals
from pipeline.uncertainty.support import support

COLUMNS = ["seed", "part", "class", "metric", "value", "ci_low", "ci_high", "n", "n_positive", "note"]
_HOW = {
    MAX_F1: ("threshold", "highest F1 on validation"),
    POOLED: ("threshold_pooled", "highest micro-averaged F1 of all classes on validation"),
    **{
        point: (f"threshold_at_{point}", f"lowest with specificity {value:.2f} on validation")
        for point, value in SPECIFICITIES.items()
    },
}
"""Operating point: its name in metrics.csv, and how it was chosen."""
CHOOSING = "used for choosing"
"""Note of every value of the validation part, which chose epoch and threshold and is therefore optimistic."""

NO_LEVEL = "no interval: noise inflates it, and no interval holds its level"
INFLATED = f"{NO_LEVEL}; beside it stands ece_floor"
"""Note of every calibration error of the test part."""


def row(
    seed: str,
    part: str,
    name: str,
    metric: str,
    value: float,
    n: int,
    n_positive: int,
    note: str,
    interval: tuple[float, float] = (np.nan, np.nan),
) -> dict[str, Any]:
    """Return one row of `COLUMNS`; `name` is a class, "macro" or "overall"."""
    return {
        "seed": seed,
        "part": part,
        "class": name,
        "metric": metric,
        "value": value,
        "ci_low": interval[0],
        "ci_high": interval[1],
        "n": n,
        "n_positive": n_positive,
        "note": note,
    }


def stated(value: float, low: float, high: float, note: str = "") -> str:
    """Return a value as a stage prints it: ``0.8123 [0.7811, 0.8402]``, or with the reason why it has no interval."""
    if np.isnan(value):
        return f"undefined ({note})" if note else "undefined"
    if np.isnan(low) or np.isnan(high):
        return f"{value:.4f} (no interval{f': {note}' if note else ''})"
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


def threshold_rows(
    classes: Sequence[str], labels: Sequence[str], points: Mapping[str, np.ndarray], val: PartLogits
) -> list[dict[str, Any]]:
    """Return the thresholds as rows of metrics.csv; none for multiclass, which decides without."""
    images, positives, n = _counted(val)
    rows: list[dict[str, Any]] = []
    for point, chosen in points.items():
        metric, how = _HOW[point]
        for s, label in enumerate(labels):
            missing = MISSING[point] if np.isfinite(val.logits[s]).all() else "logits are not finite"
            pooled = [("overall", chosen[s, 0], n, sum(positives))]
            rows += [
                row(label, "val", name, metric, value, known, positive, missing if np.isnan(value) else how)
                for name, value, known, positive in (
                    pooled if point == POOLED else zip(classes, chosen[s], images, positives)
                )
            ]
    return rows


def calibration_rows(
    task: str, classes: Sequence[str], labels: Sequence[str], calibrations: Sequence[Calibration], val: PartLogits
) -> list[dict[str, Any]]:
    """Return the parameters of the calibrations as rows of metrics.csv."""
    images, positives, n = _counted(val)
    rows: list[dict[str, Any]] = []
    for label, calibration in zip(labels, calibrations):
        notes = [f"not calibrated: {note}" if note else "fitted on validation" for note in calibration.notes]
        if task == "multiclass":
            value = calibration.temperature
            rows.append(row(label, "val", "overall", "temperature", value, n, sum(positives), notes[0]))
            continue
        for metric, values in (("platt_slope", calibration.slope), ("platt_intercept", calibration.intercept)):
            rows += [
                row(label, "val", name, metric, value, known, positive, note)
                for name, value, known, positive, note in zip(classes, values, images, positives, notes)
            ]
    return rows


def _counted(part: PartLogits) -> tuple[list[int], list[int], int]:
    """Return images with a known label and positives of each class, and images with any known label."""
    targets = np.asarray(part.targets)
    if (known := known_of(targets)) is None:
        return [len(targets)] * targets.shape[1], targets.astype(bool).sum(axis=0).tolist(), len(targets)
    return known.sum(axis=0).tolist(), (targets == 1).sum(axis=0).tolist(), int(known.any(axis=1).sum())


def metric_rows(
    view: View,
    part: str,
    classes: Sequence[str],
    labels: Sequence[str],
    with_mean: bool,
    draws: Mapping[str, np.ndarray] | None = None,
    confidence: float = 0.95,
) -> list[dict[str, Any]]:
    """Return the rows of one part of the data.

    Parameters
    ----------
    view : View
        Predictions of the part, and the metrics to take.
    part : str
        Its name, for the rows.
    classes : sequence of str [K]
        Class names.
    labels : sequence of str [S]
        Names of the seeds or models.
    with_mean : bool
        Whether the mean over `labels` has rows, too.
    draws : mapping of str to float [B, S, C], or None
        The metrics under draws of patients (`bootstrap.metric_draws`), for intervals; None gives none.
    confidence : float
        Of the intervals, in (0, 1).

    Returns
    -------
    list of dict
        Rows of `COLUMNS`, by metric, then seed, then class.
    """
    scored = view.scored
    images = [*scored.n_known.tolist(), scored.n_images]
    per_class = scored.truth.sum(axis=0).tolist()
    rows: list[dict[str, Any]] = []
    for key, metric in view.metrics.items():
        names = columns(metric, classes)
        values, texts = measure(metric, view.once)[0], reasons(metric, view.once)
        if view.remarks is not None:
            texts = [["; ".join(filter(None, pair)) for pair in zip(*both)] for both in zip(texts, view.remarks)]
        series = list(labels)
        drawn = None if draws is None or metric.inflates else draws[key]
        if with_mean:
            texts.append([_mean_note(values[:, c], [t[c] for t in texts], labels) for c in range(len(names))])
            values = np.concatenate([values, values.mean(axis=0, keepdims=True)])
            series.append("mean")
            drawn = _with_mean(drawn)
        low, high = np.full((2, *values.shape), np.nan)
        rests_on = support(metric, scored)
        refused, remarks = rests_on.refused, rests_on.remarks
        if drawn is not None:
            if with_mean:
                rests_on = rests_on._replace(patients=np.concatenate([rests_on.patients, rests_on.fewest[None]]))
            low, high = metric_intervals(metric, values, drawn, rests_on, confidence)
            if with_mean and len(labels) > 1:
                every = values[:-1], drawn[:, :-1], support(metric, scored)
                low[-1], high[-1] = total_intervals(metric, *every, confidence)
            defined = (~np.isnan(drawn)).sum(axis=0)
        positives = [*per_class, sum(per_class)] if metric.aggregate == "macro" else [sum(per_class)]
        for s, label in enumerate(series):
            for c, name in enumerate(names):
                notes = [texts[s][c]]
                if draws is None:
                    notes.append(CHOOSING)
                elif drawn is None:
                    notes.append("" if np.isnan(values[s, c]) else refused[c] or INFLATED)
                elif not np.isnan(values[s, c]):
                    notes.append(refused[c] or remarks[c])
                    if not refused[c]:
                        notes.append(draw_note(int(defined[s, c]), len(drawn)) or end_note(values[s, c], low[s, c]))
                note = "; ".join(text for text in notes if text)
                between = low[s, c], high[s, c]
                n = images[c] if c < len(names) - 1 else scored.n_images  # last stands what all classes make
                rows.append(row(label, part, name, metric.name, values[s, c], n, positives[c], note, between))
    return rows


def _with_mean(values: np.ndarray | None) -> np.ndarray | None:
    """Append to `values` [B, S, C] their mean over S, as one more model."""
    return None if values is None else np.concatenate([values, values.mean(axis=1, keepdims=True)], axis=1)


def draw_note(defined: int, draws: int) -> str:
    """Say how many draws an interval rests on, where not all."""
    if defined == draws:
        return ""
    if 2 * defined < draws:
        return f"no interval: defined in {defined} of {draws} draws"
    return f"interval from {defined} of {draws} draws"


def end_note(value: float, low: float) -> str:
    """Say why a value that no draw moves has no interval; "" where it has one."""
    return f"no interval: every draw gives {value:.4g}" if np.isnan(low) else ""


def _mean_note(values: np.ndarray, texts: Sequence[str], labels: Sequence[str]) -> str:
    """Say why a mean over seeds is missing, or repeat what holds for its members."""
    if np.isnan(values).any():
        return ", ".join(
            f"undefined for {label}" + (f" ({text})" if text else "")
            for label, value, text in zip(labels, values, texts)
            if np.isnan(value)
        )
    return ", ".join(dict.fromkeys(text for text in texts if text))
