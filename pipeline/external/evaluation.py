"""All models of a study on one external set: logits, ensembles by what validation fitted, numbers on both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.ensembling.combiners import Combiner, MeanProbability
from pipeline.ensembling.fitting import METHODS, fit
from pipeline.ensembling.predictions import Gathered
from pipeline.ensembling.sets import shown
from pipeline.external.adapting import adapt
from pipeline.external.scoring import on, score_pair
from pipeline.metrics.calibration import fit as fit_calibration
from pipeline.metrics.calibration import reliability
from pipeline.metrics.thresholds import probabilities
from pipeline.scoring.part import PartLogits
from pipeline.scoring.rows import COLUMNS
from pipeline.study.files import ENSEMBLES, ArtifactError, read_json
from pipeline.study.predictions import Predictions
from pipeline.study.runs import Configuration, Run

ENSEMBLE = "ensemble"
"""Stands in the column ``model`` for an ensemble, as in metrics.csv."""


@dataclass(frozen=True)
class Model:
    """A configuration under all its seeds, or one ensemble, with its logits of every part.

    Parameters
    ----------
    model, loss : str
        As in metrics.csv; of an ensemble "ensemble" and its name.
    labels : list of str [S]
        Seeds, or the name of the ensemble.
    val, test, there : float32 [S, N, K]
        Logits of the validation part, the test part and the external set.
    """

    model: str
    loss: str
    labels: list[str]
    val: np.ndarray
    test: np.ndarray
    there: np.ndarray

    @property
    def seeded(self) -> bool:
        """Whether `labels` are training seeds."""
        return self.model != ENSEMBLE


@dataclass(frozen=True)
class Tables:
    """What `score_models` returns.

    Parameters
    ----------
    metrics : DataFrame
        "model", "loss", then `pipeline.scoring.rows.COLUMNS`: both sides and the drop.
    adapted : DataFrame
        "model", "loss", "variant", then the same columns; empty where nothing is set aside.
    prevalence : DataFrame
        "model", "loss", "variant", "seed", "class", "prevalence".
    reliability : DataFrame
        "model", "loss", "seed", "side", "class", then the columns of `pipeline.metrics.calibration.reliability`: of the
        probabilities that validation has calibrated.
    set_aside : tuple of int
        Groups and images that the recalibration was fitted on.
    """

    metrics: pd.DataFrame
    adapted: pd.DataFrame
    prevalence: pd.DataFrame
    reliability: pd.DataFrame
    set_aside: tuple[int, int]


def predicted_models(
    study: Gathered, predict: Callable[[Configuration], tuple[Sequence[Run], np.ndarray]]
) -> tuple[list[Model], dict[str, str]]:
    """Compute the external logits of all configurations and of the ensembles that lead the pages.

    Parameters
    ----------
    study : Gathered
        What stage ``evaluate`` wrote.
    predict : callable
        Returns the training runs of a configuration and their logits [S, N, K] of the external images.

    Returns
    -------
    models : list of Model
        Configurations, then ensembles.
    skipped : dict of str to str
        Why an ensemble is not there.

    Raises
    ------
    ArtifactError
        If the models are not those that were evaluated.
    """
    models: list[Model] = []
    there: dict[Run, np.ndarray] = {}
    for configuration, predictions in study.configurations.items():
        runs, logits = predict(configuration)
        if [run.seed for run in runs] != predictions.seeds.tolist():
            raise ArtifactError(f"{configuration} was evaluated with other seeds than are trained: dvc repro evaluate")
        there.update(zip(runs, logits))
        labels = [str(run.seed) for run in runs]
        models.append(Model(*configuration, labels, predictions.val_logits, predictions.test_logits, logits))
    ensembles, skipped = _ensembles(study, there)
    return models + ensembles, skipped


def _ensembles(study: Gathered, there: Mapping[Run, np.ndarray]) -> tuple[list[Model], dict[str, str]]:
    described = read_json(ENSEMBLES / "members.json", "ensemble")["ensembles"]
    if not described:
        return [], {}
    predictions = Predictions.load(ENSEMBLES / "predictions.npz", "ensemble")
    places = {str(name): i for i, name in enumerate(predictions.methods)}
    models, skipped = [], {}
    for name in shown(described):
        about = described[name]
        if about["method"] not in METHODS:
            skipped[name] = (
                "it joins the features of its members under a head of its own, which has seen no other images"
            )
            continue
        members = [Run(each["model"], each["loss"], each["seed"]) for each in about["members"]]
        combiner = _combiner(study, about["method"], members)
        again = combiner.apply(np.stack([study.test[run] for run in members]))
        kept = predictions.test_logits[places[name]]
        if not np.allclose(again, kept, rtol=1e-4, atol=1e-4):
            raise ArtifactError(f"{ENSEMBLES} holds {name} of other members or code: dvc repro ensemble")
        logits = combiner.apply(np.stack([there[run] for run in members]))
        val = predictions.val_logits[places[name]]
        models.append(Model(ENSEMBLE, name, [name], val[None], kept[None], logits[None]))
    return models, skipped


def _combiner(study: Gathered, method: str, members: list[Run]) -> Combiner:
    """Fit a method on the validation part, as stage ``ensemble`` did."""
    labels = study.labels
    if len(members) == 1:
        return MeanProbability(labels.task)
    val = np.stack([study.val[run] for run in members])
    return fit(method, val, labels.val_targets, labels.task, labels.val_patients)[0]


def score_models(
    models: Sequence[Model],
    labels: Predictions,
    compared: Sequence[str],
    targets: np.ndarray,
    groups: np.ndarray,
    share: float,
    bootstrap: Mapping[str, Any],
) -> Tables:
    """Score every model on both sides.

    Parameters
    ----------
    models : sequence of Model
        All of them.
    labels : Predictions
        Read for task, classes, their order, and truth and patients of validation and test.
    compared : sequence of str
        Classes of the study that both sides have.
    targets : uint8 [N, K]
        Truth of the external images, in the study's classes.
    groups : str [N]
        Group (patient) of each.
    share : float
        Of the groups that a recalibration is tried on; 0 = none.
    bootstrap : mapping
        draws, confidence, seed.
    """
    task, classes = labels.task, [str(name) for name in labels.classes]
    names = list(compared) if task == "multilabel" else classes
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in ("metrics", "adapted", "prevalence", "reliability")}
    aside = 0, 0
    for model in models:
        about = {"model": model.model, "loss": model.loss}
        val = PartLogits(model.val, labels.val_targets, labels.val_patients)
        if task == "multilabel":
            val = on(val, task, classes, compared)
        here = on(PartLogits(model.test, labels.test_targets, labels.test_patients), task, classes, compared)
        there = on(PartLogits(model.there, targets, groups), task, classes, compared)
        scored = score_pair(
            task,
            names,
            model.labels,
            val,
            here,
            there,
            bootstrap,
            model.seeded,
            ordered=labels.ordered,
            compared=compared if len(compared) < len(names) else None,
        )
        tables["metrics"].append(scored.assign(**about))
        for side, part in (("here", here), ("there", there)):
            tables["reliability"].append(_reliability(task, names, model.labels, val, part).assign(side=side, **about))
        if share and len(np.unique(there.patients)) > 1:
            adapted = adapt(task, names, model.labels, val, there, share, bootstrap, model.seeded)
            aside = adapted.groups, adapted.images
            tables["adapted"].append(adapted.metrics.assign(**about))
            tables["prevalence"].append(adapted.prevalence.assign(**about))
    heads = {"adapted": ["variant", *COLUMNS], "prevalence": ["variant", "seed", "class", "prevalence"]}
    joined = {
        # A table without rows has its heads: a file without any could not be read again.
        name: pd.concat(of, ignore_index=True) if of else pd.DataFrame(columns=["model", "loss", *heads[name]])
        for name, of in tables.items()
    }
    return Tables(**{name: _led(table) for name, table in joined.items()}, set_aside=aside)


def _led(table: pd.DataFrame) -> pd.DataFrame:
    """Put the name of the model first."""
    first = [name for name in ("model", "loss") if name in table]
    return table[[*first, *(name for name in table.columns if name not in first)]]


def _reliability(
    task: str, classes: Sequence[str], labels: Sequence[str], val: PartLogits, part: PartLogits
) -> pd.DataFrame:
    """Return the reliability curve of each class of multi-label data, or of the decided class, after calibration."""
    curves = []
    truth = np.asarray(part.targets)
    for label, fitted_on, logits in zip(labels, val.logits, part.logits):
        if not (np.isfinite(logits).all() and np.isfinite(fitted_on).all()):
            continue
        forecast = probabilities(fit_calibration(task, fitted_on, val.targets).apply(logits), task)
        if task == "multilabel":
            known = ~np.isnan(truth.T)
            pairs = [(name, p[k], y[k]) for name, p, y, k in zip(classes, forecast.T, truth.T, known) if k.any()]
        else:
            right = truth[np.arange(len(truth)), logits.argmax(axis=1)]
            pairs = [("overall", forecast.max(axis=1), right)]
        curves += [reliability(p, y).assign(seed=label, **{"class": name}) for name, p, y in pairs]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=["seed", "class"])
