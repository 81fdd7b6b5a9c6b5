"""Read tables of predictions that were made anywhere, and join two of them image by image.

A table has one row per image (and seed): ``id``; the truth, either a column ``truth`` with the name of the class
(single-label) or one column ``truth_<class>`` per class with 0, 1 or, where it is not known, nothing (multi-label); one
column per class with its probability, named as the class or ``p_<class>``; and where they are known ``patient`` and
``seed``. With two classes one column of probabilities is enough. Fields are separated by commas, semicolons or tabs.
What is missing, twice there or contradictory is an error that names file, line and value: a row is never dropped and
never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import logit

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.tables import read_table
from pipeline.study.classes import told_apart
from pipeline.study.errors import UserError

TRUTH, PATIENT, SEED = "truth", "patient", "seed"
_OF_CLASS, _FORECAST = "truth_", "p_"
_NAMES = {"id": ("id", "sample_id"), PATIENT: ("patient", "patient_id"), SEED: ("seed",), TRUTH: ("truth",)}
"""Columns with a meaning of their own, by what they are called."""
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
"""What a truth of 1 and of 0 may be written as; capital letters do not matter."""
_ROUNDING = 0.02
"""How far from 1 the probabilities of the classes of a row may sum: numbers that were rounded when written."""
_COMMA = re.compile(r"-?\d*,\d+(?:[eE][-+]?\d+)?")
"""A number with a decimal comma, as it is written where semicolons or tabs separate."""
_CERTAIN = 37.5
"""Logit of a probability of 1, above that of the next smaller number, so that the order is kept."""
_IMPOSSIBLE = -746.0
"""Logit, and logarithm, of a probability of 0, below that of the smallest number."""


class TableError(UserError):
    """A table of predictions is not what it should be, or two of them do not fit each other."""


@dataclass(frozen=True)
class Raw:
    """A table as it is written.

    Parameters
    ----------
    path : Path
        Where it lies.
    cells : dict of str to list of str
        Columns by name, without spaces around the texts.
    lines : list of int
        Line of each row in the file.
    """

    path: Path
    cells: dict[str, list[str]]
    lines: list[int]

    def named(self, what: str) -> str:
        """Return the column that holds `what`; "" where there is none."""
        return next((name for name in _NAMES[what] if name in self.cells), "")

    def at(self, row: int, column: str) -> str:
        """Say where a value stands, for a message."""
        return f"{self.path}, line {self.lines[row]}, column {column}: '{self.cells[column][row]}'"


@dataclass(frozen=True)
class Predicted:
    """Two tables of predictions, joined.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        One truth for each class, or one class for each image.
    classes : tuple of str [K]
        In the order of the first table.
    binary : bool
        There are two classes, with one column of probabilities: that of the second of `classes`.
    seeds : pair of tuple of str
        Of each table; ("",) where it names none.
    probabilities : pair of float64 [S, N, K]
        In [0, 1].
    targets : uint8 [N, K]
        Truth; float32 with NaN where it is not known.
    patients : str [N]
        Patient of each image, or the image where no table names patients.
    patients_known : bool
        Whether one does.
    unread : pair of tuple of str
        Columns of each table that mean nothing here.
    """

    task: str
    classes: tuple[str, ...]
    binary: bool
    seeds: tuple[tuple[str, ...], tuple[str, ...]]
    probabilities: tuple[np.ndarray, np.ndarray]
    targets: np.ndarray
    patients: np.ndarray
    patients_known: bool
    unread: tuple[tuple[str, ...], tuple[str, ...]]


def odds(probabilities: np.ndarray) -> np.ndarray:
    """Return logits of probabilities in [0, 1], all finite and in the same order."""
    with np.errstate(divide="ignore"):
        return np.clip(logit(probabilities), _IMPOSSIBLE, _CERTAIN)


def logarithms(probabilities: np.ndarray) -> np.ndarray:
    """Return logarithms of probabilities in [0, 1], all finite: what softmax turns back."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(probabilities), _IMPOSSIBLE)


