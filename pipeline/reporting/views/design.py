"""Facts of the design of a study, for the page about methods and for the text of a manuscript."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.learning.settings import Train, train_settings
from pipeline.reporting.results import StudyResults
from pipeline.study.runs import runs


class Part(NamedTuple):
    """A part of the split."""

    name: str
    images: int
    patients: int


@dataclass(frozen=True)
class Design:
    """What was studied, for the first table; a whole study only.

    Parameters
    ----------
    parts : list of Part
        Those with images, but the unused ones.
    seeds : list of int
        Ascending.
    planned, finished : int
        Training runs of the study, and those with results.
    train : Train
        Settings of the training runs.
    own : list of str
        Models with settings of their own.
    """

    parts: list[Part]
    seeds: list[int]
    planned: int
    finished: int
    train: Train
    own: list[str]


def design(study: StudyResults) -> Design | None:
    """Return what was studied; None for a bare table."""
    if not study.recorded:
        return None
    params = study.params
    parts = [
        Part(name, of["images"], of["patients" if study.patients_known else "groups"])
        for name, of in study.audit["parts"].items()
        if of["images"] and name != "unused"
    ]
    return Design(
        parts,
        sorted([params.seed, *params.study.replicates]),
        len(runs(params)),
        sum(len(r.seeds) for r in study.configurations),
        params.train,
        [name for name in params.study.models if train_settings(params, name) != params.train],
    )


def test_time(study: StudyResults) -> list[str]:
    """Name the variants of an image whose logits are averaged; none without test-time augmentation."""
    settings = study.params.evaluate.tta.model_dump() if study.recorded else {}
    return [
        name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value:g}"
        for name, value in settings.items()
        if value
    ]
