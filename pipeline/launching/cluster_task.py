"""What a node of a Ray cluster does for a study: keep a clone, train in it, push the result.

Ray ships this module to the nodes by value, before any of them has the project. So it imports the standard library
alone; what it needs of the project it starts as a process in the clone.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

FOLDER = "MEDMATRIX_NODE_FOLDER"
"""Environment variable of a node: its folder for clones and DVC's cache, on a disk of its own."""
READY = Path(".dvc/tmp/medmatrix-ready")
"""In a clone whose inputs are there."""
DVC = ("dvc", "--wait-for-lock")
CONFIGURE = """
import configobj, json, sys
config = configobj.ConfigObj(json.loads(sys.argv[1]))
config.filename = ".dvc/config.local"
config.write()
"""
"""Program that writes the configuration of a clone, by what DVC reads it with; three commands of DVC take 4 s."""
POLL_SECONDS = 0.2
TELL_SECONDS = 0.5
COMPARED = ("dvc", "torch")
"""Packages whose versions a node and the head should share."""


class Work(TypedDict):
    """The study as it is sent: the same for all its training runs."""

    key: str
    """Names the clone: another commit, other data or another remote have another one."""
    commit: str
    bundle: bytes
    """Of ``git bundle create - HEAD``."""
    lock: str
    """Content of dvc.lock, as far as the inputs of the training runs are concerned."""
    remote: str
    url: str
    inputs: list[str]
    """Stages whose outputs the training runs read."""


class RunWork(TypedDict):
    """One training run."""

    name: str
    stage: str
    finished: str
    """File that its training run writes last, relative to the clone."""


class Outcome(TypedDict):
    """How an attempt at a training run ended."""

    status: int
    log: str
    node: str
    seconds: float


class Board:
    """Where nodes write what their training runs print, and the driver reads it: an actor beside the driver."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, str, str, str]] = []

    def put(self, name: str, execution: str, node: str, text: str) -> None:
        """Keep `text`, whole lines that `execution` of run `name` printed on `node`; empty when it starts."""
        self._messages.append((name, execution, node, text))

    def take(self) -> list[tuple[str, str, str, str]]:
        """Return the messages since the last call, in their order."""
        taken, self._messages = self._messages, []
        return taken


def node_folder() -> Path:
    """Return this node's folder for clones and DVC's cache."""
    given = os.environ.get(FOLDER)
    return Path(given).absolute() if given else Path(tempfile.gettempdir()) / f"medmatrix-{os.getuid()}"


def check_own(folder: Path) -> None:
    """Refuse a folder in which another user of this node could lay code for this one to run.

    Raises
    ------
    RuntimeError
        If it is a link, is another user's, or may be written to by others.
    """
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode):
        raise RuntimeError(f"{folder} on {platform.node()}: must be a folder and no link; set {FOLDER} to another one")
    if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RuntimeError(
            f"{folder} on {platform.node()} is of user {about.st_uid} with mode {stat.S_IMODE(about.st_mode):o}; must "
            f"be of user {os.getuid()} and writable for nobody else: chmod 700 it, or set {FOLDER} to another one"
        )


def environment() -> dict[str, str]:
    """Return the environment of the commands in a clone: ``python`` in dvc.yaml is the Python that runs here."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def config_of(work: Mapping[str, Any], cache: Path) -> dict[str, dict[str, str]]:
    """Return what .dvc/config.local of a clone says, as ``dvc config`` and ``dvc remote`` would write it."""
    return {
        "core": {"autostage": "false", "remote": work["remote"]},  # runs side by side would fight for git's index
        "cache": {"dir": str(cache)},
        f'remote "{work["remote"]}"': {"url": work["url"]},
    }


def setup_commands(work: Mapping[str, Any], bundle: Path, cache: Path) -> list[list[str]]:
    """Return the commands that turn an empty folder into a clone of the study with its inputs, but for dvc.lock.

    Parameters
    ----------
    work : Work
        The study.
    bundle : Path
        Where its commits lie.
    cache : Path
        DVC's cache of this node, which all its clones share.
    """
    return [
        ["git", "init", "--quiet"],
        ["git", "fetch", "--quiet", str(bundle), "HEAD"],
        ["git", "checkout", "--quiet", "--detach", work["commit"]],
        [sys.executable, "-c", CONFIGURE, json.dumps(config_of(work, cache))],
    ]


