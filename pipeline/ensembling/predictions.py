"""The predictions of all training runs of the study: read together, combined by every method, and scored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.ensembling.fitting import METHODS, fit
from pipeline.ensembling.sets import ranked
from pipeline.metrics.functions import class_auroc, macro
from pipeline.metrics.thresholds import operating_points, probabilities
from pipeline.scoring.clinical import clinical_alone
from pipeline.scoring.evaluation import evaluate
from pipeline.scoring.gaps import correct_gaps
from pipeline.scoring.part import PartLogits
from pipeline.scoring.settings import Evaluate
from pipeline.scoring.subgroups import evaluate_subgroups, subgroups_of
from pipeline.study.files import EVALUATIONS, FUSED, ArtifactError, null, read_json
from pipeline.study.predictions import METRIC_COLUMNS, Predictions
from pipeline.study.runs import Configuration, Run, StudySections, configurations, runs
from pipeline.study.trainings import evaluation_folder


class Gathered(NamedTuple):
    """What stage `evaluate` wrote for every training run of the study.

    Parameters
    ----------
    configurations : dict of Configuration to Predictions
        All seeds of each; the truth and the patients are the same in all.
    val, test : dict of Run to float32 [N, K]
        Logits of each training run.
    students : frozenset of Configuration
        Those that have learned from an ensemble. They are members of none, so that each can be compared with an
        ensemble without them.
    """

    configurations: dict[Configuration, Predictions]
    val: dict[Run, np.ndarray]
    test: dict[Run, np.ndarray]
    students: frozenset[Configuration] = frozenset()

    @property
    def members(self) -> list[Run]:
        """Training runs that ensembles may have, with finite logits; students where there are no others."""
        finite = [run for run, logits in self.val.items() if np.isfinite(logits).all()]
        return [run for run in finite if run.configuration not in self.students] or finite

    @property
    def labels(self) -> Predictions:
        """Predictions that are read for their truth, patients and classes."""
        return next(iter(self.configurations.values()))

    def val_auroc(self, logits: np.ndarray) -> float:
        """Compute the validation macro AUROC of logits [N, K]; NaN where they are not finite."""
        if not np.isfinite(logits).all():
            return np.nan
        labels = self.labels
        return float(macro(class_auroc(labels.val_targets, probabilities(logits, labels.task))))

    def best(self, count: int) -> list[Run]:
        """Return at most `count` of `members`, the highest validation macro AUROC first."""
        return ranked({run: self.val_auroc(self.val[run]) for run in self.members})[:count]


class MemberSet(NamedTuple):
    """Training runs to be combined, with all that is needed for it.

    Parameters
    ----------
    name : str
        Of the set.
    members : list of Run [M]
        The training runs.
    val, test : float32 [M, N, K]
        Their logits.
    labels : Predictions
        Lends its truth, patients and classes.
    scoring : dict
        Keyword arguments of `evaluation.evaluate` for the intervals.
    """

    name: str
    members: list[Run]
    val: np.ndarray
    test: np.ndarray
    labels: Predictions
    scoring: dict[str, Any]


class CombinedRuns(NamedTuple):
    """A set of training runs, combined by a method.

    Parameters
    ----------
    name, method, set : str
        The name is "<method>_<set>"; it stands in the column ``loss`` of metrics.csv.
    members : list of Run
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
    """Read the predictions of every training run of `params` that is finished and evaluated.

    Raises
    ------
    ArtifactError
        If no configuration has been evaluated.
    """
    files = {r: evaluation_folder(r) / "predictions.npz" for r in configurations(params)}
    loaded = {r: Predictions.load(file) for r, file in files.items() if file.exists()}
    if not loaded:
        raise ArtifactError(f"{EVALUATIONS} holds no configuration of this study: dvc repro evaluate")
    seeds = {r: predictions.seeds.tolist() for r, predictions in loaded.items()}
    place = {
        run: seeds[run.configuration].index(run.seed)
        for run in runs(params)
        if run.seed in seeds.get(run.configuration, [])
    }
    val = {run: loaded[run.configuration].val_logits[i] for run, i in place.items()}
    test = {run: loaded[run.configuration].test_logits[i] for run, i in place.items()}
    return Gathered(loaded, val, test, frozenset(each for each in loaded if _has_teacher(each)))


