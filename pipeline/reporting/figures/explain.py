"""Figures of the page about heat maps; the one that shows images is private where people are in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from pipeline.reporting import english, formats
from pipeline.reporting.figures.style import COLOURS, INK, figure, mark, save, styled
from pipeline.reporting.results import StudyResults

if TYPE_CHECKING:
    from pipeline.reporting.views.explain import ClassRow


class Panel(NamedTuple):
    """An image with its map.

    Parameters
    ----------
    row : int
        Position in images.npy.
    heat : float32 [h, w]
        Map of the class, on the grid of the network's layer.
    probability : float
        Of the class.
    boxes : tuple of (x, y, width, height)
        In pixels of the image.
    """

    row: int
    heat: np.ndarray
    probability: float
    boxes: tuple[tuple[float, float, float, float], ...]


def beside_the_mean_box(rows: Sequence[ClassRow], interval_name: str, path: Path) -> Path | None:
    """Draw the pointing game of the map and of the mean box, by class, with intervals; None without any."""
    if not rows:
        return None
    sides = (("heat map", COLOURS[0], "o", -0.14), ("mean box of the class", COLOURS[1], "D", 0.14))
    with styled():
        drawn = figure(9.6, 1.6 + 0.5 * len(rows))
        axes = drawn.subplots()
        for y, row in enumerate(rows):
            for estimate, (_, colour, marker, shift) in zip((row.map, row.mean_box), sides):
                mark(axes, estimate, y + shift, colour, marker, size=8)
        axes.set_yticks(range(len(rows)), [f"{english.readable(row.name)} (n = {row.images})" for row in rows])
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(-0.02, 1.02), xlabel="share whose highest place lies in a box")
        axes.grid(False, axis="y")
        keys = [
            Line2D([], [], color=colour, marker=marker, markersize=8, linewidth=3, label=label)
            for label, colour, marker, _ in sides
        ]
        title = f"bars: {interval_name}"
        drawn.legend(handles=keys, loc="outside lower center", ncols=2, title=title, title_fontsize=12)
        return save(drawn, path)


def examples(
    study: StudyResults,
    classes: Sequence[str],
    kinds: Sequence[str],
    panels: Mapping[tuple[str, str], Panel],
    path: Path,
) -> Path | None:
    """Draw a row for each class and a column for each kind of decision; None without any."""
    if not panels:
        return None
    from pipeline.explaining.overlay import overlay  # imports OpenCV, which no other page needs
    from pipeline.imaging.enhance import resize

    high, wide = study.images.shape[1:3]
    with styled():
        drawn = figure(2.6 * len(kinds) + 0.4, (2.6 * high / wide + 0.3) * len(classes) + 0.4)
        grid = drawn.subplots(len(classes), len(kinds), squeeze=False)
        for i, name in enumerate(classes):
            for j, kind in enumerate(kinds):
                axes = grid[i, j]
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                axes.spines[:].set_visible(False)
                if i == 0:
                    axes.set_title(kind, fontsize=12)
                if j == 0:
                    axes.set_ylabel(english.readable(name), fontsize=12, fontweight="bold", color=INK)
                panel = panels.get((name, kind))
                if panel is None:
                    axes.text(0.5, 0.5, "none", ha="center", va="center", transform=axes.transAxes)
                    continue
                heat = np.clip(resize(np.ascontiguousarray(panel.heat), wide, high), 0, 1).astype(np.float32)
                axes.imshow(overlay(np.asarray(study.images[panel.row]), heat))
                axes.set_xlabel(formats.number(panel.probability), fontsize=11)
                for x, y, width, height in panel.boxes:
                    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="white", linewidth=2))
        return save(drawn, path, every_colour=True)
