"""How much memory can be had, and how it is kept."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.study.errors import UserError

SHARE = "MEDMATRIX_MEMORY"
"""Environment variable: bytes of the host's memory that this process may count on beside others that were started."""
ON_A_CARD = "MEDMATRIX_ON_A_CARD"
"""Environment variable: how many processes that were started together compute on one GPU."""
_NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|out of memory|ALLOC_FAILED|ALLOCATION_FAILED|"
    r"CUBLAS_STATUS_NOT_INITIALIZED|unable to find an engine|Unable to find a valid cuDNN algorithm"
)
"""Messages of RuntimeErrors that mean out of memory: of torch, of the CPU's allocator, the driver, cuBLAS and cuDNN,
which also says that it has found no way where there is no memory left for any."""


def no_memory(error: BaseException) -> str | None:
    """Return the first line of an error that means out of memory, on a GPU or on the host; None for any other."""
    if not (isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)))):
        return None
    return (str(error).strip().split("\n")[0] or type(error).__name__)[:300]


@contextmanager
def enough_memory(what: str, advice: str) -> Iterator[None]:
    """Turn running out of memory into a message: `what` was being done, and what to change.

    Raises
    ------
    UserError
        In place of MemoryError and of the RuntimeErrors that mean the same.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if (line := no_memory(error)) is None:
            raise
        raise UserError(f"out of memory {what} ({line}); {advice}") from error


def free_host_memory() -> int:
    """Measure the bytes that can still be had on the host without swapping, within the limit of a container or job.

    Where several training runs were started together, `SHARE` says how much each may count on: those that start in the
    same second see the same free memory.
    """
    try:
        import psutil

        free = psutil.virtual_memory().available
    except ImportError:  # it comes with DVC, which a machine that only trains may lack
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    given = os.environ.get(SHARE, "")
    share = int(given) if given.isdecimal() else float("inf")
    return int(min(free, share, _left_in_cgroup(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))))


def _left_in_cgroup(own: Path, root: Path) -> float:
    """Bytes left under the tightest memory limit of this process's control group (version 2) and those above it."""
    try:
        line = next(line for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return float("inf")
    left = float("inf")
    group = root / line.removeprefix("0::").strip("/")
    for folder in (group, *group.parents):
        try:
            limit = (folder / "memory.max").read_text().strip()
            counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used = int((folder / "memory.current").read_text()) - int(counts["inactive_file"])  # that can be dropped
        except (OSError, KeyError, ValueError):
            continue
        if limit != "max":
            left = min(left, max(0, int(limit) - used))
    return left


MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Parameters of glibc's mallopt, from malloc.h."""
KEPT = (1 << 30, 1 << 25)
"""Bytes up to which blocks are kept: what is tried first, and the most that older versions of glibc allow."""


def keep_memory(*blocks: int) -> bool:
    """Have the C library keep freed memory for the next allocation instead of giving it back to the kernel.

    A training step takes and frees the same large blocks again and again, and so does the decoding of image after
    image. glibc maps each one anew, and the kernel clears all its pages. Set from inside, it needs no variable in the
    environment that starts a stage.

    Parameters
    ----------
    *blocks : int
        Bytes up to which blocks are kept; the first that the C library allows counts. Default: `KEPT`.

    Returns
    -------
    bool
        False, and nothing is done, where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    set_ = any(library.mallopt(MMAP_THRESHOLD, size) for size in blocks or KEPT)  # stops at the first that is allowed
    return bool(library.mallopt(TRIM_THRESHOLD, -1)) and set_  # -1: never
