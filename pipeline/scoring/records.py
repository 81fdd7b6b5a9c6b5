"""What an evaluation depends on beside its inputs: its settings, and the code that it runs."""

from __future__ import annotations

from typing import Any

from pipeline.learning.records import code_of, settings_record
from pipeline.scoring.settings import EvaluationSections, ProbeSections, columns_beside
from pipeline.study.code import ROOT, digests
from pipeline.study.runs import Configuration, seeds


def evaluation_record(configuration: Configuration, params: EvaluationSections) -> dict[str, Any]:
    """Return the record of `configuration` for stage evaluate.

    Returns
    -------
    dict
        seeds, evaluate, model, train, loss (its settings) and code (see `pipeline.study.code.digests`).
    """
    return {
        "seeds": seeds(params),
        "evaluate": params.evaluate.model_dump(mode="json", exclude={"margin", "probes"}),
        **settings_record(configuration, params),
        "code": code_of(configuration, params, ROOT / "pipeline/evaluate.py"),
    }


def probe_record(params: ProbeSections) -> dict[str, Any]:
    """Return the record of stage probe: evaluate, code, and the metadata that models take, if any."""
    named = columns_beside(params)
    return {
        **({"metadata": named} if named else {}),
        "evaluate": params.evaluate.model_dump(mode="json", exclude={"prevalence", "margin"}),
        "code": digests([ROOT / "pipeline/probe.py"]),
    }
