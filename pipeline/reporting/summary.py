"""Numbers for machines: metrics.json for `dvc metrics diff`, curves.csv and roc.csv for `dvc plots`, metrics.csv."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import artifacts
from pipeline.reporting import roc
from pipeline.reporting.sections import DECISIONS, RANKING
from pipeline.reporting.study import Results, StudyResults

CURVES = ["cell", "epoch", "train_loss", "val_loss", "val_auroc"]
DIGITS = 6


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write metrics.json, metrics.csv, curves.csv and roc.csv into `folder`; return what was written.

    A file without content is still written: DVC asks for every declared output.
    """
    paths = [folder / name for name in ("metrics.json", "curves.csv", "roc.csv", "metrics.csv")]
    artifacts.write_json(paths[0], metrics(study))
    artifacts.write_csv(paths[1], curves(study))
    artifacts.write_csv(paths[2], roc_points(study))
    artifacts.write_csv(paths[3], table(study))
    return paths


def metrics(study: StudyResults) -> dict[str, Any]:
    """Return the leading numbers of every recipe, keyed without the seed so that branches compare like with like."""
    content = {r.key: _leaves(study, r) for r in (*study.recipes, *study.ensembles)}
    return {key: leaves for key, leaves in content.items() if leaves}


def table(study: StudyResults) -> pd.DataFrame:
    """Return every number of the test part, and the validation part's means: what ``--metrics`` reads again."""
    everything = pd.concat([r.metrics for r in (*study.recipes, *study.ensembles)], ignore_index=True)
    kept = everything[(everything["part"] == "test") | everything["class"].isin(["macro", "overall"])]
    return kept.reindex(columns=artifacts.METRIC_COLUMNS).round(DIGITS)


def _leaves(study: StudyResults, results: Results) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for part in ("val", "test"):
        numbers: dict[str, float] = {}
        for metric in (*RANKING, *DECISIONS[study.task], "log_loss"):
            estimate = results.get(metric, part=part)
            numbers[metric] = estimate.value
            if metric == "auroc" and part == "test":
                numbers |= {
                    f"{metric}_sd": results.sd(metric),
                    f"{metric}_ci_low": estimate.low,
                    f"{metric}_ci_high": estimate.high,
                }
        # JSON has no NaN; a number that does not exist is absent, and `dvc metrics diff` shows a dash.
        known = {name: round(float(value), DIGITS) for name, value in numbers.items() if math.isfinite(value)}
        if known:
            leaves[part] = known
    if leaves and results.seeds:
        leaves["n_seeds"] = len(results.seeds)
    return leaves


def curves(study: StudyResults) -> pd.DataFrame:
    """Return the training curves of every cell, an epoch a row."""
    tables = []
    for results in study.recipes:
        if results.history is not None and not results.history.empty:
            names = [f"{results.key}-seed{seed}" for seed in results.history["seed"]]
            tables.append(results.history.assign(cell=names)[CURVES])
    return pd.concat(tables, ignore_index=True).round(DIGITS) if tables else pd.DataFrame(columns=CURVES)


def roc_points(study: StudyResults) -> pd.DataFrame:
    """Return the macro-average ROC curve of every recipe and ensemble."""
    tables = []
    for results in (*study.recipes, *study.ensembles):
        if results.roc is not None:
            sensitivity = np.insert(roc.mean(results.roc, (0, 1)), 0, 0)
            tables.append(pd.DataFrame({"cell": results.key, "fpr": np.insert(roc.GRID, 0, 0), "tpr": sensitivity}))
    return (
        pd.concat(tables, ignore_index=True).round(DIGITS) if tables else pd.DataFrame(columns=["cell", "fpr", "tpr"])
    )
