"""The facts about images that are the same, or nearly so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from pipeline.reporting.results import StudyResults
from pipeline.reporting.views.cohort import images

_NAMED = 5
"""Copies that are named where near duplicates were not searched for."""
_CONFLICTS = 20
"""Pairs of duplicates with different labels that are named."""
_MOST_PAIRS = 24
"""Borderline pairs in their figure."""


class DuplicateKind(NamedTuple):
    """Pairs of duplicates of one kind, those with different labels, and pairs by what was done with them."""

    kind: str
    pairs: int
    conflicts: int
    actions: dict[str, int]


class Conflict(NamedTuple):
    """Duplicates with different labels; NaN where a number was not measured."""

    image: str
    other: str
    kind: str
    hamming: float
    correlation: float
    action: str


@dataclass(frozen=True)
class Duplicates:
    """Images that are the same or nearly so.

    Parameters
    ----------
    searched : bool
        False for data prepared before near duplicates were searched for; then only `copies` are there.
    copies : list of (str, str)
        Identical images and the earlier one that each is identical to; the first of them.
    copied : int
        How many such images there are.
    kinds : list of DuplicateKind
        One per kind of pair.
    conflicts : list of Conflict
        The first pairs with different labels.
    conflicting : int
        How many such pairs there are.
    borderline, across : int
        Pairs that are not grouped though they nearly correlate enough, and those of them in two sets.
    """

    searched: bool
    copies: list[tuple[str, str]]
    copied: int
    kinds: list[DuplicateKind]
    conflicts: list[Conflict]
    conflicting: int
    borderline: int = 0
    across: int = 0

    @property
    def unmeasured(self) -> list[str]:
        """Columns of `conflicts` that lack a number."""
        columns = {
            "Hash bits": [c.hamming for c in self.conflicts],
            "Correlation": [c.correlation for c in self.conflicts],
        }
        return [name for name, values in columns.items() if not all(map(math.isfinite, values))]


def duplicates(study: StudyResults) -> Duplicates:
    """Count the pairs, and name those with different labels."""
    if not study.has_duplicates:
        every = images(study)
        copies = every[every["duplicate_of"] != ""]
        named = list(zip(copies["sample_id"], copies["duplicate_of"]))
        return Duplicates(False, named[:_NAMED], len(copies), [], [], 0)
    every = study.duplicates
    borderline = every[every["kind"] == "borderline"]
    every = every[every["kind"] != "borderline"]
    kinds = []
    for kind, rows in every.groupby("kind"):
        actions = rows["action"].value_counts().sort_index()
        counted = dict(zip(actions.index.astype(str), actions.tolist()))
        kinds.append(DuplicateKind(str(kind), len(rows), int((~rows["labels_agree"]).sum()), counted))
    differing = every[~every["labels_agree"]]
    columns = ["sample_id", "other_id", "kind", "hamming", "correlation", "action"]
    conflicts = [Conflict(*row) for row in differing[columns].head(_CONFLICTS).itertuples(index=False, name=None)]
    return Duplicates(True, [], 0, kinds, conflicts, len(differing), len(borderline), _across(study, borderline))


def _across(study: StudyResults, borderline: pd.DataFrame) -> int:
    """Count the borderline pairs whose images are in two sets of the split."""
    part = images(study).set_index("sample_id")["part"]
    both = [borderline[column].map(part) for column in ("sample_id", "other_id")]
    return int(((both[0] != both[1]) & (both[0] != "unused") & (both[1] != "unused")).sum())


def borderline_rows(study: StudyResults) -> list[tuple[int, int, float]]:
    """Return the rows and the correlation of the borderline pairs that are drawn, those in two sets first."""
    if not study.has_duplicates:
        return []
    pairs = study.duplicates[study.duplicates["kind"] == "borderline"]
    kept = images(study).set_index("sample_id")
    pairs = pairs[pairs["sample_id"].isin(kept.index) & pairs["other_id"].isin(kept.index)]
    first, second = kept.loc[pairs["other_id"]], kept.loc[pairs["sample_id"]]
    same = (first["part"].to_numpy() == second["part"].to_numpy()).tolist()
    listed = zip(same, pairs["correlation"], first["row"], second["row"], strict=True)
    ranked = sorted(listed, key=lambda pair: (pair[0], -pair[1], pair[2]))
    return [(int(i), int(j), float(r)) for _, r, i, j in ranked[:_MOST_PAIRS]]
