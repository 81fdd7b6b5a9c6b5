"""Facts of the page about ensembles: what was combined and fitted, and whether it differs from a single model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pipeline.ensembling.combiners import LABELS as FITTED_ON_LABELS
from pipeline.ensembling.fitting import FOLDS
from pipeline.reporting import page
from pipeline.reporting.figures import ensembles as figures
from pipeline.reporting.results import Results, StudyResults, equals, highest
from pipeline.reporting.terms import LABELS, RANKING
from pipeline.reporting.values import Estimate, Outcome, Sample
from pipeline.reporting.views.ensemble_differences import (
    Reference,
    compared_with,
    differences,
    listed,
    single_configuration,
)
from pipeline.reporting.views.ensemble_members import MemberSet, member_sets, run_name
from pipeline.reporting.views.shared import Banner, Decisions, Noted, banner, decisions

DECIDED = {"multilabel": ("f1", "mcc"), "multiclass": ("accuracy", "balanced_accuracy", "mcc")}
"""Metrics of decisions that the page shows."""
NEGLIGIBLE = 0.0005
"""Weight that is printed as 0.000."""


class Row(NamedTuple):
    """An ensemble: number of members and what it was fitted on (0 and "" if not recorded), then its AUROC and AP."""

    results: Results
    chosen: bool
    members: int
    fitted_on: str
    validation: float
    ranking: list[Estimate]


class Rarest(NamedTuple):
    """The classes with the fewest positive validation images, out of how many."""

    classes: list[str]
    positives: float
    of: int


class Cost(NamedTuple):
    """Networks that the chosen ensemble runs per image, and members whose weight is negligible."""

    networks: int
    spared: int


@dataclass(frozen=True)
class Page:
    """What ensembles.md says.

    Parameters
    ----------
    study : StudyResults
        The study.
    banner : Banner
        Warnings.
    chosen : Results or None
        The ensemble with the highest validation AUROC.
    tied : list of str
        Others with the same value at the printed precision, which are not equal to all digits.
    rows : list of Row
        One row per ensemble.
    labels : list of str
        Metrics of the ranking that any ensemble has.
    decisions : Decisions
        Metrics of the decisions.
    described : bool
        Members and methods are recorded.
    methods : list of (str, str)
        Name of a method, and what it is fitted on.
    n_sets, n_runs : int
        Sets of members, and training runs that are in any.
    references : list of Reference
        The single models with tested differences.
    shown : list of Reference
        Those that the summary names: training runs and the single configuration of `single`.
    single : Reference or None
        The single configuration that ensembles are compared with.
    n_tested : int
        Comparisons that p values are corrected for.
    margin : float
        Equivalence margin; NaN without comparisons.
    cost : Cost or None
        None where the members of the chosen ensemble are not recorded.
    validation, test : Sample
        What numbers rest on.
    rarest : Rarest or None
        None where the numbers of positives are not recorded.
    cross_fitted : bool
        Any method is fitted on validation labels.
    sets : list of MemberSet
        Members and weights.
    """

    study: StudyResults
    banner: Banner
    chosen: Results | None
    tied: list[str]
    rows: list[Row]
    labels: list[str]
    decisions: Decisions
    described: bool
    methods: list[tuple[str, str]]
    n_sets: int
    n_runs: int
    references: list[Reference]
    shown: list[Reference]
    single: Reference | None
    n_tested: int
    margin: float
    cost: Cost | None
    validation: Sample
    test: Sample
    rarest: Rarest | None
    cross_fitted: bool
    sets: list[MemberSet]
    folds: int = FOLDS
    negligible: float = NEGLIGIBLE

    @property
    def failing(self) -> bool:
        """Whether a difference is that of a training run that learned nothing."""
        return any(d.verdict == Outcome.FAILED for reference in self.references for d in reference.differences)

    @property
    def noted(self) -> Noted:
        """Estimates of the ranking for `formats.reasons`."""
        return [(row.results.loss, label, e) for row in self.rows for label, e in zip(self.labels, row.ranking)]

    def is_chosen(self, key: str) -> bool:
        """Whether `key` is that of the chosen ensemble."""
        return self.chosen is not None and self.chosen.key == key

    @cached_property
    def names(self) -> dict[str, str]:
        """Key of an ensemble to its name."""
        return {row.results.key: row.results.loss for row in self.rows}


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write ensembles.md and its figure into `folder`; return what was written, nothing for a study without any."""
    if not listed(study):
        return []
    facts = view(study)
    drawn = _draw(facts, folder / "figures" / "ensembles.png")
    written = page.write(folder / "ensembles.md", "ensembles.md", page=facts, pictured=drawn is not None)
    return [written, *([drawn] if drawn else [])]


