"""The reports: one file a page, each a function from the study's results to files below a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.reporting import data, ensembles, errors, losses, model_cards, models, overview, seed_impact, summary
from pipeline.reporting.study import StudyResults

PAGES: dict[str, Callable[[StudyResults, Path], list[Path]]] = {
    "data": data.render,
    "seed_impact": seed_impact.render,
    "losses": losses.render,
    "ensembles": ensembles.render,
    "errors": errors.render,
    "models": models.render,
    "model_cards": model_cards.render,
    "summary": summary.render,
    "overview": overview.render,
}
"""Name of a page to the function that writes it, in an order in which a page links those before it.

A page is added by adding its file and its line here."""
