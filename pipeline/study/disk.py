"""A disk that is full: which errors mean that, and the sentence that says what, where and how much is needed."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.study.errors import UserError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of this disk is used up",
    errno.EFBIG: "a file must not become larger here (ulimit -f)",
}
_TOLD = re.compile(r"No space left on device|Disk quota exceeded|File too large|^\d+ requested and \d+ written$")
"""What SafeTensors' Rust and NumPy's C say, whose errors have no number."""


class DiskFull(UserError):
    """Something does not fit on the disk. The message says what, where and how much is needed."""


def amount(n: int) -> str:
    """Write a number of bytes in the largest binary unit of which there is one."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if n >= 1024**power:
            return f"{n / 1024**power:.1f} {unit}"
    return f"{n} bytes"


def why_full(error: BaseException) -> str | None:
    """Return why nothing more fits on a disk if `error`, or one that it comes from, says so; else None.

    Torch, for one, raises an error of its own while it handles the true one.
    """
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in _REASONS:
            return _REASONS[each.errno]
        if _TOLD.search(str(each)) and not isinstance(each, UserError):
            told = [text for number, text in _REASONS.items() if os.strerror(number) in str(each)]
            return (told or [_REASONS[errno.ENOSPC]])[0]
    return None


def disk_full(what: str, folder: Path, why: str, needed: str, spare: int = 0) -> DiskFull:
    """Return the error that says that `what` does not fit.

    Parameters
    ----------
    what : str
        The file, or what was being done.
    folder : Path
        On the disk.
    why : str
        Of `why_full`.
    needed : str
        How much, as "3.0 MiB" or "more than 3.0 MiB".
    spare : int
        Bytes of what is still to be removed.
    """
    folder = _existing(folder)
    free = shutil.disk_usage(folder).free + spare
    room = "no further file fits" if _no_more_files(folder) else f"{amount(free)} are free"
    return DiskFull(
        f"{what}: {why}: it needs {needed}, and {room} on the disk of {folder.resolve()}; free some space and type the "
        "same again: what is done is kept"
    )


@contextmanager
def told_of(what: str, folder: Path) -> Iterator[None]:
    """Say of a body that writes into `folder` if that does not fit; libraries do not say where they were writing.

    Raises
    ------
    DiskFull
        Naming `what`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (why := why_full(error)) is None:
            raise
        raise disk_full(what, folder, why, "more than there is") from error


def _no_more_files(folder: Path) -> bool:
    """Whether the disk has room, but none for the names of files."""
    about = os.statvfs(folder)
    return about.f_files > 0 and about.f_favail == 0 and about.f_bavail > 0


def _existing(folder: Path) -> Path:
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
