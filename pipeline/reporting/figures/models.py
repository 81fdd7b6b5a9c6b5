"""Figures of the page about models: curves of training, confusion matrices, grids."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from pipeline.reporting import formats
from pipeline.reporting.figures.style import COLOURS, FAINT, INK, figure, save, styled, whole_ticks
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.views.grid import Grid, Point, collapsed

MOST_CLASSES = 9
"""With more of them the counts of a confusion matrix cannot be read."""
_CURVES: dict[str, tuple[str, str, Any]] = {
    "val_auroc": ("validation AUROC", COLOURS[2], "-"),
    "val_accuracy": ("validation accuracy", COLOURS[3], (0, (5, 1.5))),
    "train_loss": ("training loss", COLOURS[0], (0, (5, 1.5))),
    "val_loss": ("validation loss", COLOURS[1], "-"),
}
"""Column of the history: name, colour, dash. The first two share an axis, and so do the last two."""
_LEAST_SPAN = 0.06
"""Span of the colours of a grid at least: a closer view makes differences look large that are none."""


def curves(shown: Sequence[Results], path: Path) -> Path | None:
    """Draw the training of every configuration: validation metrics above, losses below, one line per seed.

    Returns
    -------
    Path or None
        None where no configuration has a history.
    """
    shown = [r for r in shown if not r.history.empty]
    if not shown:
        return None
    columns = min(len(shown), 3 if len(shown) in (3, 5, 6, 9) else 4)
    lines = math.ceil(len(shown) / columns)
    with styled():
        drawn = figure(max(5.0, 3.7 * columns), 0.9 + 4.6 * lines)
        panels = drawn.subplots(2 * lines, columns, squeeze=False)
        drawn_columns: set[str] = set()
        for place in range(lines * columns):
            above, below = panels[2 * (place // columns) : 2 * (place // columns) + 2, place % columns]
            if place >= len(shown):
                above.set_visible(False)
                below.set_visible(False)
                continue
            result = shown[place]
            drawn_columns |= _history(above, result, ("val_auroc", "val_accuracy"), marked=True)
            drawn_columns |= _history(below, result, ("train_loss", "val_loss"))
            above.set_title(_wrapped(result.key, 28))
            below.set_xlabel("epoch")
            if place % columns == 0:
                above.set_ylabel("validation")
                below.set_ylabel("loss")
        _same_scale([axes for axes in panels[::2].flat if axes.get_visible()])
        keys = [
            Line2D([], [], color=colour, linestyle=dash, label=name)
            for column, (name, colour, dash) in _CURVES.items()
            if column in drawn_columns
        ]
        keys.append(Line2D([], [], color=INK, marker="o", linestyle="", markersize=7, label="epoch that was kept"))
        drawn.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 3 if columns < 3 else 5))
        return save(drawn, path)


def _history(axes: Axes, results: Results, columns: Sequence[str], marked: bool = False) -> set[str]:
    """Draw columns of the history, one line per seed, and mark the kept epoch; return the columns that exist."""
    history, found = results.history, set()
    for column in columns:
        if column not in history or not np.isfinite(history[column]).any():
            continue
        found.add(column)
        _, colour, dash = _CURVES[column]
        for seed in results.seeds:
            rows = history[history["seed"] == seed]
            axes.plot(rows["epoch"], rows[column], color=colour, linestyle=dash, linewidth=1.6, alpha=0.85)
            kept = rows[rows["epoch"] == results.run(seed).get("best_epoch")]
            if marked:
                axes.plot(kept["epoch"], kept[column], "o", color=colour, markersize=7, markeredgecolor="white")
    whole_ticks(axes)
    return found


def _same_scale(panels: Sequence[Axes]) -> None:
    """Give panels one y axis."""
    bounds = [axes.get_ylim() for axes in panels]
    for axes in panels:
        axes.set_ylim(min(low for low, _ in bounds), max(high for _, high in bounds))


def _wrapped(name: str, width: int) -> str:
    """Break a long name at its underscores and dashes."""
    spaced = name.replace("_", "_ ").replace("-", "- ")
    lines = textwrap.wrap(spaced, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(line.replace("_ ", "_").replace("- ", "-") for line in lines)


def confusions(shown: Sequence[Results], classes: Sequence[str], path: Path) -> Path | None:
    """Draw the confusion matrix of every configuration, summed over seeds, coloured by the share of the true class.

    Parameters
    ----------
    shown : sequence of Results
        Configurations; those without a confusion matrix are passed over.
    classes : sequence of str
        In the order of rows and columns.
    path : Path
        Receives the figure.

    Returns
    -------
    Path or None
        None without a matrix, or with more classes than can be read.
    """
    shown = [r for r in shown if not r.confusion.empty]
    k = len(classes)
    if not shown or not 2 <= k <= MOST_CLASSES:
        return None
    side = 0.8 * k + 0.5 if k <= 4 else 0.72 * k
    most = 1 if k > 6 else 2 if k > 4 else 3 if len(shown) in (3, 5, 6, 9) or k == 4 else 4
    columns = min(len(shown), most)
    lines = math.ceil(len(shown) / columns)
    with styled():
        drawn = figure(2.0 + side * columns, 1.5 + (0.92 * side + 0.35) * lines)
        panels = drawn.subplots(lines, columns, squeeze=False)
        for axes in panels.flat[len(shown) :]:
            axes.set_visible(False)
        for place, (axes, results) in enumerate(zip(panels.flat, shown)):
            _matrix(axes, matrix(results, classes), small=k > 4)
            axes.set_title(_wrapped(results.key, max(int(8.5 * side), 14)))
            last = place + columns >= len(shown)
            axes.set(xlabel="predicted" if last else "", ylabel="" if place % columns else "true")
            axes.set_xticks(range(k), [_wrapped(c, 16) for c in classes] if last else [""] * k)
            axes.tick_params(axis="x", labelrotation=45)
            for text in axes.get_xticklabels():
                text.set(ha="right", rotation_mode="anchor")
            axes.set_yticks(range(k), [_wrapped(c, 16) for c in classes] if place % columns == 0 else [""] * k)
        _bar(drawn, Normalize(0, 100), "Blues", panels, "% of the true class", shrink=0.75)
        return save(drawn, path)


def matrix(results: Results, classes: Sequence[str]) -> np.ndarray:
    """Return the counts of a confusion matrix summed over seeds, int [K, K], true class first."""
    return results.confusions(classes).sum(axis=0).astype(int)


def shares(counts: np.ndarray) -> np.ndarray:
    """Return each row's shares, NaN for a class without images."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def _matrix(axes: Axes, counts: np.ndarray, small: bool) -> None:
    part = 100 * shares(counts)
    axes.imshow(part, cmap=matplotlib.colormaps["Blues"].with_extremes(bad="#EFEFEF"), vmin=0, vmax=100)
    for (i, j), n in np.ndenumerate(counts):
        known = math.isfinite(part[i, j])
        axes.text(
            j,
            i,
            f"{part[i, j]:.0f} %\n{n:,}" if known else formats.DASH,
            ha="center",
            va="center",
            fontsize=10.5 if small else 11.5,
            color="white" if known and part[i, j] > 55 else INK,
        )
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _bar(drawn: Figure, scale: Normalize, colours: str, panels: np.ndarray, label: str, shrink: float = 1.0) -> None:
    """Put a colour bar beside all panels."""
    shown = matplotlib.cm.ScalarMappable(scale, matplotlib.colormaps[colours])
    bar = drawn.colorbar(shown, ax=panels, fraction=0.05, pad=0.02, shrink=shrink, aspect=18)
    bar.set_label(label)
    bar.outline.set_visible(False)


