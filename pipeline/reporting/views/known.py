"""Which labels are known: by class and set, and what training takes uncertain ones for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.reporting.results import StudyResults
from pipeline.reporting.terms import PARTS


class Counts(NamedTuple):
    """Labels of a class, or of all, in a set: known ones that are positive and negative, uncertain and unknown ones."""

    positive: int
    negative: int
    uncertain: int
    unknown: int

    @property
    def known(self) -> int:
        """Positive and negative ones."""
        return self.positive + self.negative

    @property
    def share(self) -> float:
        """Of known labels, in [0, 1]; NaN without any label."""
        return self.known / sum(self) if sum(self) else math.nan


class Rule(NamedTuple):
    """What training takes an uncertain label for (None: it is left out), and of which classes; empty for all others."""

    value: float | None
    classes: list[str]


@dataclass(frozen=True)
class Labels:
    """The labels of a data set that does not know all of them.

    Parameters
    ----------
    classes : dict of str to list of Counts
        By class, in the order of `sets`.
    sets : dict of str to Counts
        Of all classes together, by the name of the set.
    rules : list of Rule
        The most frequent last; empty where no label is uncertain.
    """

    classes: dict[str, list[Counts]]
    sets: dict[str, Counts]
    rules: list[Rule]

    @property
    def uncertain(self) -> bool:
        """Whether a label is."""
        return any(of.uncertain for of in self.sets.values())

    @property
    def test_share(self) -> float:
        """Share of the test labels that is known."""
        return self.sets[PARTS["test"]].share if PARTS["test"] in self.sets else math.nan


def labels(study: StudyResults) -> Labels | None:
    """Read the audit of the split; None where every label is known, or where that was not counted."""
    counted = study.audit.get("labels") if study.recorded else None
    if not counted:
        return None
    parts = [part for part in PARTS if any(sum(of.get(part, {}).values()) for of in counted.values())]
    classes = {name: [Counts(**of[part]) for part in parts] for name, of in counted.items()}
    sums = [Counts(*(sum(values) for values in zip(*column))) for column in zip(*classes.values())]
    found = Labels(classes, dict(zip((PARTS[part] for part in parts), sums)), [])
    return Labels(found.classes, found.sets, _rules(study)) if found.uncertain else found


def _rules(study: StudyResults) -> list[Rule]:
    by_value: dict[float | None, list[str]] = {}
    for name, value in study.dataset.uncertain.items():
        by_value.setdefault(value, []).append(name)
    ranked = sorted(by_value.items(), key=lambda item: len(item[1]))
    return [Rule(value, names if place < len(ranked) - 1 else []) for place, (value, names) in enumerate(ranked)]
