"""Cells of a table to classes: one label, a list of labels, or one yes/no column per class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.names import joined
from pipeline.study.classes import fold
from pipeline.study.unknown import UNCERTAIN, UNKNOWN

SEPARATORS = ("|", ";", ",")
"""What may divide the labels of one cell."""
_YES = frozenset({"1", "1.0", "true", "t", "yes", "y", "present", "positive", "pos", "+"})
_NO = frozenset({"0", "0.0", "false", "f", "no", "n", "absent", "negative", "neg"})
_MARKS = frozenset({"x", "✓", "✔", "•"})
"""In a table of marks an empty cell means no."""
_UNCERTAIN = frozenset({"-1", "-1.0", "u", "uncertain", "?"})
_MISSING = frozenset({"", "nan", "na", "n/a", "none", "null", "-"})
_NAMED = 4
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")


class Cell(NamedTuple):
    """A line of the table and what stands in one of its cells."""

    line: int
    text: str


class Labels(NamedTuple):
    """The classes that an image has, those of which nothing is known, and those that are uncertain."""

    positive: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], codes: Sequence[int]) -> Labels:
        """Read codes of class columns; of several columns of one class yes counts, then uncertain, then unknown."""
        found: dict[str, set[int]] = {}
        for name, answer in zip(names, codes, strict=True):
            found.setdefault(name, set()).add(answer)
        settled = {name: next((c for c in (1, UNCERTAIN, UNKNOWN) if c in of), 0) for name, of in found.items()}
        return cls(*(tuple(n for n, c in settled.items() if c == kind) for kind in (1, UNKNOWN, UNCERTAIN)))


def single(
    cells: Sequence[Cell], where: str, key: str, names: Sequence[str] | None, label_map: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """Return the class of each cell, none for an empty one.

    Parameters
    ----------
    cells : sequence of Cell
        Of the label column.
    where : str
        Table and column, for messages.
    key : str
        Data set in params.yaml, ``datasets.<name>``.
    names : sequence of str or None
        The classes that are allowed.
    label_map : mapping of str to str
        Label to class.

    Raises
    ------
    DatasetError
        If cells hold several labels, spell one class in several ways, or name a class that is not allowed.
    """
    given = [cell for cell in cells if cell.text.strip()]
    declared = {fold(n) for n in (*(names or ()), *label_map)}
    _refuse_lists([c for c in given if fold(c.text) not in declared], where, key)
    classes = joined((cell.text for cell in given), label_map, where, f"{key}.label_map")
    for cell in given:
        _check_allowed(classes[cell.text], cell.line, where, names, None)
    return [(classes[cell.text],) if cell.text.strip() else () for cell in cells]


def several(
    cells: Sequence[Cell],
    where: str,
    key: str,
    separator: str,
    negative: str | None,
    names: Sequence[str] | None,
    label_map: Mapping[str, str],
) -> list[tuple[str, ...]]:
    """Return the classes of each cell, whose labels `separator` divides; none where it is empty or `negative`.

    Raises
    ------
    DatasetError
        As `single`, or if a list holds an empty, a negative or a repeated label.
    """
    divided = [_divide(cell.text, separator) for cell in cells]
    listed = [[] if parts in ([""], [negative]) else parts for parts in divided]
    classes = joined((p for parts in listed for p in parts if p), label_map, where, f"{key}.label_map")
    found = []
    for cell, parts in zip(cells, listed, strict=True):
        named = [classes.get(part, part) for part in parts]
        for part, label in zip(parts, named, strict=True):
            if not label or (label == negative and names is None):
                raise DatasetError(
                    f"{_at(where, cell.line)} is '{cell.text.strip()}'; expected classes, without an empty or negative "
                    "one among them"
                )
            _check_allowed(label, cell.line, where, names, negative)
            if parts.count(part) > 1:
                raise DatasetError(f"{_at(where, cell.line)} names '{part}' twice")
        found.append(tuple(dict.fromkeys(named)))
    return found


def flags(
    columns: Mapping[str, Sequence[Cell]],
    path: str,
    empty: Literal["unknown", "negative"] | None = None,
    uncertain: bool = False,
) -> dict[str, list[int]]:
    """Return for each column whether its cells say yes.

    Parameters
    ----------
    columns : mapping of str to sequence of Cell
        Cells of each class column.
    path : str
        The table, for messages.
    empty : {"unknown", "negative"} or None
        What an empty cell says, but in a table of marks; None refuses it.
    uncertain : bool
        Whether cells may be uncertain (-1, u).

    Returns
    -------
    dict of str to list of int
        1 for yes, 0 for no, and the codes of `pipeline.study.unknown`. 1, true, yes, present, positive, and x are yes;
        0, false, no, absent, and negative are no. An empty cell is no in a table that only has marks (x) and empty
        cells.

    Raises
    ------
    DatasetError
        If a cell is something else. Uncertain (-1, u) and empty cells are refused where nothing says what they are.
    """
    values = {cell.text.strip().casefold() for cells in columns.values() for cell in cells}
    marked = bool(values & _MARKS) and values <= _MARKS | {""}
    read, open_cells = {}, Counter[tuple[str, str]]()
    first: dict[tuple[str, str], int] = {}
    for name, cells in columns.items():
        answers = []
        for cell in cells:
            text = cell.text.strip().casefold()
            kind = "uncertain" if text in _UNCERTAIN else "empty" if text in _MISSING else ""
            if kind == "uncertain" and uncertain:
                answers.append(UNCERTAIN)
                continue
            if kind == "empty" and empty is not None and not marked:
                answers.append(UNKNOWN if empty == "unknown" else 0)
                continue
            answers.append(int(text in _YES or text in _MARKS))
            if text in _YES or text in _NO or text in _MARKS or (marked and not text):
                continue
            if not kind:
                raise DatasetError(
                    f"{path}: line {cell.line}: column '{name}' is '{cell.text.strip()}'; it must be 0 or 1 (or no and "
                    "yes, false and true, absent and present; or x and empty in every class column)"
                )
            open_cells[name, kind] += 1
            first.setdefault((name, kind), cell.line)
        read[name] = answers
    if open_cells:
        listed = "; ".join(
            f"column '{name}' is {kind} in {count} rows (first in line {first[name, kind]})"
            for (name, kind), count in list(open_cells.items())[:_NAMED]
        )
        raise DatasetError(
            f"{path}: {listed}. Say what they are: datasets.image_table.empty must be unknown or negative, "
            "datasets.image_table.uncertain ignore, positive, negative or a soft label between 0 and 1; or leave the "
            "column out of class_columns"
        )
    return read


def _at(where: str, line: int) -> str:
    """Put the line into the name of table and column."""
    return where.replace(": column", f": line {line}: column")


def _divide(text: str, separator: str) -> list[str]:
    """Return the labels of a cell; of a list in brackets, as programs print it, those within."""
    text = text.strip()
    match = re.fullmatch(r"\[(.*)\]", text)
    if match is None:
        return [part.strip() for part in text.split(separator)]
    return [part.strip().strip("'\"").strip() for part in match[1].split(separator)]


def _refuse_lists(cells: Sequence[Cell], where: str, key: str) -> None:
    """Refuse cells that hold several labels, naming the key that divides them, and numbers with a decimal comma."""
    distinct = {cell.text.strip(): cell.line for cell in reversed(cells)}
    commas = [cell for cell in cells if "," in cell.text]
    if commas and all(_NUMBER.fullmatch(text) for text in distinct):
        raise DatasetError(
            f"{_at(where, commas[0].line)} is the number '{commas[0].text.strip()}', as is every cell: numbers are no "
            f"classes. Set {key}.task to regression and {key}.target_column to the column, with a point before decimals"
        )
    bracketed = [text for text in distinct if re.fullmatch(r"\[.*\]", text)]
    for separator in SEPARATORS:
        lists = [text for text in distinct if separator in text]
        pieces = Counter(fold(part) for text in distinct for part in text.split(separator))
        # A comma may stand inside a name: only labels that come back elsewhere say that it divides.
        again = [text for text in lists if separator == "|" or any(pieces[fold(p)] > 1 for p in text.split(separator))]
        if separator == ",":
            again = bracketed or again
        if again:
            raise DatasetError(
                f"{_at(where, distinct[again[0]])} holds several labels, "
                f"'{again[0]}'; set {key}.separator to '{separator}' (the set is then multi-label), or, if this is the "
                f"name of one class, list the classes in {key}.class_names"
            )


def _check_allowed(label: str, line: int, where: str, names: Sequence[str] | None, negative: str | None) -> None:
    if names is None or label in names:
        return
    close = next((name for name in names if fold(name) == fold(label)), None)
    hint = f"; label_map can make '{label}' into '{close}'" if close else ""
    alone = f", {negative} alone" if negative else ""
    raise DatasetError(f"{_at(where, line)} is '{label}'; use one of: {', '.join(names)}{alone}{hint}")
