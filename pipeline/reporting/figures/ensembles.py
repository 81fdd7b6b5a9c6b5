"""Figure of the ensembles' page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pipeline.reporting import english, formats
from pipeline.reporting.figures.style import BAND, COLOURS, INK, figure, glyph, save, styled, widen
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate

_SINGLE = COLOURS[0]
_APART = {"above": COLOURS[2], "below": COLOURS[1]}
"""Colour of an ensemble by the verdict of the paired test; the others are grey."""
_GREY = "#6E6E6E"
_DASHES = ("-", (0, (2, 1.5)))


class Group(NamedTuple):
    """Ensembles of the same members: name of the set ("" for none), number of members, each method with its results."""

    name: str
    members: int
    rows: list[tuple[str, Results]]

    @property
    def title(self) -> str:
        """What is written above the group; empty for no set."""
        return f"{self.name}: {english.count('training run', self.members)}" if self.name else ""


class Single(NamedTuple):
    """A single model: its test macro AUROC, and the seeds of a configuration; None for a training run."""

    name: str
    seeds: tuple[int, ...] | None
    value: Estimate

    @property
    def label(self) -> str:
        """What it is called in the figure."""
        if self.seeds is None:
            return self.name
        n = len(self.seeds)
        seeds = f"seed {self.seeds[0]} alone" if n == 1 else f"mean of {n} seeds" if n else "mean over its seeds"
        return f"{self.name}, {seeds}"


def forest(
    study: StudyResults,
    groups: Sequence[Group],
    references: Sequence[Single],
    verdicts: Mapping[str, str],
    chosen: Results | None,
    path: Path,
) -> Path | None:
    """Draw the test macro AUROC of every ensemble, set by set, below the single models they are compared with.

    Parameters
    ----------
    study : StudyResults
        Names the interval.
    groups : sequence of Group
        The ensembles, one item per set.
    references : sequence of Single
        At most two single models, each with a line through the whole figure.
    verdicts : mapping of str to str
        Key of an ensemble to the verdict of its paired test against the first reference: "above", "below", or anything
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
    if not any(e.get("auroc").exists for group in groups for _, e in group.rows):
        return None
    lines = len(references) + sum(len(group.rows) + bool(group.title) for group in groups)
    with styled():
        drawn = figure(10.5, 1.7 + 0.33 * lines)
        axes = drawn.subplots()
        _reference_lines(axes, references)
        labels: list[str] = []
        for i, reference in enumerate(references):
            _row(axes, len(labels), reference.value, _SINGLE, "os"[i], filled=True)
            labels.append(reference.label)
        for group in groups:
            labels += [group.title] if group.title else []
            for label, e in group.rows:
                verdict = verdicts.get(e.key, "")
                colour = _APART.get(verdict, _GREY)
                _row(axes, len(labels), e.get("auroc"), colour, "D", filled=verdict in _APART)
                labels.append(f"{label}  ★" if chosen is not None and e.key == chosen.key else label)
        axes.set_yticks(range(len(labels)), labels)
        titles = {group.title for group in groups}
        for tick, label in zip(axes.get_yticklabels(), labels):
            if label in titles:
                tick.set_fontweight("bold")
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.set_xlabel("macro AUROC, test set")
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


def _reference_lines(axes: Axes, references: Sequence[Single]) -> None:
    """Draw a line at each reference, and the interval of the first as a band."""
    for i, (_, _, estimate) in enumerate(references):
        if i == 0 and estimate.bounded:
            axes.axvspan(estimate.low, estimate.high, color=BAND, alpha=0.7, zorder=0, linewidth=0)
        if estimate.exists:
            axes.axvline(estimate.value, color=_SINGLE, linestyle=_DASHES[i % 2], linewidth=1.4, zorder=1)


def _row(axes: Axes, y: int, estimate: Estimate, colour: str, marker: str, filled: bool) -> None:
    """Draw an interval with its value, and write both beside it."""
    if estimate.bounded:
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=2.4, solid_capstyle="butt", zorder=2)
    if estimate.exists:
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
    text = formats.estimated(estimate) if estimate.bounded else formats.number(estimate.value)
    axes.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=11, annotation_clip=False)


def _keys(references: Sequence[Single], verdicts: Mapping[str, str], starred: bool, interval: str) -> list[Line2D]:
    """Return the legend: what is drawn, and only that."""
    keys = []
    for i, reference in enumerate(references):
        band = f" (band: {interval})" if i == 0 and reference.value.bounded else ""
        line: dict[str, Any] = {"linewidth": 1.4, "linestyle": _DASHES[i % 2], "marker": "os"[i], "markersize": 8}
        keys.append(Line2D([], [], color=_SINGLE, label=reference.label + band, **line))
    for verdict, colour in _APART.items():
        if verdict in verdicts.values():
            label = f"{verdict} the single configuration (paired test, Holm)"
            keys.append(Line2D([], [], color=colour, marker="D", markersize=8, linewidth=2.4, label=label))
    grey: dict[str, Any] = {"color": _GREY, "marker": "D", "markerfacecolor": "white", "markeredgewidth": 1.8}
    label = "not distinguished from it" if verdicts else "ensemble, not tested"
    keys.append(Line2D([], [], linewidth=2.4, markersize=8, label=label, **grey))
    if starred:
        label = "highest validation AUROC"
        keys.append(Line2D([], [], linestyle="", marker=glyph("★"), color=INK, markersize=10, label=label))
    return keys
