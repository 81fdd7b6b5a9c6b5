"""Facts of a model card: what training runs of one configuration recorded, and how it scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.learning.settings import Augment, Model, Train, train_settings
from pipeline.reporting import page
from pipeline.reporting.english import count
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.terms import DECISIONS, LABELS, RANKING
from pipeline.reporting.values import MEAN, Estimate
from pipeline.reporting.views import doubts, initial_weights, provenance, shared
from pipeline.reporting.views.provenance import Recorded, Run, entry, recorded
from pipeline.study.classes import SAMPLE_COLUMNS
from pipeline.study.params import Section

CALIBRATION = {"ece": "Calibration error (ECE)", "brier": "Brier score", "log_loss": "Log-loss"}
"""Metrics that are stated before and after calibration; each has a twin `<name>_calibrated`."""
SUBGROUPS = {"multilabel": ("auroc", "average_precision"), "multiclass": ("accuracy", "balanced_accuracy")}
"""What stage `evaluate` measures in a subgroup."""
_OF_SPLIT = ("part", "copies", "augmented")
_OTHER_FACTORS = ("sex", "age", "view", "hospital", "device", "exposure")
"""Factors of radiographs that a reader will ask for; those that the data set's table holds are named as such."""
_SETTINGS = ("epochs", "patience", "batch_size", "optimizer", "schedule", "weight_decay", "clip_grad", "ema")
_RECIPES = ("ema_warmup", "layer_decay", "swa", "accumulate", "mix", "progressive")
"""Off unless named."""


class TrainingRun(NamedTuple):
    """A training run; NaN and the empty string where something is not recorded."""

    seed: int
    best_epoch: float
    epochs: float
    val_auroc: float
    test_auroc: float
    collapsed: str
    recorded: bool


class Loss(NamedTuple):
    """A loss as it was set."""

    name: str
    kind: str
    settings: dict[str, Any]
    weighted: bool


@dataclass(frozen=True)
class Details:
    """What a configuration is; see the section of this name.

    Parameters
    ----------
    arch, parameters, trainable, macs, weights, teacher, device, precision, versions, code : Recorded
        What its training runs recorded.
    model, train : Model, Train
        Its settings.
    loss : Loss
        As it was set.
    settings : dict
        Settings of the training runs that are set.
    runs : list of TrainingRun
        One per seed.
    """

    arch: Recorded
    parameters: Recorded
    trainable: Recorded
    macs: Recorded
    weights: Recorded
    teacher: Recorded
    device: Recorded
    precision: Recorded
    versions: Recorded
    code: Recorded
    model: Model
    train: Train
    loss: Loss
    settings: dict[str, str]
    runs: list[TrainingRun]


def details(study: StudyResults, results: Results) -> Details:
    """Return what a configuration is."""
    runs = results.runs
    train = train_settings(study.params, results.model)
    given = dict(study.params.losses[results.loss] or {})
    kind = given.pop("kind", results.loss)
    return Details(
        recorded(runs, entry("arch")),
        recorded(runs, _count("parameters")),
        recorded(runs, _count("trainable_parameters")),
        recorded(runs, _count("macs")),
        recorded(runs, _origin),
        recorded(runs, _teacher),
        recorded(runs, entry("device")),
        recorded(runs, entry("precision")),
        recorded(runs, provenance.versions),
        recorded(runs, provenance.commit),
        study.params.models[results.model],
        train,
        Loss(
            results.loss,
            kind,
            {name: value for name, value in given.items() if value is not None},
            any(run.get("class_weights") for run in runs),
        ),
        _settings(study.params.models[results.model], train),
        [_training_run(results, seed) for seed in results.seeds],
    )


