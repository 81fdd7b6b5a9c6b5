"""Masks that a table names: a column for each structure, with the path of a file below the folder of the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipeline.datasets import MaskSource
from pipeline.datasets.image_table.files import below
from pipeline.datasets.shared.irregular import read_file


def named_masks(where: str, root: Path, fields: Sequence[str], places: Sequence[int]) -> tuple[str | None, ...]:
    """Return the paths below root of the masks that a row names, None where a cell is empty.

    Parameters
    ----------
    where : str
        File and line, for messages.
    root : Path
        Folder of the images.
    fields : sequence of str
        Of the row.
    places : sequence of int
        Of the columns of masks.
    """
    texts = [fields[place].strip() for place in places]
    return tuple(below(where, root, text) if text else None for text in texts)


def mask_reader(root: Path, masks: Sequence[str | None], above: int | None) -> Callable[[], tuple[MaskSource, ...]]:
    """Return what reads the masks of a row; an empty cell is a structure that is not in the image."""
    return partial(_read, root, tuple(masks), above)


def _read(root: Path, masks: tuple[str | None, ...], above: int | None) -> tuple[MaskSource, ...]:
    return tuple(MaskSource(None if name is None else read_file(root / name), above) for name in masks)
