"""The reports: one file a page, each a function from the study's results to files below a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.reporting import data, errors, losses, models, overview, seed_impact, summary
from pipeline.reporting.study import StudyResults

PAGES: dict[str, Callable[[StudyResults, Path], list[Path]]] = {
    "data": data.render,
    "seed_impact": seed_impact.render,
    "models": models.render,
    "losses": losses.render,
    "errors": errors.render,
    "summary": summary.render,
    "overview": overview.render,  # the last: it links what the others have written
}
"""Name of a page to the function that writes it. A page is added by adding its file and its line here."""
