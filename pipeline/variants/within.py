"""What the training runs and evaluations of a variant depend on beside their inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.learning.records import training_record
from pipeline.scoring.records import evaluation_record
from pipeline.scoring.settings import EvaluationSections
from pipeline.study.records import name_within, record_file
from pipeline.study.runs import configurations
from pipeline.variants.settings import VariantSections, as_variant


class WithinSections(EvaluationSections, VariantSections):
    """The sections that say how a variant's networks are trained and evaluated."""


def records_within(name: str, params: WithinSections) -> dict[Path, dict[str, Any]]:
    """Return the records of the training runs and evaluations of variant `name`, by their files.

    They are those of the study, but for what a search has found for the fold that the variant is.
    """
    own, records = as_variant(params, name), {}
    for configuration in configurations(own):
        named = name_within(name, configuration)
        records[record_file(named, "train")] = training_record(configuration, own)
        records[record_file(named, "evaluate")] = evaluation_record(configuration, own)
    return records
