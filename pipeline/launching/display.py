"""A live table of tasks on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self, TextIO

from pipeline.launching.schedule import GOOD, OVER, State, Task

COLUMNS = ("run", "state", "epoch", "validation", "left")
SUMMARY_SECONDS = 60.0
ORDER = (State.RUNNING, State.STARTING, State.RETRY, State.FAILED, State.SKIPPED, State.WAITING)


class Lines:
    """A line for each change, and once a minute one for the whole.

    Parameters
    ----------
    stream : text stream, optional
        Where to; None = standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._summary = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def changed(self, task: Task) -> None:
        """Write a line."""
        if task.state is State.STARTING:
            return
        facts = [task.progress.metric] if task.progress.metric and task.state is State.DONE else []
        facts += [f"{task.seconds:.0f} s"] if task.state is State.DONE else []
        facts += ["COLLAPSED"] if task.progress.collapsed else []
        facts += [f"exit {task.status}, see {task.log}"] if task.state in (State.RETRY, State.FAILED) else []
        self._write(f"{task.name}: {', '.join([task.state.value, *facts])}")

    def refresh(self, tasks: Sequence[Task]) -> None:
        """Write a summary when the last is a minute old."""
        if time.monotonic() - self._summary >= SUMMARY_SECONDS:
            self._summary = time.monotonic()
            running = [
                f"{t.name} {t.progress.epoch}".strip() for t in tasks if t.state in (State.RUNNING, State.STARTING)
            ]
            self._write(f"{summary(tasks)}; running: {', '.join(running) or 'none'}")

    def _write(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=self._stream, flush=True)


class Live:
    """A table that is drawn anew a few times a second, as high as the terminal is."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console()
        self._live = RichLive(console=self._console, refresh_per_second=4, transient=False)
        self._tasks: Sequence[Task] = ()
        self._started = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.update(self._table(), refresh=True)
        self._live.stop()

    def changed(self, task: Task) -> None:
        """Draw the table with the next refresh."""
        self._drawn = 0.0

    def refresh(self, tasks: Sequence[Task]) -> None:
        """Draw the table, four times a second at most."""
        self._tasks = tasks
        if time.monotonic() - self._drawn > 0.25:
            self._drawn = time.monotonic()
            self._live.update(self._table())

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(
            *COLUMNS, box=None, caption=f"{summary(self._tasks)}; {duration(time.monotonic() - self._started)}"
        )
        table.caption_justify = "left"
        room = max(3, self._console.height - 6)
        shown, hidden = fitting(self._tasks, room)
        for task in shown:
            table.add_row(*row(task), style=_style(task))
        if hidden:
            table.add_row(f"... and {len(hidden)} more: {summary(hidden)}")
        return table


def display() -> Lines | Live:
    """Return the table where standard output is a terminal and rich is there, else lines."""
    if sys.stdout.isatty():
        try:
            return Live()
        except ImportError:
            pass
    return Lines()


def row(task: Task) -> tuple[str, ...]:
    """Return what `COLUMNS` say of `task`."""
    state = task.state.value + (" again" if task.attempts > 1 and task.state in (State.STARTING, State.RUNNING) else "")
    state += ", COLLAPSED" if task.progress.collapsed else ""
    return (
        task.name,
        state,
        task.progress.epoch,
        task.progress.metric,
        task.progress.left if task.state not in OVER else "",
    )


def fitting(tasks: Sequence[Task], room: int) -> tuple[list[Task], list[Task]]:
    """Divide `tasks` into those that fit into `room` rows, what runs and what failed first, and the others."""
    if len(tasks) <= room:
        return list(tasks), []
    ranked = sorted(tasks, key=lambda t: ORDER.index(t.state) if t.state in ORDER else len(ORDER))
    chosen = {id(t) for t in ranked[: room - 1]}
    return [t for t in tasks if id(t) in chosen], [t for t in tasks if id(t) not in chosen]


def summary(tasks: Sequence[Task]) -> str:
    """Count the tasks by what they are at."""
    done = sum(t.state in GOOD for t in tasks)
    others = Counter(t.state for t in tasks if t.state not in GOOD)
    return ", ".join([f"{done} of {len(tasks)} done", *(f"{n} {s.value}" for s, n in others.items())])


def duration(seconds: float) -> str:
    """Write a time as ``1:02:03`` or ``02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def _style(task: Task) -> str:
    if task.state in (State.FAILED, State.RETRY):
        return "bold red"
    if task.state in (State.RUNNING, State.STARTING):
        return "bold"
    return "dim" if task.state is State.WAITING else ""
