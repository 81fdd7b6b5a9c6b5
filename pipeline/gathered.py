"""The predictions of all cells of the study, read together from the evaluations of their recipes, and ensembles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.statistics import gates
from pipeline.statistics.ensembles import ranked
from pipeline.statistics.metrics import class_auroc, macro
from pipeline.statistics.thresholds import probabilities
from pipeline.study.files import EVALUATIONS, FUSED, ArtifactError, made_by, read_json
from pipeline.study.predictions import Predictions
from pipeline.study.runs import Configuration, Run, StudySections, configurations, runs
from pipeline.study.trainings import evaluation_folder


class Gathered(NamedTuple):
    """What stage `evaluate` wrote for every cell of the study.

    Parameters
    ----------
    recipes : dict of Recipe to Predictions
        All seeds of each; the truth and the patients are the same in all.
    val, test : dict of Cell to float32 [N, K]
        Logits.
    """

    configurations: dict[Configuration, Predictions]
    val: dict[Run, np.ndarray]
    test: dict[Run, np.ndarray]

    @property
    def labels(self) -> Predictions:
        """Predictions that are read for their truth, patients and classes."""
        return next(iter(self.configurations.values()))

    def val_auroc(self, logits: np.ndarray) -> float:
        """Compute the validation macro AUROC of logits [N, K]; NaN where they are not finite."""
        if not np.isfinite(logits).all():
            return np.nan
        of = self.labels
        return float(macro(class_auroc(of.val_targets, probabilities(logits, of.task))))

    def best(self, count: int) -> list[Run]:
        """Return at most `count` cells, the highest validation macro AUROC first, of those with finite logits."""
        return ranked({c: self.val_auroc(z) for c, z in self.val.items() if np.isfinite(z).all()})[:count]


class Ensemble(NamedTuple):
    """A set of members, combined by a method.

    Parameters
    ----------
    name, method, set : str
        The name is "<method>_<set>"; it stands in the column ``loss`` of metrics.csv.
    members : list of Cell
        In the order of their weights, if they have any.
    fitted_on : str
        What was looked at to combine them.
    fitted : dict
        What was fitted, JSON-compatible; "weights" where each member has one number.
    val_logits, test_logits : float32 [N, K]
        Of the combination.
    """

    name: str
    method: str
    set: str
    members: list[Run]
    fitted_on: str
    fitted: dict[str, Any]
    val_logits: np.ndarray
    test_logits: np.ndarray


def gather(params: StudySections) -> Gathered:
    """Read the predictions of every cell of `params` that has been trained and evaluated.

    Raises
    ------
    ArtifactError
        If no recipe has been evaluated.
    """
    files = {r: evaluation_folder(r) / "predictions.npz" for r in configurations(params)}
    loaded = {r: Predictions.load(file) for r, file in files.items() if file.exists()}
    if not loaded:
        raise ArtifactError(f"{EVALUATIONS} holds no recipe of this study: dvc repro evaluate")
    known = {r: list(p.seeds) for r, p in loaded.items()}
    place = {c: known[c.configuration].index(c.seed) for c in runs(params) if c.seed in known.get(c.configuration, [])}
    val, test = (
        {c: getattr(loaded[c.configuration], f"{p}_logits")[i] for c, i in place.items()} for p in ("val", "test")
    )
    return Gathered(loaded, val, test)


def gather_fused(study: Gathered) -> tuple[list[Ensemble], dict[str, str]]:
    """Read what stage `fuse` made for `study`.

    Returns
    -------
    fused : list of Ensemble
        Heads on the joined features of their members; empty where the stage has not run or has trained nothing.
    skipped : dict of str to str
        Why a name is not there.

    Raises
    ------
    ArtifactError
        If it was made for other cells or other images.
    """
    if not (FUSED / "fused.json").exists():
        return [], {}
    content = read_json(FUSED / "fused.json", "fuse")
    if not content["models"]:
        return [], content.get("skipped", {})
    made, result = Predictions.load(FUSED / "predictions.npz", "fuse"), []
    same = all(np.array_equal(getattr(made, r), getattr(study.labels, r)) for r in ("val_rows", "test_rows"))
    for i, about in enumerate(content["models"]):
        members = [Run(**of) for of in about.pop("members")]
        if not same or not study.val.keys() >= set(members):
            raise ArtifactError(f"{FUSED} was made for another study: dvc repro fuse")
        del about["val_auroc"]  # stage `ensemble` computes it for every ensemble
        name, of = about.pop("name"), ("training labels, its epoch on validation labels", about)
        logits = made.val_logits[i], made.test_logits[i]
        result.append(Ensemble(name, *name.split("_", 1), members, *of, *logits))
    return result, content.get("skipped", {})


def signs(study: Gathered) -> pd.DataFrame:
    """Show every cell to the gates (`statistics.gates`), on the validation part.

    Returns
    -------
    DataFrame
        cell, gate, sentence: a row a sign; none for a study without one.
    """
    shown = {}
    for configuration in study.configurations:
        folder = evaluation_folder(configuration)
        history = pd.read_csv(made_by(folder / "history.csv", "evaluate"))
        runs = {run["seed"]: run for run in read_json(folder / "runs.json", "evaluate")}
        for cell in (c for c in study.val if c.configuration == configuration):
            shown[f"{configuration} seed {cell.seed}"] = gates.Cell(
                study.labels.task,
                study.labels.val_targets,
                study.val[cell],
                history.loc[history["seed"] == cell.seed, "val_auroc"].tolist(),
                calibrated=bool(runs.get(cell.seed, {}).get("proper_loss")),
            )
    return pd.DataFrame(gates.check_study(shown), columns=["cell", "gate", "sentence"])