def _settings(model: Model, train: Train) -> dict[str, str]:
    """Return the settings of training that are set, and the recipes that are on, as text."""
    found: dict[str, Any] = {name: value for name in _SETTINGS if (value := getattr(train, name)) is not None}
    found |= {k: value for k in _RECIPES if (value := getattr(train, k)) != Train.model_fields[k].get_default()}
    found |= {"drop_path": model.drop_path} if model.drop_path else {}
    moved = train.augment.interpolation
    found |= {"interpolation": moved} if moved != Augment.model_fields["interpolation"].get_default() else {}
    return {name: _in_words(value) for name, value in found.items()}


def _in_words(value: Any) -> str:
    if isinstance(value, Section):
        return " ".join(f"{key} {_in_words(each)}" for key, each in value if each is not None)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _count(name: str) -> Callable[[Run], object]:
    return lambda run: f"{run[name]:,}" if run.get(name) is not None else None


def _origin(run: Run) -> str | None:
    """Name where a training run began, "random" for no weights; None where the record does not hold it."""
    if "weights" not in run:
        return None
    return initial_weights.of_run(run).in_words or "random"


def _teacher(run: Run) -> str | None:
    """Say what a training run has learned from beside its labels; None for nothing."""
    if (of := run.get("teacher")) is None:
        return None
    taught = f"temperature {of['temperature']:g}, weight {of['weight']:g} in the loss"
    return f"{of['name']}, {count('training run', len(of['members']))}; {taught}; SHA-256 {of['sha256']}"


def _training_run(results: Results, seed: int) -> TrainingRun:
    run = results.run(seed)

    def entry(name: str) -> float:
        return math.nan if run.get(name) is None else float(run[name])

    return TrainingRun(
        seed,
        entry("best_epoch"),
        entry("epochs"),
        results.get("auroc", None, seed, "val").value,
        results.get("auroc", None, seed).value,
        str(run.get("collapsed") or ""),
        bool(run),
    )


@dataclass(frozen=True)
class Factors:
    """What may change the answers: measured in subgroups, only listed by the data set, or not recorded at all."""

    measured: list[str]
    listed: list[str]
    unknown: list[str]


def factors(study: StudyResults, results: Results) -> Factors:
    """Return the factors of the images."""
    measured = [] if results.subgroups.empty else [*dict.fromkeys(results.subgroups["variable"])]
    passed = {*SAMPLE_COLUMNS, *study.classes, *_OF_SPLIT, *measured}
    listed = [column for column in study.samples.columns if column not in passed]
    return Factors(measured, listed, [name for name in _OTHER_FACTORS if name not in {*measured, *listed}])


class Threshold(NamedTuple):
    """The thresholds of a class under all seeds."""

    name: str
    positives: float
    mean: float
    low: float
    high: float
    complete: bool


def thresholds(study: StudyResults, results: Results) -> list[Threshold]:
    """Return mean and range of the thresholds, one row per class; none where the most probable class is decided."""
    if study.task == "multiclass":
        return []
    rows = []
    for name in study.classes:
        values = results.values("threshold", name, "val")
        present = values[np.isfinite(values)]
        low, high = (present.min(), present.max()) if len(present) else (math.nan, math.nan)
        mean = results.get("threshold", name, part="val").value
        positives = results.get("auroc", name, part="val").n_positive
        rows.append(Threshold(name, positives, mean, low, high, len(present) == len(values)))
    return rows


class Overall(NamedTuple):
    """A metric on the whole test set."""

    label: str
    estimate: Estimate
    sd: float


def overall(study: StudyResults, results: Results) -> list[Overall]:
    """Return the leading metrics on the whole test set."""
    metrics = (*RANKING, *study.graded, *DECISIONS[study.task])
    shown = [m for m in metrics if results.get(m).exists or results.get(m).note]
    return [Overall(LABELS[m], results.get(m), results.sd(m)) for m in shown]


class Calibrated(NamedTuple):
    """A metric of probabilities before and after calibration."""

    label: str
    raw: Estimate
    after: Estimate


