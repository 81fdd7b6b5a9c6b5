"""Processes that a launcher starts: each in a group of its own, none of them left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil

from pipeline.launching.warm import Warm
from pipeline.study.errors import UserError
from pipeline.study.memory import ON_A_CARD, SHARE
from pipeline.study.parallel import processors

MARK = "MEDMATRIX_LAUNCH"
"""Environment variable that every process below a launcher carries: the launcher's folder and shard."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
LEFTOVER_SECONDS = 150.0
"""Longer than a guard takes, so that a training run that has ended is recorded before it could be ended by force."""


class Worker:
    """A Python module that runs under `pipeline.launching.guard`.

    Parameters
    ----------
    command : sequence of str
        Module and arguments, as after ``python -m``.
    environment : mapping
        Of the process.
    log : Path, optional
        Standard output and error are appended to it; None = those of this process.
    finished : Path, optional
        File that the work writes last; see `pipeline.launching.guard.watch`.
    warm : Warm, optional
        Starts it sooner.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path | None = None,
        finished: Path | None = None,
        warm: Warm | None = None,
    ) -> None:
        self._status: int | None = None
        guarded = ["pipeline.launching.guard", str(finished or ""), *command]
        with contextlib.ExitStack() as stack:
            output: IO[bytes] | None = None
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                output = stack.enter_context(log.open("ab"))
            forked = warm.start(guarded, environment, output) if warm else None
            self._process = forked or subprocess.Popen(
                [sys.executable, "-m", *guarded],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C in a terminal reaches the launcher alone
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit status (negative = the signal that ended it), or None while it runs."""
        if self._status is None and (status := self._process.poll()) is not None:
            self._status = status
            self.stop()
            self.kill()  # what a guard that was itself killed has left
        return self._status

    def stop(self) -> None:
        """Have the guard end the work; a training run that is being recorded is recorded first."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def kill(self) -> None:
        """End the whole group at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        self._process.wait()
        status = self.poll()
        assert status is not None
        return status


def environment(mark: str, slot: int, jobs: int, gpus: Sequence[str] | None, memory: int) -> dict[str, str]:
    """Return the environment of the work in one of `jobs` slots.

    Parameters
    ----------
    mark : str
        See `mark_of`.
    slot : int
        0 to `jobs` - 1.
    jobs : int
        How many work side by side.
    gpus : sequence of str, optional
        Dealt out to the slots in turn; None = leave CUDA_VISIBLE_DEVICES as it is, empty = no GPU.
    memory : int
        Bytes of the host's memory that were free before any work began; each slot may count on its share.

    Notes
    -----
    ``train.threads``, on which the bits of a training run depend, is set inside of it and stands above these variables.
    They divide what else would take all processors: the pools of NumPy, of OpenCV and of torch's start-up. Threads of
    several training runs that wait for each other in busy loops would take the processors from those that compute,
    hence OMP_WAIT_POLICY.
    """
    share = str(max(1, processors() // jobs))
    divided = {}
    if jobs > 1:
        divided = {**dict.fromkeys(THREADS, share), "OMP_WAIT_POLICY": "passive", SHARE: str(memory // jobs)}
    device = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)] if gpus else ""}
    if gpus and jobs > len(gpus):
        device[ON_A_CARD] = str(-(-jobs // len(gpus)))
    return {**base_environment(mark), **divided, **device}


def base_environment(mark: str) -> dict[str, str]:
    """Return this process's environment with `mark`; ``python`` in dvc.yaml then is the Python that runs here."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", MARK: mark}


def visible_gpus() -> list[str] | None:
    """Name the GPUs to deal out: of CUDA_VISIBLE_DEVICES, or all that nvidia-smi lists; None where it is absent."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        # CUDA sees nothing of what stands behind the first that it does not know, such as -1.
        return [*takewhile(lambda name: name != "-1", (name.strip() for name in given.split(",") if name.strip()))]
    if (tool := shutil.which("nvidia-smi")) is None:
        return None
    listed = subprocess.run(
        [tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return listed.stdout.split() or None if listed.returncode == 0 else None


def mark_of(folder: Path, shard: tuple[int, int] | None) -> str:
    """Name a launcher: its folder, and its shard if it runs one."""
    return str(folder.resolve()) + (f"#{shard[0]}/{shard[1]}" if shard else "")


def leftovers(mark: str) -> list[psutil.Process]:
    """Find processes of this user that a launcher named `mark` started; a launcher of all finds those of shards too."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            name = process.environ().get(MARK, "")
            if name and mark in (name, name.split("#")[0]) and process.pid not in (os.getpid(), os.getppid()):
                processes.append(process)
    return processes


def end_leftovers(mark: str, patience: float = LEFTOVER_SECONDS) -> int:
    """Wait until what a killed launcher left has ended by itself; end by force what is still there.

    Returns
    -------
    int
        How many processes there were.
    """
    first = leftovers(mark)
    deadline = time.monotonic() + patience
    remaining = first
    while remaining and time.monotonic() < deadline:
        psutil.wait_procs(remaining, timeout=0.2)
        remaining = leftovers(mark)
    for process in remaining:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(remaining, timeout=5)
    return len(first)


class Stopped(Exception):
    """The user has ended the launcher."""


class Stop:
    """Notes that the user wants an end: Ctrl-C, SIGTERM, a closed terminal. A second time, the launcher ends at once.

    Use it as a context; calling it says whether the signal has come, `status` is the exit status that tells of it.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.status = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Return True once the signal has come."""
        return self.status != 0

    def _note(self, number: int, frame: object) -> None:
        if self.status:
            os._exit(128 + number)  # the guards see that, and end what runs
        self.status = 128 + number


def foreground(
    command: Sequence[str],
    environment: Mapping[str, str],
    stopping: Callable[[], bool] = lambda: False,
    warm: Warm | None = None,
) -> int:
    """Run a Python module with its output in this terminal; return its exit status.

    Raises
    ------
    Stopped
        If `stopping` said so; the module has ended then.
    """
    with Worker(command, environment, warm=warm) as worker:
        while (status := worker.poll()) is None:
            if stopping():
                break
            time.sleep(0.05)
    if stopping():
        raise Stopped
    assert status is not None
    return status


@contextlib.contextmanager
def locked(file: Path, shared: bool = False, waiting: Callable[[], bool] | None = None) -> Iterator[None]:
    """Hold a lock that the operating system gives back when this process ends, however it ends.

    Parameters
    ----------
    file : Path
        Is made if it is not there; its content does not matter.
    shared : bool
        Several may hold it shared; nobody beside one who holds it alone.
    waiting : callable, optional
        Wait for the lock for as long as this returns False; None = not to get it at once is an error.

    Raises
    ------
    UserError
        If another holds it.
    Stopped
        If `waiting` returned True before it was free.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    with file.open("a+b") as handle:
        while True:
            try:
                fcntl.flock(handle, mode)
                break
            except BlockingIOError:
                if waiting is None:
                    raise UserError(
                        f"another launcher is at work here: it holds {file}; wait for it or stop it"
                    ) from None
                if waiting():
                    raise Stopped from None
                time.sleep(0.2)
        yield
