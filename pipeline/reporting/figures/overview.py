"""Figures of the first page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.lines import Line2D

from pipeline.reporting import formats, roc, terms
from pipeline.reporting.figures.style import (
    COLOURS,
    DASHES,
    INK,
    epochs,
    figure,
    glyph,
    roc_frame,
    roc_line,
    save,
    seed_legend,
    styled,
    widen,
)
from pipeline.reporting.results import Results, StudyResults, highest

MOST_CURVES = 6
"""Models whose ROC curves are drawn: as many colours as can be distinguished, beside that of the ensemble."""


def forest(study: StudyResults, shown: Sequence[Results], path: Path, metric: str = "auroc") -> Path | None:
    """Draw the main result: test macro AUROC with its interval and its seeds, one row per configuration or ensemble.

    Parameters
    ----------
    study : StudyResults
        Names the interval and the chosen configuration.
    shown : sequence of Results
        From top to bottom; those without a test AUROC are left out.
    path : Path
        Receives the figure.
    metric : str
        What to draw in the place of AUROC.

    Returns
    -------
    Path or None
        None where nothing has a test AUROC.
    """
    rows = [r for r in shown if r.get(metric).exists]
    if not rows:
        return None
    chosen = study.chosen
    with styled():
        drawn = figure(10, 1.5 + 0.52 * len(rows))
        axes = drawn.subplots()
        for y, row in enumerate(rows):
            estimate = row.get(metric)
            colour = COLOURS[1] if row in study.ensembles else COLOURS[0]
            if math.isfinite(estimate.low):
                axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=3, solid_capstyle="butt")
            axes.plot(row.values(metric), [y] * len(row.seeds), "|", color=INK, markersize=13, markeredgewidth=1.6)
            axes.plot(estimate.value, y, "D" if row in study.ensembles else "o", color=colour, markersize=10)
            text = formats.estimated(estimate) if math.isfinite(estimate.low) else formats.number(estimate.value)
            axes.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
        labels = [f"{r.key}  ★" if chosen is not None and r.key == chosen.key else r.key for r in rows]
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.set_xlabel(f"test {terms.macro(metric)}")
        bounded = any(math.isfinite(r.get(metric).low) for r in rows)
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
                Line2D([], [], linestyle="", marker=glyph("★"), color=INK, markersize=10, label="chosen on validation")
            )
        drawn.legend(handles=keys, loc="outside lower center", ncols=len(keys), columnspacing=1.2, handletextpad=0.5)
        return save(drawn, path)


def validation_curves(study: StudyResults, path: Path, metric: str = "auroc") -> Path | None:
    """Draw validation AUROC, or another `metric`, by epoch, one panel per configuration; losses have other pages."""
    shown = [r for r in study.configurations if not r.history.empty]
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
            epochs(axes, row, f"val_{metric}", order)
            axes.set_title(row.key)
        for axes in panels[:, 0]:
            axes.set_ylabel(f"validation {terms.LABELS[metric]}")
        for column in range(columns):
            visible = [a for a in panels[:, column] if a.get_visible()]
            visible[-1].set_xlabel("epoch")
            visible[-1].tick_params(labelbottom=True)
        seed_legend(drawn, order, best=True)
        return save(drawn, path)


def roc_leaders(study: StudyResults, path: Path) -> Path | None:
    """Draw the macro-average ROC curves that a reader can distinguish.

    These are the best configuration of each model on validation, of many models the best `MOST_CURVES`, among them the
    chosen one, and the chosen ensemble.

    Returns
    -------
    Path or None
        None where no predictions are there.
    """
    shown = [r for r in leaders(study) if r.has_predictions]
    if not shown:
        return None
    with styled():
        drawn = figure(9.5, 5.6)
        axes = drawn.subplots()
        for index, row in enumerate(shown):
            auroc = formats.number(row.get("auroc").value)
            label = f"{row.key} ({auroc})" + ("  ★" if study.is_chosen(row) else "")
            if row in study.ensembles:
                style: dict[str, object] = {"color": INK, "linestyle": "-"}
            else:
                style = {"color": COLOURS[index], "linestyle": DASHES[index % len(DASHES)]}
            roc_line(axes, roc.mean(row.roc, (0, 1)), label=label, **style)
        roc_frame(axes)
        title = "test macro AUROC in brackets"
        if any(map(study.is_chosen, shown)):
            title += "\n★ chosen on validation"
        axes.legend(title=title, loc="center left", bbox_to_anchor=(1.02, 0.5), alignment="left")
        return save(drawn, path)


def leaders(study: StudyResults) -> list[Results]:
    """Return the best configuration of each model on validation, the chosen one first, then the chosen ensemble."""
    models = dict.fromkeys(r.model for r in study.configurations)
    best = [highest([r for r in study.configurations if r.model == name], study.leading) for name in models]
    scored = [r for r in best if r is not None]
    ranked = sorted(scored, key=lambda r: (not study.is_chosen(r), -r.get(study.leading, part="val").value))
    ensemble = study.chosen_ensemble
    return [*ranked[:MOST_CURVES], *([ensemble] if ensemble is not None else [])]
