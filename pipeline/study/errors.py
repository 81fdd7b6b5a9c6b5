"""Errors the user can fix: shown as a message, never as a traceback."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP),
    *(errno.ENAMETOOLONG, errno.ENXIO),
)
"""What a place says that cannot be written to or read: it is read-only, a file, a folder, a link in a circle."""


class UserError(Exception):
    """Something in params.yaml, in the data or on disk is wrong. The message names it and what to do."""


def spare_collections() -> None:
    """Keep what the imports have made from being searched for garbage, again and again, and as the process ends.

    Of a process that imports torch and timm this takes a second and a half, as much as torch itself.
    """
    if not gc.isenabled():  # in a stage: see `pipeline.study`
        gc.freeze()
        gc.enable()
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


@contextmanager
def stage_errors() -> Iterator[None]:
    """Run the body of a stage or of a command; print a `UserError` to stderr and exit with 1.

    Files of DVC that a kill or a full disk has left cut are mended first, and what was done is said. A disk that is
    full is told in one sentence, wherever it is noticed; so is a place that may not be written to, or is a file where a
    folder is needed. Anything else but Ctrl-C is a bug and keeps its trace. A stage ends with the DVC that runs it.
    """
    from pipeline.study import disk, end_without_trace, mending, orphans

    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = end_without_trace
    spare_collections()
    orphans.end_with_dvc()
    try:
        for line in mending.mend():
            print(f"note: {line}", file=sys.stderr, flush=True)
        yield
        sys.stdout.flush()  # a log on a full disk is noticed here, not by the interpreter as it ends
    except UserError as error:
        _tell(error)
    except Exception as error:
        if (said := _place(error)) is not None:
            _tell(UserError(said))
        why = disk.why_full(error)
        if why is None:
            raise
        named = _written(error)
        where = Path(named).parent if named else Path()
        _tell(disk.disk_full(named or "what is being written", where, why, "more than there is"))


def _written(error: Exception) -> str | None:
    """Return the file that could not be written, where the error says: of a copy the second that it names."""
    names = (error.filename2, error.filename) if isinstance(error, OSError) else ()
    return next((os.fsdecode(name) for name in names if isinstance(name, str | bytes)), None)


def _place(error: Exception) -> str | None:
    """Return what is wrong with the place that an error of the system names; None for other errors."""
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop from "):  # of Path.resolve
        return f"{str(error).removeprefix('Symlink loop from ').strip(chr(39))}: {os.strerror(errno.ELOOP)}"
    if not isinstance(error, OSError) or error.errno not in _PLACES or not isinstance(error.filename, str | bytes):
        return None
    both = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return f"{' -> '.join(both)}: {error.strerror}"


def _tell(error: UserError) -> NoReturn:
    with contextlib.suppress(OSError):  # the disk of a log may be the full one
        print(f"error: {error}", file=sys.stderr, flush=True)
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would try once more, and end with another status
    raise SystemExit(1) from None
