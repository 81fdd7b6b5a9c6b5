"""Every number of one recipe: values, intervals, thresholds, and whether its seeds differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.statistics.bootstrap import MIN_PATIENTS, intervals, metric_draws, patient_draws, refusals
from pipeline.statistics.metrics import (
    Metric,
    Scored,
    Weighted,
    balanced_accuracy,
    columns,
    measure,
    metrics_of,
    reasons,
)
from pipeline.statistics.seeds import COLUMNS as SEED_COLUMNS
from pipeline.statistics.seeds import seed_table
from pipeline.statistics.thresholds import best_f1_thresholds, probabilities

COLUMNS = ["seed", "part", "class", "metric", "value", "ci_low", "ci_high", "n", "n_positive", "note"]
CHOOSING = "used for choosing"
"""Note of every value of the validation part, which chose epoch and threshold and is therefore optimistic."""


class Part(NamedTuple):
    """What was predicted for one part.

    Parameters
    ----------
    logits : float [S, N, K]
        Before sigmoid or softmax.
    targets : 0/1 [N, K]
        Truth.
    patients : str [N]
        Patient of each image.
    """

    logits: np.ndarray
    targets: np.ndarray
    patients: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` returns.

    Parameters
    ----------
    metrics : DataFrame
        `COLUMNS`, a row a seed (and "mean"), part, class and metric.
    seeds : DataFrame
        "metric", then the columns of `seeds.seed_table`; test part.
    thresholds : float64 [S, K]
        Chosen on the validation part of the same seed; NaN where none could be, and for multiclass.
    """

    metrics: pd.DataFrame
    seeds: pd.DataFrame
    thresholds: np.ndarray


@threadpool_limits.wrap(limits=1, user_api="blas")  # for the reason given in `metric_draws`
def evaluate(
    task: str,
    classes: Sequence[str],
    seeds: Sequence[int | str],
    val: Part | tuple[np.ndarray, np.ndarray, np.ndarray],
    test: Part | tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    with_mean: bool = True,
) -> Evaluation:
    """Score every seed, choose on validation, put patient-bootstrap intervals on the test part, compare the seeds.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Decides the metrics (`metrics.METRICS`).
    classes : sequence of str [K]
        Class names.
    seeds : sequence of int or str [S]
        Training seeds, or the names of other models of the same images (ensembles).
    val, test : (logits [S, N, K], targets [N, K], patients [N])
        The two parts.
    draws, confidence, seed : int, float, int
        Of the bootstrap. The same seed and patients give the same draws for every recipe.
    with_mean : bool
        Whether to add the rows "mean": the mean over seeds of each metric, that is, what to expect of one training.
        Its interval is that of the same mean under the same draws: the seeds are held fixed, the patients vary.

    Returns
    -------
    Evaluation
        In ``metrics``: `n` is the images of the part; `n_positive` the positive images of the class, and for "macro"
        and "overall" the positives of all classes together. Validation rows carry no interval: they chose. Metric
        "threshold" of part "val" is the chosen threshold of each seed and class. A mean over seeds is undefined
        where it is for one of them: leaving out a model that failed would flatter the recipe.

    Raises
    ------
    ValueError
        If shapes do not fit or a part is empty.
    """
    val, test = Part(*val), Part(*test)
    labels = [str(s) for s in seeds]
    for name, part in (("val", val), ("test", test)):
        expected = (len(labels), len(part.targets), len(classes))
        if part.logits.shape != expected or part.patients.shape != expected[1:2]:
            raise ValueError(f"{name}: logits {part.logits.shape}, patients {part.patients.shape}; expected {expected}")
    chosen = _thresholds(task, val)
    metrics = metrics_of(task)

    on_val = Scored(task, val.targets, val.logits, chosen)
    rows = _threshold_rows(task, classes, labels, chosen, val) + _rows(
        on_val, "val", metrics, classes, labels, with_mean
    )

    counts, index = patient_draws(test.patients, draws, seed)
    on_test = Scored(task, test.targets, test.logits, chosen, index, counts.shape[1])
    drawn = metric_draws(on_test, metrics, counts)
    rows += _rows(on_test, "test", metrics, classes, labels, with_mean, drawn, confidence)

    once = Weighted(on_test)
    tables = []
    for key, metric in metrics.items():
        table = seed_table(
            columns(metric, classes),
            labels,
            measure(metric, once)[0],
            drawn[key],
            _refused(metric, on_test)[0],
            metric.higher_is_better,
            1 - confidence,
            _patients(metric, on_test),
        )
        table.insert(0, "metric", metric.name)
        tables.append(table)
    spread = pd.concat(tables, ignore_index=True)[["metric", *SEED_COLUMNS]]
    return Evaluation(pd.DataFrame(rows, columns=COLUMNS), spread, chosen)


def _thresholds(task: str, val: Part) -> np.ndarray:
    """Return thresholds [S, K] that maximise F1 on `val`; NaN for multiclass and for logits that are not finite."""
    chosen = np.full((len(val.logits), val.targets.shape[1]), np.nan)
    if task == "multilabel":
        for s, logits in enumerate(val.logits):
            if np.isfinite(logits).all():
                chosen[s] = best_f1_thresholds(val.targets, probabilities(logits, task))
    return chosen


