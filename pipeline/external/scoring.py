"""The same models on their own test part and on an external set: every metric on both sides, and the drop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.metrics.calibration import Calibration, fit
from pipeline.metrics.registry import Metric, columns, measure
from pipeline.metrics.thresholds import operating_points
from pipeline.scoring.calibrated import calibration_lines, calibration_on_test
from pipeline.scoring.part import PartLogits, views_of
from pipeline.scoring.rows import COLUMNS, metric_rows, row
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.drops import Measured, difference
from pipeline.uncertainty.support import support

HERE, THERE, DROP = "here", "there", "drop"
"""Sides, in the column "part": the study's test part, the external set, and there minus here."""


class Classes(NamedTuple):
    """What the two sides can be compared on.

    Parameters
    ----------
    compared : tuple of str
        Classes of which both sides have images with and without.
    left_out : dict of str to str
        Why another class of the study is not compared.
    """

    compared: tuple[str, ...]
    left_out: dict[str, str]


def comparable(
    task: str, classes: Sequence[str], shared: Sequence[str], here: np.ndarray, there: np.ndarray
) -> Classes:
    """Find the classes that both sides can be compared on.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Of the study.
    classes, shared : sequence of str
        The study's, and those that the external set has by its mapping.
    here, there : 0/1 [N, K]
        Truth of both sides in the study's classes.
    """
    left_out = {}
    for k, name in enumerate(classes):
        lacking = [
            f"no {kind} image {where}"
            for where, truth in (("in the external set", there), ("in the test set", here))
            for kind, number in (("positive", (truth[:, k] == 1).sum()), ("negative", (truth[:, k] == 0).sum()))
            if number == 0 and (task == "multilabel" or kind == "positive")
        ]
        if name not in shared:
            left_out[name] = "not in the external set"
        elif lacking:
            left_out[name] = ", ".join(lacking)
    return Classes(tuple(name for name in classes if name not in left_out), left_out)


def on(part: PartLogits, task: str, classes: Sequence[str], compared: Sequence[str]) -> PartLogits:
    """Reduce a part to what is compared.

    Of a multi-label part other classes are left out. Of a single-label part their images are: a model keeps all its
    outputs, and what it decides for a class that is not compared is an error on both sides.
    """
    places = [list(classes).index(name) for name in compared]
    if task == "multilabel":
        return PartLogits(part.logits[:, :, places], part.targets[:, places], part.patients)
    kept = part.targets[:, places].any(axis=1)
    return PartLogits(part.logits[:, kept], part.targets[kept], part.patients[kept])


@dataclass(frozen=True)
class Side:
    """One side, scored.

    Parameters
    ----------
    rows : list of dict
        Rows of `pipeline.scoring.rows.COLUMNS`, as stage ``evaluate`` makes them for the test part.
    measured : dict of str to (Metric, Measured)
        Of every metric that has an interval, by its key.
    """

    rows: list[dict[str, Any]]
    measured: dict[str, tuple[Metric, Measured]]


class Carried(NamedTuple):
    """What was chosen on the validation part: thresholds of every operating point and calibrations, of S models."""

    points: dict[str, np.ndarray]
    calibrations: tuple[Calibration, ...]

    @classmethod
    def of(cls, task: str, val: PartLogits) -> Carried:
        """Choose, as stage ``evaluate`` does."""
        return cls(
            operating_points(task, val.targets, val.logits), tuple(fit(task, each, val.targets) for each in val.logits)
        )


