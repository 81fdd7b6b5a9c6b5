"""Columns of the data set's table as inputs of a network: which they are, and how a value becomes numbers.

Everything that is measured (mean and spread of numbers, levels of text) is measured on the training part alone, and
saved with the weights: validation, test, external sets and new images are encoded by it.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.study.classes import SAMPLE_COLUMNS
from pipeline.study.empty import NOT_KNOWN, is_empty
from pipeline.study.errors import UserError
from pipeline.study.files import PREPARED, SAMPLES, made_by, read_table
from pipeline.study.target import COLUMN as TARGET
from pipeline.study.unknown import known_of

MOST_LEVELS = 50
"""Levels of a column of text: with more it is nearly a name of the image."""
SEEN_UNKNOWN = 0.05
"""Share of the training images of which each column is unknown at least: where fewer are, values are hidden at random.

Otherwise the input that says "unknown" would never be trained, and an image without the value would get random answers.
"""
LEAK = 0.95
"""AUROC of a class by a column alone from which a person is told that the column may hold the answer."""
CLIP = 5.0
"""Standard deviations from the mean beyond which a number counts as so far: a typing error must not drown the image."""
_OF_PERSONS = ("study_date", "accession_number", "study_uid", "series_uid", "sop_uid")
"""Further columns that say which examination it is, and may lead to a person: model files and pages show levels."""
_COUNTED = 100
"""Images from which on whole numbers that are all different are no measurement."""
_ENOUGH = 10
"""Images with and without a class below which nothing is said of a column and that class."""


class MetadataError(UserError):
    """A column cannot be an input. The message names the key, the column, and what is allowed."""


@dataclass(frozen=True)
class Column:
    """A column as an input.

    Parameters
    ----------
    name : str
        As in samples.csv.
    mean, sd : float or None
        Of numbers: of the known values of the training images, the SD with n in the denominator. None of text.
    levels : tuple of str
        Of text: the values that training images have, sorted. Empty for numbers.
    known, missing : int
        Training images with and without a value.
    """

    name: str
    mean: float | None
    sd: float | None
    levels: tuple[str, ...]
    known: int
    missing: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name what the network gets of it: the value or one input per level, and last whether it is unknown."""
        of = [self.name] if self.mean is not None else [f"{self.name} = {level}" for level in self.levels]
        return (*of, f"{self.name} unknown")

    @property
    def hidden(self) -> float:
        """Probability with which a known value is hidden while training, so that `SEEN_UNKNOWN` holds."""
        share = self.missing / (self.known + self.missing)
        return max(0.0, (SEEN_UNKNOWN - share) / (1 - share))

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Encode values.

        Parameters
        ----------
        values : sequence of str [N]
            As they stand in a table; "" is missing. A number that is none, and a level that no training image has, are
            unknown, too. A level is that of this very spelling, or else the only one that differs in case and spaces.

        Returns
        -------
        float32 [N, len(inputs)]
            Of numbers (value - mean) / sd, within `CLIP`, and 0 where unknown; of text 1 for its level; then 1 where
            unknown.
        """
        made = np.zeros((len(values), len(self.inputs)), np.float64)
        if self.mean is not None and self.sd is not None:
            found = _numbers(values)
            known = np.isfinite(found)
            made[known, 0] = np.clip((found[known] - self.mean) / self.sd, -CLIP, CLIP)
        else:
            place = {level: i for i, level in enumerate(self.levels)}
            alike = {spelt(level): i for i, level in enumerate(self.levels)}
            if len(alike) < len(place):
                often = Counter(map(spelt, self.levels))
                alike = {text: i for text, i in alike.items() if often[text] == 1}
            at = np.array([place.get(v.strip(), alike.get(spelt(v), -1)) for v in values], np.int64)
            known = at >= 0
            made[np.flatnonzero(known), at[known]] = 1
        made[:, -1] = ~known
        return made.astype(np.float32)


@dataclass(frozen=True)
class Scheme:
    """All columns that a network takes beside the image, in order."""

    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of samples.csv."""
        return tuple(column.name for column in self.columns)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name the numbers that the network takes, in order."""
        return tuple(name for column in self.columns for name in column.inputs)

    def encode(self, table: pd.DataFrame) -> np.ndarray:
        """Encode text of `names` (columns that `table` lacks are unknown of all), float32 [N, len(inputs)]."""
        nothing = [""] * len(table)
        return np.concatenate(
            [c.encode(table[c.name].tolist() if c.name in table else nothing) for c in self.columns], axis=1
        )

    def unknown(self, n: int) -> np.ndarray:
        """Encode `n` images of which nothing is known, float32 [n, len(inputs)]."""
        return self.encode(pd.DataFrame(index=range(n)))

    def of_rows(self, rows: np.ndarray, folder: Path = PREPARED, stage: str = "preprocess") -> np.ndarray:
        """Encode the images `rows` [n] of a prepared data set, float32 [n, len(inputs)]; what it lacks is unknown."""
        return self.encode(as_text(self.names, folder, stage).loc[rows])

    def record(self) -> list[dict[str, Any]]:
        """Return it JSON-compatible, as `Scheme.read` takes it."""
        return [{**asdict(column), "levels": list(column.levels)} for column in self.columns]

    @classmethod
    def read(cls, content: Sequence[Mapping[str, Any]]) -> Scheme:
        """Read what `record` returned."""
        return cls(tuple(Column(**{**column, "levels": tuple(column["levels"])}) for column in content))


def as_text(names: Sequence[str], folder: Path = PREPARED, stage: str = "preprocess") -> pd.DataFrame:
    """Read columns of samples.csv as they stand there, "" where nothing does; the index is `row`.

    Columns that the table does not have are left out.
    """
    path = made_by(folder / SAMPLES.name, stage)
    there = read_table(path, nrows=0).columns
    wanted = ["row", *(name for name in dict.fromkeys(names) if name in there)]
    table = read_table(path, dtype=dict.fromkeys(wanted[1:], "str") | {"row": np.int64}, usecols=wanted, na_values=[])
    return table.set_index("row").fillna("")


def measure(key: str, names: Sequence[str], classes: Sequence[str], rows: np.ndarray) -> Scheme:
    """Find out how columns become inputs, on training images alone.

    A column whose known values are all numbers is a number; any other is text.

    Parameters
    ----------
    key : str
        Of params.yaml, for messages.
    names : sequence of str
        Columns of samples.csv.
    classes : sequence of str
        Of the data set: no inputs, and no more is the target of a regression.
    rows : int64 [n]
        Training images; each counts once.

    Raises
    ------
    MetadataError
        If a column is not there, may not be an input, or says nothing of the training images.
    """
    columns = read_table(made_by(PREPARED / SAMPLES.name, "preprocess"), nrows=0).columns
    no_inputs, sought = (*SAMPLE_COLUMNS, *_OF_PERSONS), (*classes, TARGET)
    own = [name for name in columns if name not in (*no_inputs, *sought)]
    for name in names:
        if name in sought:
            what = "a class" if name in classes else "the target"
            raise MetadataError(f"{key}: '{name}' is {what}: it is what the network is to find; {_use(own)}")
        if name in no_inputs:
            raise MetadataError(f"{key}: '{name}' says which file it is, not what it shows; {_use(own)}")
        if name not in columns:
            raise MetadataError(f"{key}: the data set has no column '{name}'; {_use(own)}")
    table = as_text(names).loc[np.unique(rows)]
    return Scheme(tuple(_measured(f"{key}: column '{name}'", name, table[name].tolist()) for name in names))


def _use(own: Sequence[str]) -> str:
    return f"use one of: {', '.join(own)}" if own else "it has none (see extra_columns of image_table); must be empty"


def _measured(said: str, name: str, values: Sequence[str]) -> Column:
    """Measure one column of the training images."""
    known = [value.strip() for value in values if not is_empty(value)]
    numeric = bool(known) and bool(np.isfinite(_numbers(known)).all())
    if not numeric:
        known = [value.strip() for value in values if not is_empty(value, NOT_KNOWN)]
    about = len(known), len(values) - len(known)
    if not known:
        raise MetadataError(f"{said} is empty for all {len(values)} training images; leave it out")
    levels = sorted(set(known))
    if len(levels) == 1:
        raise MetadataError(
            f"{said} is '{levels[0]}' wherever it is known, for {len(known)} of {len(values)} training images: a "
            "network learns nothing from it; leave it out"
        )
    numbers = _numbers(known)
    if numeric:
        if len(levels) == len(known) >= _COUNTED and (numbers == np.round(numbers)).all():
            raise MetadataError(
                f"{said} has another whole number for each of {len(known)} training images: a number of the image, not "
                "a measurement; leave it out"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            sd = float(numbers.std())
        if not 0 < sd < np.inf:  # written differently, as 1 and 1.0, or too large to be squared
            raise MetadataError(f"{said} has values from {numbers.min():g} to {numbers.max():g}, of SD {sd:g}")
        return Column(name, float(numbers.mean()), sd, (), *about)
    if len(levels) > MOST_LEVELS or len(levels) > len(known) / 2:
        none = sorted({value for value, number in zip(known, numbers) if np.isnan(number)})
        if len(none) < len(levels) / 2:
            raise MetadataError(
                f"{said} has {len(levels)} different values for {len(known)} training images, of which no numbers are "
                f"{', '.join(map(repr, none[:5]))}{' and more' if len(none) > 5 else ''}; must be numbers with a point "
                "before decimals, or empty where nothing is known"
            )
        raise MetadataError(
            f"{said} is text with {len(levels)} different values for {len(known)} training images: nearly a name of "
            f"each; must have at most {MOST_LEVELS}, and at most half as many as images, or be a number (with a point "
            "before decimals)"
        )
    return Column(name, None, None, tuple(levels), *about)


def spelt(text: str) -> str:
    """Return a level without case, and with single spaces; composed letters and their parts (NFC, NFD) are one."""
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()


def _numbers(values: Sequence[str]) -> np.ndarray:
    """Read numbers, float64 [N]; NaN for what is none, or is infinite."""
    found = pd.to_numeric(pd.Series(list(values), dtype="str").str.strip(), errors="coerce").to_numpy(np.float64)
    return np.where(np.isfinite(found), found, np.nan)


class Association(NamedTuple):
    """How well a column alone tells a class in the training images: an AUROC in [0.5, 1]."""

    column: str
    label: str
    auroc: float


def associations(scheme: Scheme, encoded: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> list[Association]:
    """Find, for each column, the class that it tells best in the training images.

    Parameters
    ----------
    scheme : Scheme
        S columns.
    encoded : float32 [n, len(inputs)]
        By the scheme.
    targets : 0/1 [n, K]
        NaN where unknown.
    classes : sequence of str [K]

    Returns
    -------
    list of Association
        One per column of which a class has `_ENOUGH` images on both sides: numbers by their value, either way; text by
        the share of the class at each level. Missing values count as a level, and are left out of numbers.
    """
    from pipeline.metrics.functions import rank_auroc  # scipy.stats takes a second, and `predict` does not need it

    found: list[Association] = []
    known = known_of(targets)
    start = 0
    for column in scheme.columns:
        block = encoded[:, start : start + len(column.inputs)].astype(np.float64)
        start += len(column.inputs)
        there = block[:, -1] == 0 if column.mean is not None else np.ones(len(block), bool)
        best: Association | None = None
        for k, label in enumerate(classes):
            used = there if known is None else there & known[:, k]
            truth = targets[used, k] > 0.5
            if min(truth.sum(), (~truth).sum()) < _ENOUGH:
                continue
            score = block[used, 0] if column.mean is not None else _share(block[used], truth)
            auroc = float(rank_auroc(truth[:, None], score[:, None])[0])
            if best is None or max(auroc, 1 - auroc) > best.auroc:
                best = Association(column.name, label, max(auroc, 1 - auroc))
        if best is not None:
            found.append(best)
    return found


def _share(one_hot: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the share of positives among those of the same level, float64 [n]."""
    counts = one_hot.sum(0)
    return one_hot @ (one_hot.T @ truth / np.maximum(counts, 1))


def known_values(scheme: Scheme, encoded: np.ndarray) -> dict[str, int]:
    """Count the images whose value of each column is known."""
    ends = np.cumsum([len(column.inputs) for column in scheme.columns]) - 1
    return {column.name: int((encoded[:, end] == 0).sum()) for column, end in zip(scheme.columns, ends)}


def far_values(scheme: Scheme, encoded: np.ndarray) -> dict[str, int]:
    """Count the images whose number lies beyond `CLIP`, by column; columns without any are left out.

    Of the training images: a typing error, or a code for "unknown", which then makes mean and SD.
    """
    starts = np.cumsum([0, *(len(column.inputs) for column in scheme.columns)])
    numbers = [(column.name, start) for column, start in zip(scheme.columns, starts) if column.mean is not None]
    counts = {name: int((np.abs(encoded[:, start]) >= CLIP).sum()) for name, start in numbers}
    return {name: n for name, n in counts.items() if n}
