"""From files, folders, patterns and tables to images, one entry per file: none is passed over in silence."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.shared.irregular import printable, read_file, why_unreadable
from pipeline.datasets.shared.local import is_junk_folder
from pipeline.datasets.shared.tables import read_table
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
        return read_file(self.path)


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
    if root is not None and not root.is_dir():
        raise UserError(f"--root: {root} is not a folder")
    found: dict[str, Source] = {}
    for name in named:
        if not name:
            raise UserError("'' names nothing; name an image, a folder of images, a pattern or a table")
        path = Path(name)
        if path.is_dir():
            listed = list(_below(path))
        elif path.suffix.lower() in TABLES and path.exists():
            listed = list(_rows(path, root))
        elif os.path.lexists(path):
            listed = [Source(path, printable(name))]
        elif glob.has_magic(name):
            matches = sorted(match for match in glob.glob(name, recursive=True) if not os.path.isdir(match))
            listed = [Source(Path(match), printable(match)) for match in matches]
        else:
            raise UserError(f"{name}: no such file or folder")
        if not listed:
            raise UserError(f"{name}: no file is there; name an image, a folder of images, a pattern or a table")
        for source in listed:
            found.setdefault(os.path.abspath(source.path), source)
    return list(found.values())


def _below(folder: Path) -> Iterator[Source]:
    """Yield every file below a folder by name; hidden ones and what systems leave behind are no images."""
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not (name.startswith(".") or is_junk_folder(name)))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini", "dicomdir"):
                path = Path(parent) / name
                yield Source(path, printable(path.relative_to(folder).as_posix()))


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: {error.strerror}; a folder that cannot be looked into would be passed over")


def _rows(table: Path, root: Path | None) -> Iterator[Source]:
    """Yield the files that a table names; its other columns go along."""
    if (reason := why_unreadable(table)) is not None:
        raise UserError(f"{table}: cannot be read: {reason}")
    try:
        header, rows = read_table(table)
    except OSError as error:
        raise UserError(f"{table}: cannot be read: {error.strerror}") from None
    by_name = {column.strip().lower().replace(" ", "_"): column for column in header}
    column = next((by_name[name] for name in FILE_COLUMNS if name in by_name), None)
    if column is None:
        raise UserError(
            f"{table}: none of its columns ({', '.join(header)}) is called {', '.join(FILE_COLUMNS)}: which "
            "one names the images?"
        )
    if twice := [name for name in header if header.count(name) > 1]:
        raise UserError(f"{table}: two columns are called '{twice[0]}'")
    base = table.parent if root is None else root
    place = header.index(column)
    for _, fields in rows:
        others = {name: text for i, (name, text) in enumerate(zip(header, fields)) if i != place}
        yield Source(base / fields[place], fields[place], others)
