"""The order of the work: so many tasks side by side, each after what it needs, each tried twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from pipeline.launching.log import Progress, Tail
from pipeline.launching.warm import Warm
from pipeline.launching.workers import Worker

ATTEMPTS = 2
POLL_SECONDS = 0.1


class State(Enum):
    """What a task is at."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    RETRY = "failed, will be retried"
    UP_TO_DATE = "up to date"
    CACHED = "from cache"
    DONE = "done"
    FAILED = "FAILED"
    SKIPPED = "skipped"
    STOPPED = "stopped"


GOOD = frozenset({State.UP_TO_DATE, State.CACHED, State.DONE})
OVER = GOOD | {State.FAILED, State.SKIPPED, State.STOPPED}


@dataclass
class Task:
    """One piece of work.

    Parameters
    ----------
    name : str
        As the table shows it.
    command : sequence of str
        Python module and arguments.
    log : Path
        Of all attempts of this launch.
    finished : Path, optional
        See `pipeline.launching.guard.watch`.
    needs : sequence of str
        Names of the tasks that must have succeeded before.
    some : bool
        Whether it makes do with some of them: it then waits until all are over, and needs one that succeeded.
    """

    name: str
    command: Sequence[str]
    log: Path
    finished: Path | None = None
    needs: Sequence[str] = ()
    some: bool = False
    state: State = State.WAITING
    attempts: int = 0
    progress: Progress = field(default_factory=Progress)
    seconds: float = 0.0
    """Of the last attempt."""
    status: int | None = None
    """Exit status of the last attempt."""


class Show(Protocol):
    """Whatever shows the tasks."""

    def changed(self, task: Task) -> None:
        """`task` has another state."""

    def refresh(self, tasks: Sequence[Task]) -> None:
        """Called some ten times a second."""


@dataclass
class _Running:
    task: Task
    worker: Worker
    tail: Tail
    slot: int
    started: float


def run(
    tasks: Sequence[Task],
    jobs: int,
    environment: Callable[[int], dict[str, str]],
    show: Show,
    stopping: Callable[[], bool] = lambda: False,
    warm: Warm | None = None,
    prepare: Callable[[], object] = lambda: None,
) -> None:
    """Do `tasks`, in their order as far as their needs allow it; their `state` says how each ended.

    Parameters
    ----------
    tasks : sequence of Task
        Those that are `OVER` already are left alone.
    jobs : int
        How many side by side.
    environment : callable
        Environment of the process in a slot, 0 to `jobs` - 1.
    show : Show
        Told of every change.
    stopping : callable
        Once it returns True, what runs is ended and the rest is left.
    warm : Warm, optional
        Starts the processes sooner.
    prepare : callable
        Called before every attempt.

    Notes
    -----
    A task that fails is put behind the others and tried once more, so that what went wrong with its neighbours (memory
    that ran out) may have passed. What needs a task that failed twice is skipped, unless
    it makes do with some.
    """
    by_name = {task.name: task for task in tasks}
    queue = [task for task in tasks if task.state not in OVER]
    for task in queue:
        task.log.parent.mkdir(parents=True, exist_ok=True)
        task.log.write_bytes(b"")
    running: list[_Running] = []
    free = list(range(jobs))
    try:
        while queue or running:
            if stopping():
                break
            _skip(queue, by_name, show)
            ready = [t for t in queue if all(by_name[n].state in (OVER if t.some else GOOD) for n in t.needs)]
            for task in ready[: len(free)]:
                queue.remove(task)
                prepare()
                running.append(_start(task, free.pop(0), environment, show, warm))
            for entry in list(running):
                if _look(entry, show):
                    running.remove(entry)
                    free.append(entry.slot)
                    free.sort()
                    if entry.task.state is State.RETRY:
                        queue.append(entry.task)
            show.refresh(tasks)
            time.sleep(POLL_SECONDS)
    finally:
        _end(running, show)
        for task in queue:
            if task.state not in OVER:
                _change(task, State.STOPPED, show)
        show.refresh(tasks)


def _skip(queue: list[Task], by_name: dict[str, Task], show: Show) -> None:
    for task in list(queue):
        lost = [by_name[name].state in OVER - GOOD for name in task.needs]
        if any(lost) and (all(lost) or not task.some):
            queue.remove(task)
            _change(task, State.SKIPPED, show)


def _start(
    task: Task, slot: int, environment: Callable[[int], dict[str, str]], show: Show, warm: Warm | None
) -> _Running:
    task.attempts += 1
    task.progress = Progress()
    with task.log.open("a", encoding="utf-8") as log:
        log.write(f"--- {task.name}, attempt {task.attempts}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    tail = Tail(task.log)
    worker = Worker(task.command, environment(slot), task.log, task.finished, warm)
    _change(task, State.STARTING, show)
    return _Running(task, worker, tail, slot, time.monotonic())


def _look(entry: _Running, show: Show) -> bool:
    """Bring the task up to its log and its process; return whether that has ended."""
    task = entry.task
    status = entry.worker.poll()
    for line in entry.tail.lines():
        task.progress.read(line)
    task.seconds = time.monotonic() - entry.started
    if status is None:
        if task.progress.running and task.state is State.STARTING:
            _change(task, State.RUNNING, show)
        return False
    task.status = status
    if status != 0:
        _change(task, State.RETRY if task.attempts < ATTEMPTS else State.FAILED, show)
    elif task.progress.running:
        _change(task, State.DONE, show)
    else:
        _change(task, State.UP_TO_DATE if task.progress.unchanged else State.CACHED, show)
    return True


def _end(running: Sequence[_Running], show: Show) -> None:
    for entry in running:
        entry.worker.stop()
    for entry in running:
        entry.task.status = entry.worker.wait()
        _change(entry.task, State.DONE if entry.task.status == 0 else State.STOPPED, show)


def _change(task: Task, state: State, show: Show) -> None:
    task.state = state
    show.changed(task)
