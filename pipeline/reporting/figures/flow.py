"""The flow diagram of images and patients: boxes and arrows, laid out in inches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from pipeline.reporting import english
from pipeline.reporting.figures.style import BAND, FAINT, INK, figure, save, styled
from pipeline.reporting.views.flow import Flow, Part, Reason

_POINTS = 10.5
_LINE = 0.2
"""Height of a line of text, in."""
_LETTER = 0.083
"""Width of a letter on average, in."""
_PAD = 0.1
_EDGE = 0.05
"""Round the whole, in: half the width of a line lies outside its box."""
_GAP = 0.38
"""Between boxes one below another, in: room for an arrow."""
_WIDE = 3.6
"""Width of the boxes of what was found, excluded and kept, in."""


class _Row(NamedTuple):
    """A line of a box: text to the left and, of a count, to the right."""

    left: str
    right: str = ""


def flow_chart(flow: Flow, path: Path) -> Path:
    """Draw `flow`: found, excluded beside it, kept, and the sets side by side."""
    parts = [(_title(part), _rows(flow, part)) for part in flow.parts]
    each = max(2.45, *(_needed(rows) for _, rows in parts)) if parts else 2.45
    width = max(2 * _WIDE + 0.9, len(parts) * (each + 0.2) - 0.2)
    found = [f"Found: {english.count('file', flow.found)}"]
    excluded = [f"Excluded: {english.count('file', flow.found - flow.kept)}", *_reasons(flow.excluded, _WIDE)]
    kept = [f"Kept: {english.count('image', flow.kept)} of {english.count(flow.unit, flow.patients)}"]
    if flow.copies:
        kept.append(f"with augmented copies: {english.count('image', flow.kept + flow.copies)}")
    tall = max((len(rows) for _, rows in parts), default=0)
    side = _height(len(excluded)) if flow.excluded else 0.0
    lowest = _height(2 + tall)
    between = max(_GAP, side + 0.24)
    height = _height(1) + between + _height(len(kept)) + _GAP + lowest
    with styled():
        drawn = figure(width + 2 * _EDGE, height + 2 * _EDGE)
        drawn.set_layout_engine("none")  # laid out here
        axes = drawn.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-_EDGE, width + _EDGE), ylim=(-_EDGE, height + _EDGE))
        axes.axis("off")
        left = (width - 2 * _WIDE - 0.9) / 2 if flow.excluded else (width - _WIDE) / 2
        middle = left + _WIDE / 2
        top = height
        _box(axes, left, top, _WIDE, found)
        if flow.excluded:
            level = top - _height(1) - between / 2
            _box(axes, left + _WIDE + 0.9, level + side / 2, _WIDE, excluded)
            _arrow(axes, (middle, level), (left + _WIDE + 0.9, level))
        _arrow(axes, (middle, top - _height(1)), (middle, top - _height(1) - between))
        top -= _height(1) + between
        _box(axes, left, top, _WIDE, kept)
        top -= _height(len(kept))
        begin = (width - len(parts) * (each + 0.2) + 0.2) / 2
        centres = [begin + i * (each + 0.2) + each / 2 for i in range(len(parts))]
        if centres:
            ends = [*centres, middle]
            axes.plot([min(ends), max(ends)], [top - _GAP / 2] * 2, color=INK, linewidth=1.2)
            axes.plot([middle, middle], [top, top - _GAP / 2], color=INK, linewidth=1.2)
        for centre, (title, rows) in zip(centres, parts):
            _arrow(axes, (centre, top - _GAP / 2), (centre, top - _GAP))
            _table(axes, centre - each / 2, top - _GAP, each, title, rows)
        return save(drawn, path)


def _title(part: Part) -> str:
    return english.capital(part.name) + (" set" if part.key != "unused" else "")


def _rows(flow: Flow, part: Part) -> list[_Row]:
    """Return the lines of a set: all of it, then its classes, or why it is unused."""
    rows = [_Row(f"{english.count('image', part.images)} of {english.count(flow.unit, part.patients)}")]
    for counted in part.classes:
        name = english.readable(counted.name) if counted.name else "no class"
        *first, last = wrap(name, 30) or [""]
        rows += [*(_Row(line) for line in first), _Row(last, f"{counted.images:,} ({counted.patients:,})")]
    if part.key == "unused":
        rows += [_Row(line) for line in _reasons(flow.unused, 2.6)]
    return rows


def _reasons(reasons: Sequence[Reason], width: float) -> list[str]:
    letters = int((width - 2 * _PAD) / _LETTER)
    return [line for r in reasons for line in wrap(f"{r.text}: {r.number:,}", letters, subsequent_indent="  ")]


def _needed(rows: Sequence[_Row]) -> float:
    """Return the width that the longest row needs, in."""
    return max(len(row.left) + len(row.right) + 2 * bool(row.right) for row in rows) * _LETTER + 2 * _PAD


def _height(lines: int) -> float:
    return lines * _LINE + 2 * _PAD


def _frame(axes: Axes, left: float, top: float, width: float, height: float, colour: str) -> None:
    axes.add_patch(Rectangle((left, top - height), width, height, facecolor=colour, edgecolor=INK, linewidth=1.2))


def _text(axes: Axes, x: float, top: float, index: int, text: str, bold: bool = False, right: bool = False) -> None:
    axes.text(
        x,
        top - _PAD - (index + 0.5) * _LINE,
        text,
        fontsize=_POINTS,
        fontweight="bold" if bold else "normal",
        ha="right" if right else "left",
        va="center",
        color=INK,
    )


def _box(axes: Axes, left: float, top: float, width: float, lines: Sequence[str]) -> None:
    """Draw a box with its first line in bold."""
    _frame(axes, left, top, width, _height(len(lines)), "white")
    for index, line in enumerate(lines):
        _text(axes, left + _PAD, top, index, line, bold=index == 0)


def _table(axes: Axes, left: float, top: float, width: float, title: str, rows: Sequence[_Row]) -> None:
    """Draw the box of a set: title, numbers to the right."""
    _frame(axes, left, top, width, _height(1 + len(rows)), "white")
    axes.add_patch(Rectangle((left, top - _LINE - _PAD), width, _LINE + _PAD, facecolor=BAND, edgecolor="none"))
    _frame(axes, left, top, width, _height(1 + len(rows)), "none")
    _text(axes, left + _PAD, top + _PAD / 2, 0, title, bold=True)
    for index, row in enumerate(rows, 1):
        _text(axes, left + _PAD, top, index, row.left)
        if row.right:
            _text(axes, left + width - _PAD, top, index, row.right, right=True)
        if index == 1 and len(rows) > 1:
            y = top - _PAD - 2 * _LINE
            axes.plot([left, left + width], [y, y], color=FAINT, linewidth=0.8)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0},
    )
