"""How the models of a study are built and trained, and what their training runs took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.learning.settings import Model, Train, train_settings
from pipeline.reporting.english import count
from pipeline.reporting.results import Results, StudyResults

Run = Mapping[str, Any]
"""What run.json records of a training run."""
_COLUMNS = {"epochs", "batch_size", "optimizer", "schedule", "weight_decay", "patience", "select", "dropout"}
"""Settings with a column of their own."""


@dataclass(frozen=True)
class ModelSettings:
    """A model of params.yaml.

    Parameters
    ----------
    name : str
        Its name in the study.
    model : Model
        Architecture, weights, options, learning rates.
    train : Train
        Settings of training, with the model's own ones in place.
    dropout : float or None
        As set or as an option of the architecture; None where the architecture's own applies.
    others : dict
        Further settings of this model alone.
    parameters, trainable, macs : list of int
        Distinct numbers that its training runs recorded; one where all agree.
    """

    name: str
    model: Model
    train: Train
    dropout: float | None
    others: dict[str, Any]
    parameters: list[int]
    trainable: list[int]
    macs: list[int]


class Span(NamedTuple):
    """From the lowest to the highest; NaN where nothing is recorded."""

    low: float
    high: float


@dataclass(frozen=True)
class Trained:
    """What the training runs of a configuration took, but for time.

    Epochs and kept epochs are spans over seeds, NaN where not recorded.
    """

    results: Results
    epochs: Span
    kept: Span
    devices: list[str]
    precisions: list[str]


def model_settings(study: StudyResults) -> list[ModelSettings]:
    """Return how every model of the study is built and trained; none for a bare table."""
    return [_settings(study, name) for name in study.params.study.models] if study.recorded else []


def without_runs(study: StudyResults, shown: Sequence[ModelSettings]) -> list[str]:
    """Return the models without any training run."""
    return [s.name for s in shown if not _runs(study, s.name)]


def without_macs(study: StudyResults, shown: Sequence[ModelSettings]) -> list[str]:
    """Return the models whose training runs recorded no multiply-accumulate operations."""
    return [s.name for s in shown if not s.macs and _runs(study, s.name)]


def own(model: Model) -> dict[str, Any]:
    """Return what holds for this model alone, besides its architecture, weights and learning rates."""
    keys = {*Train.model_fields, "head", "hidden", "dropout", "drop_path", "metadata"}
    given = model.model_dump(exclude_unset=True, include=keys)
    return {name: value for name, value in given.items() if value is not None}


def taught_by(study: StudyResults, name: str) -> str:
    """Say what a model has learned from beside its labels and how much it counts; empty for nothing."""
    teacher = study.params.models[name].teacher
    if teacher is None:
        return ""
    taught = [run["teacher"] for run in _runs(study, name) if run.get("teacher")]
    names = {f"{of['name']} ({count('training run', len(of['members']))})" for of in taught}
    who = names.pop() if len(names) == 1 else "an ensemble"
    return f"{who}, temperature {teacher.temperature:g}, weight {teacher.weight:g}"


def dropout(model: Model) -> float | None:
    """Return the dropout rate, as set or as an option of the architecture; None where it has the architecture's own."""
    option = model.options.get("drop_rate")
    if model.dropout is None and isinstance(option, int | float):
        return float(option)
    return model.dropout


def trained(results: Results) -> Trained:
    """Sum up the training runs of a configuration."""
    runs = results.runs
    return Trained(
        results,
        _span(run.get("epochs") for run in runs),
        _span(run.get("best_epoch") for run in runs),
        _named(run.get("device") for run in runs),
        _named(run.get("precision") for run in runs),
    )


def _runs(study: StudyResults, name: str) -> list[Run]:
    return [run for r in study.configurations if r.model == name for run in r.runs]


def _settings(study: StudyResults, name: str) -> ModelSettings:
    model, runs = study.params.models[name], _runs(study, name)
    return ModelSettings(
        name,
        model,
        train_settings(study.params, name),
        dropout(model),
        {key: value for key, value in own(model).items() if key not in _COLUMNS}
        | ({"teacher": taught_by(study, name)} if model.teacher else {}),
        *(sorted({run[key] for run in runs if run.get(key)}) for key in ("parameters", "trainable_parameters", "macs")),
    )


def _span(values: Iterable[int | None]) -> Span:
    recorded = [v for v in values if v is not None]
    return Span(min(recorded), max(recorded)) if recorded else Span(math.nan, math.nan)


def _named(values: Iterable[str | None]) -> list[str]:
    return sorted({v for v in values if v})
