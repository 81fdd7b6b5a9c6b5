"""Every number of one recipe: values, intervals, thresholds, calibration, subgroups, and whether its seeds differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.statistics.bootstrap import (
    MIN_PATIENTS,
    intervals,
    jackknife_counts,
    metric_draws,
    patient_draws,
    refusals,
)
from pipeline.statistics.calibration import RELIABILITY_COLUMNS, Calibration, fit, reliability
from pipeline.statistics.configurations import recipe_table
from pipeline.statistics.metrics import (
    METRICS,
    Metric,
    Scored,
    Weighted,
    balanced_accuracy,
    columns,
    confusion,
    measure,
    metrics_of,
    reasons,
)
from pipeline.statistics.seed_suits_class import SeedSuitsClass, seed_suits_class
from pipeline.statistics.seeds import COLUMNS as SEED_COLUMNS
from pipeline.statistics.seeds import seed_table
from pipeline.statistics.thresholds import (
    MAX_F1,
    MISSING,
    POOLED,
    SPECIFICITIES,
    operating_points,
    probabilities,
)
from pipeline.statistics.variance import disagreement

COLUMNS = ["seed", "part", "class", "metric", "value", "ci_low", "ci_high", "n", "n_positive", "note"]
CONFUSION_COLUMNS = ["seed", "truth", "predicted", "n"]
CALIBRATED: dict[str, dict[str, Metric]] = {
    task: {f"{key}_calibrated": replace(METRICS[key], name=f"{METRICS[key].name}_calibrated") for key in keys}
    for task, keys in (
        ("multilabel", ("log_loss", "brier", "ece")),
        ("multiclass", ("overall_log_loss", "overall_brier", "overall_ece")),
    )
}
"""What calibration changes, measured on the logits that the validation part calibrated."""
SUBGROUP_METRICS = {
    "multilabel": ("auroc", "average_precision"),
    "multiclass": ("overall_accuracy", "overall_balanced_accuracy"),
}
"""What is measured in a subgroup; nothing that depends on a threshold."""
UNKNOWN = "unknown"
"""The subgroup of what has no label."""
AGE_BANDS = {"0-17": 18, "18-39": 40, "40-64": 65, "65-79": 80, "80+": 121}
"""Ages in years: name of the band, first age above it. NIH ChestX-ray14 has ages over 120, which are typing errors."""

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
        Of highest F1, chosen on the validation part of the same seed; NaN where none could be, and for multiclass.
    points : dict of str to float64 [S, K]
        The thresholds of every operating point (`thresholds.operating_points`); empty for multiclass.
    calibrations : tuple of Calibration [S]
        Fitted on the validation part of the same seed.
    reliability : DataFrame
        "seed", "class", "calibrated", then the columns of `calibration.reliability`; test part. Class "overall" is
        the class decided for (multiclass). A seed whose logits are not finite has no rows here and below.
    confusion : DataFrame
        `CONFUSION_COLUMNS`: images of the test part by true and decided class; empty for multi-label.
    recipe : DataFrame or None
        `recipes.COLUMNS`, test part; None where the models are not seeds of one recipe, here and below.
    disagreement : DataFrame or None
        `variance.DISAGREEMENT_COLUMNS`, test part.
    suits : SeedSuitsClass or None
        Whether a seed suits a class; None also for one seed.
    """

    metrics: pd.DataFrame
    seeds: pd.DataFrame
    thresholds: np.ndarray
    points: dict[str, np.ndarray]
    calibrations: tuple[Calibration, ...]
    reliability: pd.DataFrame
    confusion: pd.DataFrame
    configuration: pd.DataFrame | None = None
    disagreement: pd.DataFrame | None = None
    suits: SeedSuitsClass | None = None


