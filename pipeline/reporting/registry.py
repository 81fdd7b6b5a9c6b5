"""The pages of a report: each a function from the study's results to files below a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.reporting import summary
from pipeline.reporting.results import StudyResults
from pipeline.reporting.views import (
    checklist,
    claims,
    clinical,
    data,
    ensembles,
    errors,
    explain,
    external,
    external_masks,
    folds,
    losses,
    metadata,
    methods,
    model_card,
    models,
    nested,
    ordinal,
    readme,
    regression,
    search,
    seeds,
    segmentation,
    stability,
    timing,
    variants,
)

PAGES: dict[str, Callable[[StudyResults, Path], list[Path]]] = {
    "data": data.render,
    "seeds": seeds.render,
    "losses": losses.render,
    "metadata": metadata.render,
    "ensembles": ensembles.render,
    "clinical": clinical.render,
    "errors": errors.render,
    "ordinal": ordinal.render,
    "explain": explain.render,
    "external": external.render,
    "folds": folds.render,
    "variants": variants.render,
    "search": search.render,
    "nested": nested.render,
    "stability": stability.render,
    "models": models.render,
    "model_cards": model_card.render,
    "summary": summary.render,
    "claims": claims.render,
    "methods": methods.render,
    "checklist": checklist.render,
    "timing": timing.render,
    "readme": readme.render,
}
"""Name of a page to the function that writes it, in an order in which a page links those before it.

A page is added by adding its file and its line here."""
OF_MASKS: dict[str, Callable[[StudyResults, Path], list[Path]]] = {
    "data": data.render,
    "segmentation": segmentation.render,
    "external": external_masks.render,
    "search": search.render,
    "summary": summary.render,
    "timing": timing.render,
    "readme": segmentation.render_front,
}
"""The same of a study of segmentation."""

OF_VALUES: dict[str, Callable[[StudyResults, Path], list[Path]]] = {
    "data": data.render,
    "regression": regression.render,
    "search": search.render,
    "summary": summary.render,
    "timing": timing.render,
    "readme": regression.render_front,
}
"""The same of a study of regression."""


def pages_of(study: StudyResults) -> dict[str, Callable[[StudyResults, Path], list[Path]]]:
    """Return the pages of a study."""
    return {"segmentation": OF_MASKS, "regression": OF_VALUES}.get(study.task, PAGES)
