"""What is known of a new image beside its pixels: metadata for networks that take some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.datasets.shared.dicom import header, is_dicom_file
from pipeline.datasets.shared.people import age_in_years, people_columns, sex_of, view_of
from pipeline.deploying.sources import Source
from pipeline.learning.metadata import CLIP, Scheme
from pipeline.study.empty import NOT_KNOWN, is_empty

_READERS: dict[str, Callable[[str], Any]] = {"sex": sex_of, "age": age_in_years, "view": view_of}
"""How data sets read these columns: a new image is told as theirs were."""


def values(source: Source, names: Sequence[str]) -> dict[str, str]:
    """Return what a file's table, else its DICOM header, says.

    Parameters
    ----------
    source : Source
        The file.
    names : sequence of str
        Columns that a network takes. Those of a table have these names, in any case where that leaves one; sex, age
        and view may be called otherwise, as in the table of a data set (``Patient Sex``).

    Returns
    -------
    dict of str to str
        By name; "" where nothing is said, and what cannot be read as it stands there.
    """
    people = people_columns(list(source.extra))
    tags = header(source.path).columns if is_dicom_file(source.path) else {}
    found: dict[str, str] = {}
    for name in names:
        text = source.extra.get(_called(name, list(source.extra)) or people.get(name, ""), "")
        read = None if is_empty(text, NOT_KNOWN) else _READERS.get(name, str)(text)
        value = tags.get(name) if read is None else read
        found[name] = ("" if is_empty(text) else text) if value is None else str(value)
    return found


def _called(name: str, header: Sequence[str]) -> str | None:
    """Return the column of this very name, or else the only one that differs in case alone; None without one."""
    alike = [column for column in header if column.casefold() == name.casefold()]
    return name if name in header else alike[0] if len(alike) == 1 else None


def encoded(scheme: Scheme, known: Sequence[dict[str, str]]) -> np.ndarray:
    """Encode what `values` found of N files, float32 [N, I]."""
    return scheme.encode(pd.DataFrame(list(known), columns=list(dict.fromkeys(scheme.names)), dtype="str"))


def remarks(scheme: Scheme, known: dict[str, str]) -> tuple[str, ...]:
    """Say of one file what the network does not know, or knows only roughly."""
    said: list[str] = []
    for column in scheme.columns:
        value = known[column.name]
        made = column.encode([value])[0]
        if made[-1] and value:
            kind = "no number" if column.mean is not None else "in no training image"
            said.append(f"{column.name} '{value}' is {kind}: taken as unknown")
        elif made[-1]:
            said.append(f"{column.name} is not known")
        elif column.mean is not None and abs(made[0]) >= CLIP:
            said.append(f"{column.name} {value} is far from the training images': taken as {CLIP:g} SD from their mean")
    return tuple(dict.fromkeys(said))  # networks of several folds take the same column, each on its own scale
