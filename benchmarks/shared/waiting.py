"""Waiting for other processes."""

import time
from collections.abc import Callable

import psutil


def until(condition: Callable[[], object], seconds: float = 300.0, pause: float = 0.02) -> None:
    """Return once `condition` holds; fail if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause)


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie, which waits for a parent that is not its launcher, has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
