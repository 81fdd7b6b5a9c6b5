"""Stage `ensemble`: combine the cells' predictions in every way of the registry, and compare with single cells.

Members, weights and thresholds are those of the validation part; of the test part only predictions are combined.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline import artifacts
from pipeline.artifacts import Predictions
from pipeline.errors import stage_errors
from pipeline.gathered import Ensemble, gather, gather_fused, signs
from pipeline.params import Cell, Params, load
from pipeline.processes import over_processes
from pipeline.statistics.comparisons import compare
from pipeline.statistics.ensembles import METHODS, fit, member_sets, questions, ranked
from pipeline.statistics.evaluation import evaluate


class _Set(NamedTuple):
    """Members to be combined, with all that is needed for it: `labels` lends its truth, patients and classes."""

    name: str
    members: list[Cell]
    val: np.ndarray
    test: np.ndarray
    labels: Predictions
    bootstrap: dict[str, Any]


def combine(of: _Set) -> tuple[list[Ensemble], pd.DataFrame]:
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


def ensemble(params: Params) -> None:
    """Write the ensembles' predictions, metrics, members, and differences from what validation chooses without them."""
    study = gather(params)
    first, val, test = study.labels, study.val, study.test
    auroc = {c: study.val_auroc(z) for c, z in val.items()}
    whole = [c for c, z in val.items() if np.isfinite(z).all()]
    sets, skipped = member_sets([str(c.recipe) for c in whole], [auroc[c] for c in whole], params.ensemble.top_k)
    skipped |= {f"{c.recipe} seed {c.seed}": "in no set: its logits are not finite" for c in auroc if c not in whole}
    of = params.evaluate
    bootstrap = of.draws()
    scoring = {**bootstrap, "interval": of.interval}
    pieces = []
    for name, places in sets.items():
        members = [whole[i] for i in places]
        pieces.append(
            _Set(name, members, *(np.stack([part[c] for c in members]) for part in (val, test)), first, scoring)
        )
    results = over_processes(combine, pieces, of.threads)
    fused, not_fused = gather_fused(study)
    made = [e for some, _ in results for e in some] + fused
    predictions = predictions_of(made, first)
    tables = [table for _, table in results] + [metrics(predictions_of(fused, first), scoring)]
    cell = ranked(auroc)[0]
    recipe = ranked({r: np.mean([auroc[c] for c in auroc if c.recipe == r]) for r in study.recipes})[0]
    single = f"{cell.recipe} seed {cell.seed}"
    alone = {str(r): p.test_logits for r, p in study.recipes.items()}
    competitors = alone | {single: test[cell][None]}
    ensembles = {f"ensemble-{e.name}": e.test_logits[None] for e in made}
    on_test = first.test_targets, first.test_patients
    pairs = compare(first.task, competitors | ensembles, *on_test, margin=of.margin, **bootstrap)
    compared = questions(pairs, [*alone], [str(recipe), single], [*ensembles], 1 - of.confidence)
    by_class = compare(first.task, alone, *on_test, margin=of.margin, classes=list(first.classes), **bootstrap)

    described = {e.name: describe(e, auroc, study.val_auroc(e.val_logits)) for e in made}
    content = {
        "ensembles": described,
        "skipped": skipped | not_fused,
        "compared_with": [recipe._asdict(), cell._asdict()],
    }
    predictions.save(artifacts.ENSEMBLES / "predictions.npz")
    artifacts.write_csv(artifacts.ENSEMBLES / "metrics.csv", pd.concat([t for t in tables if len(t)] or tables))
    artifacts.write_csv(artifacts.ENSEMBLES / "comparisons.csv", compared)
    artifacts.write_csv(artifacts.ENSEMBLES / "class_comparisons.csv", by_class[by_class["class"] != "macro"])
    artifacts.write_csv(artifacts.ENSEMBLES / "signs.csv", signs(study))
    artifacts.write_json(artifacts.ENSEMBLES / "members.json", content)


def metrics(made: Predictions, bootstrap: dict[str, Any]) -> pd.DataFrame:
    """Score each ensemble by itself: as seeds of one recipe, all pairs of them would be tested."""
    tables = [pd.DataFrame(columns=artifacts.METRIC_COLUMNS)]
    for i, name in enumerate(made.methods):
        val = made.val_logits[[i]], made.val_targets, made.val_patients
        test = made.test_logits[[i]], made.test_targets, made.test_patients
        table = evaluate(made.task, list(made.classes), [name], val, test, with_mean=False, **bootstrap).metrics
        tables.append(table.assign(model="ensemble", loss=name, seed="")[artifacts.METRIC_COLUMNS])
    return pd.concat(tables[1:] or tables)


def describe(made: Ensemble, auroc: dict[Cell, float], value: float) -> dict[str, Any]:
    """Return what members.json says of an ensemble: members with their weights, what was fitted, and on what."""
    fitted = dict(made.fitted)
    weights = fitted.pop("weights", [None] * len(made.members))
    members = [
        {**c._asdict(), "val_auroc": artifacts.null(auroc[c]), "weight": w} for c, w in zip(made.members, weights)
    ]
    about = {"method": made.method, "set": made.set, "fitted_on": made.fitted_on, "val_auroc": artifacts.null(value)}
    return {**about, "members": members, "parameters": fitted}


if __name__ == "__main__":
    with stage_errors():
        ensemble(load())
