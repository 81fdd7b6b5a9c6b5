"""Masks that a table names: a column for each structure, with the path of a file below the folder of the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

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


Level = Annotated[int, Field(ge=0, le=255)]
Levels = Level | Annotated[list[Level], Field(min_length=2, max_length=2)]
"""A grey level of 255, or the first and the last of some."""


def level_problems(levels: Mapping[str, Levels], columns: Sequence[str], above: int | None) -> list[str]:
    """Name what ``mask_levels`` cannot say, one line each."""
    if not levels:
        return []
    problems = [
        f"mask_levels: {name}: {of}; the first level must be at most the second"
        for name, of in levels.items()
        if isinstance(of, list) and of[0] > of[1]
    ]
    if len(columns) != 1:
        problems.append(f"mask_columns: {list(columns)} beside mask_levels; must be one column, of masks with levels")
    if above is not None:
        problems.append(f"mask_above: {above} beside mask_levels; set one of the two")
    return problems


def mask_reader(
    root: Path, masks: Sequence[str | None], above: int | None, levels: Mapping[str, Levels]
) -> Callable[[], tuple[MaskSource, ...]]:
    """Return what reads the masks of a row; an empty cell is a structure that is not in the image.

    With `levels` each of them is a structure of the one mask.
    """
    if levels:
        spans = tuple((of, of) if isinstance(of, int) else (of[0], of[1]) for of in levels.values())
        return partial(_read_levels, root, masks[0], spans)
    return partial(_read, root, tuple(masks), above)


def _read_levels(root: Path, mask: str | None, spans: tuple[tuple[int, int], ...]) -> tuple[MaskSource, ...]:
    content = None if mask is None else read_file(root / mask)
    return tuple(MaskSource(content, levels=span) for span in spans)


def _read(root: Path, masks: tuple[str | None, ...], above: int | None) -> tuple[MaskSource, ...]:
    return tuple(MaskSource(None if name is None else read_file(root / name), above) for name in masks)
