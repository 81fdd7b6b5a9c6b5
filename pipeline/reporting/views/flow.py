"""The way of images and patients through the study: found, excluded, kept, and divided among the sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from pipeline.reporting.results import StudyResults
from pipeline.reporting.terms import PARTS
from pipeline.reporting.views.cohort import images
from pipeline.reporting.views.shared import kind_of_reason

MOST_CLASSES = 20
"""Classes that are counted in the boxes; of more, no box could be read, and the table of classes has them all."""
_MOST_REASONS = 8
"""Reasons that are named; the files of the others are added up."""
OTHERS = "other reasons"


class Counted(NamedTuple):
    """Images and patients, or groups where patients are not known; `name` is empty for images without a class."""

    name: str
    images: int
    patients: int


class Part(NamedTuple):
    """A set of the split: its key, its name, all that is in it, and that by class."""

    key: str
    name: str
    images: int
    patients: int
    classes: list[Counted]


class Reason(NamedTuple):
    """Why files or images are not used, and how many."""

    text: str
    number: int


@dataclass(frozen=True)
class Flow:
    """The flow of a study.

    Parameters
    ----------
    found, kept : int
        Files of the data set, and the images that are left of them.
    patients : int
        Whose the kept images are. Whose the excluded files are is not recorded.
    excluded, unused : list of Reason
        The most frequent first.
    copies : int
        Augmented copies that were made before the split; the sets include them.
    parts : list of Part
        Those with images. The unused one is the last, and without classes; all are where there are more than
        `MOST_CLASSES`.
    has_patients : bool
        Whether patients are known, and not groups alone.
    """

    found: int
    kept: int
    patients: int
    excluded: list[Reason]
    unused: list[Reason]
    copies: int
    parts: list[Part]
    has_patients: bool

    @property
    def unit(self) -> str:
        """What is counted beside images."""
        return "patient" if self.has_patients else "group"

    def images_of(self, key: str) -> int:
        """Return the images of a set, 0 where it has none."""
        return next((part.images for part in self.parts if part.key == key), 0)

    @property
    def by_class(self) -> bool:
        """Whether the sets are counted by class."""
        return any(part.classes for part in self.parts)


def flow(study: StudyResults) -> Flow:
    """Count what was found, excluded, kept, and in which set; from samples.csv, split.csv, excluded.csv, audit.json."""
    kept, unit = images(study), "patient_id" if study.patients_known else "group_id"
    return Flow(
        len(kept) + len(study.excluded),
        len(kept),
        kept[unit].nunique(),
        _counted(study.excluded["reason"]),
        _counted(str(entry.get("reason", "")) for entry in study.audit.get("unused") or []),
        len(study.samples) - len(kept),
        [
            _part(study, key, name, rows, unit)
            for key, name in PARTS.items()
            if len(rows := study.samples[study.samples["part"] == key])
        ],
        study.patients_known,
    )


def _part(study: StudyResults, key: str, name: str, rows: pd.DataFrame, unit: str) -> Part:
    shown = key != "unused" and len(study.classes) <= MOST_CLASSES
    names = list(study.classes) if shown else []
    of = {name: rows[rows[name] == 1] for name in names}
    without = rows[~rows[names].any(axis=1)] if names else rows[:0]
    if len(without):
        of[""] = without
    classes = [Counted(name, len(those), those[unit].nunique()) for name, those in of.items()]
    return Part(key, name, len(rows), rows[unit].nunique(), classes)


def _counted(reasons: Iterable[str]) -> list[Reason]:
    counted = Counter(kind_of_reason(str(reason)) or "not recorded" for reason in reasons)
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    more = sum(number for _, number in ranked[_MOST_REASONS:])
    return [Reason(*item) for item in ranked[:_MOST_REASONS]] + ([Reason(OTHERS, more)] if more else [])
