"""What the stages of ensembles depend on beside their inputs: their settings, and the code that they run."""

from __future__ import annotations

from typing import Any

from pipeline.ensembling.settings import EnsembleSections, FeatureSections
from pipeline.learning.losses import kind_of, loss_module
from pipeline.learning.settings import train_settings
from pipeline.study.code import ROOT, digests


def ensemble_record(params: EnsembleSections) -> dict[str, Any]:
    """Return the record of stage ensemble: seed, study, ensemble, evaluate and code."""
    sections = {name: getattr(params, name).model_dump(mode="json") for name in ("study", "ensemble")}
    scoring = params.evaluate.model_dump(mode="json")
    return {"seed": params.seed, **sections, "evaluate": scoring, "code": digests([ROOT / "pipeline/ensemble.py"])}


def fuse_record(params: FeatureSections) -> dict[str, Any]:
    """Return the record of stage fuse.

    Returns
    -------
    dict
        seed, study, ensemble, train, models and losses (of the study) and code, with the files of these losses. Without
        a feature ensemble, what trains one is left out: it is not read.
    """
    record: dict[str, Any] = {"seed": params.seed} | {
        name: getattr(params, name).model_dump(mode="json") for name in ("study", "ensemble")
    }
    files = [ROOT / "pipeline/fuse.py"]
    if params.ensemble.features:
        losses = {name: kind_of(name, params.losses[name]) for name in params.study.losses}
        record["train"] = {name: train_settings(params, name).deciding() for name in params.study.models}
        record["models"] = {name: params.models[name].deciding() for name in params.study.models}
        record["losses"] = {name: {"kind": kind, "settings": settings} for name, (kind, settings) in losses.items()}
        files += [loss_module(kind) for kind, _ in losses.values()]
    return {**record, "code": digests(files)}
