"""Python commands in forks of a process that has imported the libraries, in place of new processes.

To import torch or DVC takes seconds of processor time, which tests that start a hundred processes would pay as often.
Servers pay it once for all tests, with the first command that is asked of them. A fork finds what a new process would
(`pipeline.launching.warm.become`): nothing of this project is imported, and the code is read as it lies on the disk.
Where processes cannot be forked so, a new one is started.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from pipeline.launching import warm
from pipeline.launching.quick_dvc import heat
from pipeline.launching.shim import SERVER
from tests.tiny import ROOT

FOLDER = "MEDMATRIX_TEST_FORKS"
"""Environment variable with the folder in which the servers of these tests are reached."""
ALONE = "MEDMATRIX_TEST_ALONE"
"""Environment variable of commands that have one processor, so that no stage starts a second process."""
PYTHON = "MEDMATRIX_TEST_PYTHON"
"""Environment variable of a command: what it is to take for its Python; see `Forks.inherited`."""
PLAIN = (
    *("numpy", "pandas", "scipy.stats", "scipy.optimize", "pydantic.fields", "yaml", "jinja2", "tabulate"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.Image", "PIL.PngImagePlugin"),
)
"""Libraries of the stages without networks."""
HEAVY = ("torch", "torchvision", "timm", "sklearn", "cv2", "matplotlib.pyplot", "dvc")
"""What those stages do without, so that a fork tells whether they do."""
DVC = (
    *("configobj", "dvc._debug", "dvc.cachemgr", "dvc.data_cloud", "dvc.repo.brancher", "dvc.repo.experiments.show"),
    *("dvc.repo.experiments.queue.tempdir", "dvc.repo.experiments.queue.workspace", "dvc.repo.graph", "dvc.repo.index"),
    *("dvc.repo.metrics.diff", "dvc.repo.params.diff", "dvc.repo.plots.diff", "dvc.repo.stage", "dvc.repo.worktree"),
    *("dvc.utils.studio", "dvc_data.hashfile.status", "dvc_data.index.push", "dvc_render.vega", "dvc_studio_client"),
    *("requests", "ruamel.yaml.mergevalue", "scmrepo.fs", "scmrepo.noscm", "shortuuid"),
    *("dulwich.worktree", "dvc.render.match", "dvc.ui.table", "dvc_data.fs", "networkx", "platformdirs.unix", "pygit2"),
)
"""What DVC imports when a command begins to work; networkx alone takes a third of ``dvc repro`` with nothing to do."""
KINDS = {"plain": PLAIN, "everything": (*warm.LIBRARIES, *PLAIN, *DVC)}


class Process:
    """A command that runs in a fork, with what tests use of `subprocess.Popen`."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._connection, self.pid = connection, pid
        self.returncode: int | None = None
        self._answer = b""

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs."""
        return self._listen(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit status."""
        if self._listen(timeout) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _listen(self, seconds: float | None) -> int | None:
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.returncode is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._connection], [], [], left)[0]:
                break
            more = self._connection.recv(4096)
            self._answer += more
            if not more or self._answer.endswith(b"\n"):
                self.returncode = json.loads(self._answer)["status"] if self._answer else -signal.SIGKILL
                self._connection.close()
        return self.returncode


class Forks:
    """Starts commands.

    Parameters
    ----------
    kind : str
        What is imported already; see `KINDS`.
    """

    def __init__(self, kind: str) -> None:
        self._folder = Path(os.environ[FOLDER]) / kind
        self._address = str(self._folder / "server")

    def start(
        self,
        command: Sequence[object],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdout: IO | None = None,
        stderr: IO | None = None,
        start_new_session: bool = False,
    ) -> Process | subprocess.Popen[bytes]:
        """Start ``python COMMAND ...``, which is ``-m MODULE ARGUMENT ...`` or ``-c CODE ARGUMENT ...``.

        The rest is as for `subprocess.Popen`, standard input is empty.
        """
        words = [str(word) for word in command]
        environment = dict(os.environ if env is None else env)
        folder = str(cwd or Path.cwd())
        with open(os.devnull, "rb") as nothing:
            files = (nothing.fileno(), stdout.fileno() if stdout else 1, stderr.fileno() if stderr else 2)
            try:
                request = warm.Request(words, environment, folder, leader=start_new_session)
                return Process(*warm.ask(self._address, request, files))
            except OSError:
                return subprocess.Popen(
                    [sys.executable, *words],
                    cwd=folder,
                    env=environment,
                    stdin=nothing,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=start_new_session,
                )

    def run(
        self,
        command: Sequence[object],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, see `start`, and return what it printed, as `subprocess.run` does."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            status = self.start(command, cwd, env, out, err).wait(timeout)
            printed = []
            for file in (out, err):
                file.seek(0)
                printed.append(file.read().decode())
        assert not check or status == 0, f"{command} ended with {status}:\n{printed[0]}{printed[1]}"
        return subprocess.CompletedProcess([*command], status, *printed)

    def warm(self) -> warm.Warm:
        """Return what starts a `pipeline.launching.workers.Worker`."""
        made = object.__new__(warm.Warm)
        made._address = self._address
        return made

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return `env` with a ``python`` in PATH that has the modules of the project run in forks, too."""
        return {**env, "PATH": f"{self._folder / 'bin'}{os.pathsep}{env['PATH']}", SERVER: self._address}

    def inherited(self) -> dict[str, str]:
        """Return environment with which a command starts modules of the project, as `sys.executable`, in forks, too.

        These forks are in no process group and under no name of the command: it must be let run to its end.
        """
        return {PYTHON: str(self._folder / "bin/python"), SERVER: self._address}


def begin(kind: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start the server of a kind, which imports nothing yet; it ends when its standard input is closed."""
    (folder / kind).mkdir()
    warm.write_shim(folder / kind)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "tests.forked", kind, str(folder / kind)]
    huge = "glibc.malloc.hugetlb=1"  # a fork copies the tables of fewer pages; commands have their own environment
    environment = {**os.environ, "PYTHONPATH": path, "GLIBC_TUNABLES": huge}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )


def serve(kind: str, folder: Path) -> None:
    """Import the libraries at the first request, fork for each until standard input closes."""
    if not hasattr(os, "pidfd_open"):
        warm.decline("forks are watched as only Linux can")
    server = warm.Server(folder / "server", os.dup(0))
    print("ready", flush=True)
    os.dup2(2, 1)
    if 0 in select.select([0, server._listener], [], [])[0]:
        return
    gc.disable()  # what libraries make while they are imported stays
    for name in KINDS[kind]:
        importlib.import_module(name)
    assert kind != "plain" or not {*HEAVY} & set(sys.modules)
    if kind == "everything":
        heat("repro", "--dry")
    if not warm.safe_to_fork():
        (folder / "server").unlink()
        warm.decline("the libraries have started threads or opened a GPU")
    warm.settle()
    request = server.serve()
    if request is not None:
        if ALONE in request.environment:
            os.sched_setaffinity(0, {random.choice([*os.sched_getaffinity(0)])})
        for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "benchmarks")]:
            del sys.modules[name]
        given = request.environment.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[1:1] = [entry for entry in given if entry and entry not in sys.path]
        warm.leave(lambda: run(request.command))


def run(command: Sequence[str]) -> None:
    """Do what Python does for such words."""
    sys.executable = os.environ.pop(PYTHON, sys.executable)
    if command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(command[1], "<string>", "exec"), main.__dict__)
    else:
        warm.run(command[1:] if command[0] == "-m" else command)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
