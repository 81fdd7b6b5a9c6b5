"""What lies in a folder under a file's name and is no file that can be read: links to nothing, pipes, sockets.

To open a pipe waits for ever, to ask a link to nothing for its size is an error. Such an entry keeps its place among
the samples, so that it is excluded under its own name and with the reason, like an image that is damaged.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipeline.datasets import DatasetError

MOST_BYTES = 2**32
"""Of an image file: it is read whole."""
_KINDS: dict[Callable[[int], bool], str] = {
    stat.S_ISDIR: "a folder, not a file",
    stat.S_ISFIFO: "a pipe, not a file",
    stat.S_ISSOCK: "a socket, not a file",
    stat.S_ISCHR: "a device, not a file",
    stat.S_ISBLK: "a device, not a file",
}


def why_unreadable(path: Path) -> str | None:
    """Say why `path` is no file that can be read, without opening it; None if it is one."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return "a link to nothing" if path.is_symlink() else "file missing"
    except OSError as error:
        return "a link that leads in a circle" if error.errno == errno.ELOOP else error.strerror or "cannot be read"
    for is_kind, what in _KINDS.items():
        if is_kind(status.st_mode):
            return what
    if status.st_size > MOST_BYTES:
        return f"larger than {MOST_BYTES / 2**30:.0f} GiB"
    return None if os.access(path, os.R_OK) else "Permission denied"


def read_file(path: Path) -> bytes:
    """Return the content of a file.

    Raises
    ------
    OSError
        Whose `strerror` is the reason of `why_unreadable`; `FileNotFoundError` where there is nothing of that name.
    """
    reason = why_unreadable(path)
    if reason is None:
        return path.read_bytes()
    raise (FileNotFoundError if reason == "file missing" else OSError)(errno.EINVAL, reason)


def file_reader(path: Path) -> Callable[[], bytes]:
    """Return a `Sample.read` of the file at `path`."""
    return partial(read_file, path)


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 of what is none that can be read."""
    return path.stat().st_size if why_unreadable(path) is None else 0


def printable(name: str) -> str:
    r"""Return a file name as text that every program can write: bytes that are not UTF-8 as ``\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def check_name(name: str, where: str) -> None:
    """Refuse the name of a file or folder that is not UTF-8: neither DVC nor a table can hold it.

    Raises
    ------
    DatasetError
        Naming it.
    """
    if printable(name) != name:
        raise DatasetError(
            f"{where}: the name '{printable(name)}' is not UTF-8, and neither DVC nor a table can hold it; rename it"
        )
