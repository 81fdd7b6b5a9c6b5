"""Sets of trainings, combined by every method and scored: the work of stage `ensemble`, a set a piece."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.gathered import Ensemble
from pipeline.statistics.ensembles import METHODS, fit
from pipeline.statistics.evaluation import evaluate
from pipeline.study.files import null
from pipeline.study.predictions import METRIC_COLUMNS, Predictions
from pipeline.study.runs import Run


class Members(NamedTuple):
    """Members to be combined, with all that is needed for it: `labels` lends its truth, patients and classes."""

    name: str
    members: list[Run]
    val: np.ndarray
    test: np.ndarray
    labels: Predictions
    bootstrap: dict[str, Any]


def combine(of: Members) -> tuple[list[Ensemble], pd.DataFrame]:
    """Fit every method on the validation part, and score what it says of the test part."""
    truth = of.labels.val_targets, of.labels.task, of.labels.val_patients
    made = []
    for method in METHODS:
        fitted = fit(method, of.val, *truth)
        about = fitted.combiner.fitted_on, fitted.combiner.describe()
        logits = fitted.val_logits, fitted.combiner.apply(of.test)
        made.append(Ensemble(f"{method}_{of.name}", method, of.name, of.members, *about, *logits))
    return made, metrics(predictions_of(made, of.labels), of.bootstrap)


def predictions_of(made: list[Ensemble], labels: Predictions) -> Predictions:
    """Put what ensembles predict in the place of the logits of `labels`."""
    shapes = labels.val_targets.shape, labels.test_targets.shape
    val, test = (
        np.array([getattr(e, f"{part}_logits") for e in made], np.float32).reshape(len(made), *shape)
        for part, shape in zip(("val", "test"), shapes)
    )
    names = np.array([e.name for e in made], dtype=str)
    return replace(labels, seeds=np.arange(len(made)), methods=names, val_logits=val, test_logits=test)


def metrics(made: Predictions, bootstrap: dict[str, Any]) -> pd.DataFrame:
    """Score each ensemble by itself: as seeds of one recipe, all pairs of them would be tested."""
    tables = [pd.DataFrame(columns=METRIC_COLUMNS)]
    for i, name in enumerate(made.methods):
        val = made.val_logits[[i]], made.val_targets, made.val_patients
        test = made.test_logits[[i]], made.test_targets, made.test_patients
        table = evaluate(made.task, list(made.classes), [name], val, test, with_mean=False, **bootstrap).metrics
        tables.append(table.assign(model="ensemble", loss=name, seed="")[METRIC_COLUMNS])
    return pd.concat(tables[1:] or tables)


def describe(made: Ensemble, auroc: dict[Run, float], value: float) -> dict[str, Any]:
    """Return what members.json says of an ensemble: members with their weights, what was fitted, and on what."""
    fitted = dict(made.fitted)
    weights = fitted.pop("weights", [None] * len(made.members))
    members = [{**c._asdict(), "val_auroc": null(auroc[c]), "weight": w} for c, w in zip(made.members, weights)]
    about = {"method": made.method, "set": made.set, "fitted_on": made.fitted_on, "val_auroc": null(value)}
    return {**about, "members": members, "parameters": fitted}
