"""The figure of the page of losses: one row of panels per model, one line per loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.reporting.figures.style import BAND, COLOURS, FAINT, INK, figure, glyph, save, styled, widen
from pipeline.reporting.values import Estimate, Outcome

_LOOKS: dict[Outcome, dict[str, Any]] = {
    Outcome.DIFFER: {"color": COLOURS[1], "marker": "s", "markerfacecolor": COLOURS[1]},
    Outcome.EQUIVALENT: {"color": COLOURS[2], "marker": "D", "markerfacecolor": COLOURS[2]},
    Outcome.FAILED: {"color": FAINT, "marker": "v", "markerfacecolor": "white"},
    Outcome.NOISE: {"color": COLOURS[0], "marker": "o", "markerfacecolor": "white"},
    Outcome.UNTESTED: {"color": FAINT, "marker": "X", "markerfacecolor": FAINT},
}
_INCHES = {"line": 0.36, "panel": 0.55, "foot": 1.35}
"""Height of a loss, of what a panel has besides, and of the axis label with the legend below all of them."""


class Line(NamedTuple):
    """A loss in a panel.

    Parameters
    ----------
    label : str
        At the axis.
    estimate : Estimate
        Test macro AUROC, mean over seeds.
    seeds : float [S]
        The same of each seed.
    difference : Estimate
        Loss minus baseline; without a value for the baseline itself and where nothing is compared.
    outcome : Outcome
        How the difference is drawn.
    """

    label: str
    estimate: Estimate
    seeds: np.ndarray
    difference: Estimate = Estimate()
    outcome: Outcome = Outcome.UNTESTED


class Panel(NamedTuple):
    """A model: its name, its losses, and the baseline's AUROC (NaN where it has none)."""

    model: str
    lines: tuple[Line, ...]
    baseline: float


def forest(
    panels: Sequence[Panel],
    path: Path,
    *,
    baseline: str,
    margin: float,
    interval_name: str,
    keys: dict[str, str],
) -> Path | None:
    """Draw test macro AUROC of every loss and, beside it, its paired difference from the baseline.

    Parameters
    ----------
    panels : sequence of Panel
        One per model, from top to bottom.
    path : Path
        Receives the figure.
    baseline : str
        Name of the loss that the others are compared with.
    margin : float
        Equivalence margin, drawn as a band; NaN where nothing is tested, and then there is no second column of panels.
    interval_name : str
        What intervals are called.
    keys : dict of str to str
        Signs that labels carry, and what they mean.

    Returns
    -------
    Path or None
        None where nothing has a test AUROC.
    """
    panels = [p for p in panels if any(line.estimate.exists for line in p.lines)]
    if not panels:
        return None
    tested = math.isfinite(margin)
    columns = 2 if tested else 1
    heights = [_INCHES["panel"] + _INCHES["line"] * len(p.lines) for p in panels]
    with styled():
        drawn = figure(7.5 if columns == 1 else 12, _INCHES["foot"] + sum(heights))
        axes = drawn.subplots(
            len(panels), columns, sharex="col", squeeze=False, gridspec_kw={"height_ratios": [*heights]}
        )
        for row, panel in zip(axes, panels):
            _scores(row[0], panel)
            if tested:
                _differences(row[1], panel, margin)
        widen(axes[0, 0])
        axes[-1, 0].set_xlabel("test macro AUROC")
        if tested:
            widen(axes[0, 1], 6 * margin)
            axes[-1, 1].set_xlabel(f"paired difference (loss − {baseline})")
        _legend(drawn, panels, baseline, margin, interval_name, keys)
        return save(drawn, path)


def _frame(axes: Axes, panel: Panel, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(panel.lines)), labels)
    axes.set_ylim(len(panel.lines) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(labelbottom=True)


def _scores(axes: Axes, panel: Panel) -> None:
    if math.isfinite(panel.baseline):
        axes.axvline(panel.baseline, color=INK, linewidth=1.3, linestyle=(0, (4, 2)), zorder=1)
    for y, line in enumerate(panel.lines):
        value, low, high = line.estimate[:3]
        if line.estimate.bounded:
            axes.plot([low, high], [y, y], color=COLOURS[0], linewidth=3, solid_capstyle="butt", zorder=2)
        axes.plot(value, y, "o", color=COLOURS[0], markersize=9, zorder=3)
        if len(line.seeds) > 1:
            axes.plot(line.seeds, [y] * len(line.seeds), "|", color=INK, markersize=12, markeredgewidth=1.6, zorder=4)
    _frame(axes, panel, [line.label for line in panel.lines])
    axes.set_title(panel.model)


def _differences(axes: Axes, panel: Panel, margin: float) -> None:
    axes.axvspan(-margin, margin, color=BAND, zorder=0, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1.3, zorder=1)
    for y, line in enumerate(panel.lines):
        if not line.difference.exists:
            continue
        value, low, high = line.difference[:3]
        look = _LOOKS[line.outcome]
        if line.difference.bounded:
            axes.plot([low, high], [y, y], color=look["color"], linewidth=2.4, solid_capstyle="butt", zorder=2)
        axes.plot(value, y, markersize=9, markeredgewidth=2, linestyle="", zorder=3, **look)
    _frame(axes, panel, [""] * len(panel.lines))
    axes.tick_params(axis="y", length=0)


def _legend(
    drawn: Figure,
    panels: Sequence[Panel],
    baseline: str,
    margin: float,
    interval_name: str,
    keys: dict[str, str],
) -> None:
    """Explain every mark that is there, and none that is not."""
    lines = [line for panel in panels for line in panel.lines]
    several = any(len(line.seeds) > 1 for line in lines)
    bounded = any(line.estimate.bounded for line in lines)
    name = ("mean over seeds" if several else "one seed") + (f", {interval_name}" if bounded else "")
    handles: list[Artist] = [
        Line2D([], [], color=COLOURS[0], marker="o", markersize=9, linewidth=3 if bounded else 0, label=name)
    ]
    if several:
        tick: dict[str, Any] = {"color": INK, "marker": "|", "markersize": 12, "markeredgewidth": 1.6}
        handles.append(Line2D([], [], linestyle="", label="one seed", **tick))
    if any(math.isfinite(panel.baseline) for panel in panels):
        handles.append(Line2D([], [], color=INK, linewidth=1.3, linestyle=(0, (4, 2)), label=f"{baseline}, mean"))
    if math.isfinite(margin):
        seen = {line.outcome for line in lines if line.difference.exists}
        for outcome in (o for o in Outcome if o in seen):
            look = {"linestyle": "-", "linewidth": 0 if outcome == Outcome.UNTESTED else 2.4, **_LOOKS[outcome]}
            handles.append(Line2D([], [], markersize=9, markeredgewidth=2, label=str(outcome), **look))
        handles.append(Patch(color=BAND, label=f"equivalence margin (± {margin:g})"))
    for sign, meaning in keys.items():
        if any(sign in line.label for line in lines):
            shape: dict[str, Any] = {"marker": glyph(sign), "color": INK, "markersize": 10}
            handles.append(Line2D([], [], linestyle="", label=meaning, **shape))
    columns = min(len(handles), 4) if math.isfinite(margin) else 2
    drawn.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.4, handletextpad=0.5)
