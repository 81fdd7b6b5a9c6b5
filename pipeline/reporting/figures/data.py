"""Figures of the page about the data; those that show images are private where people are in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.reporting.figures.style import (
    COLOURS,
    INK,
    figure,
    save,
    series_mark,
    styled,
)
from pipeline.reporting.results import StudyResults
from pipeline.reporting.terms import PARTS
from pipeline.reporting.values import Augmented, Examples
from pipeline.study.prepared import in_8_bits

_LETTERS = 38
"""Letters above the two pictures of a kind."""
MOST_PAIRED = 20
"""Classes in the heat map of pairs; with more of them its counts cannot be read."""


def _save_images(drawn: Figure, path: Path, study: StudyResults) -> Path:
    """Write a figure made of the images of the study."""
    colour = study.images.ndim == 4
    return save(drawn, path, greys=not colour, every_colour=colour)


def class_shares(study: StudyResults, path: Path) -> Path:
    """Draw the share of every class in every set that is used."""
    samples = study.samples
    parts = [p for p in list(PARTS)[:3] if (samples["part"] == p).any()]
    with styled():
        drawn = figure(10, 1.7 + 0.4 * len(study.classes))
        axes = drawn.subplots()
        for index, part in enumerate(parts):
            rows = samples[samples["part"] == part]
            shares = 100 * rows[list(study.classes)].mean().to_numpy()
            label = f"{PARTS[part]} (n = {len(rows):,})"
            places = np.arange(len(shares)) + 0.22 * (index - (len(parts) - 1) / 2)
            axes.plot(
                shares, places, markersize=9, linestyle="", markeredgecolor="white", label=label, **series_mark(index)
            )
        axes.set_yticks(range(len(study.classes)), study.classes)
        axes.set_ylim(len(study.classes) - 0.5, -0.5)
        axes.set_xlim(0, 1.03 * axes.dataLim.x1 or 1)
        axes.set_xlabel("images with this class, % of the set")
        drawn.legend(loc="outside lower center", ncols=len(parts))
        return save(drawn, path)


def class_pairs(study: StudyResults, counts: np.ndarray, path: Path) -> Path:
    """Draw how many images have two classes, coloured by the share among the images of the row's class.

    Parameters
    ----------
    study : StudyResults
        Gives the names of the classes, 2 to `MOST_PAIRED`.
    counts : int [K, K]
        Images with both classes; on the diagonal images with the class.
    path : Path
        Receives the figure.
    """
    n = len(study.classes)
    own = np.diag(counts)
    shares = np.where(np.eye(n, dtype=bool), np.nan, 100 * counts / np.maximum(own, 1)[:, None])
    with styled():
        drawn = figure(4.2 + 0.6 * n, 3.2 + 0.5 * n)
        axes = drawn.subplots()
        colours = matplotlib.colormaps["Blues"].with_extremes(bad="#EFEFEF")
        top = max(float(np.nanmax(shares)), 1.0)
        shown = axes.imshow(shares, cmap=colours, vmin=0, vmax=top, aspect="auto")
        for i in range(n):
            for j in range(n):
                dark = i != j and shares[i, j] > 0.55 * top
                axes.text(
                    j,
                    i,
                    f"{counts[i, j]:,}",
                    ha="center",
                    va="center",
                    fontsize=11,
                    color="white" if dark else INK,
                    fontweight="bold" if i == j else "normal",
                )
        axes.set_xticks(range(n), study.classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(n), study.classes)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        bar = drawn.colorbar(shown, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("% of the row's images that also\nhave the column's class")
        bar.outline.set_visible(False)
        return save(drawn, path)


def sample_images(study: StudyResults, picks: dict[str, list[int]], path: Path) -> Path:
    """Draw images of every class with the boxes of that class.

    Parameters
    ----------
    study : StudyResults
        Gives images and boxes.
    picks : dict
        Title to rows of the images, one at least, and the same number for most titles.
    path : Path
        Receives the figure.
    """
    most = max(map(len, picks.values()))
    blocks = min(max(9 // most, 1), len(picks))
    lines = math.ceil(len(picks) / blocks)
    wide, high = most + 0.3, 1.32
    boxes = study.boxes
    with styled():
        drawn = figure(0.9 * (blocks * wide - 0.3), 0.9 * lines * high)
        axes = drawn.subplots()
        for place, (title, rows) in enumerate(picks.items()):
            left, top = (place // lines) * wide, (place % lines) * high
            axes.text(left, top + 0.27, title, fontsize=10.5, va="bottom")
            for column, row in enumerate(rows):
                corner = (left + column, top + 0.3)
                _thumbnail(axes, study.images[row], corner)
                if not boxes.empty:
                    side = np.array(study.images.shape[2:0:-1])
                    for box in boxes[(boxes["row"] == row) & (boxes["class"] == title)].itertuples():
                        at = corner + 0.97 * np.array([box.x, box.y]) / side
                        width, height = 0.97 * np.array([box.width, box.height]) / side
                        axes.add_patch(Rectangle(at, width, height, fill=False, edgecolor=COLOURS[4], linewidth=1.3))
        axes.set(xlim=(0, blocks * wide - 0.3), ylim=(lines * high, 0), aspect="equal")
        axes.axis("off")
        return _save_images(drawn, path, study)


def _thumbnail(axes: Axes, pixels: np.ndarray, corner: tuple[float, float], size: float = 0.97) -> None:
    left, top = corner
    axes.imshow(in_8_bits(pixels), cmap="gray", vmin=0, vmax=255, extent=(left, left + size, top + size, top))


def before_after(study: StudyResults, examples: Examples, path: Path) -> Path:
    """Draw images without and with CLAHE, and below them how often each grey level occurs."""
    names = _names(study)
    n = len(examples.rows)
    with styled():
        drawn = figure(1.5 * n + 1.1, 4.6)
        panels = drawn.subplots(3, n, squeeze=False, gridspec_kw={"height_ratios": (1, 1, 0.55)})
        for column, row in enumerate(examples.rows):
            pair = (examples.before[column], examples.after[column])
            for line, (pixels, label) in enumerate(zip(pair, ("without", "with CLAHE"))):
                axes, below = panels[line, column], panels[2, column]
                axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                if column == 0:
                    axes.set_ylabel(label)
                shares, edges = np.histogram(pixels, bins=32, range=(0, 256))
                below.stairs(shares / shares.sum(), edges, color=COLOURS[line], linewidth=1.6, label=label)
            panels[0, column].set_title(names[row], fontsize=9, fontweight="normal", loc="center")
            below.set(xlim=(0, 256), yticks=[], xticks=(0, 255))
            below.tick_params(labelsize=10)
            below.set_xlabel("grey level", fontsize=11)
        panels[2, 0].set_ylabel("share")
        handles, labels = panels[2, 0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=2)
        return _save_images(drawn, path, study)


def pairs_of_images(study: StudyResults, pairs: Sequence[tuple[int, int, float]], path: Path) -> Path:
    """Draw pairs of images beside each other with their correlation, to be told twins or not by eye.

    Parameters
    ----------
    study : StudyResults
        Gives the images.
    pairs : sequence of (int, int, float)
        Rows of two images and the correlation of their thumbnails.
    path : Path
        Receives the figure.
    """
    across = min(len(pairs), 4)
    lines = math.ceil(len(pairs) / across)
    with styled():
        drawn = figure(2.2 * across, 1.35 * lines)
        axes = drawn.subplots()
        for place, (first, second, r) in enumerate(pairs):
            left, top = (place % across) * 2.3, (place // across) * 1.35
            axes.text(left, top + 0.27, f"{r:.4f}", fontsize=10.5, va="bottom")
            for column, row in enumerate((first, second)):
                _thumbnail(axes, study.images[row], (left + column, top + 0.3))
        axes.set(xlim=(0, across * 2.3 - 0.3), ylim=(lines * 1.35, 0), aspect="equal")
        axes.axis("off")
        return _save_images(drawn, path, study)


def kinds(study: StudyResults, titles: dict[int, str], path: Path) -> Path:
    """Draw one image of each kind of file, as read and as prepared.

    Parameters
    ----------
    study : StudyResults
        Its `kinds` hold the pictures.
    titles : dict
        Kind, as in ``study.kinds.rows``, to two lines of text.
    path : Path
        Receives the figure.
    """
    places = {int(kind): place for place, kind in enumerate(study.kinds.rows)}
    blocks = min(len(titles), 4)
    lines = math.ceil(len(titles) / blocks)
    wide, high = 2.25, 1.5
    with styled():
        drawn = figure(1.35 * (blocks * wide - 0.25), 1.35 * lines * high)
        axes = drawn.subplots()
        for number, (kind, title) in enumerate(titles.items()):
            left, top = (number % blocks) * wide, (number // blocks) * high
            text = "\n".join(
                line if len(line) <= _LETTERS else f"{line[: _LETTERS - 1]}…" for line in title.split("\n")
            )
            axes.text(left, top + 0.36, text, fontsize=9, va="bottom")
            for column, pixels in enumerate((study.kinds.before, study.kinds.after)):
                _thumbnail(axes, pixels[places[kind]], (left + column, top + 0.4))
        axes.set(xlim=(0, blocks * wide - 0.25), ylim=(lines * high, 0), aspect="equal")
        axes.axis("off")
        return _save_images(drawn, path, study)


def augmented_images(study: StudyResults, augmented: Augmented, path: Path) -> Path:
    """Draw training images, one per line: as prepared, then as augmentation drew them."""
    names = _names(study)
    lines, columns, height, width = augmented.images.shape[:4]
    most = max(8, round(18 * height / width))  # letters that go beside an image
    with styled():
        drawn = figure(1.5 * columns + 0.4, 1.5 * lines * height / width + 0.4)
        panels = drawn.subplots(lines, columns, squeeze=False)
        for line, row in enumerate(augmented.rows):
            for axes, pixels in zip(panels[line], augmented.images[line]):
                axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                axes.spines[:].set_visible(False)
            name = names[row]
            panels[line, 0].set_ylabel(name if len(name) <= most else f"…{name[1 - most :]}", fontsize=9)
        for column, axes in enumerate(panels[0]):
            title = f"draw {column}" if column else "as prepared"
            axes.set_title(title, fontsize=11, loc="center", fontweight="normal" if column else "bold")
        return _save_images(drawn, path, study)


def _names(study: StudyResults) -> pd.Series:
    """Return the name of the file of every row."""
    return study.samples.drop_duplicates("row").set_index("row")["sample_id"]
