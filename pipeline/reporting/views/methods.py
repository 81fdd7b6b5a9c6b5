"""Facts of the page about methods: design, data, decisions, differences, doubts, provenance, and limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.metrics.calibration import ECE_BINS
from pipeline.reporting import page
from pipeline.reporting.figures import overview as figures
from pipeline.reporting.results import StudyResults
from pipeline.reporting.terms import DECISIONS
from pipeline.reporting.views import doubts, initial_weights, manuscript, provenance, readme, shared, verdict
from pipeline.reporting.views.design import design, test_time
from pipeline.reporting.views.known import labels


class Reason(NamedTuple):
    """Why images are not used, and how many."""

    text: str
    number: int


@dataclass(frozen=True)
class Data:
    """What was left out of the data, and what the audit of the split found; a whole study only."""

    leaks: list[doubts.Shared]
    excluded: int
    excluded_by: list[Reason]
    unused: int
    unused_by: list[Reason]


def data(study: StudyResults) -> Data | None:
    """Return what was left out; None for a bare table."""
    if not study.recorded:
        return None
    unused = study.audit.get("unused") or []
    return Data(
        doubts.shared_between_parts(study),
        len(study.excluded),
        _by(list(study.excluded["reason"])),
        len(unused),
        _by([str(entry.get("reason", "")) for entry in unused]),
    )


def _by(reasons: list[str]) -> list[Reason]:
    counted = pd.Series([shared.kind_of_reason(reason) for reason in reasons], dtype="str").value_counts()
    ranked = sorted(((str(reason), int(n)) for reason, n in counted.items()), key=lambda item: (-item[1], item[0]))
    return [Reason(reason, n) for reason, n in ranked if reason]


def facts(study: StudyResults, pictures: dict[str, bool]) -> dict[str, object]:
    """Return what ``pages/methods.md`` names; `pictures` says which figures are there: roc, curves."""
    subject = study.subject
    named = [(r.key, r) for r in study.everything]
    return {
        "study": study,
        "banner_facts": shared.banner(study),
        "design": design(study),
        "data": data(study),
        "labels": labels(study),
        "decisions": shared.decisions(named, (*study.graded, *DECISIONS[study.task])),
        "every": readme.ranking(study, study.everything) if len(study.everything) > readme.MOST else None,
        "pairs": verdict.pair_table(study),
        "probes": doubts.probes(study, subject) if study.probes and subject is not None else None,
        "signs": doubts.signs(study),
        "untold": doubts.untold(study),
        "subject": subject,
        "classes": shared.classes(study, subject) if subject is not None and not study.recorded else None,
        "test_time": test_time(study),
        "ece_bins": ECE_BINS,
        "provenance": provenance.provenance(study),
        "manuscript": manuscript.manuscript(study),
        "untold_weights": initial_weights.untold(study),
        "pictures": pictures,
    }


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write methods.md and its figures into `folder`; return what was written."""
    drawn = {
        "roc": figures.roc_leaders(study, folder / "figures" / "roc.png"),
        "curves": figures.validation_curves(study, folder / "figures" / "curves.png"),
    }
    pictures = {name: path is not None for name, path in drawn.items()}
    written = page.write(folder / "methods.md", "methods.md", **facts(study, pictures))
    return [written, *(path for path in drawn.values() if path is not None)]