def _threshold_rows(
    task: str, classes: Sequence[str], labels: Sequence[str], chosen: np.ndarray, val: Part
) -> list[dict[str, Any]]:
    """Return the thresholds as rows of metrics.csv; none for multiclass, which decides without."""
    if task != "multilabel":
        return []
    positives = np.asarray(val.targets).astype(bool).sum(axis=0)
    return [
        {
            "seed": label,
            "part": "val",
            "class": name,
            "metric": "threshold",
            "value": chosen[s, k],
            "ci_low": np.nan,
            "ci_high": np.nan,
            "n": len(val.targets),
            "n_positive": int(positives[k]),
            "note": _threshold_note(chosen[s, k], int(positives[k])),
        }
        for s, label in enumerate(labels)
        for k, name in enumerate(classes)
    ]


def _threshold_note(threshold: float, positives: int) -> str:
    """Say how a threshold was chosen, or why it was not."""
    if not np.isnan(threshold):
        return "highest F1 on validation"
    return "logits are not finite" if positives else "no positive"


def _refused(metric: Metric, scored: Scored) -> tuple[list[str], list[str]]:
    """Return for each column of `metric` why it has no interval ("" if it has one), and what to add where it has."""
    texts = refusals(scored)
    few = sum(bool(text) for text in texts)
    n_patients = int((scored.class_counts.sum(axis=(1, 2)) > 0).sum())
    of_all = f"fewer than {MIN_PATIENTS} patients ({n_patients})" if n_patients < MIN_PATIENTS else ""
    remark = f"{few} of {len(texts)} classes have too few patients for an interval of their own" if few else ""
    if metric.aggregate == "overall":
        return [of_all], [remark if metric.function is balanced_accuracy else ""]
    if not of_all and few == len(texts):
        of_all = f"no class with {MIN_PATIENTS} positive and {MIN_PATIENTS} negative patients"
    return [*texts, of_all], [*([""] * len(texts)), remark]


def _patients(metric: Metric, scored: Scored) -> np.ndarray:
    """Count the patients that each column of `metric` rests on: those of the rarer side of a class, or all."""
    everyone = int((scored.class_counts.sum(axis=(1, 2)) > 0).sum())
    if metric.aggregate == "overall":
        return np.array([everyone])
    return np.array([*(scored.class_counts > 0).sum(axis=0).min(axis=0), everyone])


def _rows(
    scored: Scored,
    part: str,
    metrics: dict[str, Metric],
    classes: Sequence[str],
    labels: Sequence[str],
    with_mean: bool,
    drawn: dict[str, np.ndarray] | None = None,
    confidence: float = 0.95,
) -> list[dict[str, Any]]:
    """Return the rows of one part; with intervals where `drawn` holds metrics [B, S, C] under draws."""
    once = Weighted(scored)
    n = len(scored.truth)
    per_class = scored.truth.sum(axis=0).tolist()
    rows = []
    for key, metric in metrics.items():
        names = columns(metric, classes)
        values, texts = measure(metric, once)[0], reasons(metric, once)
        series = list(labels)
        draws = None if drawn is None else drawn[key]
        if with_mean:
            texts.append([_mean_note(values[:, c], [t[c] for t in texts], labels) for c in range(len(names))])
            values = np.concatenate([values, values.mean(axis=0, keepdims=True)])
            series.append("mean")
            if draws is not None:
                draws = np.concatenate([draws, draws.mean(axis=1, keepdims=True)], axis=1)
        low, high = np.full((2, *values.shape), np.nan)
        if draws is not None:
            low, high, defined = intervals(draws, confidence)
            refused, remarks = _refused(metric, scored)
            blank = np.isnan(values) | np.array([bool(text) for text in refused])
            low, high = np.where(blank, np.nan, low), np.where(blank, np.nan, high)
        positives = [*per_class, sum(per_class)] if metric.aggregate == "macro" else [sum(per_class)]
        for s, label in enumerate(series):
            for c, name in enumerate(names):
                notes = [texts[s][c]]
                if draws is None:
                    notes.append(CHOOSING)
                elif not np.isnan(values[s, c]):
                    notes.append(refused[c] or remarks[c])
                    if not refused[c]:
                        notes.append(_draw_note(int(defined[s, c]), len(draws)))
                rows.append(
                    {
                        "seed": label,
                        "part": part,
                        "class": name,
                        "metric": metric.name,
                        "value": values[s, c],
                        "ci_low": low[s, c],
                        "ci_high": high[s, c],
                        "n": n,
                        "n_positive": positives[c],
                        "note": "; ".join(note for note in notes if note),
                    }
                )
    return rows


def _draw_note(defined: int, draws: int) -> str:
    """Say how many draws an interval rests on, where not all."""
    if defined == draws:
        return ""
    if 2 * defined < draws:
        return f"no interval: defined in {defined} of {draws} draws"
    return f"interval from {defined} of {draws} draws"


def _mean_note(values: np.ndarray, texts: Sequence[str], labels: Sequence[str]) -> str:
    """Say why a mean over seeds is missing, or repeat what holds for its members."""
    if np.isnan(values).any():
        return ", ".join(
            f"undefined for {label}" + (f" ({text})" if text else "")
            for label, value, text in zip(labels, values, texts)
            if np.isnan(value)
        )
    return ", ".join(dict.fromkeys(text for text in texts if text))
