"""Reader of the published file layout of NIH ChestX-ray14, shared by the data sets that come in it.

The layout has oddities that a plain CSV reader gets wrong: two header names contain unquoted commas, so that the
header has fewer (or, in the box list, more) names than the rows have fields; the column of the sex is called
``Patient Gender`` or ``Patient Sex``; the box list says ``Infiltrate`` where the label list says ``Infiltration``.
Columns are therefore read by position, after the leading names have been checked.

Source of the layout: https://nihcc.app.box.com/v/ChestXray-NIHCC (Wang et al., "ChestX-ray8", CVPR 2017).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd

from pipeline.datasets import DatasetError, Sample

FINDINGS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
"""The 14 findings in the published order."""

NO_FINDING = "No Finding"
BOX_ALIASES = {"Infiltrate": "Infiltration"}
"""Names in the box list that differ from the label list."""

OLDEST = 120
"""Ages above this (years) are typing errors of the published file (414, for example) and become missing."""

_ENTRY_COLUMNS: tuple[tuple[str, ...], ...] = (
    ("Image Index",),
    ("Finding Labels",),
    ("Follow-up #",),
    ("Patient ID",),
    ("Patient Age",),
    ("Patient Sex", "Patient Gender"),
    ("View Position",),
)
_BOX_COLUMNS = ("Image Index", "Finding Label", "Bbox [x")
_AGE_UNITS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_NAMED = 5
"""How many offending names a message lists."""


def read_entries(csv_path: Path) -> pd.DataFrame:
    """Read ``Data_Entry_2017.csv`` or ``Data_Entry_2017_v2020.csv``.

    Parameters
    ----------
    csv_path : Path
        The published file, or one with the same columns and fewer rows.

    Returns
    -------
    DataFrame
        One row per image, in the file's order: ``sample_id`` (str, the image name), ``finding_labels`` (tuple of str in
        the order of `FINDINGS`; empty for "No Finding"), ``follow_up`` (int), ``patient_id`` (str of 8 digits), ``age``
        (nullable Int64, whole years, missing where above 120), ``sex`` ("M" or "F"), ``view`` ("PA" or "AP").

    Raises
    ------
    DatasetError
        If the file is missing or empty, a column is not the published one, a label is unknown, an image occurs twice,
        or the patient in the name is not the one in the row. The message names the file, the line and the value.
    """
    reader = _rows(csv_path)
    _, header = next(reader, (0, []))
    for position, names in enumerate(_ENTRY_COLUMNS):
        found = header[position].strip() if position < len(header) else ""
        if found not in names:
            raise DatasetError(
                f"{csv_path}: line 1: column {position + 1} is '{found}', expected '{' or '.join(names)}'; "
                "this is not the ChestX-ray14 entry list"
            )
    records: list[tuple[str, tuple[str, ...], int, str, int | None, str, str]] = []
    seen: dict[str, int] = {}
    for line, row in reader:
        where = f"{csv_path}: line {line}"
        if len(row) < len(_ENTRY_COLUMNS):
            raise DatasetError(f"{where}: {len(row)} fields, expected at least {len(_ENTRY_COLUMNS)}")
        image, joined, follow_up, patient, age, sex, view = (field.strip() for field in row[: len(_ENTRY_COLUMNS)])
        if image in seen:
            raise DatasetError(f"{where}: image '{image}' occurs already in line {seen[image]}")
        seen[image] = line
        patient_id = image[:8]
        if not (_is_number(patient_id) and len(patient_id) == 8 and _is_number(patient)):
            raise DatasetError(
                f"{where}: image '{image}' with Patient ID '{patient}': names are ########_###.png with the patient's "
                "number in front"
            )
        if int(patient_id) != int(patient):
            raise DatasetError(f"{where}: image '{image}' is of patient {int(patient_id)}, Patient ID says {patient}")
        if not _is_number(follow_up):
            raise DatasetError(f"{where}: Follow-up # is '{follow_up}', expected a whole number")
        if sex not in ("M", "F"):
            raise DatasetError(f"{where}: sex is '{sex}'; it must be M or F")
        if view not in ("PA", "AP"):
            raise DatasetError(f"{where}: View Position is '{view}'; it must be PA or AP")
        labels = _labels(joined, where)
        records.append((image, labels, int(follow_up), patient_id, _age(age, where), sex, view))
    if not records:
        raise DatasetError(f"{csv_path}: no rows; fetch the data set again")
    columns = ["sample_id", "finding_labels", "follow_up", "patient_id", "age", "sex", "view"]
    return pd.DataFrame(records, columns=columns).astype({"age": "Int64"})


def read_list(path: Path) -> set[str]:
    """Read ``train_val_list.txt`` or ``test_list.txt``: one image name per line, blank lines ignored.

    Raises
    ------
    DatasetError
        If the file is missing or not text.
    """
    return {line.strip() for line in _text(path).splitlines() if line.strip()}


def read_boxes(csv_path: Path, width: int = 1024, height: int = 1024) -> pd.DataFrame:
    """Read ``BBox_List_2017.csv``.

    Parameters
    ----------
    csv_path : Path
        The published file, or one with the same columns and fewer rows.
    width, height : int
        Size in pixels of the frame that the file's coordinates refer to (1024 x 1024 as published).

    Returns
    -------
    DataFrame
        In the form of `Dataset.boxes`: sample_id, class, x, y, width, height; fractions in [0, 1], clipped to the
        image; in the file's order.

    Raises
    ------
    DatasetError
        If the file is missing, a column is not the published one, a class is unknown, or a box is not four finite
        numbers or lies outside the image.
    """
    reader = _rows(csv_path)
    _, header = next(reader, (0, []))
    if tuple(field.strip() for field in header[: len(_BOX_COLUMNS)]) != _BOX_COLUMNS:
        raise DatasetError(f"{csv_path}: line 1: expected 'Image Index,Finding Label,Bbox [x,y,w,h],,,'")
    records: list[tuple[str, str, float, float, float, float]] = []
    for line, row in reader:
        where = f"{csv_path}: line {line}"
        if len(row) < 6:
            raise DatasetError(f"{where}: {len(row)} fields, expected image, finding, x, y, w, h")
        name = BOX_ALIASES.get(row[1].strip(), row[1].strip())
        if name not in FINDINGS:
            names = ", ".join((*FINDINGS, *BOX_ALIASES))
            raise DatasetError(f"{where}: finding '{row[1].strip()}' is unknown; use one of: {names}")
        try:
            x, y, w, h = (float(field) for field in row[2:6])
        except ValueError:
            raise DatasetError(f"{where}: box {row[2:6]} is not four numbers") from None
        left, right = _clip(x / width), _clip((x + w) / width)
        top, bottom = _clip(y / height), _clip((y + h) / height)
        if not (right > left and bottom > top):
            raise DatasetError(f"{where}: box {row[2:6]} has no area inside the {width} x {height} image")
        records.append((row[0].strip(), name, left, top, right - left, bottom - top))
    return pd.DataFrame(records, columns=["sample_id", "class", "x", "y", "width", "height"])


def iter_samples(
    entries: pd.DataFrame,
    images: Callable[[str], Callable[[], bytes]],
    train_val: set[str],
    test: set[str],
) -> Iterator[Sample]:
    """Yield the samples of an entry list with their published part.

    Parameters
    ----------
    entries : DataFrame
        From `read_entries`.
    images : callable
        Takes an image name and returns the function that reads its encoded file.
    train_val, test : set of str
        From `read_list`. Names without a row in `entries` are ignored, so that a part of the set can be used.

    Yields
    ------
    Sample
        In the order of `entries`; ``extra`` holds age (int or None, years), sex, view and follow_up.

    Raises
    ------
    DatasetError
        Before the first sample, if an image is in neither list or in both, or a patient is in both.
    """
    names = entries["sample_id"].tolist()
    both = [n for n in names if n in train_val and n in test]
    if both:
        raise DatasetError(f"{_named(both)} in train_val_list.txt and in test_list.txt; each image belongs to one")
    neither = [n for n in names if n not in train_val and n not in test]
    if neither:
        raise DatasetError(f"{_named(neither)} in neither train_val_list.txt nor test_list.txt")
    patients = entries["patient_id"].tolist()
    in_test = {p for n, p in zip(names, patients, strict=True) if n in test}
    shared = sorted({p for n, p in zip(names, patients, strict=True) if n in train_val} & in_test)
    if shared:
        raise DatasetError(f"patient {_named(shared)} with images in train_val_list.txt and in test_list.txt")
    others = (entries[column].tolist() for column in ("finding_labels", "age", "sex", "view", "follow_up"))
    for name, patient, labels, age, sex, view, follow_up in zip(names, patients, *others, strict=True):
        yield Sample(
            sample_id=name,
            patient_id=patient,
            labels=labels,
            read=images(name),
            official_split="test" if name in test else "train",
            extra={"age": None if pd.isna(age) else int(age), "sex": sex, "view": view, "follow_up": int(follow_up)},
        )


def _text(path: Path) -> str:
    try:
        # utf-8-sig: a list saved by a spreadsheet program starts with a byte order mark.
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; fetch the data set again") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not a text file ({error.reason}); fetch the data set again") from None


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of every line that is not blank."""
    reader = csv.reader(_text(path).splitlines())
    for row in reader:
        if any(field.strip() for field in row):
            yield reader.line_num, row


def _labels(joined: str, where: str) -> tuple[str, ...]:
    if joined == NO_FINDING:
        return ()
    given = joined.split("|")
    for label in given:
        if label not in FINDINGS:
            raise DatasetError(
                f"{where}: finding '{label}' is unknown; use {NO_FINDING} alone, or any of: {', '.join(FINDINGS)}"
            )
    return tuple(f for f in FINDINGS if f in given)


def _age(text: str, where: str) -> int | None:
    """Whole years from '58', or from '058Y', '013M', '010D' as in the first release."""
    unit = text[-1:].upper()
    number = text[:-1] if unit in _AGE_UNITS else text
    if not _is_number(number):
        raise DatasetError(f"{where}: Patient Age is '{text}', expected whole years")
    years = int(int(number) * _AGE_UNITS.get(unit, 1.0))
    return years if years <= OLDEST else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _clip(fraction: float) -> float:
    return min(max(fraction, 0.0), 1.0)


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return f"{', '.join(listed[:_NAMED])}{more}"
