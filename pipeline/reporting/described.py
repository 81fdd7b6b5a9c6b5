"""Settings of models and trainings in words and tables: what several pages say of params.yaml and of run.json."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.learning.settings import Model, Train, train_settings
from pipeline.reporting import prose, tables
from pipeline.reporting.sections import join
from pipeline.reporting.study import StudyResults

Run = Mapping[str, Any]
"""What run.json says of a training."""

OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD with momentum"}
SCHEDULES = {
    "cosine": "cosine learning rate",
    "one_cycle": "one-cycle learning rate",
    "plateau": "learning rate that falls on a plateau",
    "constant": "constant learning rate",
}
CHOSEN_BY = {"auroc": "AUROC", "macro_f1": "macro F1"}
_COLUMNS = {"epochs", "batch_size", "optimizer", "schedule", "weight_decay", "patience", "select", "dropout"}
"""Settings with a column of their own in `settings`."""


def weights(model: Model) -> str:
    """Say where a model's training began."""
    if model.weights:
        return f"file {Path(model.weights).name}"
    return "timm's hub" if model.pretrained else "random"


def trained(model: Model) -> str:
    """Say which layers are trained."""
    if isinstance(model.trainable, str):
        return {"all": "all layers", "head": "head"}[model.trainable]
    return f"last {prose.count('layer', model.trainable.last)} and head"


def own(model: Model) -> dict[str, Any]:
    """Return what holds for this model alone, besides its architecture, weights and learning rates."""
    keys = {*Train.model_fields, "head", "hidden", "dropout", "drop_path"}
    found = model.model_dump(exclude_unset=True, include=keys)
    return {name: value for name, value in found.items() if value is not None}


def dropout(model: Model) -> float | None:
    """Return the dropout rate, as set or as an option of the architecture; None where it has the architecture's own."""
    option = model.options.get("drop_rate")
    if model.dropout is None and isinstance(option, int | float):
        return float(option)
    return model.dropout


def multiply_adds(number: float) -> str:
    """Write multiply-accumulate operations with three digits, in thousands (k), millions (M) or billions (G)."""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # Rounded first: 999,950 is 1.00 M and not 1000 k.
        if float(f"{number:.3g}") >= size:
            scaled = number / size
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f} {name}"
    return f"{number:.0f}"


def rate(number: float | None) -> str:
    """Write a dropout rate, or that the architecture has its own."""
    return "own" if number is None else f"{number:g}"


def settings(study: StudyResults) -> str:
    """Lay out how every model of the study is built and trained; empty for a bare table."""
    if study.params is None:
        return ""
    names = study.params.study.models
    built = ["Model", "Architecture", "Parameters", "Trained parameters", "MACs", "Input", "Initial weights"]
    trained_by = ["Model", "Learning rate", "Dropout", "Batch", "Optimizer, schedule", "Weight decay"]
    return join(
        "## Settings",
        "MACs are multiply-accumulate operations of one image, forward. Input is height × width × channels.",
        tables.table([*built, "Trained layers", "Options"], [_built(study, n) for n in names], "llrrrrlll"),
        _uncounted(study),
        'How they are trained; dropout "own" is the architecture\'s. [All results](README.md) have every parameter.',
        tables.table(
            [*trained_by, "Epochs at most", "Epoch kept by best", "Other own settings"],
            [_trained_by(study, n) for n in names],
            "lrrrlrrll",
        ),
    )


def _runs(study: StudyResults, name: str) -> list[Run]:
    return [run for r in study.configurations if r.model == name for run in r.runs]


def _built(study: StudyResults, name: str) -> list[str]:
    model, runs = study.params.models[name], _runs(study, name)
    side, channels = study.params.preprocess.size, study.params.preprocess.channels
    return [
        name,
        f"`{model.arch}`",
        _each(runs, "parameters", tables.whole),
        _each(runs, "trainable_parameters", tables.whole),
        _each(runs, "macs", multiply_adds),
        f"{side} × {side} × {channels}",
        weights(model),
        trained(model),
        ", ".join(f"{k} {v}" for k, v in model.options.items()) or "none",
    ]


def _trained_by(study: StudyResults, name: str) -> list[str]:
    model, merged = study.params.models[name], train_settings(study.params, name)
    others = {k: v for k, v in own(model).items() if k not in _COLUMNS}
    return [
        name,
        f"{model.lr:g}" + ("" if model.head_lr is None else f" (head {model.head_lr:g})"),
        rate(dropout(model)),
        str(merged.batch_size),
        f"{OPTIMIZERS[merged.optimizer]}, {merged.schedule.replace('_', '-')}",
        f"{merged.weight_decay:g}",
        f"{merged.epochs} (patience {merged.patience})",
        f"validation {CHOSEN_BY[merged.select]}",
        ", ".join(f"{k} {v}" for k, v in others.items()) or "none",
    ]


def _each(runs: Sequence[Run], key: str, write: Callable[[Any], str]) -> str:
    """Write what all trainings of a model have in common, each value where they differ."""
    values = sorted({run[key] for run in runs if run.get(key)})
    return prose.listing(map(write, values)) or tables.DASH


def _uncounted(study: StudyResults) -> str:
    """Say why numbers of the table of models are missing."""
    names = study.params.study.models
    empty = [name for name in names if not _runs(study, name)]
    older = [name for name in names if name not in empty and not any(run.get("macs") for run in _runs(study, name))]
    lines = [f"- {tables.DASH} {prose.listing(empty)}: no training has results."] if empty else []
    if older:
        lines.append(f"- {tables.DASH} MACs of {prose.listing(older)}: not recorded by these trainings.")
    return "\n".join(lines)


def trainings(configurations: Sequence[tuple[str, Sequence[Run]]]) -> str:
    """Lay out how many epochs and how long the trainings took, a recipe a row; empty without any.

    Parameters
    ----------
    recipes : sequence of (name, runs)
        The name as it stands in the table.
    """
    rows = []
    for name, runs in configurations:
        minutes = _median(run.get("seconds") for run in runs) / 60
        rows.append(
            [
                name,
                str(len(runs)),
                _span(run.get("epochs") for run in runs),
                _span(run.get("best_epoch") for run in runs),
                tables.whole(_median(run.get("images_per_second") for run in runs)),
                tables.number(minutes, 1 if minutes >= 10 else 2),
                _named(run.get("device") for run in runs),
                _named(run.get("precision") for run in runs),
            ]
        )
    heads = ["Recipe", "Trainings", "Epochs run", "Epoch kept", "Images/s", "Minutes a training"]
    return tables.table([*heads, "Device", "Precision"], rows, "lrrrrrll") if rows else ""


def _median(values: Iterable[float | None]) -> float:
    known = [v for v in values if v]
    return median(known) if known else math.nan


def _span(values: Iterable[int | None]) -> str:
    known = sorted({v for v in values if v is not None})
    if not known:
        return tables.DASH
    return str(known[0]) if len(known) == 1 else f"{known[0]} to {known[-1]}"


def _named(values: Iterable[str | None]) -> str:
    return ", ".join(sorted({v for v in values if v})) or tables.DASH
