"""Facts of the pages of seeds: whether what the training seed changes is more than noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import gammaincinv, stdtrit

from pipeline.reporting.results import Results, StudyResults

DIGITS = 4
"""Decimals of the tables by seed; seeds that agree in all of them are tied."""
_NORMAL_975 = 1.959964


class Tested(NamedTuple):
    """What comparing the seeds on the same patients gave in a class, or in the mean over classes.

    `p` is the smallest adjusted p value of its pairs of seeds, NaN without a test, which `note` then explains.
    """

    sampling_se: float
    p: float
    differ: bool
    note: str

    @property
    def exists(self) -> bool:
        """Whether there was a test."""
        return math.isfinite(self.p)


UNTESTED = Tested(math.nan, math.nan, False, "not tested")


class OverSeeds(NamedTuple):
    """95 % intervals of the mean and the SD over all seeds, which take their values as normally distributed."""

    mean: tuple[float, float]
    sd: tuple[float, float]


class Noise(NamedTuple):
    """The SD over seeds beside the standard error of the test set."""

    sd: float
    se: float

    @property
    def relation(self) -> Literal["negligible", "smaller", "larger", "equal"]:
        """How the SD compares with the standard error; within 5 % they are as large as each other."""
        if self.sd < 0.5 * 10**-DIGITS:
            return "negligible"
        ratio = self.se / self.sd
        return "smaller" if ratio >= 1.05 else "larger" if ratio <= 1 / 1.05 else "equal"


class Overlap(NamedTuple):
    """In how many of the classes with intervals for every seed all of them overlap."""

    overlapping: int
    classes: int


class Halves(NamedTuple):
    """Patients halved at random.

    Parameters
    ----------
    again, chance : float
        Share of the halvings in which the best seed of one half is the best of the other, and what chance makes it.
    loss : float
        AUROC of that seed on the half that chose it minus that on the other half.
    classes : int
        Over which these are means.
    """

    again: float
    chance: float
    loss: float
    classes: int


@dataclass(frozen=True)
class Suits:
    """Whether a seed suits a class.

    Parameters
    ----------
    tested : bool
        Whether any class could be tested.
    classes : list of str
        Those in which the range over seeds is larger than exchanging the seeds' predictions makes it.
    p, p_all : float
        The smallest adjusted p value of a class, and that of the interaction over all classes, NaN if not tested.
    halves : Halves or None
        None where patients were not halved.
    """

    tested: bool
    classes: list[str]
    p: float
    p_all: float
    halves: Halves | None


def tested(results: Results) -> dict[str, Tested]:
    """Read seeds.csv by class."""
    return {
        str(row["class"]): Tested(
            float(row["sampling_se"]), float(row["p_holm"]), _true(row["distinguishable"]), _text(row["note"])
        )
        for row in results.spread.to_dict("records")
    }


def _true(value: Any) -> bool:
    """Read a cell of a column of True and False, which pandas reads as text where some are empty."""
    return str(value).lower() in ("true", "1", "1.0")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def over_seeds(mean: float, sd: float, n: int) -> OverSeeds:
    """Return what `n` seeds allow to be said of all seeds, the test set as it is."""
    low, high = (float(sd * math.sqrt((n - 1) / (2 * gammaincinv((n - 1) / 2, q)))) for q in (0.975, 0.025))
    half = float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n)
    return OverSeeds((max(mean - half, 0.0), min(mean + half, 1.0)), (low, high))


def se_of_intervals(results: Results) -> float:
    """Return the standard error that the seeds' intervals have as 95 % intervals; NaN where one has none."""
    singles = [results.get("auroc", None, seed) for seed in results.seeds]
    if not singles or not all(e.bounded for e in singles):
        return math.nan
    return float(np.mean([e.high - e.low for e in singles])) / (2 * _NORMAL_975)


def overlap(study: StudyResults, results: Results) -> Overlap | None:
    """Compare the intervals of the seeds, class by class; None where no class has one for every seed."""
    every = [[results.get("auroc", name, seed) for seed in results.seeds] for name in study.classes]
    bounded = [seeds for seeds in every if all(e.bounded for e in seeds)]
    if not bounded:
        return None
    overlapping = [all(a.low <= b.high and b.low <= a.high for a, b in combinations(seeds, 2)) for seeds in bounded]
    return Overlap(sum(overlapping), len(bounded))


def suits(results: Results) -> Suits | None:
    """Read seed_suits_class.csv and seed_by_class.json."""
    if results.suits.empty:
        return None
    by_class = results.suits[results.suits["class"] != "macro"]
    tested = by_class[np.isfinite(by_class["p_holm"])]
    p_all = results.interaction.get("p")
    return Suits(
        not tested.empty,
        [str(row["class"]) for row in tested.to_dict("records") if _true(row["suits"])],
        float(tested["p_holm"].min()),
        math.nan if p_all is None else float(p_all),
        _halves(by_class[np.isfinite(by_class["replication"])]),
    )


def _halves(rows: pd.DataFrame) -> Halves | None:
    if rows.empty:
        return None
    again, loss = float(rows["replication"].mean()), float(rows["winners_gap"].mean())
    return Halves(again, float(rows["chance"].iloc[0]), loss, len(rows))
