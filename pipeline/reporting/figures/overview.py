"""Figures of the first page."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.lines import Line2D

from pipeline.reporting import roc, tables
from pipeline.reporting.figures.style import (
    COLOURS,
    INK,
    epochs,
    figure,
    roc_frame,
    roc_line,
    save,
    seed_legend,
    series_line,
    styled,
    widen,
)
from pipeline.reporting.study import StudyResults


def forest(study: StudyResults, path: Path) -> Path | None:
    """Draw the main result: test macro AUROC of every recipe and ensemble with its interval and its seeds.

    Returns
    -------
    Path or None
        None where nothing has a test AUROC.
    """
    rows = [r for r in (*study.configurations, *study.ensembles) if math.isfinite(r.get("auroc").value)]
    if not rows:
        return None
    chosen = study.chosen
    with styled():
        drawn = figure(10, 1.5 + 0.52 * len(rows))
        axes = drawn.subplots()
        for y, row in enumerate(rows):
            estimate = row.get("auroc")
            colour = COLOURS[1] if row in study.ensembles else COLOURS[0]
            if math.isfinite(estimate.low):
                axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=3, solid_capstyle="butt")
            axes.plot(row.values("auroc"), [y] * len(row.seeds), "|", color=INK, markersize=13, markeredgewidth=1.6)
            axes.plot(estimate.value, y, "D" if row in study.ensembles else "o", color=colour, markersize=10)
            text = tables.estimated(estimate) if math.isfinite(estimate.low) else tables.number(estimate.value)
            axes.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
        labels = [f"{r.key}  ★" if chosen is not None and r.key == chosen.key else r.key for r in rows]
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.set_xlabel("macro AUROC, test part")
        bounded = any(math.isfinite(r.get("auroc").low) for r in rows)
        name = f"mean [{study.interval_name}]" if bounded else "mean"
        widen(axes)
        axes.annotate(name, (1.02, 1.02), xycoords="axes fraction", color="#666666", annotation_clip=False)
        keys = [
            Line2D(
                [],
                [],
                color=COLOURS[0],
                marker="o",
                markersize=9,
                linewidth=3,
                label=f"mean of seeds, {study.interval_name}" if bounded else "mean of seeds",
            ),
            Line2D([], [], color=INK, marker="|", markersize=12, markeredgewidth=1.6, linestyle="", label="one seed"),
        ]
        if any(r in study.ensembles for r in rows):
            keys.insert(1, Line2D([], [], color=COLOURS[1], marker="D", markersize=9, linewidth=3, label="ensemble"))
        if chosen is not None:
            keys.append(
                Line2D([], [], linestyle="", marker="$★$", color=INK, markersize=10, label="chosen on validation")
            )
        drawn.legend(handles=keys, loc="outside lower center", ncols=len(keys), columnspacing=1.2, handletextpad=0.5)
        return save(drawn, path)


def validation_curves(study: StudyResults, path: Path) -> Path | None:
    """Draw validation AUROC by epoch, a panel a recipe; losses differ in scale and are drawn on the seed pages."""
    shown = [r for r in study.configurations if r.history is not None and not r.history.empty]
    if not shown:
        return None
    columns = min(len(shown), 3 if len(shown) != 4 else 2)
    lines = math.ceil(len(shown) / columns)
    order = sorted({seed for r in shown for seed in r.seeds})
    with styled():
        drawn = figure(max(5.2, 4.6 * columns), 0.7 + 3.1 * lines)
        panels = drawn.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes in panels.flat[len(shown) :]:
            axes.set_visible(False)
        for axes, row in zip(panels.flat, shown):
            epochs(axes, row, "val_auroc", order)
            axes.set_title(row.key)
        for axes in panels[:, 0]:
            axes.set_ylabel("validation AUROC")
        for column in range(columns):
            visible = [a for a in panels[:, column] if a.get_visible()]
            visible[-1].set_xlabel("epoch")
            visible[-1].tick_params(labelbottom=True)
        seed_legend(drawn, order, best=True)
        return save(drawn, path)


def roc_recipes(study: StudyResults, path: Path) -> Path | None:
    """Draw the macro-average ROC curve of every recipe and ensemble."""
    shown = [r for r in (*study.configurations, *study.ensembles) if r.roc is not None]
    if not shown:
        return None
    with styled():
        drawn = figure(10.5, 5.6)
        axes = drawn.subplots()
        for index, row in enumerate(shown):
            label = f"{row.key} ({row.get('auroc').value:.3f})"
            roc_line(axes, roc.mean(row.roc, (0, 1)), label=label, **series_line(index))
        roc_frame(axes)
        axes.legend(title="macro AUROC in brackets", loc="center left", bbox_to_anchor=(1.02, 0.5), alignment="left")
        return save(drawn, path)
