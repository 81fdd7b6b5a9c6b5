"""Who and what is in the images: the sets of the split, classes and their pairs, age, sex, and view."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.reporting.results import StudyResults
from pipeline.reporting.terms import PARTS
from pipeline.study.unknown import without_any

ALL = "all"
LEAST_TOGETHER = 10
"""Images that two classes must share for their lift to be listed: of fewer it is mostly chance."""
LEAST_EXPECTED = 5
"""Images that chance would give two classes for their absence to be worth a word."""
_LISTED_PAIRS = 10
_NAMED_APART = 5
_MOST_VALUES = 6
"""Distinct values of a column such as view that are counted one by one."""
_BINS = ((1, 1), (2, 2), (3, 5), (6, 10), (11, math.inf))
"""Images per patient, lowest and highest."""
_SEXES = {"f": "female", "female": "female", "m": "male", "male": "male"}
_CONTRADICTORY: Any = object()
"""Stands where the images of a patient disagree, and is no text that a column could hold."""

Frames = dict[str, pd.DataFrame]


class Count(NamedTuple):
    """A number out of `of`."""

    number: int
    of: int

    @property
    def share(self) -> float:
        """In [0, 1]; NaN out of nothing."""
        return self.number / self.of if self.of else math.nan


class Quartiles(NamedTuple):
    """Quartiles; NaN of no values."""

    low: float
    median: float
    high: float


class Part(NamedTuple):
    """A set of the split, or all of them; `most` is the highest number of images of one patient.

    Where patients are not known, groups are counted in their place, here and below.
    """

    name: str
    images: int
    patients: int
    groups: int
    per_patient: Quartiles
    most: int

    @property
    def sized(self) -> str:
        """Name and number of images."""
        return f"{self.name} (n = {self.images:,})"


class Bin(NamedTuple):
    """Patients who have `low` to `high` images."""

    low: int
    high: float
    patients: int


class ClassRow(NamedTuple):
    """A class: images in every set, of those with a known label; patients in the test set, if any, and in all."""

    name: str
    images: list[Count]
    patients: list[int]


class Pair(NamedTuple):
    """Two classes: images and patients with both, and the images expected if the classes were independent."""

    first: str
    second: str
    images: int
    patients: int
    expected: float

    @property
    def lift(self) -> float:
        """Images over expected images."""
        return self.images / self.expected


@dataclass(frozen=True)
class Pairs:
    """Classes that occur together.

    Parameters
    ----------
    counts : int [K, K]
        Images with both classes; on the diagonal images with the class.
    total : int
        Images in all.
    often : int
        Pairs with at least `LEAST_TOGETHER` images.
    strongest : list of Pair
        Those of them with the highest lift.
    apart : int
        Pairs without an image where at least `LEAST_EXPECTED` are expected.
    named_apart : list of (str, str)
        The first of them.
    """

    counts: np.ndarray
    total: int
    often: int
    strongest: list[Pair]
    apart: int
    named_apart: list[tuple[str, str]]


class Age(NamedTuple):
    """Age in years of the images of a set; NaN where no age is recorded."""

    quartiles: Quartiles
    low: float
    high: float
    recorded: int
    missing: int


class Values(NamedTuple):
    """A column of categories, set by set; shares are of the recorded values.

    `counts` holds the most frequent values, `others` how many values there are besides and their counts, `missing` of
    how many nothing is recorded, and `contradictory` of how many patients the images disagree.
    """

    counts: dict[str, list[Count]]
    others: int
    other_counts: list[Count]
    missing: list[int]
    contradictory: list[int]

    @property
    def has_gap(self) -> bool:
        """Whether a set has no recorded value."""
        return any(count.of == 0 for counts in self.counts.values() for count in counts)


@dataclass(frozen=True)
class People:
    """Age, sex, and view, set by set.

    Parameters
    ----------
    ages : list of Age
        Empty where the data set has no such column.
    sexes, views : Values or None
        Of patients and of images; None where the data set has no such column.
    lacking : list of str
        Columns that it does not have.
    """

    ages: list[Age]
    sexes: Values | None
    views: Values | None
    lacking: list[str]

    @property
    def has_gap(self) -> bool:
        """Whether a set has no value of a column."""
        return any(age.recorded == 0 for age in self.ages) or any(v.has_gap for v in (self.sexes, self.views) if v)


@dataclass(frozen=True)
class Cohort:
    """The images and their patients.

    Parameters
    ----------
    parts : list of Part
        Sets that have images, and all of them.
    bins : list of Bin
        Patients by their number of images.
    classes : list of ClassRow
        In the data set's order.
    without : ClassRow or None
        Images without a class; None where every image has one.
    has_test : bool
        Whether the test set has images.
    labels : dict of int to int
        Images by their number of classes, of those that they are known to have.
    people : People
        Age, sex, and view.
    """

    parts: list[Part]
    bins: list[Bin]
    classes: list[ClassRow]
    without: ClassRow | None
    has_test: bool
    labels: dict[int, int]
    people: People


def images(study: StudyResults) -> pd.DataFrame:
    """Return every kept image once, without augmented copies."""
    return study.samples[study.samples["augmented"] == 0]


def cohort(study: StudyResults) -> Cohort:
    """Count images and patients, set by set."""
    frames = _frames(study.samples)
    kept, names = images(study), list(study.classes)
    unit = _unit(study)
    per_patient = kept[unit].value_counts()
    bins = [Bin(low, high, int(per_patient.between(low, high).sum())) for low, high in _BINS]
    none = {name: without_any(part[names]) for name, part in frames.items()}
    labels = kept[names].sum(axis=1).value_counts().sort_index()
    return Cohort(
        [_part(name, part, unit) for name, part in frames.items()],
        [b for b in bins if b.patients],
        [_class(name, frames, {k: part[name] for k, part in frames.items()}, unit) for name in names],
        _class("", frames, none, unit) if (none[ALL] == 1).any() else None,
        PARTS["test"] in frames,
        dict(zip(labels.index.astype(int).tolist(), labels.tolist())),
        _people(frames, unit if study.patients_known else "sample_id"),
    )


def _frames(samples: pd.DataFrame) -> Frames:
    """Return the samples of every set that has any, and all of them."""
    parts = {name: samples[samples["part"] == part] for part, name in PARTS.items()}
    return {**{name: rows for name, rows in parts.items() if len(rows)}, ALL: samples}


def _unit(study: StudyResults) -> str:
    """Return the column that is counted as patients: groups where patients are not known."""
    return "patient_id" if study.patients_known else "group_id"


def _part(name: str, rows: pd.DataFrame, unit: str) -> Part:
    per_patient = rows[unit].value_counts()
    return Part(
        name,
        len(rows),
        rows[unit].nunique(),
        rows["group_id"].nunique(),
        _quartiles(per_patient),
        int(per_patient.max()),
    )


def _quartiles(values: Iterable[float]) -> Quartiles:
    numbers = np.asarray(list(values), float)
    return Quartiles(*np.quantile(numbers, [0.25, 0.5, 0.75])) if len(numbers) else Quartiles(*[math.nan] * 3)


def _class(name: str, frames: Frames, has: Mapping[str, pd.Series], unit: str) -> ClassRow:
    return ClassRow(
        name,
        [Count(int((labels == 1).sum()), int(labels.notna().sum())) for labels in has.values()],
        [frames[part].loc[has[part] == 1, unit].nunique() for part in (PARTS["test"], ALL) if part in frames],
    )


def pairs(study: StudyResults) -> Pairs | None:
    """Count the images that have two classes; None where an image has one class only, as of a number its fifth."""
    samples, classes = images(study), study.classes
    if study.task in ("multiclass", "regression") or len(classes) < 2:
        return None
    truth = samples[list(classes)].to_numpy()
    labels, known = (truth == 1).astype(np.int64), (~np.isnan(truth)).astype(np.int64)
    counts, of_known = labels.T @ labels, labels.T @ known  # images with the first class whose second is known
    expected = of_known * of_known.T / np.maximum(known.T @ known, 1)
    every = list(combinations(range(len(classes)), 2))
    often = [pair for pair in every if counts[pair] >= LEAST_TOGETHER]
    often.sort(key=lambda pair: (-counts[pair] / expected[pair], -counts[pair], pair))
    apart = [pair for pair in every if counts[pair] == 0 and expected[pair] >= LEAST_EXPECTED]
    apart.sort(key=lambda pair: (-expected[pair], pair))

    def patients(i: int, j: int) -> int:
        both = (samples[classes[i]] == 1) & (samples[classes[j]] == 1)
        return samples.loc[both, _unit(study)].nunique()

    strongest = [
        Pair(classes[i], classes[j], int(counts[i, j]), patients(i, j), float(expected[i, j]))
        for i, j in often[:_LISTED_PAIRS]
    ]
    named = [(classes[i], classes[j]) for i, j in apart[:_NAMED_APART]]
    return Pairs(counts, len(samples), len(often), strongest, len(apart), named)


def _people(frames: Frames, unit: str) -> People:
    own = {column.lower(): column for column in frames[ALL].columns}
    ages = [_age(pd.to_numeric(part[own["age"]], errors="coerce")) for part in frames.values() if "age" in own]
    sexes = [_sex_of_patients(part, own["sex"], unit) for part in frames.values() if "sex" in own]
    views = [part[own["view"]] for part in frames.values() if "view" in own]
    return People(
        ages,
        _values(sexes) if sexes else None,
        _values(views) if views else None,
        [name for name in ("age", "sex", "view") if name not in own],
    )


def _age(ages: pd.Series) -> Age:
    recorded = ages.dropna()
    return Age(_quartiles(recorded), recorded.min(), recorded.max(), len(recorded), len(ages) - len(recorded))


def _sex_of_patients(rows: pd.DataFrame, column: str, unit: str) -> pd.Series:
    """Return the sex of every patient; missing where none is recorded, `_CONTRADICTORY` where images disagree."""
    read = rows[column].map(lambda v: v if pd.isna(v) else _SEXES.get(str(v).strip().lower(), str(v)))
    units, told = rows[unit], read.notna()
    known = read[told].groupby(units[told])
    agreed = known.first().astype(object).where(known.nunique() == 1, _CONTRADICTORY)
    return agreed.reindex(read.groupby(units).size().index)


def _values(columns: list[pd.Series]) -> Values:
    """Count the values of a column in every set; the last of `columns` is of all sets."""
    told = [column.dropna() for column in columns]
    recorded = [column[[value is not _CONTRADICTORY for value in column]].astype(str) for column in told]
    ranked = sorted(recorded[-1].value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    shown = [str(value) for value, _ in ranked[:_MOST_VALUES]]
    return Values(
        {value: [Count(int((r == value).sum()), len(r)) for r in recorded] for value in shown},
        len(ranked) - len(shown),
        [Count(int((~r.isin(shown)).sum()), len(r)) for r in recorded],
        [len(column) - len(t) for column, t in zip(columns, told)],
        [len(t) - len(r) for t, r in zip(told, recorded)],
    )
