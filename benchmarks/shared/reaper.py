"""Whatever a benchmark or a test has started ends with it, also when it is killed.

All that is started inherits a mark in its environment. A process that does nothing else waits for the end of the one
that called `end_with_me`, which closes a pipe however it comes, and then ends every process with the mark.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "MEDMATRIX_STARTED_BY"
ROUNDS, PAUSE_SECONDS = 40, 0.25
_pipes: list[subprocess.Popen[bytes]] = []


def end_with_me() -> None:
    """Have what this process starts from now on end with it. Where there is no /proc, nothing is done."""
    if not Path("/proc/self/environ").exists():
        return
    token = f"{os.getpid()}-{time.time_ns()}"
    around = {name: value for name, value in os.environ.items() if name != MARK}
    command = [sys.executable, "-IS", __file__, f"{MARK}={token}"]
    _pipes.append(subprocess.Popen(command, stdin=subprocess.PIPE, env=around, start_new_session=True))
    os.environ[MARK] = token


def marked(mark: bytes) -> list[int]:
    """Return the processes of this user whose environment has `mark`, ``NAME=VALUE``."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def main(mark: bytes) -> None:
    """Wait until standard input closes; then end what is marked, and what that starts meanwhile."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    for _ in range(ROUNDS):
        if not (left := marked(mark)):
            return
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1].encode())
