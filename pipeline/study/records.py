"""The record of a configuration: its settings and code, which stage ``configure`` writes and later stages depend on.

DVC compares a training run with this file, not with params.yaml and the folders of code: what does not change the
record trains nothing again.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline.study.files import CONFIGURATIONS, WEIGHTS, ArtifactError, read_json
from pipeline.study.runs import Configuration

RecordedStage = Literal["train", "evaluate"]


def record_file(configuration: Configuration, stage: RecordedStage) -> Path:
    """File of what `stage` runs with `configuration`."""
    return CONFIGURATIONS / f"{configuration}.{stage}.json"


def remove_other_records(configurations: Collection[Configuration]) -> None:
    """Remove the records of all but these configurations: of what has left the study."""
    kept = {record_file(configuration, stage) for configuration in configurations for stage in get_args(RecordedStage)}
    for path in CONFIGURATIONS.glob("*.json"):
        if path not in kept:
            path.unlink()


def remove_other_weights(models: Collection[str]) -> None:
    """Remove what stage weights wrote of models that have left the study.

    Stage configure depends on the folder. A clone does not have it, and would not be up to date.
    """
    for path in WEIGHTS.glob("*/*"):
        if path.stem not in models:
            path.unlink()


def check_record(configuration: Configuration, stage: RecordedStage, record: dict[str, Any]) -> None:
    """Refuse to go on unless the recorded configuration is the present one.

    A result of anything else would count as up to date under settings or code that it does not come from.

    Parameters
    ----------
    configuration : Configuration
        Whose result is about to be computed.
    stage : {"train", "evaluate"}
        What computes it.
    record : dict
        Its settings and code as they are now.

    Raises
    ------
    ArtifactError
        If the file is missing or says something else; it names what differs.
    """
    path = record_file(configuration, stage)
    kept, now = read_json(path, "configure"), json.loads(json.dumps(record))
    differing = [
        key for key in now if json.dumps(kept.get(key), sort_keys=True) != json.dumps(now[key], sort_keys=True)
    ]
    if differing:
        raise ArtifactError(
            f"{path} is not {configuration} as params.yaml and the code have it now ({', '.join(differing)}); stage "
            "'configure' makes it: dvc repro --force configure"
        )
