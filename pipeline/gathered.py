"""The predictions of all cells of the study, read together from the evaluations of their recipes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline import artifacts
from pipeline.artifacts import Predictions
from pipeline.params import Cell, Params, Recipe, cells, recipes
from pipeline.statistics import gates
from pipeline.statistics.metrics import class_auroc, macro
from pipeline.statistics.thresholds import probabilities


class Gathered(NamedTuple):
    """What stage `evaluate` wrote for every cell of the study.

    Parameters
    ----------
    recipes : dict of Recipe to Predictions
        All seeds of each; the truth and the patients are the same in all.
    val, test : dict of Cell to float32 [N, K]
        Logits.
    """

    recipes: dict[Recipe, Predictions]
    val: dict[Cell, np.ndarray]
    test: dict[Cell, np.ndarray]

    @property
    def labels(self) -> Predictions:
        """Predictions that are read for their truth, patients and classes."""
        return next(iter(self.recipes.values()))

    def val_auroc(self, logits: np.ndarray) -> float:
        """Compute the validation macro AUROC of logits [N, K]; NaN where they are not finite."""
        if not np.isfinite(logits).all():
            return np.nan
        of = self.labels
        return float(macro(class_auroc(of.val_targets, probabilities(logits, of.task))))


def gather(params: Params) -> Gathered:
    """Read the predictions of every cell of `params`.

    Raises
    ------
    ArtifactError
        If a recipe has not been evaluated.
    """
    loaded = {r: Predictions.load(artifacts.evaluation_folder(r) / "predictions.npz") for r in recipes(params)}
    place = {c: list(loaded[c.recipe].seeds).index(c.seed) for c in cells(params)}
    val, test = ({c: getattr(loaded[c.recipe], f"{p}_logits")[i] for c, i in place.items()} for p in ("val", "test"))
    return Gathered(loaded, val, test)


def signs(study: Gathered) -> pd.DataFrame:
    """Show every cell to the gates (`statistics.gates`), on the validation part.

    Returns
    -------
    DataFrame
        cell, gate, sentence: a row a sign; none for a study without one.
    """
    shown = {}
    for recipe in study.recipes:
        folder = artifacts.evaluation_folder(recipe)
        history = pd.read_csv(artifacts.made_by(folder / "history.csv", "evaluate"))
        runs = {run["seed"]: run for run in artifacts.read_json(folder / "runs.json", "evaluate")}
        for cell in (c for c in study.val if c.recipe == recipe):
            shown[f"{recipe} seed {cell.seed}"] = gates.Cell(
                study.labels.task,
                study.labels.val_targets,
                study.val[cell],
                history.loc[history["seed"] == cell.seed, "val_auroc"].tolist(),
                calibrated=bool(runs.get(cell.seed, {}).get("proper_loss")),
            )
    return pd.DataFrame(gates.check_study(shown), columns=["cell", "gate", "sentence"])
