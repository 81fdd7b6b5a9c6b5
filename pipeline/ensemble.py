"""Stage `ensemble`: average the probabilities of all cells and of the best by validation; compare with the recipes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline import artifacts
from pipeline.artifacts import Predictions
from pipeline.errors import stage_errors
from pipeline.params import Cell, Params, cells, load, recipes
from pipeline.statistics.comparisons import compare
from pipeline.statistics.ensembles import mean_probability_logits
from pipeline.statistics.evaluation import evaluate as score
from pipeline.statistics.metrics import class_auroc, macro
from pipeline.statistics.thresholds import probabilities


def choose_members(val_auroc: dict[Cell, float], top_k: int) -> dict[str, list[Cell]]:
    """Name the ensembles and their members.

    Parameters
    ----------
    val_auroc : dict
        Validation macro AUROC of every cell; ties keep the study's order, an undefined one ranks last.
    top_k : int
        Members of the second ensemble.
    """
    ranked = sorted(val_auroc, key=lambda cell: -np.nan_to_num(val_auroc[cell], nan=-1.0))
    return {"mean_all": list(val_auroc), f"mean_top{top_k}": ranked[:top_k]}


def ensemble(params: Params) -> None:
    """Write the ensembles' predictions, metrics and members, and every pair's difference on the test part."""
    loaded = {r: Predictions.load(artifacts.evaluation_folder(r) / "predictions.npz") for r in recipes(params)}
    first = next(iter(loaded.values()))
    position = {cell: list(loaded[cell.recipe].seeds).index(cell.seed) for cell in cells(params)}
    logits = {
        part: {c: getattr(loaded[c.recipe], f"{part}_logits")[i] for c, i in position.items()}
        for part in ("val", "test")
    }
    val_auroc = {
        c: float(macro(class_auroc(first.val_targets, probabilities(z, first.task)))) for c, z in logits["val"].items()
    }
    members = choose_members(val_auroc, params.ensemble.top_k)
    merged = {
        part: np.stack([mean_probability_logits(np.stack([z[c] for c in cs]), first.task) for cs in members.values()])
        for part, z in logits.items()
    }
    predictions = replace(
        first,
        seeds=np.arange(len(members)),
        methods=np.array(list(members)),
        val_logits=merged["val"],
        test_logits=merged["test"],
    )
    bootstrap = {
        "draws": params.evaluate.bootstrap,
        "confidence": params.evaluate.confidence,
        "seed": params.evaluate.seed,
    }
    scored = score(
        first.task,
        list(first.classes),
        list(members),
        (predictions.val_logits, first.val_targets, first.val_patients),
        (predictions.test_logits, first.test_targets, first.test_patients),
        with_mean=False,
        **bootstrap,
    )
    competitors = {str(r): p.test_logits for r, p in loaded.items()}
    competitors |= {f"ensemble-{name}": predictions.test_logits[[i]] for i, name in enumerate(members)}
    compared = compare(first.task, competitors, first.test_targets, first.test_patients, **bootstrap)
    predictions.save(artifacts.ENSEMBLES / "predictions.npz")
    metrics = scored.metrics.assign(model="ensemble", loss=scored.metrics["seed"], seed="")
    artifacts.write_csv(artifacts.ENSEMBLES / "metrics.csv", metrics[artifacts.METRIC_COLUMNS])
    artifacts.write_csv(artifacts.ENSEMBLES / "comparisons.csv", compared)
    listed = {name: [{**c._asdict(), "val_auroc": _number(val_auroc[c])} for c in cs] for name, cs in members.items()}
    artifacts.write_json(artifacts.ENSEMBLES / "members.json", listed)


def _number(value: float) -> float | None:
    """Write an undefined value as JSON's null."""
    return value if np.isfinite(value) else None


if __name__ == "__main__":
    with stage_errors():
        ensemble(load())
