"""CSV tables as people have them: whatever divides the fields, with or without a byte order mark."""

from __future__ import annotations

import csv
import functools
import io
from pathlib import Path
from typing import NamedTuple

from pipeline.datasets import DatasetError

DELIMITERS = (",", ";", "\t")


class Table(NamedTuple):
    """A table as text.

    Parameters
    ----------
    header : tuple of str
        Names of the columns without spaces around them.
    rows : list of (int, tuple of str)
        Line in the file and fields as they stand there; rows without any content are passed over.
    """

    header: tuple[str, ...]
    rows: list[tuple[int, tuple[str, ...]]]

    def column(self, name: str) -> int:
        """Return the place of a column: that of this very name, or else the only one that differs in case alone.

        Raises
        ------
        KeyError
            If there is none; with the text "is not in" or "occurs twice in".
        """
        for places in (
            [i for i, h in enumerate(self.header) if h == name],
            [i for i, h in enumerate(self.header) if h.casefold() == name.casefold()],
        ):
            if len(places) == 1:
                return places[0]
            if len(places) > 1:
                raise KeyError("occurs twice in")
        raise KeyError("is not in")


def read_table(path: Path) -> Table:
    """Read a table whose first row is its header.

    The delimiter is the one of comma, semicolon and tab that divides the header into most fields. Text is UTF-8, or
    UTF-16 with a byte order mark, as spreadsheet programs save "Unicode text".

    Raises
    ------
    DatasetError
        If the file is no such table, or a row has more or fewer fields than the header.
    """
    status = path.stat()
    return _read(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4)  # a stage asks for classes, samples and what was left out
def _read(path: Path, size: int, changed: int) -> Table:
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text ({error.reason}); save it as CSV in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = tuple(name.strip() for name in next(reader, []))
        rows = []
        start = reader.line_num + 1
        for fields in reader:
            # A quoted field may span lines: a row is named by its first.
            line, start = start, reader.line_num + 1
            if not any(f.strip() for f in fields):
                continue
            if len(fields) != len(header):
                raise DatasetError(f"{path}: line {line}: {len(fields)} fields, the header has {len(header)}")
            rows.append((line, tuple(fields)))
    except csv.Error as error:
        raise DatasetError(f"{path}: line {reader.line_num}: not CSV ({error})") from None
    return Table(header, rows)


def _delimiter(text: str) -> str:
    """Return the delimiter that gives the header most fields."""
    first = text.splitlines()[:1]
    return max(DELIMITERS, key=lambda d: len(next(csv.reader(first, delimiter=d), [])))
