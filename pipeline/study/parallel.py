"""Independent pieces of work on several processors, in their order."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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

    Notes
    -----
    Processes are spawned: a fork of one whose numerical libraries have threads may hang.
    """
    items = list(items)
    processes = min(processes, len(items))
    if processes <= 1:
        return [function(item) for item in items]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _end_with_parent) as pool:
        return list(pool.map(function, items))


@contextmanager
def beside(function: Callable[[Item], Result], item: Item) -> Iterator[Callable[[], Result]]:
    """Apply `function` to `item` in a process of its own while the body goes on.

    Yields
    ------
    callable
        Waits for the result and returns it, or raises what the function raised.

    Notes
    -----
    Of function, item and process holds what `over_processes` says.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _end_with_parent) as pool:
        yield pool.submit(function, item).result


def _end_with_parent() -> None:
    """Have this process end when the one that started it does, SIGKILL included; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
