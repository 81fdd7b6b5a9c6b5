"""Facts of the verdict: the chosen configuration, which pairs of configurations differ, what the ensemble adds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate, Outcome, outcome
from pipeline.uncertainty.claims import false_claim

_LISTED_PAIRS = 15
"""Pairs that the table lists in full: those of six configurations."""


class Pair(NamedTuple):
    """A tested difference in test macro AUROC, first minus second.

    `improvement` is the probability that a training run of the first scores above one of the second.
    """

    first: str
    second: str
    difference: Estimate
    p: float
    differs: bool
    equivalent: bool
    margin: float = math.nan
    fixed: bool = False
    failed: bool = False
    improvement: Estimate = Estimate()
    false_claim: float = math.nan
    """Probability that `higher` is not the better one (`claims.false_claim`, sceptical)."""
    p_alone: float = math.nan
    """Not corrected for other comparisons."""
    error: float = math.nan
    freedom: float = math.nan

    def turned(self) -> Pair:
        """Return the pair the other way round."""
        better = self.improvement
        worse = better._replace(value=1 - better.value, low=1 - better.high, high=1 - better.low)
        return self._replace(
            first=self.second, second=self.first, difference=self.difference.turned(), improvement=worse
        )

    @property
    def tested(self) -> bool:
        """Whether there is a test."""
        return math.isfinite(self.p)

    @property
    def outcome(self) -> Outcome:
        """What the tests allow to be said, in the words of every page."""
        return outcome(self.p, self.differs, self.equivalent, self.failed)

    @property
    def higher(self) -> str:
        """The one with the higher AUROC."""
        return self.first if self.difference.value > 0 else self.second

    @property
    def lower(self) -> str:
        """The other one."""
        return self.second if self.difference.value > 0 else self.first


@dataclass(frozen=True)
class Comparison:
    """Every pair of configurations.

    Parameters
    ----------
    tested : bool
        Whether the pairs were compared; without, there is no pair.
    configurations : int
        How many there are.
    pairs : list of Pair
        All of them.
    family : int
        Tests that lead the family which p values are adjusted for.
    """

    tested: bool
    configurations: int
    pairs: list[Pair]
    family: int = 0

    @property
    def apart(self) -> list[Pair]:
        """The pairs that differ."""
        return self._with(Outcome.DIFFER)

    @property
    def failed(self) -> list[Pair]:
        """The pairs that differ by a training run that learned nothing."""
        return self._with(Outcome.FAILED)

    @property
    def equivalent(self) -> list[Pair]:
        """The pairs that are shown to differ by less than the margin, and not to differ."""
        return self._with(Outcome.EQUIVALENT)

    @property
    def noise(self) -> list[Pair]:
        """The pairs of which neither is shown."""
        return self._with(Outcome.NOISE)

    @property
    def untested(self) -> list[Pair]:
        """The pairs without a test."""
        return self._with(Outcome.UNTESTED)

    @property
    def judged(self) -> list[Pair]:
        """The pairs with a test."""
        return [pair for pair in self.pairs if pair.tested]

    @property
    def fixed(self) -> bool:
        """Whether all pairs are of single training runs, so that nothing is known of other seeds."""
        return bool(self.pairs) and all(pair.fixed for pair in self.pairs)

    @property
    def margin(self) -> float:
        """Equivalence margin, in AUROC."""
        return self.pairs[0].margin if self.pairs else math.nan

    def _with(self, outcome: Outcome) -> list[Pair]:
        return [pair for pair in self.pairs if pair.outcome is outcome]


@dataclass(frozen=True)
class Verdict:
    """What came out.

    Parameters
    ----------
    subject : Results or None
        The chosen configuration, or the only one.
    comparison : Comparison
        Of configurations.
    ensemble : Results or None
        The ensemble that validation chooses.
    gain : Pair or None
        That ensemble and the chosen configuration, the ensemble first; None where they were not compared.
    """

    subject: Results | None
    comparison: Comparison
    ensemble: Results | None
    gain: Pair | None


def verdict(study: StudyResults) -> Verdict:
    """Return what came out of the study."""
    ensemble, single = study.chosen_ensemble, study.chosen
    gain = pair_of(study, ensemble.key, single.key) if ensemble is not None and single is not None else None
    return Verdict(study.subject, comparison(study), ensemble if single is not None else None, gain)


def comparison(study: StudyResults) -> Comparison:
    """Return every tested pair of configurations."""
    n = len(study.configurations)
    pairs = pairs_of(among(study).itertuples(), study.failing) if study.has_comparisons else []
    return Comparison(study.has_comparisons, n, pairs, study.leading_comparisons)


def among(study: StudyResults) -> pd.DataFrame:
    """Return the comparisons of two configurations."""
    every, keys = study.comparisons, [r.key for r in study.configurations]
    return every[every["first"].isin(keys) & every["second"].isin(keys)]


def pairs_of(rows: Iterable[Any], failing: frozenset[str] = frozenset()) -> list[Pair]:
    """Read rows of comparisons.csv; `failing` names what a training run that learned nothing takes part in."""
    return [
        Pair(
            row.first,
            row.second,
            Estimate(row.difference, row.ci_low, row.ci_high),
            float(row.p_holm),
            bool(row.distinguishable),
            bool(row.equivalent),
            float(row.margin),
            row.seeds == "fixed",
            bool({row.first, row.second} & failing),
            Estimate(
                getattr(row, "improvement", math.nan),
                getattr(row, "improvement_low", math.nan),
                getattr(row, "improvement_high", math.nan),
            ),
            float(false_claim(row.p).sceptical),
            float(row.p),
            float(getattr(row, "error", math.nan)),  # tables that are older than these columns have none
            float(getattr(row, "freedom", math.nan)),
        )
        for row in rows
    ]


def pair_of(study: StudyResults, first: str, second: str) -> Pair | None:
    """Return the comparison of `first` with `second`, whichever way round it was tested."""
    if not study.has_comparisons:
        return None
    for pair in pairs_of(study.comparisons.itertuples(), study.failing):
        if {pair.first, pair.second} == {first, second} and math.isfinite(pair.difference.value):
            return pair if pair.first == first else pair.turned()
    return None


@dataclass(frozen=True)
class PairTable:
    """The table of pairs.

    Parameters
    ----------
    pairs : list of Pair
        All of them where they are few, else those with the chosen configuration.
    tested : int
        Tests that lead the family which p values are adjusted for.
    chosen_ensemble : bool
        Whether comparisons of the chosen ensemble are among them.
    with_ensembles : int
        Comparisons with ensembles, which the page about ensembles shows.
    only_with : str
        The chosen configuration where `pairs` are cut to it, else empty.
    vary, fixed : bool
        Whether any comparison includes the spread over seeds, and whether any takes its training runs as given.
    margin : float
        Equivalence margin.
    """

    pairs: list[Pair]
    tested: int
    chosen_ensemble: bool
    with_ensembles: int
    only_with: str
    vary: bool
    fixed: bool
    margin: float

    @property
    def improvements(self) -> bool:
        """Whether any pair has a probability of improvement."""
        return any(pair.improvement.exists for pair in self.pairs)


def pair_table(study: StudyResults) -> PairTable | None:
    """Return the table of pairs; None where no pair of configurations was tested."""
    every = study.comparisons
    if not study.has_comparisons or not (every["family"] == "recipes").any():
        return None
    family = every[every["family"] == "recipes"]
    shown, chosen = among(study), study.chosen
    only_with = ""
    if len(shown) > _LISTED_PAIRS and chosen is not None:
        shown = shown[(shown["first"] == chosen.key) | (shown["second"] == chosen.key)]
        only_with = chosen.key if len(shown) < len(family) else ""
    kinds = set(family["seeds"])
    return PairTable(
        pairs_of(shown.itertuples(), study.failing),
        study.leading_comparisons,
        study.leading_comparisons > int(family["p"].notna().sum()),
        len(every) - len(family) if study.every_ensemble else 0,
        only_with,
        "vary" in kinds,
        "fixed" in kinds,
        float(every["margin"].iloc[0]),
    )