def read_pair(first: Path, second: Path) -> Predicted:
    """Read two tables and join them by id.

    Parameters
    ----------
    first, second : Path
        See the module. The truth and the patients may be in one of them only.

    Raises
    ------
    TableError
        Naming file, line and value.
    """
    tables = [_read(path) for path in (first, second)]
    ids = [_ids(table) for table in tables]
    _same_images(tables, ids)
    tables = [_with_truth(table, other) for table, other in (tables, tables[::-1])]
    kinds = [_task(table) for table in tables]
    if kinds[0] != kinds[1]:
        raise TableError(f"{first} is {_called(kinds[0])} and {second} {_called(kinds[1])}: they must be alike")
    task = kinds[0]
    layouts = [_classes(table, task) for table in tables]
    classes, binary = _one_order(tables, layouts)
    order = list(dict.fromkeys(tables[0].cells[tables[0].named("id")]))
    arrays = [_arrays(table, layout, classes, task, order, binary) for table, layout in zip(tables, layouts)]
    _same_truth(tables, arrays, order)
    patients, known = _patients(tables, order)
    return Predicted(
        task,
        tuple(map(told_apart, classes)),
        binary,
        (arrays[0].seeds, arrays[1].seeds),
        (arrays[0].probabilities, arrays[1].probabilities),
        arrays[0].targets,
        patients,
        known,
        (layouts[0].unread, layouts[1].unread),
    )


def _called(task: str) -> str:
    return "multi-label (a column truth_<class> per class)" if task == "multilabel" else "single-label (a column truth)"


# --- one table -------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Raw:
    try:
        names, numbered = read_table(path)
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}") from None
    except DatasetError as error:
        raise TableError(str(error)) from None
    lines, rows = [line for line, _ in numbered], [[cell.strip() for cell in row] for _, row in numbered]
    if not rows:
        raise TableError(f"{path}: a header and no rows" if names else f"{path}: empty")
    for place, name in enumerate(names, 1):
        if not name:
            raise TableError(f"{path}: column {place} has no name (write the table without its index)")
        if names.count(name) > 1:
            raise TableError(f"{path}: two columns are called '{name}'")
    cells = {name: list(column) for name, column in zip(names, zip(*rows))}
    table = Raw(path, cells | {TRUTH: _one_spelling(cells[TRUTH])} if TRUTH in cells else cells, lines)
    if not table.named("id"):
        raise TableError(f"{path}: no column id; it needs id, the truth, and the probabilities of the classes")
    for what, aliases in _NAMES.items():
        if sum(name in table.cells for name in aliases) > 1:
            raise TableError(f"{path}: columns {' and '.join(aliases)} are both the {what}; keep one")
    return table


def _one_spelling(truth: list[str]) -> list[str]:
    """Return truths in which 1.0 is 1, and TRUE is true where there is nothing but true and false (or yes and no)."""
    truth = [re.sub(r"^(\d+)\.0+$", r"\1", name) for name in truth]
    lower = [name.lower() for name in truth]
    return lower if set(lower) <= {"true", "false"} or set(lower) <= {"yes", "no"} else truth


def _ids(table: Raw) -> dict[str, int]:
    """Return the first row of every image, after a check that each seed has every image once."""
    column, of_seed = table.named("id"), table.named(SEED)
    seen: dict[tuple[str, str], int] = {}
    for row, name in enumerate(table.cells[column]):
        if not name:
            raise TableError(f"{table.at(row, column)} must be the id of an image")
        key = (name, table.cells[of_seed][row] if of_seed else "")
        if of_seed and not key[1]:
            raise TableError(f"{table.at(row, of_seed)} must be a seed")
        if key in seen:
            of = f" and seed '{key[1]}'" if of_seed else ""
            hint = "" if of_seed else "; predictions of several seeds need a column seed"
            before = table.lines[seen[key]]
            raise TableError(f"{table.at(row, column)} is there twice{of}, first in line {before}{hint}")
        seen[key] = row
    first: dict[str, int] = {}
    for (name, _), row in seen.items():
        first.setdefault(name, row)
    seeds = dict.fromkeys(seed for _, seed in seen)
    for name, row in first.items():
        for seed in seeds:
            if (name, seed) not in seen:
                raise TableError(f"{table.at(row, column)} has no row for seed '{seed}'")
    return first


def _same_images(tables: Sequence[Raw], ids: Sequence[dict[str, int]]) -> None:
    for a, b in ((0, 1), (1, 0)):
        one, other, here, there = tables[a], tables[b], ids[a], ids[b]
        lacking = [name for name in here if name not in there]
        if lacking:
            more = f", and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise TableError(f"{one.at(here[lacking[0]], one.named('id'))}{more}: {other.path} has no such row")


def _with_truth(table: Raw, other: Raw) -> Raw:
    """Return `table` with the truth of `other` where it has none of its own."""
    if _truths(table):
        return table
    if not _truths(other):
        raise TableError(
            f"{table.path}: no truth, and none in {other.path}; either a column truth with the name of the class, or "
            "truth_<class> with 0 or 1 for every class"
        )
    row_of = {name: row for row, name in enumerate(other.cells[other.named("id")])}
    rows = [row_of[name] for name in table.cells[table.named("id")]]
    return Raw(
        table.path,
        table.cells | {name: [other.cells[name][row] for row in rows] for name in _truths(other)},
        table.lines,
    )


