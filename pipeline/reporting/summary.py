"""Numbers for machines: metrics.json and validation.json for DVC, one table per plot for `dvc plots`, metrics.csv.

DVC shows a file of metrics as one row and a number as one column: a headline number per configuration is what fits a
screen, in `dvc metrics show`, `dvc metrics diff` and `dvc exp show`. Everything else is in metrics.csv, which
`medmatrix compare` reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.metrics.scored import Scored
from pipeline.reporting import precision_recall, roc
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import ENSEMBLE
from pipeline.study.files import write_csv, write_json
from pipeline.study.predictions import METRIC_COLUMNS

NONE = "none"
"""Stands in confusion.csv for no class, where a multi-label image has none or none is decided."""
CURVES = ["cell", "epoch", "train_loss", "val_loss", "val_auroc"]
"""Columns of curves.csv; ``cell`` is a training run."""
DIGITS = 6
"""Decimals of every number."""
CHOSEN_ENSEMBLE = "ensemble"
"""Stands in metrics.json for whichever ensemble validation chooses."""
EXTERNAL = "external"
"""Leads the keys of external test sets in metrics.json."""
FOLDS = "folds"
"""Leads the keys of what configurations and ensembles reach over all folds."""
HEADLINES: dict[str, Literal["val", "test"]] = {"metrics.json": "test", "validation.json": "val"}
"""Name of a file to the set whose numbers it holds."""


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write the headline numbers, metrics.csv, and the tables of plots into `folder`.

    A file without content is still written: DVC asks for every declared output.

    Returns
    -------
    list of Path
        What was written.
    """
    written = []
    for name, part in HEADLINES.items():
        write_json(folder / name, headlines(study, part))
        written.append(folder / name)
    for name, make in TABLES.items():
        write_csv(folder / name, make(study))
        written.append(folder / name)
    return written


def headlines(study: StudyResults, part: Literal["val", "test"]) -> dict[str, float]:
    """Return the leading metric of every configuration, mean over seeds, and of the ensemble that validation chooses.

    Of ordered classes quadratic weighted kappa, too.

    Returns
    -------
    dict
        Keyed without the seed, and the ensemble by `CHOSEN_ENSEMBLE`, so that branches compare like with like. What has
        no number is left out: JSON has no NaN, and DVC then shows a dash.
    """
    named = [(r.key, r) for r in study.configurations]
    if study.chosen_ensemble is not None:
        named.append((CHOSEN_ENSEMBLE, study.chosen_ensemble))
    values = {key: results.get(study.leading, part=part).value for key, results in named}
    if study.task == "regression":
        values |= {f"{key}-mae": results.get("mae", part=part).value for key, results in named}
    if "qwk" in study.graded:
        values |= {f"{key}-qwk": results.get("qwk", part=part).value for key, results in named}
    if part == "test":
        values |= external_headlines(study) | fold_headlines(study)
    return {key: round(float(value), DIGITS) for key, value in values.items() if math.isfinite(value)}


def external_headlines(study: StudyResults) -> dict[str, float]:
    """Return AUROC, or Dice, of the chosen configuration on each external set, its drop, and that of the ensemble."""
    values: dict[str, float] = {}
    metric = "dice" if study.task == "segmentation" else "auroc"
    for of in study.external:
        key = f"{EXTERNAL}-{of.name}"
        if study.subject is not None:
            chosen = study.subject.model, study.subject.loss
            values |= {key: of.value(*chosen, "there", metric), f"{key}-drop": of.value(*chosen, "drop", metric)}
        if study.chosen_ensemble is not None:
            best = study.chosen_ensemble.model, study.chosen_ensemble.loss
            values[f"{key}-{CHOSEN_ENSEMBLE}"] = of.value(*best, "there", metric)
    return values


def fold_headlines(study: StudyResults) -> dict[str, float]:
    """Return the out-of-fold macro AUROC of every configuration, mean over seeds, and of the ensembles of folds.md."""
    every = study.out_of_fold | {f"{ENSEMBLE}-{name}": of for name, of in study.ensembles_over_folds.leading.items()}
    return {f"{FOLDS}-{key}": float(of.measured.values[:, -1].mean()) for key, of in every.items()}


