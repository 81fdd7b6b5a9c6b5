"""Run a Python module as ``python -m`` does, and end its children when the process that started it is gone.

``python -m pipeline.launching.guard FINISHED MODULE [ARGUMENT ...]``: standard input is a pipe whose other end the
starting process holds and never writes to. It closes when that process closes it, or dies of anything at all, SIGKILL
included; then the commands that MODULE runs are ended, so that no training run outlives its launcher.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

RECORDING_SECONDS = 120.0
"""For DVC to hash and record a training run that has ended: an hour of work is not thrown away for it."""
STOPPING_SECONDS = 15.0
"""For MODULE to end after its commands were ended: DVC releases its locks and closes its files."""
PAUSE_SECONDS = 0.05


def watch(pipe: int, finished: Path | None) -> None:
    """Wait until `pipe` closes, then end this process's group; never returns.

    Parameters
    ----------
    pipe : int
        File descriptor to read from.
    finished : Path, optional
        A file that the work writes last. Once it is there, and newer than this process, the work is let alone until
        it has been recorded.
    """
    started = time.time()
    while os.read(pipe, 1):
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


def main(arguments: list[str]) -> None:
    """Run ``MODULE ARGUMENT ...`` under `watch`; the exit status is the module's."""
    finished, module, *rest = arguments
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # the group is ended as a whole: nobody else may be in it
    # A handler, not SIG_IGN, which the commands would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    pipe = os.dup(0)  # not inherited by the commands, whose standard input is empty
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=watch, args=(pipe, Path(finished) if finished else None), daemon=True).start()
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