def pull_command(work: Mapping[str, Any]) -> list[str]:
    """Return the command that brings the inputs of the training runs."""
    return [*DVC, "pull", *work["inputs"]]


def train_command(stage: str) -> list[str]:
    """Return the command that trains a run, or takes it from the run-cache of the remote."""
    return [*DVC, "repro", "--pull", "-s", stage]


def push_commands(stage: str) -> list[list[str]]:
    """Return the commands that publish the result of a training run.

    The second alone would copy entries of the run-cache whose files are not in the remote; a head then trains again.
    """
    return [[*DVC, "push", stage], [*DVC, "push", "--run-cache", stage]]


def prepare(work: Work) -> Path:
    """Return this node's clone of the study with its inputs; one process makes it, the others wait.

    Raises
    ------
    RuntimeError
        If a command fails; the message ends in what it printed.
    """
    folder = node_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    check_own(folder)
    clone = folder / work["key"]
    with _locked(folder / f"{work['key']}.lock"):
        if (clone / READY).exists():
            return clone
        shutil.rmtree(clone, ignore_errors=True)
        clone.mkdir()
        bundle = folder / f"{work['key']}.bundle"
        bundle.write_bytes(work["bundle"])
        for command in setup_commands(work, bundle, folder / "cache"):
            _run(command, clone)
        (clone / "dvc.lock").write_text(work["lock"], encoding="utf-8")
        _run(pull_command(work), clone)
        bundle.unlink()
        (clone / READY).touch()
    return clone


def prepare_node(work: Work) -> dict[str, str]:
    """Do `prepare`; return the node's name and the versions of `COMPARED` there."""
    prepare(work)
    return {"node": platform.node(), **{name: importlib.metadata.version(name) for name in COMPARED}}


def train(work: Work, run: RunWork, board: Any = None) -> Outcome:
    """Train a run in this node's clone and push the result.

    Parameters
    ----------
    work : Work
        The study.
    run : RunWork
        The training run.
    board : actor of Board, optional
        Is told what the training run prints.

    Returns
    -------
    Outcome
        ``status`` is not 0 if the training run itself failed: trying it again at once would not help.

    Raises
    ------
    RuntimeError
        If the clone could not be made or the result not be pushed, which another node may be able to do.
    """
    started = time.monotonic()
    node, execution = platform.node(), uuid.uuid4().hex
    tell = _teller(board, run["name"], execution, node)
    tell("")
    clone = prepare(work)
    log = clone / "tmp/launch" / f"{run['name']}-{execution}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        status = _guarded(train_command(run["stage"]), clone, log, run["finished"], tell)
        for command in push_commands(run["stage"]) if status == 0 else []:
            if _guarded(command, clone, log):
                raise RuntimeError(f"{' '.join(command)} failed on {node}:\n{_text(log)[-2000:]}")
        return Outcome(status=status, log=_text(log), node=node, seconds=time.monotonic() - started)
    finally:
        log.unlink(missing_ok=True)


def _guarded(
    command: Sequence[str], clone: Path, log: Path, finished: str = "", tell: Callable[[str], None] | None = None
) -> int:
    """Run a Python module in `clone`; it ends when this process does, however that ends. Return its exit status."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.launching.guard", finished, *command],
            cwd=clone,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    position, told = 0, 0.0
    try:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            if tell and time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                position = _tell_new_lines(log, position, tell)
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()  # if Ray has cancelled the task, the guard ends the training run now
        process.wait()
    return process.returncode


def _tell_new_lines(log: Path, position: int, tell: Callable[[str], None]) -> int:
    with log.open("rb") as file:
        file.seek(position)
        whole, newline, _ = file.read().rpartition(b"\n")
    if newline:
        tell((whole + newline).decode("utf-8", "replace"))
    return position + len(whole) + len(newline)


def _teller(board: Any, name: str, execution: str, node: str) -> Callable[[str], None]:
    def tell(text: str) -> None:
        if board is not None:
            with contextlib.suppress(Exception):  # a training run does not end because nobody looks at it
                board.put.remote(name, execution, node, text)

    return tell


def _run(command: Sequence[str], folder: Path) -> None:
    arguments = [sys.executable, "-m", *command] if command[0] == "dvc" else [*command]
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed on {platform.node()}:\n{done.stdout[-2000:]}")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("a+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
