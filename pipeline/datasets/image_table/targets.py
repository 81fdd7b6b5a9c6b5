"""Cells of a table to numbers: the target of a regression."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.datasets import DatasetError
from pipeline.datasets.image_table.labels import Cell
from pipeline.datasets.shared.strata import Strata
from pipeline.study.empty import is_empty


def numbers(cells: Sequence[Cell], path: str, column: str) -> list[float | None]:
    """Return the number in each cell, None where it is empty.

    Parameters
    ----------
    cells : sequence of Cell
        Of the target column.
    path, column : str
        The table and the column, for messages.

    Raises
    ------
    DatasetError
        If a cell is something else, or all are empty.
    """
    values: list[float | None] = []
    for line, text in cells:
        try:
            value = None if is_empty(text) else float(text)
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise DatasetError(
                f"{path}: line {line}: column '{column}' is '{text.strip()}'; it must be a number with a point before "
                "its decimals, or empty"
            )
        values.append(value)
    if all(value is None for value in values):
        raise DatasetError(f"{path}: column '{column}' is empty in every row; expected numbers")
    return values


def strata_of(values: Sequence[float | None]) -> Strata:
    """Return the strata of the numbers that there are."""
    return Strata([value for value in values if value is not None])
