"""What an external set's own labels, or its images alone, could gain: no longer a test of what was carried over.

Part of the set's patients is set aside. On these the calibration (and for multi-label data the thresholds) is fitted
anew, or the prevalence counted; everything is scored on the others. Beside it stands what needs no label at all: the
prevalence estimated from the probabilities of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits

from pipeline.external.scoring import Carried
from pipeline.metrics.prior_shift import at_prevalence, estimated_prevalence
from pipeline.metrics.registry import columns, measure, metrics_of
from pipeline.metrics.scored import Scored
from pipeline.metrics.thresholds import MAX_F1
from pipeline.scoring.calibrated import calibration_lines, calibration_on_test
from pipeline.scoring.part import PartLogits, View, calibration_remarks
from pipeline.scoring.rows import COLUMNS, metric_rows, row
from pipeline.study.unknown import shares as frequencies
from pipeline.uncertainty import student
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.intervals import nested_error, spread
from pipeline.uncertainty.support import support

CARRIED, RECALIBRATED, COUNTED, ESTIMATED = "carried over", "recalibrated", "prevalence counted", "prevalence estimated"
VARIANTS = (CARRIED, RECALIBRATED, COUNTED, ESTIMATED)
"""Calibration of the validation part; fitted on the part set aside; the first at the prevalence of that part; the first
at the prevalence that the other images' probabilities speak for."""
_METRICS = {
    "multilabel": ("log_loss", "brier", "ece", "sensitivity", "specificity"),
    "multiclass": ("overall_log_loss", "overall_brier", "overall_ece", "overall_accuracy", "overall_balanced_accuracy"),
}
_MEASURED_ALIKE = ("log_loss", "brier", "overall_log_loss", "overall_brier")
"""Metrics of which the change against `CARRIED` has an interval."""


class Adapted(NamedTuple):
    """What `adapt` returns.

    Parameters
    ----------
    metrics : DataFrame
        "variant", then `pipeline.scoring.rows.COLUMNS`; ``part`` is "there", or "change" for the difference of a
        variant from `CARRIED` on the same images.
    prevalence : DataFrame
        "variant", "seed", "class", "prevalence": what each variant takes it to be; `CARRIED` that of validation, "true"
        that of the images scored.
    groups : int
        Groups of images set aside.
    images : int
        Images of these.
    """

    metrics: pd.DataFrame
    prevalence: pd.DataFrame
    groups: int
    images: int