@threadpool_limits.wrap(limits=1, user_api="blas")  # for the reason given in `metric_draws`
def score_side(
    task: str,
    classes: Sequence[str],
    labels: Sequence[str],
    carried: Carried,
    part: PartLogits,
    name: str,
    *,
    draws: int,
    confidence: float,
    seed: int,
    with_mean: bool,
    ordered: bool = False,
    compared: Sequence[str] | None = None,
) -> Side:
    """Score S models on one side; every number is that of `pipeline.scoring.evaluation.evaluate`.

    Parameters
    ----------
    task, classes, labels
        As for `evaluate`.
    carried : Carried
        From the validation part.
    part : PartLogits
        The side.
    name : str
        Of the side, for the rows.
    draws, confidence, seed, with_mean, ordered
        As for `evaluate`.
    compared : sequence of str or None
        The classes that have values and are in the means over classes; None for all.
    """
    counts, index = patient_draws(part.patients, draws, seed)
    counted = None if compared is None else np.isin(list(classes), list(compared))
    views = views_of(task, part, *carried, index, counts.shape[1], ordered, counted)
    rows: list[dict[str, Any]] = []
    measured: dict[str, tuple[Metric, Measured]] = {}
    series = [*labels, "mean"] if with_mean else list(labels)
    for view, suffix in zip(views, ("", "_calibrated")):
        rows += calibration_on_test(view, suffix, classes, labels, with_mean, confidence)
        if task == "multiclass":
            rows += calibration_lines(view.scored, suffix, classes, series, with_mean, confidence)
        resampled = metric_draws(view.scored, view.metrics, counts)
        rows += metric_rows(view, "test", classes, labels, with_mean, resampled, confidence)
        for key, metric in view.metrics.items():
            if not metric.inflates:
                values = measure(metric, view.once)[0]
                measured[key] = metric, Measured(values, resampled[key], support(metric, view.scored))
    return Side([{**each, "part": name} for each in rows], measured)


def drops(
    classes: Sequence[str],
    labels: Sequence[str],
    here: Side,
    there: Side,
    confidence: float,
    seed: int,
    with_mean: bool,
) -> list[dict[str, Any]]:
    """Return the rows of the drop, there minus here, of each metric with an interval.

    Of training seeds (`with_mean`) that of their mean, else that of each model. `n` and `n_positive` are not given:
    they are those of the sides.
    """
    rows = []
    for key, (metric, ours) in here.measured.items():
        theirs = there.measured[key][1]
        groups = [("mean", slice(None))] if with_mean else [(name, slice(s, s + 1)) for s, name in enumerate(labels)]
        for label, models in groups:
            pair = _of(ours, models), _of(theirs, models)
            value, low, high = difference(metric, *pair, confidence, seed)
            for c, name in enumerate(columns(metric, classes)):
                notes = [
                    f"{side}: {of.support.refused[c]}" for side, of in zip((HERE, THERE), pair) if of.support.refused[c]
                ]
                if np.isnan(value[c]):
                    notes = ["undefined on one side"]
                elif np.isnan(low[c]) and not notes:
                    notes = ["no interval on one side"]
                between = float(low[c]), float(high[c])
                rows.append(row(label, DROP, name, metric.name, value[c], 0, 0, "; ".join(notes), between))
    return rows


def _of(side: Measured, models: slice) -> Measured:
    carried = side.support._replace(patients=side.support.patients[models])
    return Measured(side.values[models], side.draws[:, models], carried)


def score_pair(
    task: str,
    classes: Sequence[str],
    labels: Sequence[str],
    val: PartLogits,
    here: PartLogits,
    there: PartLogits,
    bootstrap: Mapping[str, Any],
    with_mean: bool = True,
    *,
    ordered: bool = False,
    compared: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Score S models on both sides, and the drop.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Of the study.
    classes : sequence of str [K]
        Of the arrays: those compared (multi-label), or the study's (multiclass).
    labels : sequence of str [S]
        Seeds of a configuration, or names of models.
    val, here, there : PartLogits
        The validation part, and both sides, see `on`.
    bootstrap : mapping
        draws, confidence and seed.
    with_mean : bool
        Whether `labels` are seeds of one configuration.
    ordered, compared
        As for `score_side`. A model decides for classes of which a side has no image, too; their specificity would be
        in the means of classes that are said to be compared.

    Returns
    -------
    DataFrame
        `pipeline.scoring.rows.COLUMNS`; ``part`` is "here", "there" or "drop".
    """
    carried = Carried.of(task, val)
    asked: dict[str, Any] = {"with_mean": with_mean, "ordered": ordered, "compared": compared}
    ours, theirs = (
        score_side(task, classes, labels, carried, part, name, **asked, **bootstrap)
        for name, part in ((HERE, here), (THERE, there))
    )
    dropped = drops(classes, labels, ours, theirs, bootstrap["confidence"], bootstrap["seed"], with_mean)
    return pd.DataFrame([*ours.rows, *theirs.rows, *dropped], columns=COLUMNS)
