"""A .npy file to which rows are written one by one, and out of which some are taken at the end, in place."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.study.files import replaced

_MOVED_AT_ONCE = 16 * 2**20
"""Bytes moved at once when rows are taken out of the array."""


class GrowingArray:
    """A .npy file in the making, absent until `stack` closes; an array of an earlier run is removed at once.

    It must not stand beside tables of this one.

    Parameters
    ----------
    stack : ExitStack
        Whose end completes the file, or removes it after an error.
    path : Path
        Of the file.
    dtype : str
        Of the values.
    shape : tuple of int
        Of a row.
    total : int, optional
        Rows that are expected, to look for the space on the disk at once.
    """

    def __init__(
        self, stack: ExitStack, path: Path, dtype: str, shape: tuple[int, ...], total: int | None = None
    ) -> None:
        self.dtype, self.shape = dtype, shape
        self.row = int(np.prod(shape)) * np.dtype(dtype).itemsize
        path.unlink(missing_ok=True)
        partial = stack.enter_context(replaced(path, total and total * self.row))
        self.file: BinaryIO = stack.enter_context(partial.open("w+b"))
        _write_header(self.file, dtype, (0, *shape))
        self._start = self.file.tell()

    def keep(self, excluded: NDArray[np.bool_], number: int) -> None:
        """Take rows out, and write the header for those `number` that stay."""
        _take_out(self.file, self._start, self.row, excluded)
        self.file.seek(0)
        _write_header(self.file, self.dtype, (number, *self.shape))


def _write_header(file: BinaryIO, dtype: str, shape: tuple[int, ...]) -> None:
    """Write a .npy header; numpy pads it so that its length does not depend on the number of rows."""
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def _take_out(file: BinaryIO, start: int, row: int, out: NDArray[np.bool_]) -> None:
    """Move the rows that stay to the front, in place, and cut the file behind them.

    Parameters
    ----------
    file : binary file
        Open for reading and writing.
    start, row : int
        Bytes before the first row, bytes of one row.
    out : bool [N]
        Rows to take out.
    """
    if not out.any():
        return
    kept = np.flatnonzero(~out)
    kept = kept[kept > np.argmax(out)]
    written = int(np.argmax(out))
    most = max(1, _MOVED_AT_ONCE // row)
    for run in np.split(kept, np.flatnonzero(np.diff(kept) > 1) + 1):
        for part in range(0, len(run), most):
            count = len(run[part : part + most])
            file.seek(start + int(run[part]) * row)
            block = file.read(count * row)
            file.seek(start + written * row)
            file.write(block)
            written += count
    file.truncate(start + written * row)