def set_aside(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose whole groups at random, ``share`` of them; bool [N], True for the images set aside."""
    names = np.unique(groups)
    order = np.random.default_rng([seed, 2]).permutation(len(names))
    return np.isin(groups, names[order[: round(share * len(names))]])


@threadpool_limits.wrap(limits=1, user_api="blas")
def adapt(
    task: str,
    classes: Sequence[str],
    labels: Sequence[str],
    val: PartLogits,
    there: PartLogits,
    share: float,
    bootstrap: Mapping[str, Any],
    with_mean: bool = True,
) -> Adapted:
    """Score the variants.

    Parameters
    ----------
    task, classes, labels, val, there, bootstrap, with_mean
        As for `pipeline.external.scoring.score_pair`.
    share : float
        Of the groups that is set aside.

    Raises
    ------
    ValueError
        If nothing is set aside, or everything.
    """
    aside = set_aside(there.patients, share, bootstrap["seed"])
    if aside.all() or not aside.any():
        raise ValueError(f"{aside.sum()} of {len(aside)} images set aside: some must be, and some must be left")
    fitted_on, rest = (_take(there, chosen) for chosen in (aside, ~aside))
    carried, anew = Carried.of(task, val), Carried.of(task, fitted_on)
    before, counted = frequencies(np.asarray(val.targets)), frequencies(fitted_on.targets)
    old, new = (np.stack([c.apply(z) for c, z in zip(of.calibrations, rest.logits)]) for of in (carried, anew))
    estimated = np.stack([estimated_prevalence(z, task, before) for z in old])
    logits = {
        CARRIED: old,
        RECALIBRATED: new,
        COUNTED: at_prevalence(old, task, before, counted),
        ESTIMATED: np.stack([at_prevalence(z, task, before, p) for z, p in zip(old, estimated)]),
    }
    thresholds = {CARRIED: _moved(carried), RECALIBRATED: _moved(anew)} if task == "multilabel" else {}
    counts, index = patient_draws(rest.patients, bootstrap["draws"], bootstrap["seed"])
    confidence = bootstrap["confidence"]
    series = [*labels, "mean"] if with_mean else list(labels)
    tables, of_carried = [], {}
    for variant, values in logits.items():
        chosen = {MAX_F1: thresholds[variant]} if variant in thresholds else None
        scored = Scored(task, rest.targets, values, chosen, index, counts.shape[1])
        metrics = {
            key: metric
            for key, metric in metrics_of(task).items()
            if key in _METRICS[task] and (task == "multiclass" or metric.needs != "decisions" or chosen is not None)
        }
        remarks = [calibration_remarks(c) for c in anew.calibrations] if variant == RECALIBRATED else None
        view = View(scored, metrics, remarks)
        rows = calibration_on_test(view, "", classes, labels, with_mean, confidence)
        if task == "multiclass":
            rows += calibration_lines(scored, "", classes, series, with_mean, confidence)
        drawn = metric_draws(scored, metrics, counts)
        rows += metric_rows(view, "there", classes, labels, with_mean, drawn, confidence)
        table = pd.DataFrame(rows, columns=COLUMNS).assign(part="there", variant=variant)
        tables.append(table)
        here = {key: (measure(metrics[key], view.once)[0], drawn[key]) for key in metrics if key in _MEASURED_ALIKE}
        if variant == CARRIED:
            of_carried = here
        else:
            changes = _changes(here, of_carried, metrics, classes, labels, with_mean, scored, confidence)
            tables.append(pd.DataFrame(changes, columns=COLUMNS).assign(variant=variant))
    prevalence = [
        *((CARRIED, "mean", name, p) for name, p in zip(classes, before)),
        *((COUNTED, "mean", name, p) for name, p in zip(classes, counted)),
        *((ESTIMATED, s, name, p) for s, of in zip(labels, estimated) for name, p in zip(classes, of)),
        *((ESTIMATED, "mean", name, p) for name, p in zip(classes, estimated.mean(axis=0)) if with_mean),
        *(("true", "mean", name, p) for name, p in zip(classes, frequencies(rest.targets))),
    ]
    shares = pd.DataFrame(prevalence, columns=["variant", "seed", "class", "prevalence"])
    whole = pd.concat(tables, ignore_index=True)[["variant", *COLUMNS]]
    return Adapted(whole, shares, len(np.unique(fitted_on.patients)), int(aside.sum()))


def _take(part: PartLogits, chosen: np.ndarray) -> PartLogits:
    return PartLogits(part.logits[:, chosen], part.targets[chosen], part.patients[chosen])


def _moved(chosen: Carried) -> np.ndarray:
    """Return thresholds of highest F1 on the calibrated probability, which has the order of the raw one."""
    with np.errstate(divide="ignore"):
        raw = logit(chosen.points[MAX_F1])
    moved = np.stack([c.apply(z) for c, z in zip(chosen.calibrations, raw)])
    return expit(moved) * (1 - 1e-9)  # what stood at the threshold must not fall under it by rounding


def _changes(
    there: dict[str, tuple[np.ndarray, np.ndarray]],
    carried: dict[str, tuple[np.ndarray, np.ndarray]],
    metrics: Mapping[str, Any],
    classes: Sequence[str],
    labels: Sequence[str],
    with_mean: bool,
    scored: Scored,
    confidence: float,
) -> list[dict[str, Any]]:
    """Return how far a variant lies from `CARRIED`, on the same images under the same draws."""
    rows = []
    for key, (values, drawn) in there.items():
        metric, on = metrics[key], support(metrics[key], scored)
        change, draws = values - carried[key][0], drawn - carried[key][1]
        groups = [("mean", slice(None))] if with_mean else [(name, slice(s, s + 1)) for s, name in enumerate(labels)]
        for label, models in groups:
            value, freedom = change[models].mean(axis=0), np.maximum(on.patients[models].min(axis=0) - 1, 1)
            error = spread(draws[:, models].mean(axis=1))
            if len(change[models]) > 1:
                error, freedom = nested_error(change[models], draws[:, models], freedom)
            reach = student.quantile((1 + confidence) / 2, freedom) * error
            low, high = np.maximum(value - reach, -on.end), np.minimum(value + reach, on.end)
            for c, name in enumerate(columns(metric, classes)):
                between = (np.nan, np.nan) if on.refused[c] else (low[c], high[c])
                rows.append(row(label, "change", name, metric.name, value[c], 0, 0, on.refused[c], between))
    return rows