@dataclass(frozen=True)
class _View:
    """Predictions of one part, as trained or calibrated, with the metrics that are taken of them.

    Parameters
    ----------
    scored : Scored
        The predictions.
    metrics : mapping of str to Metric
        What to measure.
    remarks : list of list of str [S][C]
        What to say of every value of a seed in a column (the classes and their mean, or "overall"), "" for nothing.
    """

    scored: Scored
    metrics: Mapping[str, Metric]
    remarks: list[list[str]] | None = None

    @cached_property
    def once(self) -> Weighted:
        """The predictions under one weighting, that of ones; every table of the view reads its sums."""
        return Weighted(self.scored)


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
    interval: Literal["bca", "percentile"] = "bca",
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
    interval : {"bca", "percentile"}
        Kind of the bootstrap intervals (`bootstrap.intervals`).
    with_mean : bool
        Whether `seeds` are training seeds of one recipe. If so, there are rows "mean", the mean over seeds of each
        metric, that is, what to expect of one training; their interval is that of the same mean under the same draws:
        the seeds are held fixed, the patients vary. And there are the tables of the recipe, where both vary.

    Returns
    -------
    Evaluation
        In ``metrics``: `n` is the images of the part; `n_positive` the positive images of the class, and for "macro"
        and "overall" the positives of all classes together. Validation rows carry no interval: they chose. What
        they chose for each seed stands in part "val": "threshold" (highest F1), "threshold_pooled" (class "overall"),
        "threshold_at_90_specificity" and 95, and "platt_slope" and "platt_intercept", or "temperature" (class
        "overall"). "log_loss_calibrated", "brier_calibrated" and "ece_calibrated" are of the logits calibrated so. A
        mean over seeds is undefined where it is for one of them: leaving out a model that failed would flatter the
        recipe. Intervals of "ece" are percentiles turned round its value (`reflected`).

    Raises
    ------
    ValueError
        If shapes do not fit or a part is empty.
    """
    val, test = Part(*val), Part(*test)
    labels = [str(s) for s in seeds]
    for name, part in (("val", val), ("test", test)):
        _check(name, part, labels, classes)
    points = operating_points(task, val.targets, val.logits)
    calibrations = tuple(fit(task, logits, val.targets) for logits in val.logits)

    rows = _threshold_rows(classes, labels, points, val) + _calibration_rows(task, classes, labels, calibrations, val)
    for view in _views(task, val, points, calibrations):
        rows += _rows(view, "val", classes, labels, with_mean)

    counts, index = patient_draws(test.patients, draws, seed)
    tables, configuration = [], []
    views = _views(task, test, points, calibrations, index, counts.shape[1])
    leaving = jackknife_counts(counts.shape[1]) if interval == "bca" and counts.shape[1] > 1 else None
    for view in views:
        drawn = metric_draws(view.scored, view.metrics, counts)
        left = None if leaving is None else metric_draws(view.scored, view.metrics, leaving)
        rows += _rows(view, "test", classes, labels, with_mean, drawn, confidence, left)
        tables += _seed_tables(view, classes, labels, drawn, confidence)
        configuration += _recipe_tables(view, classes, drawn, confidence) if with_mean else []
    spread = pd.concat(tables, ignore_index=True)[["metric", *SEED_COLUMNS]]
    on_test, several = views[0].scored, len(labels) > 1
    return Evaluation(
        pd.DataFrame(rows, columns=COLUMNS),
        spread,
        points.get(MAX_F1, np.full((len(labels), len(classes)), np.nan)),
        points,
        calibrations,
        _reliability(task, classes, labels, calibrations, test),
        _confusion(task, classes, labels, test),
        pd.concat(configuration, ignore_index=True) if with_mean else None,
        disagreement(classes, on_test.probabilities, on_test.decisions(), on_test.undecided()) if with_mean else None,
        seed_suits_class(on_test, classes, labels, alpha=1 - confidence, seed=seed) if with_mean and several else None,
    )


def age_bands(ages: Sequence[float] | np.ndarray) -> np.ndarray:
    """Sort ages into `AGE_BANDS`.

    Parameters
    ----------
    ages : float [N]
        Years; NaN where unknown.

    Returns
    -------
    str [N]
        Names of bands; `UNKNOWN` for NaN, below 0 and above 120.
    """
    years = np.asarray(ages, dtype=np.float64)
    names = np.array([*AGE_BANDS, UNKNOWN])
    known = (years >= 0) & (years < max(AGE_BANDS.values()))
    return names[np.where(known, np.searchsorted(list(AGE_BANDS.values()), years, side="right"), len(AGE_BANDS))]


@threadpool_limits.wrap(limits=1, user_api="blas")
def evaluate_subgroups(
    task: str,
    classes: Sequence[str],
    seeds: Sequence[int | str],
    test: Part | tuple[np.ndarray, np.ndarray, np.ndarray],
    groups: Sequence[str] | np.ndarray,
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    interval: Literal["bca", "percentile"] = "bca",
    with_mean: bool = True,
) -> pd.DataFrame:
    """Score every seed in each subgroup of the test part, with patient-bootstrap intervals.

    Parameters
    ----------
    task, classes, seeds, test, draws, confidence, seed, interval, with_mean
        As for `evaluate`. A subgroup has draws of its own patients; one who has images in two subgroups is in both.
    groups : str [N]
        Label of each image, for instance of sex, view or `age_bands`. Missing ones and "" are `UNKNOWN`.

    Returns
    -------
    DataFrame
        "subgroup", then `COLUMNS`: a row a subgroup (in sorted order), seed, class and metric of `SUBGROUP_METRICS`.
        A subgroup of fewer than `MIN_PATIENTS` patients has one row a seed and metric, without a value.

    Raises
    ------
    ValueError
        If shapes do not fit or the part is empty.

    Notes
    -----
    Subgroups differ in prevalence and in how hard their images are, so that a difference of average precision or of
    accuracy is not yet one of the model's quality.
    """
    test, labels = Part(*test), [str(s) for s in seeds]
    _check("test", test, labels, classes)
    names = pd.Series(np.asarray(groups, dtype=object)).replace("", None).fillna(UNKNOWN).astype(str).to_numpy()
    if names.shape != test.patients.shape:
        raise ValueError(f"groups {names.shape}; expected {test.patients.shape}")
    metrics = {key: METRICS[key] for key in SUBGROUP_METRICS[task]}
    tables = []
    for name in np.unique(names):
        here = names == name
        part = Part(test.logits[:, here], test.targets[here], test.patients[here])
        n_patients = len(np.unique(part.patients))
        if n_patients < MIN_PATIENTS:
            series = [*labels, "mean"] if with_mean else labels
            rows = [
                _refused_subgroup(label, metric, part, n_patients) for metric in metrics.values() for label in series
            ]
        else:
            counts, index = patient_draws(part.patients, draws, seed)
            scored = Scored(task, part.targets, part.logits, None, index, counts.shape[1])
            drawn = metric_draws(scored, metrics, counts)
            left = metric_draws(scored, metrics, jackknife_counts(n_patients)) if interval == "bca" else None
            rows = _rows(_View(scored, metrics), "test", classes, labels, with_mean, drawn, confidence, left)
        tables.append(pd.DataFrame(rows, columns=COLUMNS).assign(subgroup=name))
    return pd.concat(tables, ignore_index=True)[["subgroup", *COLUMNS]]


def _refused_subgroup(label: str, metric: Metric, part: Part, n_patients: int) -> dict[str, Any]:
    """Return the row of a subgroup with too few patients."""
    return {
        "seed": label,
        "part": "test",
        "class": columns(metric, [])[0],
        "metric": metric.name,
        "value": np.nan,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "n": len(part.targets),
        "n_positive": int(np.asarray(part.targets).sum()),
        "note": f"fewer than {MIN_PATIENTS} patients ({n_patients})",
    }


def _check(name: str, part: Part, labels: Sequence[str], classes: Sequence[str]) -> None:
    """Raise unless the arrays of `part` fit each other, the seeds and the classes."""
    expected = (len(labels), len(part.targets), len(classes))
    if part.logits.shape != expected or part.patients.shape != expected[1:2]:
        raise ValueError(f"{name}: logits {part.logits.shape}, patients {part.patients.shape}; expected {expected}")


def _views(
    task: str,
    part: Part,
    points: Mapping[str, np.ndarray],
    calibrations: Sequence[Calibration],
    groups: np.ndarray | None = None,
    n_groups: int | None = None,
) -> list[_View]:
    """Prepare a part as trained and calibrated."""
    calibrated = np.stack([c.apply(logits) for c, logits in zip(calibrations, part.logits)])
    return [
        _View(Scored(task, part.targets, part.logits, points, groups, n_groups), metrics_of(task)),
        _View(
            Scored(task, part.targets, calibrated, None, groups, n_groups),
            CALIBRATED[task],
            [_calibration_remarks(c) for c in calibrations],
        ),
    ]


def _calibration_remarks(calibration: Calibration) -> list[str]:
    """Say for each column of a calibrated metric what was left as it is."""
    texts = [f"not calibrated: {note}" if note else "" for note in calibration.notes]
    if calibration.task == "multiclass":
        return texts[:1]
    left = sum(bool(text) for text in texts)
    return [*texts, f"{left} of {len(texts)} classes not calibrated" if left else ""]


def _seed_tables(
    view: _View, classes: Sequence[str], labels: Sequence[str], drawn: Mapping[str, np.ndarray], confidence: float
) -> list[pd.DataFrame]:
    """Return for each metric of `view` the spread over seeds beside the noise of the sample."""
    tables = []
    for key, metric in view.metrics.items():
        table = seed_table(
            columns(metric, classes),
            labels,
            measure(metric, view.once)[0],
            drawn[key],
            _refused(metric, view.scored)[0],
            metric.higher_is_better,
            1 - confidence,
            _patients(metric, view.scored),
        )
        table.insert(0, "metric", metric.name)
        tables.append(table)
    return tables


def _recipe_tables(
    view: _View, classes: Sequence[str], drawn: Mapping[str, np.ndarray], confidence: float
) -> list[pd.DataFrame]:
    """Return for each metric of `view` what to expect of the recipe."""
    return [
        recipe_table(
            metric.name,
            columns(metric, classes),
            measure(metric, view.once)[0],
            drawn[key],
            confidence,
            _patients(metric, view.scored),
            _refused(metric, view.scored)[0],
        )
        for key, metric in view.metrics.items()
        if not metric.inflates  # draws of these are off their value
    ]


def _chosen_row(
    label: str, name: str, metric: str, value: float, val: Part, positive: int, note: str
) -> dict[str, Any]:
    """Return a row for what validation chose, which is no estimate and has no interval."""
    return {
        "seed": label,
        "part": "val",
        "class": name,
        "metric": metric,
        "value": value,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "n": len(val.targets),
        "n_positive": positive,
        "note": note,
    }


def _threshold_rows(
    classes: Sequence[str], labels: Sequence[str], points: Mapping[str, np.ndarray], val: Part
) -> list[dict[str, Any]]:
    """Return the thresholds as rows of metrics.csv; none for multiclass, which decides without."""
    positives = np.asarray(val.targets).astype(bool).sum(axis=0).tolist()
    rows = []
    for point, chosen in points.items():
        metric, how = _HOW[point]
        for s, label in enumerate(labels):
            missing = MISSING[point] if np.isfinite(val.logits[s]).all() else "logits are not finite"
            of = [("overall", chosen[s, 0], sum(positives))] if point == POOLED else zip(classes, chosen[s], positives)
            rows += [
                _chosen_row(label, name, metric, value, val, positive, missing if np.isnan(value) else how)
                for name, value, positive in of
            ]
    return rows


def _calibration_rows(
    task: str, classes: Sequence[str], labels: Sequence[str], calibrations: Sequence[Calibration], val: Part
) -> list[dict[str, Any]]:
    """Return the parameters of the calibrations as rows of metrics.csv."""
    positives = np.asarray(val.targets).astype(bool).sum(axis=0).tolist()
    rows = []
    for label, calibration in zip(labels, calibrations):
        notes = [f"not calibrated: {note}" if note else "fitted on validation" for note in calibration.notes]
        if task == "multiclass":
            value = calibration.temperature
            rows.append(_chosen_row(label, "overall", "temperature", value, val, sum(positives), notes[0]))
            continue
        for metric, values in (("platt_slope", calibration.slope), ("platt_intercept", calibration.intercept)):
            rows += [
                _chosen_row(label, name, metric, value, val, positive, note)
                for name, value, positive, note in zip(classes, values, positives, notes)
            ]
    return rows


def _reliability(
    task: str, classes: Sequence[str], labels: Sequence[str], calibrations: Sequence[Calibration], test: Part
) -> pd.DataFrame:
    """Return the reliability curves of the test part, before and after calibration."""
    truth = np.asarray(test.targets)
    curves = []
    for label, logits, calibration in zip(labels, test.logits, calibrations):
        if not np.isfinite(logits).all():
            continue
        for calibrated in (False, True):
            forecast = probabilities(calibration.apply(logits) if calibrated else logits, task)
            if task == "multilabel":
                of = zip(classes, forecast.T, truth.T)
            else:
                of = [("overall", forecast.max(axis=1), truth[np.arange(len(truth)), logits.argmax(axis=1)])]
            curves += [
                reliability(p, y).assign(seed=label, calibrated=calibrated, **{"class": name}) for name, p, y in of
            ]
    names = ["seed", "class", "calibrated", *RELIABILITY_COLUMNS]
    return pd.concat(curves, ignore_index=True)[names] if curves else pd.DataFrame(columns=names)


def _confusion(task: str, classes: Sequence[str], labels: Sequence[str], test: Part) -> pd.DataFrame:
    """Return the confusion matrix of each seed on the test part, a cell a row."""
    finite = np.isfinite(test.logits).all(axis=(1, 2)) & (task == "multiclass")
    matrices = (
        confusion(test.targets, test.logits[finite]) if finite.any() else np.zeros((0, len(classes), len(classes)))
    )
    kept = [label for label, known in zip(labels, finite) if known]
    cells = [(kept[s], classes[i], classes[j], int(matrices[s, i, j])) for s, i, j in np.ndindex(*matrices.shape)]
    return pd.DataFrame(cells, columns=CONFUSION_COLUMNS)


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
    view: _View,
    part: str,
    classes: Sequence[str],
    labels: Sequence[str],
    with_mean: bool,
    drawn: Mapping[str, np.ndarray] | None = None,
    confidence: float = 0.95,
    leaving: Mapping[str, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """Return the rows of one part, with intervals where `drawn` holds metrics [B, S, C] under draws.

    `leaving` holds them under `jackknife_counts`, for BCa intervals.
    """
    scored = view.scored
    n = len(scored.truth)
    per_class = scored.truth.sum(axis=0).tolist()
    rows = []
    for key, metric in view.metrics.items():
        names = columns(metric, classes)
        values, texts = measure(metric, view.once)[0], reasons(metric, view.once)
        if view.remarks is not None:
            texts = [["; ".join(filter(None, pair)) for pair in zip(*both)] for both in zip(texts, view.remarks)]
        series = list(labels)
        draws = None if drawn is None else drawn[key]
        left = None if leaving is None or metric.inflates else leaving[key]
        if with_mean:
            texts.append([_mean_note(values[:, c], [t[c] for t in texts], labels) for c in range(len(names))])
            values = np.concatenate([values, values.mean(axis=0, keepdims=True)])
            series.append("mean")
            if draws is not None:
                draws = np.concatenate([draws, draws.mean(axis=1, keepdims=True)], axis=1)
            if left is not None:
                left = np.concatenate([left, left.mean(axis=1, keepdims=True)], axis=1)
        low, high = np.full((2, *values.shape), np.nan)
        if draws is not None:
            kind = "percentile" if left is None else "bca"
            low, high, defined = intervals(draws, confidence, kind, value=values, jackknife=left)
            if metric.inflates:
                low, high = reflected(low, high, values)
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


def reflected(low: np.ndarray, high: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn percentile intervals of an error that noise inflates round their value (the basic bootstrap interval).

    The calibration error of a sample lies above that of the population, and the error of a resample above that of the
    sample by about as much again, so that a percentile interval is too high twice: it often leaves out its own value.

    Parameters
    ----------
    low, high : float [...]
        Percentiles of the draws; NaN where there is no interval.
    value : float [...]
        On the whole sample, at least 0.

    Returns
    -------
    low, high : float64 [...]
        2 value - high, but at least 0, and 2 value - low; widened to hold the value.

    Notes
    -----
    Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 5.2. In simulations of 500 images the 95 %
    interval holds the truth nine times of ten, where the percentile interval of a mild error hardly ever does; the 0
    of a perfect forecast, at the edge of what is possible, both leave out too often.
    """
    return np.clip(2 * value - high, 0, value), np.maximum(2 * value - low, value)


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
