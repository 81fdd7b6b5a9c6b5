"""Independent pieces of work on several processors, in their order."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WATCHER = "watches DVC"
"""Name of the thread of `pipeline.study.orphans`: it waits, and holds nothing that a fork would miss."""
THREADS = Path("/proc/self/task")
"""On Linux, a folder for each thread of this process."""


def over_processes(function: Callable[[Item], Result], items: Iterable[Item], processes: int) -> list[Result]:
    """Apply `function` to each item and return the results in the order of the items.

    Parameters
    ----------
    function : callable
        Of a module, so that another process can import it; its result must not depend on the process.
    items : iterable
        Its arguments, which can be pickled, the longest work first.
    processes : int
        How many at a time; with 1 all is done here.
    """
    items = list(items)
    processes = min(processes, len(items))
    if processes <= 1:
        return [function(item) for item in items]
    with ProcessPoolExecutor(processes, _context(), _end_with_parent) as pool:
        return list(pool.map(function, items))


def safe_to_fork() -> bool:
    """Say whether this process has one thread and has not opened a GPU, on Linux: a fork might hang otherwise.

    The thread that watches DVC counts for nothing: it holds no lock.

    Forks begin within milliseconds with all that was imported and read; spawned processes import everything anew.
    """
    if not THREADS.is_dir():
        return False
    if (pid := os.fork()) == 0:  # linear algebra libraries end their threads before a fork, and start them when needed
        os._exit(0)
    os.waitpid(pid, 0)
    opened = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_open(name)]
    threads = sum(1 for _ in THREADS.iterdir()) - sum(thread.name == WATCHER for thread in threading.enumerate())
    return threads == 1 and not any(file.startswith("/dev/nvidia") for file in opened)


def _is_open(descriptor: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


def processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context() -> BaseContext:
    return multiprocessing.get_context("fork" if safe_to_fork() else "spawn")


def _end_with_parent() -> None:
    """Have this process end when the one that started it does, SIGKILL included; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
