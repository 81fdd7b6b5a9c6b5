"""Every number of one configuration: values, intervals, thresholds, calibration, and whether its seeds differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.metrics.calibration import RELIABILITY_COLUMNS, Calibration, fit, reliability
from pipeline.metrics.functions import confusion
from pipeline.metrics.registry import columns, measure
from pipeline.metrics.thresholds import MAX_F1, operating_points, probabilities
from pipeline.scoring.calibrated import calibration_on_test
from pipeline.scoring.clinical import Clinical, clinical
from pipeline.scoring.part import PartLogits, View, check_part, views_of
from pipeline.scoring.rows import (
    COLUMNS,
    calibration_rows,
    metric_rows,
    threshold_rows,
)
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.expected import configuration_table
from pipeline.uncertainty.seed_suits_class import SeedSuitsClass, seed_suits_class
from pipeline.uncertainty.seeds import COLUMNS as SEED_COLUMNS
from pipeline.uncertainty.seeds import seed_table
from pipeline.uncertainty.support import support
from pipeline.uncertainty.variance import disagreement

CONFUSION_COLUMNS = ["seed", "truth", "predicted", "n"]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` returns.

    Parameters
    ----------
    metrics : DataFrame
        `rows.COLUMNS`: one row per seed (and "mean"), part, class and metric.
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
    configuration : DataFrame or None
        `expected.COLUMNS`, test part; None where the models are not seeds of one configuration, here and below.
    disagreement : DataFrame or None
        `variance.DISAGREEMENT_COLUMNS`, test part.
    suits : SeedSuitsClass or None
        Whether a seed suits a class; None also for one seed.
    clinical : Clinical or None
        Predictive values, net benefit, abstention and prediction sets; None as for ``configuration``.
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
    clinical: Clinical | None = None


@threadpool_limits.wrap(limits=1, user_api="blas")  # for the reason given in `metric_draws`
def evaluate(
    task: str,
    classes: Sequence[str],
    seeds: Sequence[int | str],
    val: PartLogits | tuple[np.ndarray, np.ndarray, np.ndarray],
    test: PartLogits | tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    with_mean: bool = True,
    metrics_alone: bool = False,
    prevalence: float | Mapping[str, float] | None = None,
    ordered: bool = False,
) -> Evaluation:
    """Score every seed, choose on validation, put patient-bootstrap intervals on the test part, compare the seeds.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Decides the metrics (`registry.METRICS`).
    classes : sequence of str [K]
        Class names.
    seeds : sequence of int or str [S]
        Training seeds, or the names of other models of the same images (ensembles).
    val, test : (logits [S, N, K], targets [N, K], patients [N])
        The two parts.
    draws, confidence, seed : int, float, int
        Of the bootstrap. The same seed and patients give the same draws for every configuration.
    with_mean : bool
        Whether `seeds` are training seeds of one configuration. If so, there are rows "mean", the mean over seeds of
        each metric, that is, what to expect of one training run. Their interval holds on other patients and under
        other seeds (`metric_intervals.total_intervals`); of one seed, and of "ece", on other patients only. And there
        are the tables of the configuration.
    metrics_alone : bool
        Leave ``seeds``, ``reliability`` and ``confusion`` empty, which take half of the time.
    prevalence : float, mapping of str to float, or None
        For predictive values: of every class, or by class; None, or a class that is not named: that of the test part.
    ordered : bool
        Whether the classes are ordered: metrics of distances between them are taken, too.

    Returns
    -------
    Evaluation
        In ``metrics``: `n` is the images of the part; `n_positive` the positive images of the class, and for "macro"
        and "overall" the positives of all classes together. Validation rows carry no interval: they chose. What
        they chose for each seed stands in part "val": "threshold" (highest F1), "threshold_pooled" (class "overall"),
        "threshold_at_90_specificity" and 95, and "platt_slope" and "platt_intercept", or "temperature" (class
        "overall"). "log_loss_calibrated", "brier_calibrated" and "ece_calibrated" are of the logits calibrated so;
        "calibration_slope", "calibration_intercept" and "ece_floor" (with the same suffix) are those of `calibrated`. A
        mean over seeds is undefined where it is for one of them: leaving out a model that failed would flatter the
        configuration. Intervals are those of `metric_intervals`.

    Raises
    ------
    ValueError
        If shapes do not fit or a part is empty.
    """
    val, test = PartLogits(*val), PartLogits(*test)
    labels = [str(s) for s in seeds]
    for name, part in (("val", val), ("test", test)):
        check_part(name, part, labels, classes)
    points = operating_points(task, val.targets, val.logits)
    calibrations = tuple(fit(task, logits, val.targets) for logits in val.logits)

    rows = threshold_rows(classes, labels, points, val) + calibration_rows(task, classes, labels, calibrations, val)
    of_val = views_of(task, val, points, calibrations, ordered=ordered)
    for view in of_val:
        rows += metric_rows(view, "val", classes, labels, with_mean)

    counts, index = patient_draws(test.patients, draws, seed)
    spreads: list[pd.DataFrame] = []
    expected: list[pd.DataFrame] = []
    views = views_of(task, test, points, calibrations, index, counts.shape[1], ordered)
    of_metrics: dict[str, np.ndarray] = {}
    for view, suffix in zip(views, ("", "_calibrated")):
        rows += calibration_on_test(view, suffix, classes, labels, with_mean, confidence)
        resampled = metric_draws(view.scored, view.metrics, counts)
        of_metrics |= resampled
        rows += metric_rows(view, "test", classes, labels, with_mean, resampled, confidence)
        spreads += [] if metrics_alone else _seed_tables(view, classes, labels, resampled, confidence)
        expected += _configuration_tables(view, classes, resampled, confidence) if with_mean else []
    on_test, several = views[0].scored, len(labels) > 1
    seed_columns, described = ["metric", *SEED_COLUMNS], [] if metrics_alone else labels
    return Evaluation(
        pd.DataFrame(rows, columns=COLUMNS),
        pd.concat(spreads or [pd.DataFrame(columns=seed_columns)], ignore_index=True)[seed_columns],
        points.get(MAX_F1, np.full((len(labels), len(classes)), np.nan)),
        points,
        calibrations,
        _reliability(task, classes, described, calibrations, test),
        _confusion(task, classes, described, test),
        pd.concat(expected, ignore_index=True) if with_mean else None,
        disagreement(classes, on_test.probabilities, on_test.decisions(), on_test.undecided()) if with_mean else None,
        seed_suits_class(on_test, classes, labels, alpha=1 - confidence, seed=seed) if with_mean and several else None,
        clinical(classes, val, of_val, views, of_metrics, counts, prevalence, confidence) if with_mean else None,
    )


def _seed_tables(
    view: View, classes: Sequence[str], labels: Sequence[str], draws: Mapping[str, np.ndarray], confidence: float
) -> list[pd.DataFrame]:
    """Return for each metric of `view` the spread over seeds beside the noise of the sample."""
    tables = []
    for key, metric in view.metrics.items():
        rests_on = support(metric, view.scored)
        table = seed_table(
            columns(metric, classes),
            labels,
            measure(metric, view.once)[0],
            draws[key],
            rests_on.refused,
            metric.higher_is_better,
            1 - confidence,
            rests_on.fewest,
        )
        table.insert(0, "metric", metric.name)
        tables.append(table)
    return tables


def _configuration_tables(
    view: View, classes: Sequence[str], draws: Mapping[str, np.ndarray], confidence: float
) -> list[pd.DataFrame]:
    """Return for each metric of `view` what to expect of the configuration."""
    return [
        configuration_table(
            metric,
            columns(metric, classes),
            measure(metric, view.once)[0],
            draws[key],
            confidence,
            support(metric, view.scored),
        )
        for key, metric in view.metrics.items()
        if not metric.inflates  # draws of these are off their value
    ]


def _reliability(
    task: str, classes: Sequence[str], labels: Sequence[str], calibrations: Sequence[Calibration], test: PartLogits
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
                pairs = [
                    (name, p[~np.isnan(y)], y[~np.isnan(y)])  # NaN: the label is not known
                    for name, p, y in zip(classes, forecast.T, truth.T)
                ]
            else:
                right = truth[np.arange(len(truth)), logits.argmax(axis=1)]
                pairs = [("overall", forecast.max(axis=1), right)]
            curves += [
                reliability(p, y).assign(seed=label, calibrated=calibrated, **{"class": name})
                for name, p, y in pairs
                if len(y)
            ]
    names = ["seed", "class", "calibrated", *RELIABILITY_COLUMNS]
    return pd.concat(curves, ignore_index=True)[names] if curves else pd.DataFrame(columns=names)


def _confusion(task: str, classes: Sequence[str], labels: Sequence[str], test: PartLogits) -> pd.DataFrame:
    """Return the confusion matrix of each seed on the test part, one row per true and decided class."""
    finite = np.isfinite(test.logits).all(axis=(1, 2)) & (task == "multiclass") & (len(labels) > 0)
    matrices = (
        confusion(test.targets, test.logits[finite]) if finite.any() else np.zeros((0, len(classes), len(classes)))
    )
    kept = [label for label, usable in zip(labels, finite) if usable]
    counts = [(kept[s], classes[i], classes[j], int(matrices[s, i, j])) for s, i, j in np.ndindex(*matrices.shape)]
    return pd.DataFrame(counts, columns=CONFUSION_COLUMNS)
