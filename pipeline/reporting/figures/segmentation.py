"""The figure of segmentation that shows images, private where people are in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.lines import Line2D

from pipeline.reporting import english, formats
from pipeline.reporting.figures.style import COLOURS, INK, figure, save, styled
from pipeline.reporting.results import Results, StudyResults
from pipeline.study.prepared import in_8_bits

if TYPE_CHECKING:
    from pipeline.reporting.views.segmentation import Example

TRUTH, FOUND = "#00c8c8", COLOURS[1]
"""Colours of the two outlines."""


class Panel(NamedTuple):
    """An image with the outlines of both masks, bool [H, W]: of which structure, which of its images, and its Dice."""

    name: str
    kind: str
    dice: float
    image: np.ndarray
    truth: np.ndarray
    found: np.ndarray


def closed(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and values of a mask in a frame of zeros: what reaches the edge of the image has an outline there."""
    height, width = mask.shape
    return np.arange(-1, width + 1), np.arange(-1, height + 1), np.pad(mask.astype(float), 1)


def outlines(panels: Sequence[Panel], path: Path) -> Path | None:
    """Draw images with the true outline and the one found, three in a row for each structure; None without any."""
    if not panels:
        return None
    classes = list(dict.fromkeys(each.name for each in panels))
    with styled():
        drawn = figure(3.3 * 3 + 0.4, 3.6 * len(classes) + 0.6)
        grid = drawn.subplots(len(classes), 3, squeeze=False)
        for axes, each in zip(grid.flat, panels):
            axes.imshow(in_8_bits(each.image), cmap="gray", vmin=0, vmax=255)
            for mask, colour in ((each.truth, TRUTH), (each.found, FOUND)):
                if mask.any():
                    axes.contour(*closed(mask), [0.5], colors=[colour], linewidths=1.8)
            height, width = each.image.shape[:2]
            axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
            axes.grid(False)
            axes.spines[:].set_visible(False)
            nothing = "" if each.found.any() else ", nothing found"
            axes.set_title(f"{each.kind}: Dice {formats.number(each.dice)}{nothing}", fontsize=12)
            if each.kind == "best":
                axes.set_ylabel(english.readable(each.name), fontsize=12, fontweight="bold", color=INK)
        keys = [
            Line2D([], [], color=TRUTH, linewidth=2.5, label="true outline"),
            Line2D([], [], color=FOUND, linewidth=2.5, label="outline found"),
        ]
        drawn.legend(handles=keys, loc="outside lower center", ncols=2)
        return save(drawn, path, every_colour=True)


def examples(study: StudyResults, results: Results, seed: int, shown: Sequence[Example], path: Path) -> Path | None:
    """Draw test images with the outlines of the true mask and of that of a training run.

    Parameters
    ----------
    study : StudyResults
        Its images and masks.
    results : Results
        The configuration.
    seed : int
        Of the training run that the outlines are of.
    shown : sequence of Example
        Three of each class: best, median, worst.
    path : Path
        Receives the figure.

    Returns
    -------
    Path or None
        None without any.
    """
    if not shown or not len(results.probabilities):
        return None
    table = results.images
    rows = table[table["part"] == "test"]["row"].drop_duplicates().tolist()
    of_run = results.probabilities[table["seed"].drop_duplicates().tolist().index(str(seed))]
    panels = []
    for each in shown:
        k = study.classes.index(each.name)
        threshold = results.get("threshold", each.name, seed, "val").value
        found = np.asarray(of_run[rows.index(each.row), k]) >= round(255 * threshold)
        image, truth = np.asarray(study.images[each.row]), study.masks[each.row, ..., k] > 0
        panels.append(Panel(each.name, each.kind, each.dice, image, truth, found))
    return outlines(panels, path)