def _truths(table: Raw) -> list[str]:
    return [name for name in table.cells if name == TRUTH or (name.startswith(_OF_CLASS) and name != _OF_CLASS)]


def _task(table: Raw) -> str:
    truths = _truths(table)
    if TRUTH in truths and len(truths) > 1:
        raise TableError(
            f"{table.path}: both truth and {truths[1] if truths[0] == TRUTH else truths[0]}; keep one kind"
        )
    return "multiclass" if truths == [TRUTH] else "multilabel"


@dataclass(frozen=True)
class _Layout:
    """Where the probability of each class stands: `columns` by class; binary: the second of its classes alone."""

    columns: dict[str, str]
    classes: tuple[str, ...]
    binary: bool
    unread: tuple[str, ...]


def _classes(table: Raw, task: str) -> _Layout:
    own = {table.named(what) for what in _NAMES} | set(_truths(table))
    others = [name for name in table.cells if name not in own]
    marked = [name for name in others if name.startswith(_FORECAST) and name != _FORECAST]
    if task == "multilabel":
        columns = {}
        for name in (column.removeprefix(_OF_CLASS) for column in _truths(table)):
            found = [column for column in (_FORECAST + name, name) if column in others]
            if len(found) != 1:
                wanted = f"{_FORECAST}{name} or {name}"
                raise TableError(
                    f"{table.path}: {'both' if found else 'no column'} {wanted}, the probability of {name}"
                )
            columns[name] = found[0]
        unread = tuple(name for name in others if name not in columns.values())
        return _Layout(columns, tuple(columns), False, unread)
    chosen = marked or others
    columns = {name.removeprefix(_FORECAST) if marked else name: name for name in chosen}
    unread = tuple(name for name in others if name not in chosen)
    if not columns:
        raise TableError(f"{table.path}: no column with the probability of a class")
    truth = list(dict.fromkeys(table.cells[TRUTH]))
    if "" in truth:
        raise TableError(f"{table.at(table.cells[TRUTH].index(''), TRUTH)} must be the name of a class")
    if len(columns) == 1:
        positive = _positive(table, next(iter(columns)), truth)
        negative = [name for name in truth if name != positive]
        column = next(iter(columns.values()))
        return _Layout({positive: column}, ((negative or ["other"])[0], positive), True, unread)
    for row, name in enumerate(table.cells[TRUTH]):
        if name not in columns:
            raise TableError(
                f"{table.at(row, TRUTH)} has no column of probabilities; there are {', '.join(columns)} (columns other "
                "than id, truth, patient and seed are taken for classes, unless some are called p_<class>)"
            )
    return _Layout(columns, tuple(columns), False, unread)


def _positive(table: Raw, column: str, truth: Sequence[str]) -> str:
    """Return which of two classes the only column of probabilities is of."""
    if len(truth) > 2:
        some = ", ".join(truth[:4])
        raise TableError(f"{table.path}: column {column} alone, and more than two classes ({some}, ...) in truth")
    if column in truth:
        return column
    positive = [name for name in truth if name in _YES]
    if len(positive) <= 1 and all(name in _NO for name in truth if name not in positive):
        return positive[0] if positive else "1"
    which = " or of ".join(f"'{name}'" for name in truth)
    raise TableError(f"{table.path}: is column {column} the probability of {which}? Call it as the class, or p_<class>")


def _one_order(tables: Sequence[Raw], layouts: Sequence[_Layout]) -> tuple[tuple[str, ...], bool]:
    one, other = (layout.classes for layout in layouts)
    if set(one) != set(other):
        raise TableError(
            f"{tables[0].path} has the classes {', '.join(one)} and {tables[1].path} {', '.join(other)}: they must be "
            "the same"
        )
    if layouts[0].binary != layouts[1].binary:
        short = layouts[0] if layouts[0].binary else layouts[1]
        return short.classes, True
    return one, layouts[0].binary


# --- arrays ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Arrays:
    seeds: tuple[str, ...]
    probabilities: np.ndarray
    targets: np.ndarray
    rows: np.ndarray


