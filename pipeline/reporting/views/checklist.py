"""Facts of the page that goes through the items of reporting guidelines: what the study answers, what is missing."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pipeline.learning.settings import train_settings
from pipeline.reporting import page
from pipeline.reporting.guidelines import DOES_NOT_APPLY, GUIDELINES, Guideline, Item
from pipeline.reporting.results import StudyResults
from pipeline.reporting.settings import About
from pipeline.reporting.terms import PARTS
from pipeline.reporting.views import doubts, provenance
from pipeline.reporting.views.cohort import Cohort, cohort
from pipeline.reporting.views.design import Design
from pipeline.reporting.views.design import design as design_of
from pipeline.reporting.views.flow import Flow, flow
from pipeline.reporting.views.shared import Banner, banner
from pipeline.study.files import write_text


class State(StrEnum):
    """How far an item is answered, as the page says it."""

    STUDY = "answered"
    AUTHOR = "answered in `about`"
    PART = "in part"
    OPEN = "**not answered**"
    NOT_APPLICABLE = "does not apply"


class Answer(NamedTuple):
    """An item, how far it is answered, by which facts, in whose words, and which keys are still empty."""

    item: Item
    state: State
    facts: list[str]
    texts: list[str]
    missing: list[str]


class Section(NamedTuple):
    """Answers below a heading."""

    name: str
    answers: list[Answer]


@dataclass(frozen=True)
class Checked:
    """A guideline, answered."""

    guideline: Guideline
    sections: list[Section]

    @property
    def answers(self) -> list[Answer]:
        """All items in their order."""
        return [answer for section in self.sections for answer in section.answers]

    @property
    def counts(self) -> dict[State, int]:
        """Items by state."""
        counted = Counter(answer.state for answer in self.answers)
        return {state: counted[state] for state in State}


@dataclass(frozen=True)
class Facts:
    """What the sentences of the answers name.

    Parameters
    ----------
    study : StudyResults
        A whole one.
    flow, cohort, design, provenance
        As on the pages that they are linked to.
    leaks : list of doubts.Shared
        What is in two sets.
    has_subgroups, has_dates : bool
        Whether there are results by subgroup, and dates of the images.
    weighted : list of str
        Models with ``class_weights: balanced``.
    """

    study: StudyResults
    flow: Flow
    cohort: Cohort
    design: Design
    provenance: provenance.Provenance
    leaks: list[doubts.Shared]
    has_subgroups: bool
    has_dates: bool
    weighted: list[str]

    @property
    def parts(self) -> list[str]:
        """Names of the sets that are used."""
        return [PARTS[part.name] for part in self.design.parts]


@dataclass(frozen=True)
class Page:
    """What the page shows."""

    banner: Banner
    facts: Facts
    checked: list[Checked]
    empty: list[str]
    given: int


def facts(study: StudyResults) -> Facts:
    """Return what the answers name."""
    design = design_of(study)
    assert design is not None  # `render` has asked for a whole study
    return Facts(
        study,
        flow(study),
        cohort(study),
        design,
        provenance.provenance(study),
        doubts.shared_between_parts(study),
        any(not r.subgroups.empty for r in study.configurations),
        study.audit.get("dates") is not None,
        [name for name in study.params.study.models if train_settings(study.params, name).class_weights != "none"],
    )


def known(about: Facts) -> dict[str, bool]:
    """Return the facts that are there, and whether each answers an item whole.

    A fact that is not named is there, and whole.
    """
    study = about.study
    return {
        "dates": about.has_dates,
        "ensembling": True,
        "robustness": study.several_seeds and about.has_subgroups,
        "characteristics": not about.cohort.people.lacking,
        "subgroups": about.has_subgroups,
        "software": bool(about.provenance.versions.values),
        "disjoint": study.patients_known and not about.leaks and not study.leaks_by_design,
        "results": math.isfinite(study.configurations[0].get(study.leading).value),
    }


def answer(item: Item, about: About, whole: Mapping[str, bool], drawn: bool) -> Answer:
    """Answer an item.

    Parameters
    ----------
    item : Item
        What is asked.
    about : About
        What the authors wrote.
    whole : mapping
        As `known` returns it.
    drawn : bool
        Whether a program drew the images.
    """
    given = about.given()
    texts = [given[key] for key in item.about if key in given]
    missing = [key for key in item.about if key not in given]
    if drawn and item.drawn and missing:
        state = State.NOT_APPLICABLE if item.drawn in DOES_NOT_APPLY else State.STUDY
        return Answer(item, state, [item.drawn], texts, [])
    there = [fact for fact in item.facts if fact != "dates" or whole["dates"]]
    if there and set(there) <= set(DOES_NOT_APPLY):
        return Answer(item, State.NOT_APPLICABLE, there, texts, [])
    complete = bool(there) and all(whole.get(fact, True) for fact in there)
    if item.either and complete:
        missing = []
    if missing:
        return Answer(item, State.PART if there or texts else State.OPEN, there, texts, missing)
    if texts:
        return Answer(item, State.AUTHOR, there, texts, [])
    return Answer(item, State.STUDY if complete else State.PART, there, texts, [])


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write checklist.md; nothing for a bare table, which knows none of it."""
    if not study.recorded:
        return []
    about, shown = study.params.about, facts(study)
    whole = known(shown)
    checked = [
        Checked(
            guideline,
            [
                Section(name, [answer(item, about, whole, study.synthetic) for item in items])
                for name, items in guideline.sections.items()
            ],
        )
        for guideline in GUIDELINES
    ]
    asked = {key for one in checked for an in one.answers for key in an.missing}
    empty = [key for key in About.model_fields if key in asked]
    view = Page(banner(study), shown, checked, empty, len(about.given()))
    path = folder / "checklist.md"
    write_text(path, _with_links_that_lead_somewhere(page.render("checklist.md", page=view), folder))
    return [path]


def _with_links_that_lead_somewhere(text: str, folder: Path) -> str:
    """Leave the words alone of links to pages that this study does not have, or to headings that its pages do not."""

    @cache
    def headings(name: str) -> set[str]:
        lines = re.findall(r"^#+ (.+)$", (folder / name).read_text(encoding="utf-8"), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}

    def checked(link: re.Match[str]) -> str:
        words, name, anchor = link.groups()
        leads = name == "README.md" or ((folder / name).exists() and (not anchor or anchor in headings(name)))
        return link[0] if leads else words

    return re.sub(r"\[([^]]+)\]\(([\w/.-]+\.md)#?([^)]*)\)", checked, text)
