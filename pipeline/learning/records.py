"""What a training run depends on beside the data: its settings, and the code that it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.learning.losses import kind_of, loss_class, loss_module
from pipeline.learning.settings import TrainingSections, train_settings
from pipeline.learning.teacher import teacher_sha256
from pipeline.learning.weights import checked_sha256, description_of, sha256_of, source
from pipeline.study.code import ROOT, digests
from pipeline.study.runs import Configuration

BY_NAME = {"train": "training", "evaluate": "evaluation"}
"""Of stages that do something else where networks give masks or a number: the module of ``pipeline.segmenting`` or
``pipeline.regressing`` that does it, named without an import."""


def settings_record(configuration: Configuration, params: TrainingSections) -> dict[str, Any]:
    """Collect the settings by which every run of `configuration` is trained, JSON-compatible.

    Raises
    ------
    ParamsError
        For an unknown kind of loss.
    """
    kind, settings = kind_of(configuration.loss, params.losses[configuration.loss])
    return {
        "model": params.models[configuration.model].deciding(),
        "train": train_settings(params, configuration.model).deciding(),
        "loss": {"kind": kind, "settings": settings},
    }


def training_record(configuration: Configuration, params: TrainingSections) -> dict[str, Any]:
    """Return the record of `configuration` for stages train and replicate.

    Returns
    -------
    dict
        model, train, loss (its settings), weights (SHA-256 of the file that the model starts from, or None), described
        (that of config.json beside it, if there is one), teacher (that of the file that it learns from, likewise) and
        code (see `pipeline.study.code.digests`).

    Raises
    ------
    ModelError
        If the weights file is missing, or is not the one that params.yaml asks for, or the teacher's is missing.
    """
    return {
        **settings_record(configuration, params),
        "weights": weights_of(configuration.model, params),
        **description_of_weights(configuration.model, params),
        **teacher_of(configuration.model, params),
        "code": code_of(configuration, params, ROOT / "pipeline/train.py"),
    }


def weights_of(model: str, params: TrainingSections) -> str | None:
    """Hash the file of trained weights that a model starts from; None if it starts from none."""
    described = params.models[model]
    if described.weights is None:
        return None
    key = f"models.{model}.weights"
    return checked_sha256(key, source(key, described.weights), described.sha256)


def description_of_weights(model: str, params: TrainingSections) -> dict[str, str]:
    """Hash what lies beside the file of weights and says how it was normalised, as "described"; nothing without."""
    given = params.models[model].weights
    found = given and description_of(source(f"models.{model}.weights", given))
    return {"described": sha256_of(found)} if found else {}


def teacher_of(model: str, params: TrainingSections) -> dict[str, str]:
    """Hash the file that a model learns from beside its labels, as "teacher"; nothing where there is none."""
    teacher = params.models[model].teacher
    return {} if teacher is None else {"teacher": teacher_sha256(f"models.{model}.teacher", teacher.file)}


def code_of(configuration: Configuration, params: TrainingSections, script: Path) -> dict[str, str]:
    """Digest the code that a stage's script runs for `configuration`: what it imports or names, and the loss's file."""
    kind, _ = kind_of(configuration.loss, params.losses[configuration.loss])
    masks, number = params.models[configuration.model].gives_masks, "regression" in loss_class(kind).tasks
    room, module = "segmenting" if masks else "regressing" if number else None, BY_NAME.get(script.stem)
    other = [ROOT / f"pipeline/{room}/{module}.py"] if room and module else []
    return digests([script, loss_module(kind), *other])
