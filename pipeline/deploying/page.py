"""The rows as one self-contained HTML page: nothing is fetched, and nothing in a name becomes markup."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.deploying.choice import COVERAGE, FUSION
from pipeline.deploying.recipe import Recipe
from pipeline.deploying.running import Row
from pipeline.explaining.overlay import STRENGTH, colours
from pipeline.study.files import replaced

TEMPLATE = Path(__file__).with_name("page.html")
_DIGITS = 5
_SHOWN = 4
"""Classes that the line of counts names."""


def write_page(
    path: Path, recipe: Recipe, rows: Iterable[Row], counts: Counter[str], heat: Mapping[str, Any] | None = None
) -> None:
    """Write the page, row by row; it is complete or as it was before.

    Parameters
    ----------
    path : Path
        Of the page.
    recipe : Recipe
        Of the model.
    rows : iterable of Row
        Of all images, read once.
    counts : Counter
        As `pipeline.deploying.predicting` counts them.
    heat : mapping, optional
        What `pipeline.deploying.heat.Heat` says of the rows' heat maps.
    """
    before, between, after = _pieces()
    places = {name: k for k, name in enumerate(recipe.classes)}
    with replaced(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(before + _json(_about(recipe, counts) | {"heat": heat and _heat(heat)}) + between)
        for i, row in enumerate(rows):
            file.write((",\n" if i else "") + _json(_line(row, places)))
        file.write(after)


def _pieces() -> tuple[str, str, str]:
    before, _, rest = TEMPLATE.read_text(encoding="utf-8").partition("@ABOUT@")
    between, _, after = rest.partition("@ROWS@")
    return before, between, after


def _json(content: Any) -> str:
    """Write JSON that may stand in a script element: no name of a file can end it."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _line(row: Row, places: dict[str, int]) -> list[Any]:
    """Return a row in the order that the page's script knows."""
    numbers = [[round(v, _DIGITS) for v in values] for values in (row.probability, row.low, row.high)]
    decided = [places[name] for name in row.decision]
    far = None if row.distance is None else round(row.distance, _DIGITS)
    among = [places[name] for name in row.prediction_set]
    maps = [[each[key] for key in ("class", "height", "width", "cells", "agreement")] for each in row.heat]
    return [row.file, row.frame, row.reason, decided, *numbers, far, row.flags, row.extra, row.picture, among, maps]


def _heat(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page's script needs to colour maps as `overlay` does, and what a reader needs."""
    return {**about, "colours": base64.b64encode(colours().tobytes()).decode("ascii"), "strength": STRENGTH}


def _about(recipe: Recipe, counts: Counter[str]) -> dict[str, Any]:
    runs = len(recipe.members)
    single = f"{runs} training runs, whose range is the thin bar" if runs > 1 else "one training run"
    if recipe.method == FUSION:
        single = f"{runs} training runs, under one head"
    decided = [(name, counts[f"class: {name}"]) for name in recipe.classes]
    decided.sort(key=lambda pair: -pair[1])
    listed = ", ".join(f"{name} {n:,}" for name, n in decided[:_SHOWN])
    more = f" and {len(decided) - _SHOWN} more classes" if len(decided) > _SHOWN else ""
    of_folds = recipe.of_folds
    how = f"Probabilities are calibrated on {recipe.n_validation:,} {recipe.fitted_on}. "
    how += (
        f"The mark on a bar is the threshold of highest F1 on {'these' if of_folds else 'validation'}; a class without "
        "one is never decided for."
        if recipe.task == "multilabel"
        else "The decision is the most probable class; the set holds the truth of "
        f"{COVERAGE:.0%} of images that are drawn as the {'images of the study' if of_folds else 'validation images'} "
        "were."
    )
    return {
        "what": f"Model {recipe.name} ({recipe.method} of {single}), trained on: {recipe.about['title']}.",
        "counts": f"{counts['images']:,} images: {counts['predicted']:,} predicted, {counts['flagged']:,} flagged, "
        f"{counts['failed']:,} not predicted. Decided for: {listed}{more}.",
        "how": how,
        "classes": list(recipe.classes),
        "thresholds": list(recipe.thresholds),
        "members": runs,
    }
