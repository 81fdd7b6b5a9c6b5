"""From files, folders, patterns and tables to images, one entry per file: none is passed over in silence."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pipeline.datasets.shared.local import is_junk_folder
from pipeline.study.errors import UserError

TABLES = (".csv", ".tsv")
"""Suffixes of tables that name images."""
FILE_COLUMNS = ("file", "image", "path", "filename", "file_name", "image_index")
"""Columns that may name them, in any case; the first that the table has is taken."""


@dataclass(frozen=True)
class Source:
    """A file to be looked at.

    Parameters
    ----------
    path : Path
        Where it lies.
    name : str
        As it is called in the results: as it was typed, or below the folder that was typed.
    extra : dict of str to str
        Other columns of the table that names it.
    """

    path: Path
    name: str
    extra: dict[str, str] = field(default_factory=dict)

    def read(self) -> bytes:
        """Read the file.

        Raises
        ------
        OSError
            If it cannot be read; also for what is no file, such as a folder or a pipe, which would be waited for.
        """
        # Asked of the open file, and opened without waiting: what a name stands for may change in between.
        descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(0, "no regular file")
            return file.read()


def sources(named: Sequence[str], root: Path | None = None) -> list[Source]:
    """List the files that the arguments of a command name.

    Parameters
    ----------
    named : sequence of str
        Files; folders, of which every file below is taken but hidden ones; patterns with ``*``, ``?`` or ``[``, also
        ``**``; tables (.csv, .tsv) with one of `FILE_COLUMNS`.
    root : Path, optional
        Where the files of tables lie. Default: each table's own folder.

    Returns
    -------
    list of Source
        In the order of the arguments, within a folder or pattern by name; a file that is named twice comes once.

    Raises
    ------
    UserError
        If a name stands for nothing, or a table does not name files.
    """
    found: dict[str, Source] = {}
    for name in named:
        path = Path(name)
        before = len(found)
        if path.is_dir():
            listed: Iterator[Source] | list[Source] = _below(path)
        elif path.suffix.lower() in TABLES and path.exists():
            listed = _rows(path, root)
        elif os.path.lexists(path):
            listed = [Source(path, name)]
        elif glob.has_magic(name):
            matches = sorted(match for match in glob.glob(name, recursive=True) if not os.path.isdir(match))
            listed = [Source(Path(match), match) for match in matches]
        else:
            raise UserError(f"{name}: no such file or folder")
        for source in listed:
            found.setdefault(os.path.abspath(source.path), source)
        if len(found) == before and not any(True for _ in found):
            raise UserError(f"{name}: no file is there; name an image, a folder of images, a pattern or a table")
    return list(found.values())


def _below(folder: Path) -> Iterator[Source]:
    """Yield every file below a folder by name; hidden ones and what systems leave behind are no images."""
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not (name.startswith(".") or is_junk_folder(name)))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini", "dicomdir"):
                path = Path(parent) / name
                yield Source(path, path.relative_to(folder).as_posix())


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: {error.strerror}; a folder that cannot be looked into would be passed over")


def _rows(table: Path, root: Path | None) -> Iterator[Source]:
    """Yield the files that a table names; its other columns go along."""
    try:
        content = pd.read_csv(
            table, sep=None, engine="python", dtype="str", keep_default_na=False, encoding="utf-8-sig"
        )
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise UserError(f"{table}: not readable as a table: {error}") from None
    by_name = {column.strip().lower().replace(" ", "_"): column for column in content.columns}
    column = next((by_name[name] for name in FILE_COLUMNS if name in by_name), None)
    if column is None:
        raise UserError(
            f"{table}: none of its columns ({', '.join(content.columns)}) is called {', '.join(FILE_COLUMNS)}: which "
            "one names the images?"
        )
    base = table.parent if root is None else root
    others = [name for name in content.columns if name != column]
    for row in content.to_dict("records"):
        yield Source(base / row[column], row[column], {name: row[name] for name in others})
