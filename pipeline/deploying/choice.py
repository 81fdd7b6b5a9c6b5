"""Which configuration or ensemble is meant, and what validation fits for it: combination, calibration, thresholds."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.deploying.recipe import OF_FOLDS
from pipeline.ensembling.combiners import Combiner, MeanProbability
from pipeline.ensembling.fitting import METHODS, fit
from pipeline.ensembling.predictions import Gathered, gather, gather_feature_ensembles
from pipeline.ensembling.sets import means_of, ranked
from pipeline.ensembling.settings import EnsembleSections
from pipeline.metrics import calibration
from pipeline.metrics.thresholds import best_f1_thresholds, probabilities
from pipeline.splitting.settings import SplitSections
from pipeline.study.errors import UserError
from pipeline.study.files import DATASET, ENSEMBLES, FUSED, ArtifactError, read_json
from pipeline.study.prepared import read_dataset
from pipeline.study.runs import Run, VariantRun
from pipeline.uncertainty.conformal import conformal_quantile, lac_scores
from pipeline.variants.folds import out_of_fold
from pipeline.variants.grouping import folds_of, is_fold
from pipeline.variants.results import read_variants
from pipeline.variants.settings import VariantSections

FUSION = "features"
"""Method of feature ensembles: a head on the joined features of their members."""
COVERAGE = 0.9
"""Share of images whose prediction set is to hold the truth."""


@dataclass(frozen=True)
class Choice:
    """What is applied to new images.

    Parameters
    ----------
    name : str
        "model-loss" of a configuration, or the name of an ensemble.
    how : str
        Who chose it: "named", or what validation said.
    method : str
        How the members are combined, a key of `pipeline.ensembling.fitting.METHODS`, or `FUSION`.
    members : tuple of Run
        Of a configuration all its seeds.
    combiner : Combiner
        Fitted on the validation part.
    calibration : Calibration
        Of the combined logits, fitted on the validation part.
    thresholds : float64 [K]
        Of the calibrated probability, of highest F1 on the validation part; NaN where it has no positive. Multiclass
        decides for the most probable class and has NaN alone.
    n_validation : int
        Images that all of this was fitted on.
    conformal : float or None
        Of multiclass data: a class whose calibrated probability is at least 1 minus this is in an image's prediction
        set, which holds the truth of `COVERAGE` of images drawn as the validation part was. Infinity: every class is.
    class_wise : float64 [K, 2] or None
        Of multi-label data, for each class: "absent" is in an image's set where the calibrated probability is at most
        the first number, "present" where 1 minus it is at most the second. So the set of a class holds the truth of
        `COVERAGE` of the images with it, and of those without. Infinity, as of a class with fewer than 9 validation
        images of that kind: in every set.
    """

    name: str
    how: str
    method: str
    members: tuple[Run, ...]
    combiner: Combiner
    calibration: calibration.Calibration
    thresholds: np.ndarray
    n_validation: int
    conformal: float | None = None
    class_wise: np.ndarray | None = None


class ChoiceSections(EnsembleSections, SplitSections, VariantSections):
    """The sections that say what can be chosen."""


def choose(
    params: ChoiceSections, configuration: str | None = None, ensemble: str | None = None, folds: bool = False
) -> Choice:
    """Find what is meant, and fit on the validation part what is to be fitted.

    Parameters
    ----------
    params : EnsembleSections
        Of the study.
    configuration : str, optional
        "model-loss". All its seeds are combined by the mean of their probabilities.
    ensemble : str, optional
        A name of ensembles/members.json. Without either, the configuration with the highest mean validation macro AUROC
        over its seeds: the one that the reports call chosen.
    folds : bool
        The networks of all folds of a cross-validation in the place of those of the study alone. Calibration and
        thresholds are then those of the out-of-fold predictions, as no image is left that all of them have not seen.

    Raises
    ------
    UserError
        If there is no such configuration or ensemble, or it cannot be applied to new images.
    ArtifactError
        If nothing has been evaluated.
    """
    task = read_dataset().task if DATASET.exists() else ""
    if task == "regression":
        raise UserError(
            "this study is a regression: new images cannot be predicted, nor its networks exported, by this command; "
            "what they predict of the study's own images stands in evaluations/*/values.npz"
        )
    if task == "segmentation":
        raise UserError(
            "a study of segmentation has networks that give masks: medmatrix predict writes masks, and a folder "
            "models/MODEL-LOSS/seedN is all that pipeline.segmenting.use.find_masks needs elsewhere"
        )
    study = gather(params)
    if folds:
        return _of_folds(params, study, configuration)
    if ensemble is not None:
        return _ensemble(study, ensemble)
    by_name: dict[str, list[Run]] = {}
    for run, logits in study.val.items():
        if np.isfinite(logits).all():
            by_name.setdefault(str(run.configuration), []).append(run)
    if configuration is None:
        means = {str(c): v for c, v in means_of({r: study.val_auroc(z) for r, z in study.val.items()}).items()}
        configuration = ranked(means)[0]
        if configuration not in by_name:
            raise UserError("no training run of this study has finite logits: nothing can be applied to new images")
        how = (
            f"highest validation macro AUROC of {len(means)} configurations, mean over seeds {means[configuration]:.4f}"
        )
    else:
        how = "named"
        if configuration not in by_name:
            raise UserError(f"--configuration: '{configuration}'; {_one_of(configuration, list(by_name))}")
    return _fitted(study, configuration, how, "mean", by_name[configuration])


def _of_folds(params: ChoiceSections, study: Gathered, configuration: str | None) -> Choice:
    """Choose a configuration by its mean validation AUROC over folds, and fit on its out-of-fold predictions."""
    variants = read_variants(params.variants, params, params.split)
    every = {
        each: found
        for each, own in study.configurations.items()
        if len(found := folds_of(each, own, variants, params.split)) > 1
    }
    if not every:
        raise UserError(
            "--folds: this study has no two folds with results; must have split.method: folds, and the other folds "
            "under variants"
        )
    names = [str(each) for each in every]
    if configuration is not None and configuration not in names:
        raise UserError(f"--configuration: '{configuration}'; {_one_of(configuration, names)}")
    asked = {each: found for each, found in every.items() if configuration in (None, str(each))}
    means = {each: float(out_of_fold(found, draws=1).validation.mean()) for each, found in asked.items()}
    best = max(asked, key=lambda each: means[each] if np.isfinite(means[each]) else -1.0)
    members: list[Run] = []
    logits, targets = [], []
    variant_of = {v.split.fold: v.name for v in variants if is_fold(v, params.split)}
    for fold in asked[best]:
        of = fold.predictions
        usable = np.isfinite(of.test_logits).all(axis=(1, 2)) & np.isfinite(of.val_logits).all(axis=(1, 2))
        for seed in of.seeds[usable].tolist():
            run = Run(*best, int(seed))
            members.append(run if fold.number == params.split.fold else VariantRun(run, variant_of[fold.number]))
        if usable.any():
            logits.append(MeanProbability(of.task).apply(of.test_logits[usable]))
            targets.append(of.test_targets)
    if not members:
        raise UserError("no training run of this study has finite logits: nothing can be applied to new images")
    by = f"highest mean validation macro AUROC over folds of {len(asked)} configurations, {means[best]:.4f}"
    how = f"{len(asked[best])} folds; {by if configuration is None else 'named'}"
    made = _decided(study.labels.task, np.concatenate(logits), np.concatenate(targets))
    return Choice(f"{best}{OF_FOLDS}", how, "mean", tuple(members), MeanProbability(study.labels.task), *made)


def _ensemble(study: Gathered, name: str) -> Choice:
    content = read_json(ENSEMBLES / "members.json", "ensemble")["ensembles"]
    if name not in content:
        raise UserError(f"--ensemble: '{name}'; {_one_of(name, list(content))}")
    about = content[name]
    members = [Run(member["model"], member["loss"], member["seed"]) for member in about["members"]]
    if about["method"] not in METHODS:
        fused = next((each for each in gather_feature_ensembles(study)[0] if each.name == name), None)
        if fused is None:
            raise ArtifactError(f"{ENSEMBLES} holds '{name}', and {FUSED} does not: dvc repro ensemble")
        return _fitted(study, name, "named", FUSION, members, fused.val_logits)
    return _fitted(study, name, "named", about["method"], members)


def _fitted(
    study: Gathered, name: str, how: str, method: str, members: list[Run], joined: np.ndarray | None = None
) -> Choice:
    """Fit on the validation part what is to be fitted; `joined` [N, K] are the logits of a feature ensemble."""
    labels = study.labels
    val = np.stack([study.val[run] for run in members]) if joined is None else joined[None]
    combiner: Combiner
    if len(val) == 1:  # nothing to combine, and nothing to fit
        combiner = MeanProbability(labels.task)
        logits = combiner.apply(val)
    else:
        combiner, logits = fit(method, val, labels.val_targets, labels.task, labels.val_patients)
    return Choice(name, how, method, tuple(members), combiner, *_decided(labels.task, logits, labels.val_targets))


class _Decided(NamedTuple):
    """The fields of `Choice` after ``combiner``."""

    calibration: calibration.Calibration
    thresholds: np.ndarray
    n_validation: int
    conformal: float | None
    class_wise: np.ndarray | None


def _decided(task: str, logits: np.ndarray, targets: np.ndarray) -> _Decided:
    """Fit calibration, thresholds and limits of prediction sets on combined logits [N, K] of images not trained on."""
    calibrated = calibration.fit(task, logits, targets)
    likely, truth = probabilities(calibrated.apply(logits), task), targets == 1
    thresholds, conformal, class_wise = np.full(targets.shape[1], np.nan), None, None
    if task == "multilabel":
        thresholds = best_f1_thresholds(targets, likely)
        absent = targets == 0
        class_wise = np.array([_limits(p, held, not_held) for p, held, not_held in zip(likely.T, truth.T, absent.T)])
    else:
        conformal = conformal_quantile(lac_scores(likely)[truth], COVERAGE)
    return _Decided(calibrated, thresholds, len(logits), conformal, class_wise)


def _limits(likely: np.ndarray, truth: np.ndarray, absent: np.ndarray) -> tuple[float, float]:
    """Return what the probability of absence and of presence may lack to be in the set of a class."""
    scores = lac_scores(np.stack([1 - likely, likely], axis=-1))
    return conformal_quantile(scores[absent, 0], COVERAGE), conformal_quantile(scores[truth, 1], COVERAGE)


def _one_of(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or known[:5]
    more = f" and {len(known) - len(close)} more" if len(known) > len(close) else ""
    return f"use one of: {', '.join(close)}{more}"