def heat(
    study: StudyResults, found: Sequence[tuple[str, Grid, Sequence[Point]]], metric: str, label: str, path: Path
) -> Path | None:
    """Draw every grid: a validation metric by learning rate and dropout, collapsed runs hatched, the best framed.

    Parameters
    ----------
    study : StudyResults
        Tells what collapsed.
    found : sequence of (title, Grid, points)
        The points are the best on validation.
    metric, label : str
        What is drawn of the validation set, and what it is called.
    path : Path
        Receives the figure.

    Returns
    -------
    Path or None
        None where no point has a value.
    """
    values = [p.results.get(metric, part="val").value for _, grid, _ in found for p in grid.points]
    if not any(map(math.isfinite, values)):
        return None
    scale = _scale(study, [p for _, grid, _ in found for p in grid.points], metric)
    wide = max(len(_rates(grid)[1]) for _, grid, _ in found)
    high = max(len(_rates(grid)[0]) for _, grid, _ in found)
    columns = min(len(found), max(1, int(13 // (1.05 * wide + 1))), 2 if len(found) == 4 else 3)
    lines = math.ceil(len(found) / columns)
    with styled():
        drawn = figure(1.8 + (1.05 * wide + 1) * columns, 1.1 + (0.62 * high + 1.1) * lines)
        panels = drawn.subplots(lines, columns, squeeze=False)
        for axes in panels.flat[len(found) :]:
            axes.set_visible(False)
        for axes, (name, grid, chosen) in zip(panels.flat, found):
            _heat(axes, study, grid, chosen, metric, scale)
            axes.set_title(_wrapped(name, int(10 * (1.05 * wide + 1) * 0.9)))
            axes.set(xlabel="dropout", ylabel="learning rate")
        _bar(drawn, scale, "Blues", panels, label)
        keys: list[Patch | Line2D] = []
        if any(collapsed(study, p.results) for _, grid, _ in found for p in grid.points):
            keys.append(Patch(facecolor="#E6E6E6", edgecolor=FAINT, hatch="////", label="a training run collapsed"))
        if any(chosen for _, _, chosen in found):
            keys.append(Patch(facecolor="none", edgecolor=COLOURS[1], linewidth=3, label="best on validation"))
        if any(_has_gap(g) for _, g, _ in found):
            keys.append(Line2D([], [], linestyle="", label=f"{formats.DASH}  no result"))
        drawn.legend(handles=keys, loc="outside lower center", ncols=3)
        return save(drawn, path)


def _rates(grid: Grid) -> tuple[list[float], list[float | None]]:
    """Return the learning rates and the dropout rates of a grid, as its points have them."""
    dropouts = sorted({p.dropout for p in grid.points}, key=lambda d: math.inf if d is None else -d)
    return sorted({p.lr for p in grid.points}, reverse=True), dropouts


def _has_gap(grid: Grid) -> bool:
    """Say whether a learning rate and a dropout rate of the grid have no point together."""
    rates, dropouts = _rates(grid)
    return len({(p.lr, p.dropout) for p in grid.points}) < len(rates) * len(dropouts)


def _scale(study: StudyResults, points: Sequence[Point], metric: str) -> Normalize:
    """Span the values of the points that learned something."""
    alive = [p for p in points if not collapsed(study, p.results)] or points
    known = [v for p in alive if math.isfinite(v := p.results.get(metric, part="val").value)] or [0.5]
    low, high = min(known), max(known)
    missing = max(_LEAST_SPAN - (high - low), 0) / 2
    low, high = low - missing, high + missing
    over = max(high - 1, 0)
    return Normalize(low - over, high - over)


def _heat(axes: Axes, study: StudyResults, grid: Grid, chosen: Sequence[Point], metric: str, scale: Normalize) -> None:
    rates, dropouts = _rates(grid)
    colours = matplotlib.colormaps["Blues"]
    by_place: dict[tuple[int, int], list[Point]] = {}
    for p in grid.points:
        by_place.setdefault((rates.index(p.lr), dropouts.index(p.dropout)), []).append(p)
    for i in range(len(rates)):
        for j in range(len(dropouts)):
            # Two models of the same settings differ in name alone; the first stands for both, the table has each.
            point = next(iter(by_place.get((i, j), [])), None)
            value = point.results.get(metric, part="val").value if point is not None else math.nan
            fallen = point is not None and bool(collapsed(study, point.results))
            known = math.isfinite(value)
            colour = "#E6E6E6" if fallen else colours(scale(value)) if known else "white"
            edge: dict[str, Any] = {"hatch": "////", "edgecolor": "#B5B5B5"} if fallen else {"edgecolor": "white"}
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colour, linewidth=1, **edge))
            if point is not None and point in chosen:
                axes.add_patch(
                    Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, edgecolor=COLOURS[1], linewidth=3, zorder=4)
                )
            light = known and not fallen and scale(value) > 0.6
            text = axes.text(j, i, formats.number(value), ha="center", va="center", color="white" if light else INK)
            text.set(zorder=5, bbox={"facecolor": "#E6E6E6", "edgecolor": "none", "pad": 1.5} if fallen else None)
    axes.set_xticks(range(len(dropouts)), [formats.dropout(d) for d in dropouts])
    axes.set_yticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set(xlim=(-0.5, len(dropouts) - 0.5), ylim=(len(rates) - 0.5, -0.5))
    _bare(axes)