def table(study: StudyResults) -> pd.DataFrame:
    """Return every number of the test set, and the means over classes of the others: what ``--metrics`` reads again."""
    everything = pd.concat([r.metrics for r in study.everything], ignore_index=True)
    kept = everything[(everything["part"] == "test") | everything["class"].isin(["macro", "overall"])]
    return kept.reindex(columns=METRIC_COLUMNS).round(DIGITS)


def curves(study: StudyResults) -> pd.DataFrame:
    """Return the training curves of every training run, one row per epoch, with the columns `CURVES`."""
    tables = []
    for results in study.configurations:
        if not results.history.empty:
            names = [f"{results.key}-seed{seed}" for seed in results.history["seed"]]
            history = results.history.assign(cell=names)
            # DVC asks for the columns of dvc.yaml whatever the task.
            more = [name for name in ("val_dice", "val_mae", "val_r2") if name in history]
            tables.append(history.reindex(columns=[*CURVES, *more]))
    return _joined(tables, CURVES)


def roc_points(study: StudyResults) -> pd.DataFrame:
    """Return the macro-average ROC curve of every configuration and ensemble: cell, fpr, tpr."""
    tables = []
    for results in study.everything:
        if results.has_predictions:
            sensitivity = np.insert(roc.mean(results.roc, (0, 1)), 0, 0)
            tables.append(pd.DataFrame({"cell": results.key, "fpr": np.insert(roc.GRID, 0, 0), "tpr": sensitivity}))
    return _joined(tables, ["cell", "fpr", "tpr"])


def pr_points(study: StudyResults) -> pd.DataFrame:
    """Return the macro-average precision-recall curve of every configuration and ensemble: cell, recall, precision."""
    tables = []
    for results in study.everything:
        if results.has_predictions:
            averaged = roc.mean(roc.of_classes(results.predictions, precision_recall.curve), (0, 1))
            tables.append(pd.DataFrame({"cell": results.key, "recall": precision_recall.GRID, "precision": averaged}))
    return _joined(tables, ["cell", "recall", "precision"])


def confusions(study: StudyResults) -> pd.DataFrame:
    """Count the test images of every configuration by true and by decided class, added up over its seeds.

    Returns
    -------
    DataFrame
        cell, actual, predicted, n. Single-label: the confusion matrix. Multi-label: images with finding ``actual``
        for which ``predicted`` was decided, each image once per such pair, "none" where nothing is true or decided.
    """
    tables, columns = [], ["cell", "actual", "predicted", "n"]
    for results in study.configurations:
        if not results.has_predictions:
            continue
        decided, true = _decisions(study, results), results.predictions.test_targets == 1
        names, truth = [*study.classes], true
        if study.task == "multilabel":
            names.append(NONE)
            decided = np.concatenate([decided, ~decided.any(2, keepdims=True)], 2)
            none = (results.predictions.test_targets == 0).all(1, keepdims=True)
            truth = np.concatenate([true, none], 1)
        counts = np.einsum("nk,snj->kj", truth.astype(np.int64), decided.astype(np.int64))
        rows = [(results.key, names[i], names[j], int(counts[i, j])) for i, j in np.ndindex(*counts.shape)]
        tables.append(pd.DataFrame(rows, columns=columns))
    return _joined(tables, columns)


def _joined(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Concatenate tables, rounded to `DIGITS`; without any, only the heads."""
    return pd.concat(tables, ignore_index=True).round(DIGITS) if tables else pd.DataFrame(columns=columns)


def _decisions(study: StudyResults, results: Results) -> np.ndarray:
    """Return each seed's decisions on the test set, bool [S, N, K]; without a threshold a class is never decided."""
    p = results.predictions
    thresholds = [[results.get("threshold", c, s, "val").value for c in study.classes] for s in p.seeds.tolist()]
    return Scored(study.task, p.test_targets, p.test_logits, np.array(thresholds)).decisions()


TABLES: dict[str, Callable[[StudyResults], pd.DataFrame]] = {
    "metrics.csv": table,
    "curves.csv": curves,
    "roc.csv": roc_points,
    "pr.csv": pr_points,
    "confusion.csv": confusions,
}
"""Name of a file to the function that makes it."""