def view(study: StudyResults) -> Page:
    """Return what the page says; there must be an ensemble."""
    shown, about = listed(study), study.described
    best = study.chosen_ensemble or highest(shown)
    found = differences(study)
    single = single_configuration(study, found)
    references = [compared_with(study, name, found, best) for name in dict.fromkeys(d.reference for d in found)]
    metrics = [m for m in RANKING if any(e.get(m).exists for e in shown)]
    fitted_on = {of["method"]: of["fitted_on"] for of in about.values()}
    return Page(
        study=study,
        banner=banner(study),
        chosen=best,
        tied=_tied(shown, best),
        rows=[_row(study, e, best, metrics) for e in shown],
        labels=[LABELS[m] for m in metrics],
        decisions=decisions([(e.loss, e) for e in shown], (*study.graded, *DECIDED[study.task])),
        described=bool(about),
        methods=list(fitted_on.items()),
        n_sets=len({of["set"] for of in about.values()}),
        n_runs=len({run_name(m) for of in about.values() for m in of["members"]}),
        references=references,
        shown=[r for r in references if r.run or (single is not None and r.name == single.key)],
        single=compared_with(study, single.key, found, best) if single is not None else None,
        n_tested=len(found),
        margin=found[0].margin if found else math.nan,
        cost=_cost(study, best),
        validation=shown[0].sample("val"),
        test=shown[0].sample("test"),
        rarest=_rarest(study, shown[0]),
        cross_fitted=FITTED_ON_LABELS in fitted_on.values(),
        sets=member_sets(study),
    )


def _tied(shown: Sequence[Results], best: Results | None) -> list[str]:
    """Name the ensembles whose validation AUROC equals that of the best to three decimals, and not to all digits."""
    if best is None:
        return []
    same = {e.key for e in equals(shown, best)}
    value = f"{best.get('auroc', part='val').value:.3f}"
    return [
        e.loss for e in shown if e.key not in {best.key, *same} and f"{e.get('auroc', part='val').value:.3f}" == value
    ]


def _row(study: StudyResults, e: Results, best: Results | None, metrics: Sequence[str]) -> Row:
    of = study.described.get(e.loss, {})
    return Row(
        results=e,
        chosen=best is not None and e.key == best.key,
        members=len(of.get("members", ())),
        fitted_on=of.get("fitted_on", ""),
        validation=e.get("auroc", part="val").value,
        ranking=[e.get(m) for m in metrics],
    )


def _cost(study: StudyResults, best: Results | None) -> Cost | None:
    """Count the networks that the chosen ensemble runs per image: the price of its score."""
    members = study.described.get(best.loss, {}).get("members", []) if best is not None else []
    if not members:
        return None
    used = sum(m["weight"] is None or m["weight"] >= NEGLIGIBLE for m in members)
    return Cost(used, len(members) - used)


def _rarest(study: StudyResults, results: Results) -> Rarest | None:
    counts = {c: results.get("auroc", c, part="val").n_positive for c in study.classes}
    known = {c: n for c, n in counts.items() if math.isfinite(n)}
    if not known:
        return None
    least = min(known.values())
    return Rarest([c for c, n in known.items() if n == least], least, len(known))


def _draw(facts: Page, path: Path) -> Path | None:
    """Draw every ensemble set by set, below the single configuration and the first single training run."""
    study = facts.study
    groups: dict[str, figures.Group] = {}
    for e in listed(study):
        of = study.described.get(e.loss, {"set": "", "method": e.loss, "members": ()})
        group = groups.setdefault(of["set"], figures.Group(of["set"], len(of["members"]), []))
        group.rows.append((of["method"], e))
    run = next((r for r in facts.references if r.run), None)
    references = [
        figures.Single(r.name, None if r.run else r.seeds, r.value) for r in (facts.single, run) if r is not None
    ]
    tested = facts.single.differences if facts.single is not None else []
    verdicts = {d.ensemble: d.verdict for d in tested}
    return figures.forest(study, list(groups.values()), references, verdicts, facts.chosen, path)
