"""Files that commands write where the user says: nothing of the user's is lost by it.

A folder of results has a list of what was written there, by content. A file of the same name that is not on it, or was
edited since, is the user's: it is kept under the next free number before a new one takes its place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from glob import escape
from pathlib import Path

from pipeline.study.digests import digest_of
from pipeline.study.files import write_json

LIST = ".medmatrix-written.json"
"""In each folder of results: name to SHA-256."""


def keep(path: Path) -> Path | None:
    """Copy a file that is there to the first free name with a number, ``params.yaml.1``; return the name, or None.

    The copy is whole or absent, and never over another one, also if two commands keep the same file at once.
    """
    if not path.exists():
        return None
    partial = path.with_name(f"partial-{path.name}.{os.getpid()}")
    for left in path.parent.glob(f"partial-{escape(path.name)}.*"):  # of one that was killed
        pid = left.suffix.removeprefix(".")
        if pid.isdecimal() and not _lives(int(pid)):
            left.unlink(missing_ok=True)
    try:
        with partial.open("wb") as copy:
            copy.write(path.read_bytes())
            copy.flush()
            os.fsync(copy.fileno())
        number = 1
        while True:
            kept = path.with_name(f"{path.name}.{number}")
            if not os.path.lexists(kept):
                try:
                    _place(partial, kept)
                except FileExistsError:  # another command was faster
                    continue
                return kept
            number += 1
    finally:
        partial.unlink(missing_ok=True)


def _place(partial: Path, kept: Path) -> None:
    """Give `partial` the name `kept`, unless something has it."""
    try:
        os.link(partial, kept)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        with kept.open("xb") as copy:
            copy.write(partial.read_bytes())


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def keep_others(folder: Path, names: Iterable[str]) -> list[str]:
    """Keep the files of these names in `folder` that no command has written as they are now; say which.

    Returns
    -------
    list of str
        One sentence for each, without a period.
    """
    written = _read(folder)
    said = []
    for name in names:
        path = folder / name
        if path.is_file() and written.get(name) != digest_of(path):
            said.append(f"{path} was there: kept as {keep(path)}")
    return said


def note_written(folder: Path, names: Iterable[str]) -> None:
    """Note what the files of these names in `folder` hold now."""
    write_json(folder / LIST, _read(folder) | {name: digest_of(folder / name) for name in names})


def _read(folder: Path) -> dict[str, str]:
    try:
        content = json.loads((folder / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # none yet, or one that was cut: what is there is kept
    return content if isinstance(content, dict) else {}
