"""Figure of the ensembles' page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pipeline.reporting import tables
from pipeline.reporting.figures.style import BAND, COLOURS, INK, figure, save, styled, widen
from pipeline.reporting.study import Estimate, Results, StudyResults

_SINGLE = COLOURS[0]
_APART = {"above": COLOURS[2], "below": COLOURS[1]}
"""Colour of an ensemble by what the paired test found; the others are grey."""
_GREY = "#6E6E6E"
_DASHES = ("-", (0, (2, 1.5)))


def forest(
    study: StudyResults,
    groups: Mapping[str, Sequence[tuple[str, Results]]],
    references: Sequence[tuple[str, Estimate]],
    verdicts: Mapping[str, str],
    chosen: Results | None,
    path: Path,
) -> Path | None:
    """Draw the test macro AUROC of every ensemble, set by set, below the single models that they are set against.

    Parameters
    ----------
    study : StudyResults
        Names the interval.
    groups : mapping of str to sequence of (str, Results)
        Title of a set, "" for none, to its ensembles, each with its label.
    references : sequence of (str, Estimate)
        At most two single models, by name; a line through the whole figure each.
    verdicts : mapping of str to str
        Key of an ensemble to what its paired test against the first reference found: "above…", "below…", or anything
        else for no difference; empty where nothing was tested.
    chosen : Results or None
        Gets a star.
    path : Path
        Receives the figure.

    Returns
    -------
    Path or None
        None where no ensemble has a test AUROC.
    """
    if not any(math.isfinite(e.get("auroc").value) for rows in groups.values() for _, e in rows):
        return None
    lines = len(references) + sum(len(rows) + bool(title) for title, rows in groups.items())
    with styled():
        drawn = figure(10.5, 1.7 + 0.33 * lines)
        axes = drawn.subplots()
        _reference_lines(axes, references)
        labels: list[str] = []
        for i, (name, estimate) in enumerate(references):
            _row(axes, len(labels), estimate, _SINGLE, "os"[i], filled=True)
            labels.append(name)
        for title, rows in groups.items():
            labels += [title] if title else []
            for label, e in rows:
                verdict = next((v for v in _APART if verdicts.get(e.key, "").startswith(v)), "")
                _row(axes, len(labels), e.get("auroc"), _APART.get(verdict, _GREY), "D", filled=bool(verdict))
                labels.append(f"{label}  ★" if chosen is not None and e.key == chosen.key else label)
        axes.set_yticks(range(len(labels)), labels)
        titles = set(groups) - {""}
        for tick, label in zip(axes.get_yticklabels(), labels):
            if label in titles:
                tick.set_fontweight("bold")
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.set_xlabel("macro AUROC, test part")
        widen(axes)
        axes.annotate(
            f"value [{study.interval_name}]",
            (1.02, -0.6),
            xycoords=("axes fraction", "data"),
            color="#666666",
            va="bottom",
            annotation_clip=False,
        )
        drawn.legend(
            handles=_keys(references, verdicts, chosen is not None, study.interval_name),
            loc="outside lower center",
            ncols=2,
            fontsize=12,
        )
        return save(drawn, path)


def _reference_lines(axes: Axes, references: Sequence[tuple[str, Estimate]]) -> None:
    """Draw a line at each reference, and the interval of the first as a band."""
    for i, (_, estimate) in enumerate(references):
        if i == 0 and math.isfinite(estimate.low):
            axes.axvspan(estimate.low, estimate.high, color=BAND, alpha=0.7, zorder=0, linewidth=0)
        if math.isfinite(estimate.value):
            axes.axvline(estimate.value, color=_SINGLE, linestyle=_DASHES[i % 2], linewidth=1.4, zorder=1)


def _row(axes: Axes, y: int, estimate: Estimate, colour: str, marker: str, filled: bool) -> None:
    """Draw an interval with its value, and write both beside it."""
    if math.isfinite(estimate.low):
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=2.4, solid_capstyle="butt", zorder=2)
    if math.isfinite(estimate.value):
        axes.plot(
            estimate.value,
            y,
            marker,
            color=colour,
            markerfacecolor=colour if filled else "white",
            markeredgewidth=1.8,
            markersize=8,
            zorder=3,
        )
    text = tables.estimated(estimate) if math.isfinite(estimate.low) else tables.number(estimate.value)
    axes.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=11, annotation_clip=False)


def _keys(
    references: Sequence[tuple[str, Estimate]], verdicts: Mapping[str, str], starred: bool, interval: str
) -> list[Line2D]:
    """Return the legend: what is drawn, and only that."""
    keys = []
    for i, (name, estimate) in enumerate(references):
        band = f" (band: {interval})" if i == 0 and math.isfinite(estimate.low) else ""
        line = {"linewidth": 1.4, "linestyle": _DASHES[i % 2], "marker": "os"[i], "markersize": 8}
        keys.append(Line2D([], [], color=_SINGLE, label=name + band, **line))
    if verdicts:
        against = "the single recipe (paired test, Holm)"
        for verdict, colour in _APART.items():
            if any(v.startswith(verdict) for v in verdicts.values()):
                keys.append(
                    Line2D([], [], color=colour, marker="D", markersize=8, linewidth=2.4, label=f"{verdict} {against}")
                )
    grey = {"color": _GREY, "marker": "D", "markerfacecolor": "white", "markeredgewidth": 1.8, "markersize": 8}
    label = "not told apart from it" if verdicts else "ensemble, not tested"
    keys.append(Line2D([], [], linewidth=2.4, label=label, **grey))
    if starred:
        keys.append(Line2D([], [], linestyle="", marker="$★$", color=INK, markersize=10, label="chosen on validation"))
    return keys