def _has_teacher(configuration: Configuration) -> bool:
    """Return whether the training runs of an evaluated configuration have learned from an ensemble."""
    about = evaluation_folder(configuration) / "runs.json"
    return about.exists() and any("teacher" in run for run in read_json(about, "evaluate"))


def gather_feature_ensembles(study: Gathered) -> tuple[list[CombinedRuns], dict[str, str]]:
    """Read the feature ensembles that stage `fuse` trained for `study`.

    Returns
    -------
    ensembles : list of CombinedRuns
        Heads on the joined features of their members; empty where the stage has not run or has trained nothing.
    skipped : dict of str to str
        Why a name is not there.

    Raises
    ------
    ArtifactError
        If it was made for other training runs or other images.
    """
    if not (FUSED / "fused.json").exists():
        return [], {}
    content = read_json(FUSED / "fused.json", "fuse")
    if not content["models"]:
        return [], content.get("skipped", {})
    predictions = Predictions.load(FUSED / "predictions.npz", "fuse")
    rows = ("val_rows", "test_rows")
    same = all(np.array_equal(getattr(predictions, name), getattr(study.labels, name)) for name in rows)
    ensembles = []
    for i, about in enumerate(content["models"]):
        members = [Run(**member) for member in about.pop("members")]
        if not same or not study.val.keys() >= set(members):
            raise ArtifactError(f"{FUSED} was made for another study: dvc repro fuse")
        del about["val_auroc"]  # stage `ensemble` computes it for every ensemble
        name = about.pop("name")
        method, of_set = name.split("_", 1)
        fitted_on = "training labels, its epoch on validation labels"
        logits = predictions.val_logits[i], predictions.test_logits[i]
        ensembles.append(CombinedRuns(name, method, of_set, members, fitted_on, about, *logits))
    return ensembles, content.get("skipped", {})


def combine(runs: MemberSet) -> tuple[list[CombinedRuns], pd.DataFrame]:
    """Fit every method on the validation part, and score its predictions for the test part.

    Returns
    -------
    ensembles : list of CombinedRuns
        In the order of `fitting.METHODS`.
    metrics : DataFrame
        As from `score_ensembles`.
    """
    truth = runs.labels.val_targets, runs.labels.task, runs.labels.val_patients
    ensembles = []
    for method in METHODS:
        combiner, val_logits = fit(method, runs.val, *truth)
        about = combiner.fitted_on, combiner.describe()
        logits = val_logits, combiner.apply(runs.test)
        ensembles.append(CombinedRuns(f"{method}_{runs.name}", method, runs.name, runs.members, *about, *logits))
    return ensembles, score_ensembles(predictions_of(ensembles, runs.labels), runs.scoring)


def predictions_of(ensembles: list[CombinedRuns], labels: Predictions) -> Predictions:
    """Put the logits of `ensembles` in the place of those of `labels`."""
    val, test = (
        np.array([getattr(e, f"{part}_logits") for e in ensembles], np.float32).reshape(len(ensembles), *truth.shape)
        for part, truth in (("val", labels.val_targets), ("test", labels.test_targets))
    )
    names = np.array([e.name for e in ensembles], dtype=str)
    return replace(labels, seeds=np.arange(len(ensembles)), methods=names, val_logits=val, test_logits=test)


def alone(predictions: Predictions, place: int) -> Predictions:
    """Return the ensemble at `place` of predictions that `predictions_of` has made, as the only one."""
    content = {name: getattr(predictions, name)[place : place + 1] for name in ("seeds", "val_logits", "test_logits")}
    return replace(predictions, methods=np.array(predictions.methods)[place : place + 1], **content)


