"""A process that has imported the libraries once, and runs ``python -m`` commands in forks of itself.

The start of DVC and the import of torch and timm take about as long as a small network takes to learn. A launcher pays
that once: its workers, and the ``python`` commands of dvc.yaml below them, begin as forks of this process. Nothing of
this project is kept imported, so that a fork reads the code as it lies on the disk, as any Python would.

Whoever asks connects to a Unix socket, sends a line of JSON (`Request`) with three file descriptors, and is answered by
two lines: ``{"pid": ...}`` and, once it has ended, ``{"status": ...}``. A worker is the leader of a session of its own
and gets a server of its own, for the commands below it: they belong to its process group, which is ended as a whole.
``python`` in their PATH is a script that asks this server (`pipeline.launching.shim`).

Linux only. Where libraries have started threads, or have opened a GPU, while they were imported, forks are not safe and
the server declines; workers then start as new processes, which is slower and otherwise the same.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, NoReturn, Self

from pipeline.launching.quick_dvc import heat
from pipeline.launching.shim import SERVER, connect
from pipeline.study.parallel import safe_to_fork

LIBRARIES = (
    *("dvc.cli.parser", "dvc.lock", "dvc.rwlock", "dvc.repo.artifacts", "dvc.utils.strictyaml", "dvc_data.hashfile.db"),
    *("dvc_data.hashfile.db.local", "scmrepo.git", "dulwich.repo", "flatten_dict", "psutil", "ruamel.yaml"),
    *("configobj", "dvc.cachemgr", "dvc.data_cloud", "dvc.repo.index", "dvc.repo.stage", "dvc.repo.plots"),
    *("dulwich.worktree", "platformdirs.unix", "ruamel.yaml.mergevalue", "scmrepo.noscm", "tqdm"),
    *("dulwich.filters", "dulwich.ignore", "dulwich.index", "networkx", "pygit2", "dvc.repo.datasets"),
    *("dvc.repo.metrics", "dvc.repo.open_repo", "dvc.repo.params", "dvc_data.hashfile.status"),
    *("fsspec.implementations.memory",),
    *("torch", "pipeline.learning.training.libraries", "timm", "timm.optim", "cv2", "numpy", "pandas"),
    *("torch.utils.flop_counter", "scipy.optimize", "scipy.stats", "sklearn.metrics"),
    *("safetensors.torch", "torch.utils.serialization.config", "pydantic.fields", "pydantic.main"),
    *("pydantic.functional_serializers", "pydantic.plugin._loader"),
    *("matplotlib.backends.backend_agg", "matplotlib.figure", "pandas.io.formats.csvs", "PIL.Image", "tabulate"),
    *("yaml", "jinja2.ext"),
)
READY_SECONDS = 120.0
"""For the imports, on a machine whose disk is cold; then workers start without."""
LONGEST_ADDRESS = 100
"""Bytes; Linux has 108."""


@dataclass(frozen=True)
class Request:
    """What is to be run.

    Parameters
    ----------
    command : list of str
        Module and arguments, as after ``python -m``.
    environment : dict
        The whole of it.
    folder : str
        Where to run.
    leader : bool
        Of a new session, with a server of its own.
    """

    command: list[str]
    environment: dict[str, str]
    folder: str
    leader: bool = False


class Forked:
    """A process that a server has forked: what a worker needs of `subprocess.Popen`.

    Parameters
    ----------
    connection : socket
        The server has answered with the process's number.
    pid : int
        That number.
    stdin : file
        Writing end of its standard input.
    """

    def __init__(self, connection: socket.socket, pid: int, stdin: IO[bytes]) -> None:
        self._connection, self.pid, self.stdin = connection, pid, stdin
        self._answer = b""
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs; -9 if its server has died."""
        return self._listen(blocking=False)

    def wait(self) -> int:
        """Wait for its end; return the exit status."""
        status = self._listen(blocking=True)
        assert status is not None
        return status

    def _listen(self, blocking: bool) -> int | None:
        if self._status is None:
            self._connection.setblocking(blocking)
            with contextlib.suppress(BlockingIOError):
                while not self._answer.endswith(b"\n"):
                    if not (more := self._connection.recv(4096)):
                        self._answer = b'{"status": -9}\n'
                    self._answer += more
                self._status = int(json.loads(self._answer)["status"])
                self._connection.close()
        return self._status


