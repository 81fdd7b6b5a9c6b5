"""The facts of the page about the data that say how the image files were made and read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.reporting.figures import data as figures
from pipeline.reporting.results import StudyResults
from pipeline.reporting.views.cohort import Count
from pipeline.reporting.views.shared import Picture, path_of_images, picture_of_images

_MOST_VALUES = 10
"""Values that are listed of a fact; the others are counted together."""
_MOST_PICTURED = 30
"""Kinds in the figure: the most frequent ones."""
_FACTS = {
    "format": "Format",
    "compression": "Compression",
    "bits": "Bits per sample",
    "photometric": "Photometric interpretation",
    "maker": "Device maker",
    "window": "Window",
    "full_scale": "White",
    "reader": "Reader",
}
_WINDOWS = {
    "none": "none: the full scale",
    "header": "of the file",
    "LUT": "look-up table of the file",
    "percentiles": "0.5th to 99.5th percentile of the image",
}


class Value(NamedTuple):
    """A value of a fact and the images that have it."""

    name: str
    images: Count


@dataclass(frozen=True)
class Reading:
    """How the images were made and read.

    Parameters
    ----------
    images : int
        That were read.
    facts : dict
        Name of each fact to its values, the most frequent first.
    scale : dict
        As in reading.json: bits, chosen, files, brightest.
    kinds : int
        Combinations of these facts.
    pictured : int
        How many of them the figure shows.
    picture : Picture or None
        The figure of one image of each kind.
    """

    images: int
    facts: dict[str, list[Value]]
    scale: dict[str, Any]
    kinds: int
    pictured: int
    picture: Picture | None


def reading(study: StudyResults, folder: Path, page: Path) -> tuple[Reading | None, list[Path]]:
    """Return the facts and the figure that was drawn; None for data prepared before they were recorded."""
    kinds = study.reading.get("kinds", [])
    if not kinds:
        return None, []
    total = sum(kind["images"] for kind in kinds)
    order = sorted(range(len(kinds)), key=lambda k: (-kinds[k]["images"], k))
    shown = [k for k in order if k in study.kinds.rows][:_MOST_PICTURED]
    path = path_of_images(study, folder, "data-kinds.png")
    drawn = [figures.kinds(study, {k: _title(kinds[k]) for k in shown}, path)] if shown else []
    facts = {label: _values(kinds, fact, total) for fact, label in _FACTS.items()}
    if not any(kind["maker"] for kind in kinds):
        del facts[_FACTS["maker"]]
    picture = picture_of_images(study, path, page) if drawn else None
    return Reading(total, facts, study.reading["scale"], len(kinds), len(shown), picture), drawn


def _values(kinds: list[dict[str, Any]], fact: str, total: int) -> list[Value]:
    counts: Counter[str] = Counter()
    for kind in kinds:
        counts[_said(fact, kind[fact])] += kind["images"]
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    values = [Value(name, Count(number, total)) for name, number in ranked[:_MOST_VALUES]]
    if others := ranked[_MOST_VALUES:]:
        values.append(Value(f"{len(others)} others", Count(sum(number for _, number in others), total)))
    return values


def _said(fact: str, value: Any) -> str:
    """Return a value in words."""
    if fact == "window":
        return _WINDOWS.get(value, str(value))
    if fact == "full_scale":
        return f"{value:,}" if value else "upper end of the window"
    if fact == "bits":
        return str(value) if value else "floating point"
    return str(value) or "not recorded"


def _title(kind: dict[str, Any]) -> str:
    """Return what stands above the pictures of a kind: its format, depth, colours, and compression; its number."""
    bits = f"{kind['bits']} bits" if kind["bits"] else "floating point"
    return f"{kind['format']}, {bits}, {kind['photometric']}\n{kind['compression']}; n = {kind['images']:,}"
