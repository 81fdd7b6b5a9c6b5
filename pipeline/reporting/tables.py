"""Numbers and tables in markdown: one way to write a value, an interval, a spread and what is not known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from pipeline.reporting.prose import listing
from pipeline.reporting.study import Estimate

DASH = "—"
"""Stands wherever a number does not exist; the reason stands below the table."""


def number(value: float | None, digits: int = 3) -> str:
    """Write `value` with `digits` decimals, a dash where there is none."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def interval(estimate: Estimate, digits: int = 3) -> str:
    """Write the interval of `estimate`, ``[0.832, 0.861]``, or a dash."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return DASH
    return f"[{number(estimate.low, digits)}, {number(estimate.high, digits)}]"


def estimated(estimate: Estimate, digits: int = 3) -> str:
    """Write value and interval, ``0.847 [0.832, 0.861]``; a dash for each that is missing, one if both are."""
    if not math.isfinite(estimate.value):
        return DASH
    return f"{number(estimate.value, digits)} {interval(estimate, digits)}"


def mean_sd(mean: float, sd: float, digits: int = 3) -> str:
    """Write a mean over seeds and its spread, ``0.847 ± 0.003``."""
    return number(mean, digits) if not math.isfinite(sd) else f"{number(mean, digits)} ± {number(sd, digits)}"


def whole(value: float | None) -> str:
    """Write a count, or a dash."""
    return DASH if value is None or not math.isfinite(value) else f"{int(value):,}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a fraction as a percentage, or a dash."""
    return DASH if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def probability(value: float) -> str:
    """Write a p value; never as 0."""
    if not math.isfinite(value):
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def escape(text: object) -> str:
    """Return `text` so that it stays inside its cell and means nothing to markdown's tables or HTML."""
    return " ".join(str(text).replace("|", "\\|").replace("<", "&lt;").split())


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], align: str) -> str:
    """Lay out a markdown table.

    Parameters
    ----------
    headers : sequence of str
        Column titles.
    rows : iterable of sequences
        Cells, already text.
    align : str
        A letter a column: ``l``, ``c`` or ``r``.
    """
    sides = {"l": "left", "c": "center", "r": "right"}
    body = [[escape(cell) for cell in row] for row in rows]
    return tabulate(body, list(headers), tablefmt="pipe", colalign=[sides[a] for a in align], disable_numparse=True)


def reasons(noted: Iterable[tuple[str, Estimate]], what: str = "value or interval") -> str:
    """List why numbers of a table are missing, a line a reason.

    Parameters
    ----------
    noted : iterable of (name, estimate)
        What the table shows; those without a note are passed over.
    what : str
        What is missing.
    """
    by_note: dict[str, list[str]] = {}
    for name, estimate in noted:
        incomplete = not all(map(math.isfinite, (estimate.value, estimate.low, estimate.high)))
        if incomplete:
            names = by_note.setdefault(estimate.note or f"no {what} in the metrics table", [])
            if name not in names:
                names.append(name)
    return "\n".join(f"- {DASH} {listing(map(escape, names))}: {escape(note)}." for note, names in by_note.items())
