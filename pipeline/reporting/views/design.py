"""Facts of the design of a study, for the page about methods and for the text of a manuscript."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.learning.settings import Train, train_settings
from pipeline.reporting.results import StudyResults
from pipeline.settings import Params
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
        Settings of training, as `common_settings`.
    own : list of str
        Models with settings of their own.
    """

    parts: list[Part]
    seeds: list[int]
    planned: int
    finished: int
    train: Train
    own: list[str]


def common_settings(params: Params) -> Train:
    """Return the settings of training that all models have; of those in which they differ, those of section `train`."""
    of_models = [train_settings(params, name) for name in params.study.models]
    shared = {
        key: getattr(of_models[0], key)
        for key in Train.model_fields
        if all(getattr(each, key) == getattr(of_models[0], key) for each in of_models)
    }
    return params.train.model_copy(update=shared)


def design(study: StudyResults) -> Design | None:
    """Return what was studied; None for a bare table."""
    if not study.recorded:
        return None
    params = study.params
    train = common_settings(params)
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
        train,
        [name for name in params.study.models if train_settings(params, name) != train],
    )


def test_time(study: StudyResults) -> list[str]:
    """Name the variants of an image whose logits are averaged; none without test-time augmentation."""
    settings = study.params.evaluate.tta.model_dump() if study.recorded else {}
    return [
        name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value:g}"
        for name, value in settings.items()
        if value
    ]
