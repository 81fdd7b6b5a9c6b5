"""Figures of the page about errors; the one that shows images is private where people are in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from pipeline.reporting import english, formats
from pipeline.reporting.figures.style import COLOURS, FAINT, INK, figure, save, styled
from pipeline.reporting.results import StudyResults
from pipeline.study.prepared import in_8_bits

_COLUMNS = 4
_LETTERS = 33
"""Letters that go below an image."""
_MOST_CLASSES = 20
"""Classes in a matrix; with more of them its numbers cannot be read."""
_LIFTS = {"¼": 1 / 4, "½": 1 / 2, "⅔": 2 / 3, "1½": 3 / 2, "2": 2.0, "4": 4.0}
"""Lifts between which the colours change."""
_LEAST_EXPECTED = 1.0
"""Expected images from which on a lift is coloured: below, one image more or less changes it too much."""


class Panel(NamedTuple):
    """An image of the figure of errors.

    Parameters
    ----------
    row : int
        Position in images.npy.
    title : str
        Identifier of the image.
    decided : str
        The class that is called falsely, or missed.
    probability : float
        Of that class.
    missed : bool
        A false negative.
    others : tuple of str
        The classes of the label; where one is missed, those that are called.
    boxes : tuple of (x, y, width, height)
        In pixels of the image.
    """

    row: int
    title: str
    decided: str
    probability: float
    missed: bool
    others: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]

    @property
    def lines(self) -> tuple[str, str]:
        """What is written below the image."""
        others = ", ".join(map(english.readable, self.others)) or "none"
        error = f"{english.readable(self.decided)}: {formats.number(self.probability)}"
        return (f"missed {error}", f"called: {others}") if self.missed else (f"called {error}", f"true: {others}")


class Reliability(NamedTuple):
    """A pair of reliability curves.

    Parameters
    ----------
    name : str
        A class, or "overall" for the class decided for.
    n : int
        Positive images of the class; for "overall" all images.
    before, after : DataFrame
        Uncalibrated and calibrated: probability, frequency, low, high, one row per bin.
    """

    name: str
    n: int
    before: pd.DataFrame
    after: pd.DataFrame

    @property
    def title(self) -> str:
        """What is written above the panel."""
        if self.name == "overall":
            return f"predicted class ({self.n:,} images)"
        return f"{english.readable(self.name)} ({self.n} positive)"


def wrong_images(study: StudyResults, panels: Sequence[Panel], path: Path) -> Path:
    """Draw misclassified images; frames and words in one colour for a false call, another for a miss."""
    columns = min(_COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    high, wide = study.images.shape[1:3]
    colour = study.images.ndim == 4
    with styled():
        drawn = figure(2.75 * columns, (2.5 * high / wide + 0.85) * lines)
        drawn.set_layout_engine("constrained", h_pad=0.12)
        grid = drawn.subplots(lines, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        for axes, panel in zip(grid.flat, panels):
            axes.imshow(in_8_bits(study.images[panel.row]), cmap="gray", vmin=0, vmax=255)
            ink = COLOURS[0] if panel.missed else COLOURS[1]
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            axes.spines[:].set(visible=True, color=ink, linewidth=2.5)
            axes.set_title(_fit(panel.title), fontsize=10.5, fontweight="normal")
            first, rest = panel.lines
            below = "\n".join(wrap(rest, _LETTERS, max_lines=2, placeholder=" …"))
            for text, down, look in ((_fit(first), 5, {"color": ink, "weight": "bold"}), (below, 21, {"color": INK})):
                place = {"xycoords": "axes fraction", "xytext": (0, -down), "textcoords": "offset points"}
                axes.annotate(text, (0, 0), **place, va="top", fontsize=10, **look)
            for x, y, width, height in panel.boxes:
                axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=COLOURS[4], linewidth=2))
        return save(drawn, path, greys=not colour, every_colour=colour)


def _fit(text: str) -> str:
    """Keep the end of a long name, which tells images of one patient apart."""
    return text if len(text) <= _LETTERS else f"…{text[1 - _LETTERS :]}"


def lifts(classes: Sequence[str], pairs: pd.DataFrame, alpha: float, path: Path) -> Path | None:
    """Draw how often each finding is on the false positives of every other, compared with what is expected.

    Parameters
    ----------
    classes : sequence of str
        In the data set's order.
    pairs : DataFrame
        Of `co_occurrence`.
    alpha : float
        Pairs whose p_holm lies below are framed.
    path : Path
        Receives the figure.

    Returns
    -------
    Path or None
        None without a false positive, for one class or more than can be read.
    """
    called = [c for c in classes if (pairs.loc[pairs["called"] == c, "n_false"] > 0).any()]
    if not called or not 2 <= len(classes) <= _MOST_CLASSES:
        return None
    edges = [0.0, *_LIFTS.values(), 1e9]
    middle = (len(edges) - 2) / 2
    colours = ListedColormap(
        [matplotlib.colormaps["PuOr_r"](0.08 + 0.84 * i / (2 * middle)) for i in range(len(edges) - 1)]
    )
    shade = np.full((len(called), len(classes)), np.nan)
    by_pair = {(row["called"], row["present"]): row for row in pairs.to_dict("records")}
    with styled():
        drawn = figure(4.6 + 0.62 * len(classes), 3.2 + 0.5 * len(called))
        axes = drawn.subplots()
        for (i, first), (j, second) in product(enumerate(called), enumerate(classes)):
            pair = by_pair.get((first, second))
            if pair is None:
                axes.text(j, i, "·", ha="center", va="center", color=FAINT)
                continue
            ink = FAINT
            if pair["expected"] >= _LEAST_EXPECTED or pair["p_holm"] < alpha:
                shade[i, j] = np.searchsorted(edges[1:-1], pair["lift"], side="right")
                ink = "white" if abs(shade[i, j] - middle) == middle else INK
            axes.text(j, i, str(pair["n_both"]), ha="center", va="center", color=ink, fontsize=11.5)
            if pair["p_holm"] < alpha:
                frame = Rectangle((j - 0.45, i - 0.45), 0.9, 0.9, fill=False, edgecolor=COLOURS[5], linewidth=3.5)
                axes.add_patch(frame)
        shown = axes.imshow(shade, cmap=colours, vmin=-0.5, vmax=len(edges) - 1.5, aspect="auto")
        counts = pairs.drop_duplicates("called").set_index("called")["n_false"]
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(called)), [f"{c} ({counts[c]})" for c in called])
        axes.set(xlabel="truly present", ylabel="called falsely (images)")
        _matrix_axes(axes)
        bar = drawn.colorbar(shown, ax=axes, fraction=0.04, pad=0.02, ticks=np.arange(len(_LIFTS)) + 0.5)
        bar.ax.set_yticklabels(_LIFTS)
        bar.set_label(f"lift (no colour: fewer than\n{_LEAST_EXPECTED:g} image expected)")
        bar.outline.set_visible(False)
        return save(drawn, path)


def confusion(classes: Sequence[str], matrix: np.ndarray, path: Path) -> Path | None:
    """Draw a confusion matrix, coloured by the share of the true class.

    Parameters
    ----------
    classes : sequence of str [K]
        In the data set's order.
    matrix : float [S, K, K]
        Images of each seed by true and decided class.
    path : Path
        Receives the figure.

    Returns
    -------
    Path or None
        None for more classes than can be read.
    """
    n = len(classes)
    if n > _MOST_CLASSES:
        return None
    mean = matrix.mean(axis=0)
    totals = mean.sum(axis=1, keepdims=True)
    shares = np.divide(100 * mean, totals, out=np.zeros_like(mean), where=totals > 0)
    with styled():
        drawn = figure(4.6 + 0.8 * n, 2.6 + 0.55 * n)
        axes = drawn.subplots()
        shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for i, j in np.ndindex(n, n):
            text = f"{mean[i, j]:.0f}" if len(matrix) == 1 else f"{mean[i, j]:.1f}"
            axes.text(j, i, text, ha="center", va="center", color="white" if shares[i, j] > 55 else INK)
        axes.set_xticks(range(n), classes)
        axes.set_yticks(range(n), [f"{c} ({t:.0f})" for c, t in zip(classes, totals[:, 0])])
        axes.set(xlabel="predicted class", ylabel="true class (images)")
        _matrix_axes(axes)
        bar = drawn.colorbar(shown, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("% of the row's images")
        bar.outline.set_visible(False)
        return save(drawn, path)


def _matrix_axes(axes: Axes) -> None:
    axes.tick_params(length=0)
    for label in axes.get_xticklabels():
        label.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.grid(False)
    axes.spines[:].set_visible(False)


def reliability(curves: Sequence[Reliability], task: str, path: Path) -> Path:
    """Draw reliability curves, one panel per class: grey before, coloured after calibration.

    Parameters
    ----------
    curves : sequence of Reliability
        One item per panel.
    task : {"multilabel", "multiclass"}
        Names the axes.
    path : Path
        Receives the figure.
    """
    columns = min(_COLUMNS, len(curves))
    lines = math.ceil(len(curves) / columns)
    looks: tuple[dict[str, Any], ...] = (
        {"color": FAINT, "marker": "s", "linestyle": "--"},
        {"color": COLOURS[0], "marker": "o"},
    )
    with styled():
        drawn = figure(max(3.0 * columns, 4.6), (3.0 if columns > 1 else 4.2) * lines + 0.8)
        grid = drawn.subplots(lines, columns, squeeze=False)
        for axes in grid.flat[len(curves) :]:
            axes.axis("off")
        for axes, both in zip(grid.flat, curves):
            pair = (both.before, both.after)
            # Probabilities of rare findings are all close to 0: each panel shows its own range.
            top = min(1.05 * max(*(c["probability"].max() for c in pair), both.after["high"].max()), 1.02)
            axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=0)
            for curve, look in zip(pair, looks):
                axes.plot(curve["probability"], curve["frequency"], markersize=6.5, **look)
            after = both.after
            axes.vlines(after["probability"], after["low"], after["high"], color=COLOURS[0], linewidth=1.3, alpha=0.6)
            axes.set(xlim=(-0.03 * top, top), ylim=(-0.03 * top, top), box_aspect=1)
            axes.locator_params(nbins=4)
            axes.set_title(both.title, fontsize=11)
        _reliability_axes(drawn, task)
        labels = ("uncalibrated", "calibrated on validation")
        keys = [Line2D([], [], label=label, **look) for label, look in zip(labels, looks)]
        keys.append(Line2D([], [], color=FAINT, linewidth=1, label="probability = frequency"))
        drawn.legend(handles=keys, loc="outside upper center", ncols=3 if columns > 1 else 1)
        return save(drawn, path)


def _reliability_axes(drawn: Figure, task: str) -> None:
    drawn.supxlabel("mean probability", fontsize=13)
    drawn.supylabel("frequency of the class" if task == "multilabel" else "accuracy", fontsize=13)