def _arrays(
    table: Raw, layout: _Layout, classes: tuple[str, ...], task: str, order: Sequence[str], binary: bool
) -> _Arrays:
    column, of_seed = table.named("id"), table.named(SEED)
    place = {name: n for n, name in enumerate(order)}
    said = table.cells[of_seed] if of_seed else [""] * len(table.lines)
    seeds = tuple(dict.fromkeys(said))
    rows = np.zeros((len(seeds), len(order)), dtype=np.int64)
    for row, (name, seed) in enumerate(zip(table.cells[column], said)):
        rows[seeds.index(seed), place[name]] = row
    known = {name: _numbers(table, where) for name, where in layout.columns.items()}
    if layout.binary:
        known[layout.classes[0]] = 1 - known[layout.classes[1]]
    values = np.stack([known[name] for name in classes], axis=-1)
    if task == "multiclass":
        sums = values.sum(axis=-1)
        off = np.abs(sums - 1) > _ROUNDING
        if off.any():
            row = int(np.argmax(off))
            raise TableError(f"{table.path}, line {table.lines[row]}: probabilities sum to {sums[row]:g}, must to 1")
        targets = np.array([[name == given for name in classes] for given in table.cells[TRUTH]], dtype=np.uint8)
    else:
        targets = np.stack([_labels(table, _OF_CLASS + name) for name in classes], axis=-1)
    for s in range(1, len(seeds)):
        changed = _changed(targets[rows[s]], targets[rows[0]])
        if changed.any():
            n = int(np.argmax(changed))
            raise TableError(_contradiction(table, int(rows[0, n]), table, int(rows[s, n])))
    return _Arrays(seeds, values[rows], targets[rows[0]], rows)


def _numbers(table: Raw, column: str) -> np.ndarray:
    values = np.empty(len(table.lines))
    for row, text in enumerate(table.cells[column]):
        try:
            values[row] = float(text.replace(",", ".") if _COMMA.fullmatch(text) else text)
        except ValueError:
            values[row] = np.nan
        if not 0 <= values[row] <= 1:
            raise TableError(f"{table.at(row, column)} must be a probability, from 0 to 1")
    return values


def _labels(table: Raw, column: str) -> np.ndarray:
    values = np.empty(len(table.lines), dtype=np.float32)
    for row, text in enumerate(table.cells[column]):
        if text and text.lower() not in (*_YES, *_NO):
            raise TableError(f"{table.at(row, column)} must be 0 or 1, or empty where it is not known")
        values[row] = text.lower() in _YES if text else np.nan
    return values if np.isnan(values).any() else values.astype(np.uint8)


def _changed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the images of which the truths [N, K] are not the same, unknown ones included."""
    first, second = (np.nan_to_num(of.astype(np.float32), nan=-1) for of in (one, other))
    changed: np.ndarray = (first != second).any(axis=-1)
    return changed


def _contradiction(one: Raw, here: int, other: Raw, there: int) -> str:
    """Say in which column the truths of two rows of one image differ."""
    of_one, of_other = (
        {name: table.cells[name][row] for name in _truths(table)} for table, row in ((one, here), (other, there))
    )
    column = next((name for name in of_one if of_one[name].lower() != of_other[name].lower()), TRUTH)
    place = f"{other.path}, line {other.lines[there]}"
    name = one.cells[one.named("id")][here]
    return f"{one.at(here, column)} is the truth of '{name}', but '{of_other[column]}' in {place}"


def _same_truth(tables: Sequence[Raw], arrays: Sequence[_Arrays], order: Sequence[str]) -> None:
    changed = _changed(arrays[0].targets, arrays[1].targets)
    if changed.any():
        n = int(np.argmax(changed))
        more = int(changed.sum()) - 1
        text = _contradiction(tables[0], int(arrays[0].rows[0, n]), tables[1], int(arrays[1].rows[0, n]))
        raise TableError(text + (f"; so it is of {more} more images" if more else ""))


def _patients(tables: Sequence[Raw], order: Sequence[str]) -> tuple[np.ndarray, bool]:
    known: dict[str, tuple[str, Raw, int]] = {}
    any_known = False
    for table in tables:
        column = table.named(PATIENT)
        for row, name in enumerate(table.cells[table.named("id")] if column else []):
            any_known = True
            patient = table.cells[column][row]
            if not patient:
                raise TableError(f"{table.at(row, column)} must be a patient")
            before, where, line = known.setdefault(name, (patient, table, row))
            if before != patient:
                raise TableError(
                    f"{table.at(row, column)} is the patient of '{name}', but '{before}' in {where.path}, line "
                    f"{where.lines[line]}"
                )
    return np.array([known[name][0] if any_known else name for name in order]), any_known
