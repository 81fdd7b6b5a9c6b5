"""Numbers, tables and arrays as the pages take them, and what stands for each where there is none."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd

from pipeline.study.errors import UserError
from pipeline.study.predictions import Predictions

MEAN = "mean"
ENSEMBLE = "ensemble"
PROBE = "probe"
NO_INTERVAL = "no interval: the table holds no results by patient"
NOT_IN_TABLE = "not in the metrics table"
NO_TABLE = pd.DataFrame()
"""A table that does not exist: it has no columns, as a table without rows has."""


class ReportError(UserError):
    """There is nothing to report on, or a metrics table is not what it should be."""


def exists(table: pd.DataFrame) -> bool:
    """Whether a table is there, with or without rows."""
    return len(table.columns) > 0


class Unknown:
    """Stands for what a bare metrics table does not hold; whoever reads it has not asked `StudyResults.recorded`."""

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse."""
        raise AttributeError(f"{name} is not recorded: the report is rendered from a metrics table alone")

    def __bool__(self) -> bool:
        """Return False."""
        return False


UNKNOWN: Any = Unknown()


def _no_predictions() -> Predictions:
    rows, text = np.zeros(0, np.int64), np.zeros(0, "<U1")
    logits, targets = np.zeros((0, 0, 0), np.float32), np.zeros((0, 0), np.uint8)
    part = (rows, logits, targets, text)
    return Predictions("multilabel", rows, text, *part, *part)


NO_PREDICTIONS = _no_predictions()
"""No model, no class, no image."""


class Outcome(StrEnum):
    """What the tests of a difference allow to be said, in the words that the tables, figures and sentences share.

    "failed training": the two differ, and a training run that learned nothing is in one of them, so that the difference
    is its failure and nobody's gain.
    """

    DIFFER = "differ"
    EQUIVALENT = "equivalent"
    FAILED = "failed training"
    NOISE = "within noise"
    UNTESTED = "not tested"


def outcome(p_holm: float, differs: bool, equivalent: bool, failed: bool) -> Outcome:
    """Return what may be said of a pair with these tests; `failed`: a training run that learned nothing is in it."""
    if differs:
        return Outcome.FAILED if failed else Outcome.DIFFER
    if equivalent:
        return Outcome.EQUIVALENT
    return Outcome.NOISE if math.isfinite(p_holm) else Outcome.UNTESTED


class Estimate(NamedTuple):
    """A number with what a reader needs to judge it; NaN where something does not exist, `note` then says why."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: float = math.nan
    n_positive: float = math.nan
    note: str = NOT_IN_TABLE

    @classmethod
    def of_row(cls, row: Any) -> Estimate:
        """Read a row of a table with the columns of metrics.csv."""
        note = row.note if isinstance(row.note, str) else ""
        return cls(row.value, row.ci_low, row.ci_high, row.n, row.n_positive, note)

    @property
    def exists(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def complete(self) -> bool:
        """Whether there are both."""
        return self.exists and self.bounded

    @property
    def share(self) -> float:
        """Share of positives, in [0, 1]; NaN where either count is not recorded."""
        return self.n_positive / self.n if self.n else math.nan

    def turned(self) -> Estimate:
        """Return a difference the other way round."""
        return self._replace(value=-self.value, low=-self.high, high=-self.low)


class Sample(NamedTuple):
    """What a number rests on; NaN where a count is not recorded."""

    images: float
    patients: float


class Augmented(NamedTuple):
    """Training images as prepared and as drawn, uint8 [R, 1 + draws, H, W] or [R, 1 + draws, H, W, 3], and their rows.

    It stands for the training run of a configuration under its first seed; without any rows there is none.
    """

    rows: np.ndarray
    images: np.ndarray


class Examples(NamedTuple):
    """The same images without and with contrast enhancement, both uint8 [E, H, W] or [E, H, W, 3], and their rows.

    Without any rows there are none: contrast enhancement is off.
    """

    rows: np.ndarray
    before: np.ndarray
    after: np.ndarray


class KindPictures(NamedTuple):
    """One image of each kind as read and as prepared, both uint8 [E, H, W] or [E, H, W, 3]; positions of the kinds."""

    rows: np.ndarray
    before: np.ndarray
    after: np.ndarray


NO_AUGMENTED = Augmented(np.zeros(0, np.int64), np.zeros((0, 1, 0, 0), np.uint8))
NO_KINDS = KindPictures(np.zeros(0, np.int64), *[np.zeros((0, 0, 0), np.uint8)] * 2)
NO_EXAMPLES = Examples(np.zeros(0, np.int64), *[np.zeros((0, 0, 0), np.uint8)] * 2)
