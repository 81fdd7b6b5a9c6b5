"""Pages from templates: `render` fills a file of `pages/`, which holds every sentence, with the facts of a view.

In a template, ``{% call table("Class", "n positive >") %} ... {% endcall %}`` lays out a markdown table: one row per
line, cells separated by ``|``; a head that ends with ``>`` sets its column to the right. What a fact brings into a cell
cannot break the table: a ``|`` that comes from ``{{ ... }}`` is text, never a border.

Names of classes mean nothing to markdown, whatever signs they are made of, and where a data set does not say whose the
images are, no page speaks of patients: see `about`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from tabulate import tabulate

from pipeline.reporting import english, formats, terms
from pipeline.reporting.compiled import Compiled
from pipeline.reporting.results import StudyResults
from pipeline.reporting.values import Estimate
from pipeline.study.files import write_text
from pipeline.uncertainty import claims

TEMPLATES = Path(__file__).with_name("pages")
_BAR, _BREAK, _KEPT = "\ue000", "\ue001", "\ue002"
"""Stand for a ``|``, a line break and the ``p`` of a patient that stays one while a page is rendered; of Unicode's
private area, so in no text."""


@dataclass(frozen=True)
class _Words:
    """Words of a study: markdown of names that have signs, texts that are quoted as they are, and the unit."""

    names: dict[str, str] = field(default_factory=dict)
    quoted: tuple[str, ...] = ()
    patients_known: bool = True


_PLAIN = _Words()
_WORDS: ContextVar[_Words] = ContextVar("words", default=_PLAIN)


@contextmanager
def about(study: StudyResults) -> Iterator[None]:
    """Render pages in the words of `study`.

    Names of classes come out as they are, whatever they mean in markdown. Where `StudyResults.patients_known` is
    False, "patient" in sentences becomes "group", which is what is drawn, counted and kept together: an image with its
    near-duplicates, or a block. What the data set says of itself is not changed, nor is ``{{ "patient" | kept }}``.
    """
    forms = [form for name in study.classes for form in (name, english.readable(name))]
    marked = {name: escaped for name in forms if (escaped := _escaped(name)) != name}
    own = study.dataset if study.recorded else None
    quoted = (study.title, *study.classes, *((own.title, own.licence, own.citation, *own.notes) if own else ()))
    token = _WORDS.set(
        _Words(marked, tuple(text for text in quoted if "patient" in text.lower()), study.patients_known)
    )
    try:
        yield
    finally:
        _WORDS.reset(token)


def _escaped(name: str) -> str:
    """Return a name that markdown shows as it is; an underscore between letters needs no escape there."""
    text = re.sub(r"([\\`*\[\]$])", r"\\\1", name)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", text)
    return re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;")


def kept(text: str) -> str:
    """Return `text`, in which patients stay patients though they are not known."""
    if _WORDS.get().patients_known:
        return text
    return re.sub(r"\b([Pp])(?=atients?\b)", rf"{_KEPT}\1", text)


def _in_words(text: str) -> str:
    """Take patients out of a text, where they are not known."""
    if _WORDS.get().patients_known:
        return text
    text = re.sub(rf"(?<!{_KEPT})\bpatient(s?)\b", r"group\1", text)
    return re.sub(rf"(?<!{_KEPT})\bPatient(s?)\b", r"Group\1", text)


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
    text = _in_words(_environment().get_template(template).render(**facts))
    text = text.replace(_BAR, "|").replace(_BREAK, "\n").replace(_KEPT, "")
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
        finalize=_finalized,
        bytecode_cache=Compiled(TEMPLATES, Path(__file__)),
    )
    environment.filters |= FILTERS
    environment.globals |= GLOBALS
    environment.tests |= TESTS
    return environment


# What depends on `about` asks for the context, which it does not need: Jinja2 would work it out for constants as it
# compiles a template, in the words of whichever study that is done for.
@pass_context
def _finalized(_: Context, value: object) -> object:
    """Keep bars and line breaks of a fact apart from those of the template."""
    return _shielded(value) if isinstance(value, str) and not isinstance(value, _Markdown) else value


def _shielded(text: str) -> str:
    """Return a fact with its bars and line breaks apart from those of the template, and names as markdown."""
    words = _WORDS.get()
    if not words.patients_known:
        for quoted in words.quoted:
            text = text.replace(quoted, kept(quoted))
    if words.names:
        longest_first = sorted(words.names, key=len, reverse=True)
        text = re.sub("|".join(map(re.escape, longest_first)), lambda m: words.names[m[0]], text)
    return text.replace("|", _BAR).replace("\n", _BREAK)


def cells(values: Iterable[object]) -> str:
    """Join cells into a row, or a part of one, where a template does not know how many there are."""
    return _Markdown(" | ".join(_shielded(str(value)) for value in values))


@pass_context
def _kept(_: Context, text: str) -> str:
    return kept(text)


@pass_context
def _cells(_: Context, values: Iterable[object]) -> str:
    return cells(values)


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
    if _WORDS.get().patients_known:
        text = text.replace(_KEPT, "")  # it would count for the width of the column
    return " ".join(_in_words(text).replace("<", "&lt;").split())  # its width is that of the words that stay


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
    "chance": formats.chance,
    "false_claim": lambda p: float(claims.false_claim(p).sceptical),
    "multiply_adds": formats.multiply_adds,
    "dropout": formats.dropout,
    "escape": formats.escape,
    "exp": math.exp,
    "listing": english.listing,
    "readable": english.readable,
    "capital": english.capital,
    "kept": _kept,
    "mermaid": formats.mermaid,
    "cells": _cells,
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
    "infinite": math.isinf,
}
"""``{% if x is known %}``: a number or an estimate has a value; ``is bounded``: an estimate has an interval."""
