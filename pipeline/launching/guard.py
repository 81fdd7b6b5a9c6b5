"""Run a Python module as ``python -m`` does, and end its children when the process that started it is gone.

``python -m pipeline.launching.guard FINISHED MODULE [ARGUMENT ...]``: standard input is a pipe whose other end the
starting process holds and never writes to. It closes when that process closes it, or dies of anything at all, SIGKILL
included; then the commands that MODULE runs are ended, so that no training run outlives its launcher.

Two processes guard each other: the one that was started, which waits, and its child, which runs MODULE. Whichever is
killed, the other ends the group. One alone would leave the commands to themselves, and a worker process of Ray that
ends does kill its children (RAY_kill_child_processes_on_worker_exit, Ray 2.60), though not theirs.
"""

from __future__ import annotations

import os
import runpy
import selectors
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

RECORDING_SECONDS = 120.0
"""For DVC to hash and record a training run that has ended: an hour of work is not thrown away for it."""
STOPPING_SECONDS = 15.0
"""For MODULE to end after its commands were ended: DVC releases its locks and closes its files."""
PAUSE_SECONDS = 0.05


def watch(pipes: Sequence[int], finished: Path | None) -> None:
    """Wait until one of `pipes` closes, then end this process's group; never returns.

    Parameters
    ----------
    pipes : sequence of int
        File descriptors to read from.
    finished : Path, optional
        A file that the work writes last. Once it is there, and newer than this process, the work is let alone until
        it has been recorded.
    """
    started = time.time()
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while all(os.read(key.fd, 1) for key, _ in selector.select()):
            pass
    deadline = time.monotonic() + STOPPING_SECONDS
    patient = time.monotonic() + RECORDING_SECONDS
    while time.monotonic() < (patient if _is_newer(finished, started) else deadline):
        if not _is_newer(finished, started):
            # Again and again: DVC may be between two commands. This process itself handles SIGTERM, see `main`.
            os.killpg(os.getpgrp(), signal.SIGTERM)
        time.sleep(PAUSE_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _is_newer(file: Path | None, moment: float) -> bool:
    try:
        return file is not None and file.stat().st_mtime >= moment
    except OSError:
        return False


def wait_for(child: int) -> NoReturn:
    """Wait for `child` and end as it did; if that was by a signal, with the whole group."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        print(f"{sys.argv[0]} was ended by signal {-status}", file=sys.stderr, flush=True)
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(status)


def main(arguments: list[str]) -> None:
    """Run ``MODULE ARGUMENT ...`` under `watch`; the exit status is the module's."""
    finished, module, *rest = arguments
    sys.argv = [module, *rest]
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # the group is ended as a whole: nobody else may be in it
    # A handler, not SIG_IGN, which the commands would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    pipe = os.dup(0)  # not inherited by the commands, whose standard input is empty
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    alive, held = os.pipe()  # the other end stays open for as long as the process that waits is there
    if child := os.fork():
        os.close(alive)
        wait_for(child)
    os.close(held)
    watched = [pipe, alive], Path(finished) if finished else None
    threading.Thread(target=watch, args=watched, daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
