"""Boxes of findings, in a table of their own: a row for each box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.tables import Table, read_table

Unit = Literal["pixels", "fraction"]
SIDES = ("x", "y", "width", "height")
_CLASSES = ("class", "class_name", "label")
_LAYOUTS = (SIDES, ("x_min", "y_min", "x_max", "y_max"), ("xmin", "ymin", "xmax", "ymax"))
"""Heads that the four numbers of a box may have: its corner and its sides, or two corners."""
_COLUMNS = ["sample_id", "class", *SIDES, "pixels"]


class Read(NamedTuple):
    """What `read_boxes` returns.

    Parameters
    ----------
    boxes : DataFrame
        See `pipeline.datasets.Dataset.boxes`, of images and classes of the data set.
    passed_over : dict of str to int
        Boxes of other images and of other classes.
    """

    boxes: pd.DataFrame
    passed_over: dict[str, int]


def read_boxes(
    path: Path,
    key: str,
    image_column: str,
    suffix: str,
    images: Sequence[str],
    classes: Sequence[str],
    renamed: Mapping[str, str],
    unit: Unit,
) -> Read:
    """Read a table of boxes.

    Parameters
    ----------
    path : Path
        The table.
    key : str
        ``datasets.image_table.box_table``, for messages.
    image_column, suffix : str
        Of the settings: how the table of images names them.
    images, classes : sequence of str
        Of the data set.
    renamed : mapping of str to str
        Its ``label_map``.
    unit : {"pixels", "fraction"}
        Of the image as published, or of its width and height.

    Raises
    ------
    DatasetError
        If the table is not there, lacks a column, holds something that is no box, or no box of the data set.
    """
    if not path.is_file():
        raise DatasetError(f"{key}: '{path.name}' is no file below root; it must be a CSV table of boxes")
    table = read_table(path)
    image = _place(table, (image_column,), path, key)
    kind = _place(table, _CLASSES, path, key)
    corners, places = _layout(table, path, key)
    known, named = set(images), set(classes)
    rows, passed_over = [], {"of other images": 0, "of other classes": 0}
    for line, fields in table.rows:
        texts = [fields[place].strip() for place in places]
        if not any(texts):
            continue  # an image without a finding, as VinDr-CXR lists them
        x, y, width, height = _numbers(texts, corners, f"{path}: line {line}", unit)
        name, label = fields[image].strip() + suffix, fields[kind].strip()
        label = renamed.get(label, label)
        if name not in known or label not in named:
            passed_over["of other images" if name not in known else "of other classes"] += 1
            continue
        rows.append((name, label, x, y, width, height, unit == "pixels"))
    if not rows:
        raise DatasetError(
            f"{key}: '{path.name}' holds no box of an image and a class of the data set "
            f"({', '.join(f'{n} {what}' for what, n in passed_over.items())}); see image_column, suffix and label_map"
        )
    return Read(pd.DataFrame(rows, columns=_COLUMNS), passed_over)


def _place(table: Table, names: Sequence[str], path: Path, key: str) -> int:
    """Return the place of the first of some columns that is there."""
    for name in names:
        try:
            return table.column(name)
        except KeyError as error:
            if "twice" in error.args[0]:
                raise DatasetError(f"{path}: column '{name}' ({key}) occurs twice in the header") from None
    raise DatasetError(
        f"{path}: column '{names[0]}' ({key}) is not in the header; it has {', '.join(table.header) or 'no columns'}"
    )


def _layout(table: Table, path: Path, key: str) -> tuple[bool, list[int]]:
    """Return whether the numbers are two corners, and their places."""
    heads = [each.casefold() for each in table.header]
    for layout in _LAYOUTS:
        if all(heads.count(name) == 1 for name in layout):
            return layout != SIDES, [heads.index(name) for name in layout]
    wanted = " or ".join(", ".join(layout) for layout in _LAYOUTS[:2])
    raise DatasetError(f"{path}: no columns of boxes ({key}); it must have {wanted}, each once")


def _numbers(texts: Sequence[str], corners: bool, where: str, unit: Unit) -> tuple[float, float, float, float]:
    """Read x, y, width and height of a box."""
    try:
        a, b, c, d = map(float, texts)
    except ValueError:
        raise DatasetError(f"{where}: a box of {', '.join(repr(t) for t in texts)}; must be four numbers") from None
    box = (a, b, c - a, d - b) if corners else (a, b, c, d)
    largest = 1.0 + 1e-6 if unit == "fraction" else 1e9
    ends = *box, box[0] + box[2], box[1] + box[3]
    if not (box[2] > 0 and box[3] > 0 and max(ends) <= largest and min(ends) > -largest):
        allowed = "fractions of the image within 0 and 1" if unit == "fraction" else "pixels of the image"
        raise DatasetError(
            f"{where}: a box of {', '.join(texts)}; must have sides above 0, in {allowed} (box_unit: {unit})"
        )
    return box
