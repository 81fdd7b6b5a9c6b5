"""The table of what other decoders make of each file: how it is read and compared."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tests.imaging import hospital
from tests.imaging.made import common, dicom, dicom_compressed, more, png, rare, tiff
from tests.imaging.made.drawn import Made

TABLE = Path(__file__).parents[1] / "referees.csv"
COLUMNS = ["file", "sha256", "shape", "referee", "agree", "against", "ruling", "values"]
SMALL = 4096
"""Values up to which a picture is kept whole."""
GRID = 16
VARIES = "varies"
"""Stands for the hash of a file whose encoder does not give the same bytes each time."""


class Row(NamedTuple):
    """One line of the table.

    Parameters
    ----------
    file : str
        Name of a made file, or "pydicom/" and the path below pydicom's folder of data.
    sha256 : str
        The first 16 digits of the hash of the content.
    shape : str
        "24x32" of a grey picture, "24x32x3" of a coloured one; empty if nobody sees an image in the file.
    referee : str
        Whose values these are, with the version.
    agree, against : str
        Other decoders within 2 grey levels; those that differ, with the largest difference.
    ruling : str
        Where decoders differ, who is right by the standard, and why.
    values : str
        What `reduced` leaves of the picture, or "=" and the name of an earlier file with the same values.
    """

    file: str
    sha256: str
    shape: str
    referee: str
    agree: str
    against: str
    ruling: str
    values: str


def makers() -> dict[str, Callable[[], Made]]:
    """Return all makers by file name."""
    modules = (png, tiff, common, dicom, dicom_compressed, more, rare, hospital)
    parts = [module.files() for module in modules]
    together = {name: make for part in parts for name, make in part.items()}
    assert len(together) == sum(len(part) for part in parts)
    return together


@functools.cache
def made(name: str) -> Made:
    """Return a made file; each is made once."""
    return _MAKERS[name]()


def pydicom_files() -> dict[str, Path]:
    """Return all files of data that come with pydicom itself, by name; nothing is downloaded."""
    from pydicom.data.data_manager import DATA_ROOT

    root = Path(DATA_ROOT)
    folders = [root / name for name in ("test_files", "charset_files", "palettes")]
    files = sorted(p for folder in folders for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {f"pydicom/{p.relative_to(root).as_posix()}": p for p in files}


def digest(data: bytes) -> str:
    """Return what the table knows a content by."""
    return hashlib.sha256(data).hexdigest()[:16]


def reduced(image: np.ndarray) -> np.ndarray:
    """Return what the table keeps of a picture, uint8 [N].

    Small pictures are kept whole. Of others a grid of GRID x GRID single pixels and the means of GRID x GRID areas: a
    shift of a pixel shows in the first, a broken strip in the second.
    """
    if image.size <= SMALL:
        return image.ravel()
    rows, columns = (np.linspace(0, n - 1, GRID).round().astype(int) for n in image.shape[:2])
    means = cv2.resize(image, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return np.concatenate([image[np.ix_(rows, columns)].ravel(), means.ravel()])


def to_text(values: np.ndarray) -> str:
    """Return uint8 values as text."""
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()


def from_text(text: str) -> np.ndarray:
    """Return the uint8 values of a text."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def read() -> dict[str, Row]:
    """Return the table by file name, with the values in place of references."""
    with TABLE.open(newline="") as file:
        rows = {row["file"]: Row(**row) for row in csv.DictReader(file)}
    for name, row in rows.items():
        if row.values.startswith("="):
            rows[name] = row._replace(values=rows[row.values[1:]].values)
    return rows


def write(rows: list[Row]) -> None:
    """Write the table; a picture that occurred before is named instead of repeated."""
    seen: dict[str, str] = {}
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            first = seen.setdefault(row.values, row.file) if row.values else row.file
            writer.writerow(row if first == row.file else row._replace(values=f"={first}"))


_MAKERS = makers()
