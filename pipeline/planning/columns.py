"""What the columns of a table are, guessed from their names and from what stands in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.datasets import DatasetError
from pipeline.datasets.image_table.labels import Cell, flags
from pipeline.datasets.shared.names import stands_for_none
from pipeline.datasets.shared.people import people_columns
from pipeline.datasets.shared.tables import Table

LABEL = re.compile(
    r"label|class|diagnos|finding|\bdx\b|^dx|target|categor|outcome|patholog|disease|grade", re.IGNORECASE
)
PATIENT = re.compile(
    r"patient.*(id|no|num|key)|^patient$|subject|^pid$|^mrn$|person|participant|case.?(id|no)", re.IGNORECASE
)
NEGATIVE = re.compile(r"no[ _-]?(findings?|disease|abnormality)|normal|none|negative|healthy", re.IGNORECASE)
_PARTS = frozenset({"", "train", "training", "val", "valid", "validation", "test", "testing"})
SEPARATORS = ("|", ";")
"""A comma may stand inside a name; where it divides, the reader says so."""
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")
_PICTURES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MOST_CLASSES = 60
LEAST_MATCHED = 0.5
"""Share of the files, or of the rows, that the column of images must name."""


@dataclass(frozen=True)
class Columns:
    """What the columns are; settings of ``datasets.image_table`` under the same names."""

    image: str
    folder: str
    suffix: str
    image_by: str
    label: str | None
    separator: str | None
    negative: str | None
    classes: tuple[str, ...]
    patient: str | None
    split: str | None
    matched: int


def guess(
    table: Table,
    path: str,
    files: Sequence[str],
    uids: Callable[[], dict[str, set[str]]],
    label: str | None = None,
    patient: str | None = None,
) -> Columns:
    """Return what the columns of `table` are.

    Parameters
    ----------
    table : Table
        The table.
    path : str
        Its name, for messages.
    files : sequence of str
        Images, below the root.
    uids : callable
        Reads the headers of DICOM files: ``sop_instance_uid`` and ``accession_number``, each the set of values.
    label, patient : str, optional
        Columns that the user named.

    Raises
    ------
    DatasetError
        If no column names the images, or it is not clear which has the labels.
    """
    columns = {name: [fields[i].strip() for _, fields in table.rows] for i, name in enumerate(table.header)}
    for key, name in (("--label", label), ("--patient", patient)):
        if name is not None and name not in columns:
            raise DatasetError(f"{key} {name}: no column of {path}; it has {', '.join(columns)}")
    if not table.rows:
        raise DatasetError(f"{path}: no rows below the header; expected one per image")
    image, folder, suffix, by, matched = _image(columns, path, files, uids)
    patient = patient or _patient(columns, {image})
    taken = {image, patient, *people_columns(table.header).values()}
    split = next((n for n, v in columns.items() if n not in taken and _is_split(v)), None)
    rest = {name: values for name, values in columns.items() if name not in {*taken, split}}
    lines = [line for line, _ in table.rows]
    if label is not None and (what := _no_classes(columns[label], lines)):
        raise DatasetError(f"{path}: --label {label}: {what}")
    name, classes = (label, ()) if label else _labels(rest, path, lines)
    separator = negative = None
    if name is not None:
        separator = next((s for s in SEPARATORS if any(s in value for value in columns[name])), None)
        negative = _negative(columns[name], separator) if separator else None
    return Columns(image, folder, suffix, by, name, separator, negative, classes, patient, split, matched)


def _image(
    columns: dict[str, list[str]], path: str, files: Sequence[str], uids: Callable[[], dict[str, set[str]]]
) -> tuple[str, str, str, str, int]:
    """Return the column of images, the folder that its values lie in, the suffix they lack, how they name, how many."""
    folders = {str(PurePosixPath(file).parent) for file in files}
    suffixes = {PurePosixPath(file).suffix for file in files}
    ways: list[tuple[str, str, dict[str, str]]] = [("", "", {f: f for f in files})]
    if len(suffixes) == 1 and suffixes != {""}:
        ways.append(("", suffixes.copy().pop(), {f.rpartition(".")[0]: f for f in files}))
    if len(folders) == 1 and folders != {"."}:
        folder = folders.copy().pop()
        ways += [
            (folder, suffix, {key.removeprefix(f"{folder}/"): f for key, f in of.items()}) for _, suffix, of in ways
        ]
    best = ("", "", "", "file", 0)
    for name, values in columns.items():
        for folder, suffix, known in ways:
            matched = len({known[value] for value in values if value in known})
            if matched > best[4]:
                best = (name, folder, suffix, "file", matched)
    if best[4] < LEAST_MATCHED * min(len(files), len(next(iter(columns.values())))):
        for by, of in uids().items():
            for name, values in columns.items():
                matched = len(of.intersection(values))
                if matched > best[4]:
                    best = (name, "", "", by, matched)
    if best[4] < LEAST_MATCHED * min(len(files), len(next(iter(columns.values())))):
        raise DatasetError(
            f"{path}: no column names the {len(files)} images: the best, '{best[0]}', names {best[4]} of them. A "
            "column must hold their paths below the folder of images, with or without suffix, or what DICOM headers "
            "say (SOPInstanceUID, AccessionNumber)"
        )
    return best


def _patient(columns: dict[str, list[str]], but: Collection[str]) -> str | None:
    """Return the first column that is called as patients are and tells at least two; a filled one before others.

    One with gaps is not passed over: who is named in it would be parted. Its reader says where the gaps are.
    """
    named = {name: values for name, values in columns.items() if name not in but and PATIENT.search(name)}
    told = {name: {value for value in values if not stands_for_none(value)} for name, values in named.items()}
    several = [name for name, of in told.items() if len(of) > 1]
    return next((name for name in several if told[name] >= set(named[name])), several[0] if several else None)


def _is_split(values: Sequence[str]) -> bool:
    found = {value.casefold() for value in values}
    return found <= _PARTS and bool(found & {"train", "training"}) and bool(found & {"test", "testing"})


def _labels(columns: dict[str, list[str]], path: str, lines: Sequence[int]) -> tuple[str | None, tuple[str, ...]]:
    """Return the one column of labels, or the yes/no columns of classes."""
    yes_no = [name for name, values in columns.items() if _is_yes_no(name, values, path)]
    named = [n for n, v in columns.items() if LABEL.search(n) and n not in yes_no and _is_label(v)]
    if len(named) == 1 and not (len(yes_no) > 2 and not _is_listed(columns[named[0]])):
        return named[0], ()
    if len(yes_no) > 1:
        return None, tuple(yes_no)
    if len(yes_no) == 1 and not named:
        return yes_no[0], ()
    likely = named or [name for name, values in columns.items() if _is_label(values)]
    if len(likely) == 1:
        return likely[0], ()
    if likely:
        which = f"it could be {', '.join(likely)}; name it with --label COLUMN"
    else:
        # What is nothing to choose from is not advised, either.
        why = {name: _no_classes(values, lines) for name, values in columns.items()}
        free = [name for name, what in why.items() if what is None]
        said = [f"it has {', '.join(free)}; name it with --label COLUMN"] if free else []
        which = "; ".join([*said, *(f"'{name}': {what}" for name, what in why.items() if what)])
    raise DatasetError(f"{path}: it is not clear which column has the labels; {which}")


def _no_classes(values: Sequence[str], lines: Sequence[int]) -> str | None:
    """Say why the values of a column cannot be classes, and what they are for; None if they can."""
    given = [(line, value) for line, value in zip(lines, values, strict=True) if value]
    counts = Counter(_parts(values))
    alone = sum(count == 1 for count in counts.values())
    numbers = all(_NUMBER.fullmatch(value) for _, value in given)
    if not counts or (2 * alone <= len(counts) and not (numbers and len(counts) > MOST_CLASSES)):
        return None
    line, first = given[0]
    if numbers:
        point = ", with a point before decimals" if any("," in value for _, value in given) else ""
        return (
            f"numbers, {len(counts)} different ones (line {line}: '{first}'), are no classes; to predict them set "
            f"task: regression and target_column in a params.yaml of your own{point}: docs/grades.md"
        )
    if all(PurePosixPath(value).suffix.lower() in _PICTURES for _, value in given):
        return (
            f"names of files (line {line}: '{first}') are no classes; if they are masks, set task: segmentation and "
            "mask_columns in a params.yaml of your own: docs/segmentation.md"
        )
    return (
        f"of {len(counts)} different values {alone} stand in one row alone (line {line}: '{first}'): a class needs "
        "several images"
    )


def _is_yes_no(name: str, values: Sequence[str], path: str) -> bool:
    """Whether the reader of tables takes the column for one of a class, and it says yes at least once."""
    try:
        answers = flags({name: [Cell(i, value) for i, value in enumerate(values, 2)]}, path)[name]
    except DatasetError:
        return False
    return any(answers) and len(set(values)) > 1


def _parts(values: Sequence[str]) -> list[str]:
    divider = next((s for s in SEPARATORS if any(s in value for value in values)), None)
    return [part.strip() for value in values for part in (value.split(divider) if divider else [value]) if part.strip()]


def _is_listed(values: Sequence[str]) -> bool:
    return any(separator in value for value in values for separator in SEPARATORS)


def _is_label(values: Sequence[str]) -> bool:
    """Whether values come back as labels do: a few distinct ones, most of them more than once, no measurements."""
    counts = Counter(_parts(values))
    if not 2 <= len(counts) <= MOST_CLASSES or sum(counts.values()) < 2 * len(counts):
        return False
    return not all(re.fullmatch(r"-?\d+[.,]\d+", name) for name in counts)


def grades(classes: Sequence[str]) -> bool:
    """Whether names of classes look like grades: three or more, each begins with a whole number, none left out."""
    begun = [re.match(r"\d+(?![\d.,])", name) for name in classes]
    numbers = sorted(int(match[0]) for match in begun if match)
    return len(numbers) == len(classes) > 2 and numbers == [*range(numbers[0], numbers[0] + len(numbers))]


def _negative(values: Sequence[str], separator: str) -> str | None:
    """Return the label that says "none of them" and stands alone wherever it stands."""
    alone = Counter(value for value in values if separator not in value)
    beside = {part.strip() for value in values if separator in value for part in value.split(separator)}
    candidates = [name for name in alone if NEGATIVE.fullmatch(name) and name not in beside]
    return max(candidates, key=lambda name: alone[name], default=None)