class Warm:
    """The server's process, from outside.

    Parameters
    ----------
    environment : mapping
        Of the process. Libraries read some variables when they are loaded (OMP_NUM_THREADS, OMP_WAIT_POLICY): they hold
        for all that is run.
    log : Path
        For what imports print.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._address: str | None = None
        self._deadline = time.monotonic() + READY_SECONDS
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.launching.warm"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(environment),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server; what it has started goes on."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def start(self, command: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None) -> Forked | None:
        """Start a worker.

        Parameters
        ----------
        command : sequence of str
            Module and arguments.
        environment : mapping
            Of the worker.
        output : file, optional
            Where its output goes; None = where this process's goes.

        Returns
        -------
        Forked or None
            None if the server cannot: start a new process instead.
        """
        if not self._ready():
            return None
        reading, writing = os.pipe()
        try:
            outputs = (output.fileno(), output.fileno()) if output else (1, 2)
            request = Request([*command], dict(environment), str(Path.cwd()), leader=True)
            connection, pid = ask(str(self._address), request, (reading, *outputs))
        except OSError:
            os.close(writing)
            self._address = ""
            return None
        finally:
            os.close(reading)
        return Forked(connection, pid, open(writing, "wb"))

    def _ready(self) -> bool:
        """Wait until the imports are done; return whether there is a server."""
        if self._address is None:
            assert self._process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(self._process.stdout, selectors.EVENT_READ)
                told = selector.select(max(0.0, self._deadline - time.monotonic()))
            self._address = self._process.stdout.readline().decode().strip() if told else ""
            if not self._address:
                print(
                    f"note: every process imports its libraries anew, which is slower; {self._log} says why", flush=True
                )
        return self._address != ""


def ask(address: str, request: Request, descriptors: Sequence[int]) -> tuple[socket.socket, int]:
    """Have a server run `request`; return the connection, and the number of the process.

    Raises
    ------
    OSError
        If there is no server, or it does not answer.
    """
    connection = connect(address, asdict(request), descriptors)
    try:
        answer = b""
        while not answer.endswith(b"\n"):
            # Byte by byte: the status may follow at once, and is read later.
            if not (byte := connection.recv(1)):
                raise ConnectionError(f"{address}: the server is gone")
            answer += byte
        return connection, int(json.loads(answer)["pid"])
    except BaseException:
        connection.close()
        raise


class Server:
    """Forks a process for each request; see the module.

    Parameters
    ----------
    address : Path
        Of the socket, in a folder that nobody else can enter.
    pipe : int
        File descriptor; the server ends when its other end is closed.
    """

    def __init__(self, address: Path, pipe: int) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(address))
        self._listener.listen(64)
        self._folder = address.parent
        self._pipe = pipe
        self._children: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> Request | None:
        """Serve until the pipe closes, and return None; return the request in each process that was forked for one."""
        signal.signal(signal.SIGTERM, lambda *_: None)  # as a guard does: a cluster's manager may send it to everyone
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._pipe, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj == self._pipe:
                        return None
                    if key.fileobj == self._listener:
                        if request := self._accept(selector):
                            return request
                    else:
                        self._reap(selector, key.fd)

    def close(self) -> None:
        """Close all files, in a process that shall not have them."""
        self._listener.close()
        os.close(self._pipe)
        for descriptor, (_, connection) in self._children.items():
            os.close(descriptor)
            connection.close()

    def _accept(self, selector: selectors.BaseSelector) -> Request | None:
        connection, _ = self._listener.accept()
        received: list[int] = []
        try:
            connection.settimeout(10.0)
            line, received, *_ = socket.recv_fds(connection, 1 << 16, 3)
            while line and not line.endswith(b"\n"):
                if not (more := connection.recv(1 << 16)):
                    break
                line += more
            request = Request(**json.loads(line))
            pid = os.fork()
            if pid == 0:
                with _ends_on_errors():
                    selector.close()
                    self.close()
                    connection.close()
                    become(request, received)
                    return request
            descriptor = os.pidfd_open(pid)
            self._children[descriptor] = pid, connection
            selector.register(descriptor, selectors.EVENT_READ)
            _tell(connection, pid=pid)
        except (OSError, ValueError, TypeError) as error:
            print(f"a request was not understood: {error!r}", file=sys.stderr)
            connection.close()
        finally:
            for descriptor in received:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        return None

    def _reap(self, selector: selectors.BaseSelector, descriptor: int) -> None:
        pid, connection = self._children.pop(descriptor)
        selector.unregister(descriptor)
        os.close(descriptor)
        # The server of a worker that has ended may be killed, with the worker's group, before it has done this itself.
        (self._folder / str(pid)).unlink(missing_ok=True)
        _, status = os.waitpid(pid, 0)
        _tell(connection, status=os.waitstatus_to_exitcode(status))
        connection.close()


@contextlib.contextmanager
def _ends_on_errors() -> Iterator[None]:
    """End this process on any error: a fork must not go on as a second server."""
    try:
        yield
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _tell(connection: socket.socket, **facts: int) -> None:
    with contextlib.suppress(OSError):  # nobody waits any more
        connection.sendall(json.dumps(facts).encode() + b"\n")


def become(request: Request, descriptors: Sequence[int]) -> None:
    """Give this process, fresh from a fork, what a new process for `request` would have."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if request.leader:
        os.setsid()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    sys.path[0] = request.folder
    for name in [name for name in sys.modules if name.split(".")[0] == "pipeline"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def settle() -> None:
    """Spare forks what this process's own objects would cost them.

    A collection would touch, and so copy, every page. To take apart what the libraries have registered with torch, as
    at the end of a process, takes as long as the fork itself; and files of this process are not theirs to remove.
    """
    gc.freeze()
    gc.enable()
    for registered in [*weakref.finalize._registry]:  # type: ignore[attr-defined]
        registered.atexit = False


def with_server(folder: Path) -> Request | None:
    """Give this process a server for the commands below it.

    Returns
    -------
    Request or None
        None in this process; in each fork of the server its request.
    """
    address = folder / str(os.getpid())
    address.unlink(missing_ok=True)  # of an earlier process that had this number
    reading, writing = os.pipe()
    try:
        server = Server(address, reading)
    except OSError as error:
        print(f"note: no server for the commands of this worker ({error}); they import their libraries anew")
        return None
    if os.fork() == 0:
        os.close(writing)
        request = server.serve()
        if request is None:
            address.unlink(missing_ok=True)
            os._exit(0)
        return request
    server.close()  # `writing` stays open until this process ends, however it does
    os.environ[SERVER] = str(address)
    os.environ["PATH"] = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", os.defpath)])
    return None


def write_shim(folder: Path) -> None:
    """Write ``python``, a script that has a server run what this Python would."""
    shim = folder / "bin" / "python"
    shim.parent.mkdir()
    command = shlex.join([sys.executable, "-IS", str(Path(__file__).with_name("shim.py").resolve()), sys.executable])
    shim.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    shim.chmod(0o700)


def decline(why: str) -> NoReturn:
    """Tell why there will be no server, and end at once, whatever libraries have running."""
    print(f"declined: {why}", file=sys.stderr, flush=True)
    os._exit(1)


def main() -> None:
    """Import the libraries, print the server's address, serve until standard input is closed."""
    if not hasattr(os, "pidfd_open"):
        decline("forks are watched as only Linux can")
    gc.disable()  # what libraries make while they are imported stays
    for name in LIBRARIES:
        if select.select([0], [], [], 0)[0]:
            return  # nobody waits any more
        importlib.import_module(name)
    heat("repro", "--dry", "--single-item", "only")
    if not safe_to_fork():
        decline("the libraries have started threads or opened a GPU")
    settle()
    folder = Path(tempfile.mkdtemp(prefix="medmatrix-"))
    own = os.getpid()
    request: Request | None = None
    try:
        if len(str(folder)) > LONGEST_ADDRESS - 10:
            shutil.rmtree(folder)
            decline(f"{folder} is too long for a socket's address")
        write_shim(folder)
        server = Server(folder / "server", os.dup(0))
        print(folder / "server", flush=True)
        request = server.serve()
    finally:
        if os.getpid() == own:
            shutil.rmtree(folder, ignore_errors=True)
    if request and request.leader:
        request = with_server(folder) or request
    if request:
        leave(lambda: run(request.command))


def leave(work: Callable[[], object]) -> None:
    """Do `work` and end this process as Python would, but for taking down the libraries, which takes 0.7 s."""
    status: str | int | None = 0
    try:
        work()
    except SystemExit as end:
        status = end.code
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.exit(status)
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            stream.flush()
    os._exit((status or 0) & 0xFF)


def run(command: Sequence[str]) -> None:
    """Run ``MODULE ARGUMENT ...`` as ``python -m`` does."""
    sys.argv = [*command]
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
