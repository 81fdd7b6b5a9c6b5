"""What heat maps depend on beside their inputs: settings, and the code that they run."""

from __future__ import annotations

from typing import Any

from pipeline.explaining.settings import ExplainSections
from pipeline.learning.records import code_of, settings_record
from pipeline.study.code import ROOT
from pipeline.study.runs import Configuration, seeds


def explanation_record(configuration: Configuration, method: str, params: ExplainSections) -> dict[str, Any]:
    """Return the record of the heat maps of `configuration` by `method`, for stage explain.

    Returns
    -------
    dict
        method, images, seeds, evaluate (bootstrap, confidence, seed and threads), model, train, loss and code.
    """
    return {
        "method": method,
        "images": params.explain.images,
        "seeds": seeds(params),
        "evaluate": params.evaluate.model_dump(mode="json", include={"bootstrap", "confidence", "seed", "threads"}),
        **settings_record(configuration, params),
        "code": code_of(configuration, params, ROOT / "pipeline/explain.py"),
    }
