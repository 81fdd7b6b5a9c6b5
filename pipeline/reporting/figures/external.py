"""Figures of the page about external test sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from pipeline.reporting import english
from pipeline.reporting.figures.style import COLOURS, FAINT, auroc_rows, figure, mark, save, styled

if TYPE_CHECKING:
    from pipeline.reporting.views.external import Row

MOST_CLASSES = 9
"""Classes whose reliability is drawn."""
AUROC = "macro AUROC"
_COLUMNS = 3
_SIDES = {"here": ("test set of the study", COLOURS[0], "o"), "there": ("external set", COLOURS[1], "D")}


def both_sides(rows: Sequence[Row], name: str, interval_name: str, path: Path, label: str = AUROC) -> Path | None:
    """Draw the AUROC, or what `label` says, of every model on both sides with its intervals; None without any."""
    shown = [row for row in rows if row.here.exists and row.there.exists]
    if not shown:
        return None
    with styled():
        drawn = figure(9.6, 1.6 + 0.62 * len(shown))
        axes = drawn.subplots()
        for y, row in enumerate(shown):
            for side, estimate, shift in (("here", row.here, -0.14), ("there", row.there, 0.14)):
                mark(axes, estimate, y + shift, *_SIDES[side][1:])
        auroc_rows(axes, [row.name for row in shown], label, chance=label == AUROC)
        keys = [
            Line2D([], [], color=colour, marker=marker, markersize=9, linewidth=3, label=_called(side, name))
            for side, (_, colour, marker) in _SIDES.items()
        ]
        drawn.legend(
            handles=keys, loc="outside lower center", ncols=2, title=f"bars: {interval_name}", title_fontsize=12
        )
        return save(drawn, path)


def _called(side: str, name: str) -> str:
    return f"{_SIDES[side][0]}{f' ({name})' if side == 'there' else ''}"


def reliability(table: pd.DataFrame, name: str, path: Path) -> Path | None:
    """Draw observed against forecast frequency on both sides, one panel per class, a line per seed; None without any.

    Parameters
    ----------
    table : DataFrame
        reliability.csv of one model.
    name : str
        Of the external set.
    path : Path
        Receives the figure.
    """
    if table.empty:
        return None
    classes = list(dict.fromkeys(table["class"]))[:MOST_CLASSES]
    columns = min(_COLUMNS, len(classes))
    lines = math.ceil(len(classes) / columns)
    with styled():
        drawn = figure(max(5.4, 4.2 * columns), 0.9 + 4.0 * lines)
        panels = drawn.subplots(lines, columns, squeeze=False)
        for axes in panels.flat[len(classes) :]:
            axes.set_visible(False)
        for axes, each in zip(panels.flat, classes):
            of_class = table[table["class"] == each]
            top = float(np.nanmax(of_class[["mean_probability", "frequency"]].to_numpy(float)))
            low = float(np.nanmin(of_class[["mean_probability", "frequency"]].to_numpy(float)))
            for side, (_, colour, marker) in _SIDES.items():
                for _, rows in of_class[of_class["side"] == side].groupby("seed"):
                    axes.plot(
                        *(rows["mean_probability"], rows["frequency"]),
                        color=colour,
                        marker=marker,
                        markersize=5,
                        linewidth=1.2,
                        alpha=0.75,
                    )
            axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, zorder=0)
            span = (max(0, low - 0.03), min(1.02, top + 0.03))
            axes.set(xlim=span, ylim=span, xlabel="calibrated probability", box_aspect=1)
            axes.set_title("decided class" if each == "overall" else english.readable(each))
        for axes in panels[:, 0]:
            axes.set_ylabel("observed frequency")
        keys = [
            Line2D([], [], color=colour, marker=marker, markersize=7, label=_called(side, name))
            for side, (_, colour, marker) in _SIDES.items()
        ]
        drawn.legend(handles=keys, loc="outside lower center", ncols=2 if columns > 1 else 1)
        return save(drawn, path)
