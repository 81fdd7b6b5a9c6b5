"""Numbers and tables in markdown: one way to write a value, an interval, a spread and what is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from pipeline.reporting import english
from pipeline.reporting.english import listing
from pipeline.reporting.values import NOT_IN_TABLE, Estimate

DASH = "—"
"""Stands wherever a number does not exist; the reason stands below the table."""
_NAMED = 8
"""How many rows that share a reason are named one by one."""


def number(value: float | None, digits: int = 3) -> str:
    """Write `value` with `digits` decimals, a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:.{digits}f}"
    return (text.removeprefix("-") if float(text) == 0 else text).replace("-", "−")


def interval(estimate: Estimate, digits: int = 3) -> str:
    """Write the interval of `estimate`, ``[0.832, 0.861]``, or a dash."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return DASH
    return f"[{number(estimate.low, digits)}, {number(estimate.high, digits)}]"


def estimated(estimate: Estimate, digits: int = 3) -> str:
    """Write value and interval, ``0.847 [0.832, 0.861]``; without an interval ``0.847 [—]``, without a value a dash."""
    if not math.isfinite(estimate.value):
        return DASH
    within = interval(estimate, digits)
    return f"{number(estimate.value, digits)} {within if within != DASH else f'[{DASH}]'}"


def mean_sd(mean: float, sd: float, digits: int = 3) -> str:
    """Write a mean over seeds and its spread, ``0.847 ± 0.003``."""
    return number(mean, digits) if not math.isfinite(sd) else f"{number(mean, digits)} ± {number(sd, digits)}"


def signed(value: float, digits: int = 3) -> str:
    """Write a difference with its sign, or a dash."""
    return english.signed(value, digits) if math.isfinite(value) else DASH


def signed_interval(estimate: Estimate) -> str:
    """Write the interval of a difference, ``[−0.010, +0.020]``, or a dash."""
    return f"[{signed(estimate.low)}, {signed(estimate.high)}]" if math.isfinite(estimate.low) else DASH


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


def chance(value: float) -> str:
    """Write a probability in percent; never as 0."""
    if not math.isfinite(value):
        return DASH
    return "< 0.1 %" if value < 0.001 else percent(value)


def escape(text: object) -> str:
    """Return `text` so that it stays inside its cell and means nothing to markdown's tables or HTML."""
    return " ".join(str(text).replace("|", "\\|").replace("<", "&lt;").split())


def reasons(noted: Iterable[tuple[str, str, Estimate]]) -> str:
    """List the remarks on single numbers of a table, one line per reason: why they are missing, what they rest on.

    Parameters
    ----------
    noted : iterable of (row, column, estimate)
        What the table shows; complete numbers without a note are passed over.
    """
    every = [(row, column, e, all(map(math.isfinite, (e.value, e.low, e.high)))) for row, column, e in noted]
    columns: dict[str, set[str]] = {}
    places: dict[tuple[str, bool], dict[str, list[str]]] = {}
    for row, column, estimate, complete in every:
        columns.setdefault(row, set()).add(column)
        if estimate.note or not complete:
            without = "no interval" if math.isfinite(estimate.value) else NOT_IN_TABLE
            place = places.setdefault((estimate.note or without, complete), {})
            place.setdefault(row, []).append(column)
    lines = []
    for (note, complete), rows in places.items():
        whole_rows = {row for row, cells in rows.items() if set(cells) == columns[row]}
        if len(whole_rows) == len(columns) > 1:
            which = "All rows"
        elif len({tuple(cells) for cells in rows.values()}) == 1 and not whole_rows:
            which = f"{listing(next(iter(rows.values())))} of {_some(list(rows), len(columns))}"
        else:
            named = [row if row in whole_rows else f"{row} ({listing(cells)})" for row, cells in rows.items()]
            which = _some(named, len(columns) + 1)
        lines.append(f"- {'' if complete else f'{DASH} '}{escape(which)}: {escape(note)}.")
    return "\n".join(lines)


def _some(names: list[str], of: int) -> str:
    """Name up to `_NAMED` rows; all of them in two words."""
    if len(names) == of > 1:
        return "all rows"
    return listing(names) if len(names) <= _NAMED else f"{', '.join(names[:_NAMED])}, and {len(names) - _NAMED} more"


def estimated_percent(estimate: Estimate) -> str:
    """Write a share and its interval in percent."""
    if not math.isfinite(estimate.value):
        return DASH
    within = f"{100 * estimate.low:.1f}, {100 * estimate.high:.1f}" if math.isfinite(estimate.low) else DASH
    return f"{percent(estimate.value)} [{within}]"


def multiply_adds(number: float) -> str:
    """Write multiply-accumulate operations with three digits, in thousands (k), millions (M) or billions (G)."""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # Rounded first: 999,950 is 1.00 M and not 1000 k.
        if float(f"{number:.3g}") >= size:
            scaled = number / size
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f} {name}"
    return f"{number:.0f}"


def dropout(rate: float | None) -> str:
    """Write a dropout rate, or "own" where the architecture's own one applies."""
    return "own" if rate is None else f"{rate:g}"


def mermaid(text: object) -> str:
    """Return `text` as part of a label of Mermaid, in which signs are written as ``#35;``.

    What is no letter, digit or plain sign is written by its number: Mermaid takes quotes, markdown and HTML in labels
    for its own, and no name of a class may become markdown of the page either.
    """
    return re.sub(r"[^\w (),:.%−+-]|_", lambda sign: f"#{ord(sign[0])};", " ".join(str(text).split()))
