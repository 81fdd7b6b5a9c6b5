"""A stage ends when the DVC that runs it is gone: nobody would record its result, and the next DVC runs it again."""

from __future__ import annotations

import os
import select
import sys
import threading
import time

import psutil

from pipeline.study.parallel import WATCHER

STAGE = "DVC_STAGE"
"""Environment variable that DVC gives to the commands of stages."""
_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "ash", "busybox"}
POLL_SECONDS = 1.0
STATUS = 1


def end_with_dvc() -> None:
    """Watch the DVC above this process, if there is one, and end this process when that ends, SIGKILL included."""
    if STAGE not in os.environ:
        return
    try:
        above = psutil.Process().parent()
        while above is not None and above.name() in _SHELLS:  # which outlive it, and wait for this process
            above = above.parent()
        if above is not None:
            threading.Thread(target=_watch, args=(above,), name=WATCHER, daemon=True).start()
    except psutil.Error:
        return


def _watch(process: psutil.Process) -> None:
    _wait(process)
    print(f"error: process {process.pid}, which ran this stage, is gone: the stage ends, too", file=sys.stderr)
    os._exit(STATUS)


def _wait(process: psutil.Process) -> None:
    """Wait for the end of a process that is no child of this one; one that waits to be reaped has ended."""
    if hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            return
        if process.is_running():  # and the number is still its own
            select.select([descriptor], [], [])
        return
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(POLL_SECONDS)