@dataclass(frozen=True)
class Calibration:
    """What the probabilities are worth; without rows nothing is recorded of them.

    Parameters
    ----------
    rows : list of Calibrated
        Before and after.
    temperature : float
        Mean over seeds; NaN for multi-label.
    improper : bool
        Whether the loss is known not to be a proper scoring rule.
    noted : list
        For `formats.reasons`.
    """

    rows: list[Calibrated]
    temperature: float
    improper: bool
    noted: shared.Noted


def calibration(results: Results) -> Calibration:
    """Return what the probabilities of a configuration are worth."""
    rows = [
        Calibrated(label, results.get(metric), results.get(f"{metric}_calibrated"))
        for metric, label in CALIBRATION.items()
    ]
    rows = [row for row in rows if row.raw.exists or row.after.exists]
    proper = [run.get("proper_loss") for run in results.runs]
    noted = [
        (row.label, column, e) for row in rows for column, e in (("As trained", row.raw), ("Calibrated", row.after))
    ]
    return Calibration(
        rows,
        results.get("temperature", part="val").value,
        bool(proper) and None not in proper and not all(proper),
        noted,
    )


class Subgroup(NamedTuple):
    """A subgroup of the test set."""

    variable: str
    name: str
    estimates: list[Estimate]


@dataclass(frozen=True)
class Subgroups:
    """All subgroups, beginning with everyone; without rows none is measured."""

    rows: list[Subgroup]
    labels: list[str]
    noted: shared.Noted


def subgroups(study: StudyResults, results: Results) -> Subgroups:
    """Return how a configuration scores in subgroups."""
    table, metrics = results.subgroups, SUBGROUPS[study.task]
    if table.empty:
        return Subgroups([], [], [])
    seed = MEAN if (table["seed"] == MEAN).any() else str(results.seeds[0])
    whole = table[(table["seed"] == seed) & (table["part"] == "test") & table["class"].isin(["macro", "overall"])]
    rows = [Subgroup("everyone", "", [results.get(m) for m in metrics])]
    for (variable, name), of in whole.groupby(["variable", "subgroup"], sort=False):
        by_metric = {row.metric: Estimate.of_row(row) for row in of.itertuples()}
        rows.append(Subgroup(str(variable), str(name), [by_metric.get(m, Estimate()) for m in metrics]))
    labels = [LABELS[m] for m in metrics]
    noted = [(f"{row.variable} {row.name}", *pair) for row in rows[1:] for pair in zip(labels, row.estimates)]
    return Subgroups(rows, labels, noted)


def facts(study: StudyResults, results: Results) -> dict[str, object]:
    """Return what ``pages/model_card.md`` names."""
    balance = (study.audit.get("balance") or {}).get("method", "none")
    augment = train_settings(study.params, results.model).augment.operations()
    return {
        "study": study,
        "results": results,
        "banner_facts": shared.banner(study, results),
        "several": len(results.seeds) > 1,
        "details": details(study, results),
        "factors": factors(study, results),
        "thresholds": thresholds(study, results),
        "untold_weights": any(initial_weights.of_run(run).untold for run in results.runs),
        "leaks": doubts.shared_between_parts(study),
        "balance": balance,
        "augmentation": [f"{name.replace('_', ' ')} {value}" for name, value in augment.items()],
        "overall": overall(study, results),
        "overall_noted": [(row.label, study.interval_name, row.estimate) for row in overall(study, results)],
        "classes": shared.classes(study, results),
        "calibration": calibration(results),
        "subgroups": subgroups(study, results),
        "sensitivity": results.get("sensitivity"),
        "probes": doubts.probes(study, results),
        "signs": doubts.signs_of(study, results),
        "untold": doubts.untold_of(study, results),
    }


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write model_cards/<model>-<loss>.md for every configuration into `folder`; nothing for a bare metrics table."""
    if not study.recorded:
        return []
    cards = {results.key: facts(study, results) for results in study.configurations}
    return [page.write(folder / "model_cards" / f"{key}.md", "model_card.md", **of) for key, of in cards.items()]