def score_ensembles(predictions: Predictions, scoring: dict[str, Any]) -> pd.DataFrame:
    """Score every ensemble; they share the draws of patients, and are not tested against each other.

    Parameters
    ----------
    predictions : Predictions
        From `predictions_of`.
    scoring : dict
        Keyword arguments of `evaluation.evaluate` for the intervals.

    Returns
    -------
    DataFrame
        `artifacts.METRIC_COLUMNS`, one ensemble after the other; its name stands in the column ``loss``.
    """
    task, classes, names = predictions.task, list(predictions.classes), list(predictions.methods)
    if not names:
        return pd.DataFrame(columns=METRIC_COLUMNS)
    val, test = PartLogits.of(predictions, "val"), PartLogits.of(predictions, "test")
    options = {"with_mean": False, "metrics_alone": True, "ordered": predictions.ordered}
    table = evaluate(task, classes, names, val, test, **options, **scoring).metrics
    order = np.argsort(table["seed"].map({name: i for i, name in enumerate(names)}).to_numpy(), kind="stable")
    table = table.iloc[order]
    return table.assign(model="ensemble", loss=table["seed"], seed="")[METRIC_COLUMNS]


def describe(ensemble: CombinedRuns, auroc: dict[Run, float], value: float) -> dict[str, Any]:
    """Describe an ensemble for members.json: its members with their weights, what was fitted, and on what.

    Parameters
    ----------
    ensemble : CombinedRuns
        The ensemble.
    auroc : dict of Run to float
        Validation macro AUROC of every training run, NaN where undefined.
    value : float
        That of the ensemble.
    """
    fitted = dict(ensemble.fitted)
    weights = fitted.pop("weights", [None] * len(ensemble.members))
    members = [
        {**run._asdict(), "val_auroc": null(auroc[run]), "weight": weight}
        for run, weight in zip(ensemble.members, weights)
    ]
    return {
        "method": ensemble.method,
        "set": ensemble.set,
        "fitted_on": ensemble.fitted_on,
        "val_auroc": null(value),
        "members": members,
        "parameters": fitted,
    }


def chosen_of(metrics: pd.DataFrame) -> str | None:
    """Return the ensemble with the highest validation macro AUROC in `metrics`, the first of those that tie."""
    of_val = metrics[(metrics["part"] == "val") & (metrics["class"] == "macro") & (metrics["metric"] == "auroc")]
    values = dict(zip(of_val["loss"], of_val["value"].astype(float)))
    known = [name for name in ranked(values) if np.isfinite(values[name])]
    return known[0] if known else None


def clinical_of(predictions: Predictions, chosen: str | None, settings: Evaluate) -> dict[str, pd.DataFrame]:
    """Measure what a clinic asks of the chosen ensemble, as of a configuration.

    Parameters
    ----------
    predictions : Predictions
        From `predictions_of`.
    chosen : str or None
        Name of the ensemble; None for none.
    settings : Evaluate
        Draws, confidence and prevalence.

    Returns
    -------
    dict of str to DataFrame
        `scoring.clinical.Clinical` and, where the images have subgroups, "subgroup_gaps", by name of the file; empty
        without an ensemble.
    """
    if chosen is None:
        return {}
    place = [str(name) for name in predictions.methods].index(chosen)
    task, classes = predictions.task, list(predictions.classes)
    val, test = (
        part._replace(logits=part.logits[place : place + 1])
        for part in (PartLogits.of(predictions, "val"), PartLogits.of(predictions, "test"))
    )
    bootstrap = settings.draws()
    tables = clinical_alone(task, classes, val, test, prevalence=settings.prevalence, **bootstrap)._asdict()
    points = operating_points(task, val.targets, val.logits)
    gaps = [
        evaluate_subgroups(task, classes, [chosen], test, labels, name, points, gaps_alone=True, **bootstrap).gaps
        for name, labels in subgroups_of(predictions.test_rows).items()
    ]
    if gaps:
        tables["subgroup_gaps"] = correct_gaps(pd.concat(gaps, ignore_index=True), settings.confidence)
    return tables
