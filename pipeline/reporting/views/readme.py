"""Facts of the first page: the question, the verdict, the main table, warnings, and links."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.reporting import page
from pipeline.reporting.figures import overview as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.terms import LABELS, RANKING
from pipeline.reporting.views import doubts, shared, verdict
from pipeline.reporting.views.known import labels
from pipeline.study.runs import runs

MOST = 16
"""Rows of the main table and of the forest plot; of more, the first page shows the best and `methods` shows all."""
_PAGES = (
    "methods.md",
    "claims.md",
    "data.md",
    "models.md",
    "losses.md",
    "metadata.md",
    "ensembles.md",
    "ordinal.md",
    "errors.md",
    "clinical.md",
    "explain.md",
    "external.md",
    "folds.md",
    "variants.md",
    "search.md",
    "stability.md",
    "seeds/README.md",
    "checklist.md",
    "timing.md",
)


@dataclass(frozen=True)
class Ranking:
    """The main table: configurations and ensembles with their leading numbers; see ``pages/shared/ranking.md``.

    Parameters
    ----------
    rows : tuple of Results
        What is shown.
    left_out : int
        Configurations and ensembles that are not.
    validation, test, precision : bool
        Columns that any row has a value for; a whole study has all.
    noted : list
        For `formats.reasons`.
    """

    rows: tuple[Results, ...]
    left_out: int
    validation: bool
    test: bool
    precision: bool
    noted: shared.Noted


def ranking(study: StudyResults, rows: tuple[Results, ...]) -> Ranking:
    """Return the main table of `rows`."""
    metric = study.leading
    metrics = [m for m in RANKING if any(r.get(m).exists for r in rows)]
    return Ranking(
        rows,
        len(study.everything) - len(rows),
        study.recorded or any(r.get(metric, part="val").exists for r in rows),
        study.recorded or any(r.get(metric).exists for r in rows),
        study.recorded or any(r.get("average_precision").exists for r in rows),
        [(r.key, LABELS[m], r.get(m)) for r in rows for m in metrics],
    )


def leaders(study: StudyResults, most: int = MOST) -> tuple[Results, ...]:
    """Return configurations and ensembles in the study's order: all, or of many those that validation values most."""
    if len(study.everything) <= most:
        return study.everything
    scored = sorted(study.everything, key=lambda r: _validated(study, r), reverse=True)
    kept = {r.key for r in scored[:most]} | {r.key for r in (study.chosen, study.chosen_ensemble) if r is not None}
    return tuple(r for r in study.everything if r.key in kept)


def _validated(study: StudyResults, results: Results) -> float:
    estimate = results.get(study.leading, part="val")
    return estimate.value if estimate.exists else -1.0


@dataclass(frozen=True)
class Links:
    """The other pages that are there, and the configurations that have a model card."""

    pages: list[str]
    cards: list[str]


def links(study: StudyResults, folder: Path) -> Links:
    """Return what lies in `folder`."""
    cards = [r.key for r in study.configurations if (folder / "model_cards" / f"{r.key}.md").exists()]
    return Links([p for p in _PAGES if (folder / p).exists()], cards)


def facts(study: StudyResults, folder: Path, pictured: bool) -> dict[str, object]:
    """Return what ``pages/README.md`` names; `pictured` if there is a forest plot."""
    subject = study.subject
    reference = study.chosen or study.configurations[0]
    return {
        "study": study,
        "banner_facts": shared.banner(study),
        "seeds": {s for r in study.configurations for s in r.seeds},
        "runs": sum(len(r.seeds) for r in study.configurations),
        "planned": len(runs(study.params)) if study.recorded else 0,
        "verdict": verdict.verdict(study),
        "reference": reference,
        "n_classes": len(shared.known_classes(study, reference)),
        "ranking": ranking(study, leaders(study)),
        "pictured": pictured,
        "probes": doubts.probes(study, subject) if study.probes and subject is not None else None,
        "signs": doubts.signs(study),
        "untold": doubts.untold(study),
        "labels": labels(study),
        "leaks": doubts.shared_between_parts(study),
        "links": links(study, folder),
    }


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write README.md and its figure into `folder`; return what was written.

    Links hold what lies in `folder`: this page comes after the others.
    """
    forest = figures.forest(study, leaders(study), folder / "figures" / "forest.png")
    readme = page.write(folder / "README.md", "README.md", **facts(study, folder, forest is not None))
    return [readme, *([forest] if forest is not None else [])]
