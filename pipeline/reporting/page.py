"""Pages from templates: `render` fills a file of `pages/`, which holds every sentence, with the facts of a view.

In a template, ``{% call table("Class", "n positive >") %} ... {% endcall %}`` lays out a markdown table: one row per
line, cells separated by ``|``; a head that ends with ``>`` sets its column to the right. What a fact brings into a cell
cannot break the table: a ``|`` that comes from ``{{ ... }}`` is text, never a border.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tabulate import tabulate

from pipeline.reporting import english, formats, terms
from pipeline.reporting.values import Estimate
from pipeline.study.files import write_text

TEMPLATES = Path(__file__).with_name("pages")
_BAR, _BREAK = "\ue000", "\ue001"
"""Stand for a ``|`` and a line break of a fact while a page is rendered; of Unicode's private area, so in no text."""


class _Markdown(str):
    """Text that a template wrote; its bars are borders of cells, its line breaks end rows."""


class _Environment(Environment):
    """Templates whose blocks and macros return `_Markdown`."""

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join what a template writes."""
        return _Markdown("".join(parts))


def render(template: str, **facts: object) -> str:
    """Return the page that `template` makes of `facts`.

    Parameters
    ----------
    template : str
        Path below `pages/`, as ``model_card.md``.
    **facts
        What the template names; a name that is missing is an error (`StrictUndefined`).

    Returns
    -------
    str
        Markdown: no blank line twice, one line break at the end.
    """
    text = _environment().get_template(template).render(**facts).replace(_BAR, "|").replace(_BREAK, "\n")
    lines = (line.rstrip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


def write(path: Path, template: str, **facts: object) -> Path:
    """Render `template` and write it to `path`; return `path`."""
    write_text(path, render(template, **facts))
    return path


@cache
def _environment() -> Environment:
    environment = _Environment(
        loader=FileSystemLoader(TEMPLATES),
        extensions=["jinja2.ext.do"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markdown, not HTML: `&` and quotes stay as they are. `table` and the filter `escape` replace `<` and `|`.
        autoescape=False,
        finalize=_shield,
    )
    environment.filters |= FILTERS
    environment.globals |= GLOBALS
    environment.tests |= TESTS
    return environment


def _shield(value: object) -> object:
    """Keep bars and line breaks of a fact apart from those of the template."""
    return _shielded(value) if isinstance(value, str) and not isinstance(value, _Markdown) else value


def _shielded(text: str) -> str:
    return text.replace("|", _BAR).replace("\n", _BREAK)


def cells(values: Iterable[object]) -> str:
    """Join cells into a row, or a part of one, where a template does not know how many there are."""
    return _Markdown(" | ".join(_shielded(str(value)) for value in values))


def _table(*heads: str, caller: Callable[[], str]) -> str:
    """Lay out the rows that a call block writes; nothing where it writes none.

    Parameters
    ----------
    *heads : str
        Column titles; ``>`` at the end sets a column to the right.
    caller : callable
        Returns one line per row.

    Raises
    ------
    ValueError
        If a row has more or fewer cells than there are heads.
    """
    rows = [[cell.strip() for cell in line.split("|")] for line in caller().split("\n") if line.strip()]
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(f"a row of {len(row)} cells in a table of {len(heads)} columns: {row}")
    if not rows:
        return ""
    sides = ["right" if head.endswith(">") else "left" for head in heads]
    titles = [_cell(_shielded(head.removesuffix(">").rstrip())) for head in heads]
    body = [[_cell(cell) for cell in row] for row in rows]
    return tabulate(body, titles, tablefmt="pipe", colalign=sides, disable_numparse=True) + "\n"


def _cell(text: str) -> str:
    """Return the text of a cell, whose bars have been escaped already or not."""
    text = text.replace(_BREAK, " ").replace("\\" + _BAR, _BAR).replace(_BAR, "\\|")
    return " ".join(text.replace("<", "&lt;").split())


def _heads(labels: Iterable[str], sign: str = "") -> list[str]:
    """Return heads of columns set to the right, each with `sign` after its label."""
    return [f"{label}{sign} >" for label in labels]


def _known(value: float | Estimate | None) -> bool:
    """Whether there is a number."""
    if value is None:
        return False
    return value.exists if isinstance(value, Estimate) else math.isfinite(value)


FILTERS: dict[str, Callable[..., object]] = {
    "number": formats.number,
    "interval": formats.interval,
    "estimated": formats.estimated,
    "estimated_percent": formats.estimated_percent,
    "signed": formats.signed,
    "signed_interval": formats.signed_interval,
    "whole": formats.whole,
    "percent": formats.percent,
    "probability": formats.probability,
    "multiply_adds": formats.multiply_adds,
    "dropout": formats.dropout,
    "escape": formats.escape,
    "listing": english.listing,
    "readable": english.readable,
    "capital": english.capital,
    "cells": cells,
}
"""Filters of the templates, besides Jinja's own."""
GLOBALS: dict[str, object] = {
    "table": _table,
    "reasons": formats.reasons,
    "mean_sd": formats.mean_sd,
    "plural": english.plural,
    "count": english.count,
    "seeds": english.seeds,
    "listing": english.listing,
    "heads": _heads,
    "LABELS": terms.LABELS,
    "PARTS": terms.PARTS,
    "DASH": formats.DASH,
}
"""Functions and constants of the templates."""
TESTS: dict[str, Callable[..., bool]] = {
    "known": _known,
    "bounded": lambda estimate: estimate.bounded,
}
"""``{% if x is known %}``: a number or an estimate has a value; ``is bounded``: an estimate has an interval."""
