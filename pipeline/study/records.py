"""Records: the settings and the code of a stage, which stage ``configure`` writes and the stage depends on.

DVC compares a training run, say, with this file, not with params.yaml and the folders of code: what does not change the
record trains nothing again. A training run and an evaluation have that of their configuration.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from pipeline.study.files import CONFIGURATIONS, WEIGHTS, ArtifactError, read_json, write_json
from pipeline.study.runs import Configuration

RecordedStage = Literal[
    "preprocess",
    "train",
    "evaluate",
    "explain",
    "probe",
    "fuse",
    "ensemble",
    "prepare_external",
    "evaluate_external",
    "prepare_variant",
    "report",
]


def record_file(configuration: Configuration | str | None, stage: RecordedStage) -> Path:
    """File of what `stage` runs, with `configuration`; None is the whole study, a name an external set, say."""
    return CONFIGURATIONS / (f"{stage}.json" if configuration is None else f"{configuration}.{stage}.json")


def name_within(variant: str | None, configuration: Configuration) -> Configuration | str:
    """Return by what name `record_file` knows a configuration of a variant; of the study itself, where that is None."""
    return configuration if variant is None else f"{variant}-{configuration}"


def write_records(records: Mapping[Path, dict[str, Any]]) -> None:
    """Write the records under the names of `record_file`, and remove all others: of what has left the study."""
    for path in CONFIGURATIONS.glob("*.json"):
        if path not in records:
            path.unlink()
    for path, record in records.items():
        write_json(path, record, sort_keys=True)


def remove_other_weights(models: Collection[str]) -> None:
    """Remove the links to the weights files of all but these models, which have left the study.

    A clone does not have them, and would not be up to date.
    """
    for path in WEIGHTS.glob("*/*"):
        if path.stem not in models:
            path.unlink()


def check_record(configuration: Configuration | str | None, stage: RecordedStage, record: dict[str, Any]) -> None:
    """Refuse to go on unless what is recorded is what is there now.

    A result of anything else would count as up to date under settings or code that it does not come from.

    Parameters
    ----------
    configuration : Configuration, str or None
        Whose result is about to be computed; None = of the whole study, a name = of an external set.
    stage : str
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
        whose = configuration or f"stage {stage}"
        raise ArtifactError(
            f"{path} is not {whose} as params.yaml and the code have it now ({', '.join(differing)}); stage "
            "'configure' makes it: dvc repro --force configure"
        )
