"""Figures of the page of a configuration: its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.reporting import roc
from pipeline.reporting.figures.style import (
    BAND,
    DASHES,
    FAINT,
    INK,
    epochs,
    figure,
    named,
    roc_frame,
    roc_line,
    save,
    seed_legend,
    series_line,
    series_mark,
    styled,
)
from pipeline.reporting.results import Results


def training_curves(results: Results, path: Path) -> Path | None:
    """Draw losses and validation AUROC by epoch for every seed, the epoch whose weights were kept marked."""
    if results.history.empty:
        return None
    order = list(results.seeds)
    with styled():
        drawn = figure(12, 4.3)
        panels = drawn.subplots(1, 3)
        titles = ("training loss", "validation loss", "validation AUROC")
        for axes, column, title in zip(panels, ("train_loss", "val_loss", "val_auroc"), titles):
            epochs(axes, results, column, order)
            axes.set(title=title, xlabel="epoch")
        seed_legend(drawn, order, best=True)
        return save(drawn, path)


def strip(results: Results, classes: Sequence[str], interval_name: str, path: Path) -> Path | None:
    """Draw test AUROC of every class: each seed, their mean, and the mean's interval."""
    rows = [c for c in (None, *classes) if results.get("auroc", c).exists]
    if not rows:
        return None
    with styled():
        drawn = figure(10, 1.6 + 0.42 * len(rows))
        axes = drawn.subplots()
        axes.use_sticky_edges = False
        # Seeds that agree would hide one another on one line.
        offsets = np.linspace(-0.22, 0.22, len(results.seeds)) if len(results.seeds) > 1 else np.zeros(1)
        intervals = False
        for y, name in enumerate(rows):
            estimate = results.get("auroc", name)
            if estimate.bounded:
                intervals = True
                axes.barh(y, estimate.high - estimate.low, 0.72, estimate.low, color=BAND, zorder=1)
            axes.plot([estimate.value] * 2, [y - 0.36, y + 0.36], color=INK, linewidth=2.4, zorder=2)
            for index, (seed, offset) in enumerate(zip(results.seeds, offsets)):
                value = results.get("auroc", name, seed).value
                axes.plot(value, y + offset, markersize=8, markeredgecolor="white", zorder=3, **series_mark(index))
        axes.set_yticks(range(len(rows)), [_class_label(results, c) for c in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.set_xlabel("test AUROC")
        if rows[0] is None:
            axes.get_yticklabels()[0].set_fontweight("bold")
            axes.axhline(0.5, color=FAINT, linewidth=1)
        keys: list[Artist] = [
            Line2D([], [], linestyle="", markersize=9, label=f"seed {s}", **series_mark(i))
            for i, s in enumerate(results.seeds)
        ]
        keys.append(
            Line2D([], [], color=INK, linestyle="", marker="|", markersize=14, markeredgewidth=2.4, label="mean")
        )
        if intervals:
            keys.append(Patch(color=BAND, label=f"{interval_name} of the mean"))
        drawn.legend(
            handles=keys, loc="outside lower center", ncols=min(len(keys), 7), columnspacing=1.2, handletextpad=0.4
        )
        return save(drawn, path)


def _class_label(results: Results, name: str | None) -> str:
    if name is None:
        return "macro average"
    positives = results.get("auroc", name).n_positive
    return f"{name} ({positives:,.0f})" if math.isfinite(positives) else name


def roc_seeds(results: Results, classes: Sequence[str], path: Path) -> Path | None:
    """Draw the macro-average curve of every seed, and every class averaged over seeds."""
    if not results.has_predictions:
        return None
    with styled():
        drawn = figure(13.5, 5.4)
        left, right = drawn.subplots(1, 2)
        for index, seed in enumerate(results.seeds):
            label = f"seed {seed} ({results.get('auroc', None, seed).value:.3f})"
            roc_line(left, roc.mean(results.roc[index], 0), label=label, **series_line(index))
        left.legend(loc="lower right", title="macro AUROC in brackets")
        left.set_title("macro average by seed")
        scored = [(results.get("auroc", c).value, k, c) for k, c in enumerate(classes)]
        scored = sorted([item for item in scored if math.isfinite(item[0])], key=lambda item: (-item[0], item[1]))
        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.88, max(len(scored), 1)))
        for place, ((value, k, name), colour) in enumerate(zip(scored, colours)):
            line = {"color": colour, "linestyle": DASHES[place % 3]}
            roc_line(right, roc.mean(results.roc[:, k], 0), label=f"{named(name)} ({value:.3f})", **line)
        right.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), title="AUROC in brackets", alignment="left")
        right.set_title("classes, mean over seeds")
        roc_frame(left)
        roc_frame(right)
        return save(drawn, path)
