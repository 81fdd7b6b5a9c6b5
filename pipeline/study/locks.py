"""What DVC notes in files that a kill, a power cut or a full disk can leave cut, and how they are mended.

DVC 3.67 empties ``dvc.lock`` and ``.dvc/tmp/rwlock`` before it writes them anew, for which it takes up to half a
second a stage. What is cut then stops every later command: "validation failed", "JSON structure is corrupted".
``rwlock`` names processes by their number, which may be that of another process by now: "is busy".

Nothing is mended under the hands of a DVC that is at work: the locks that it takes are taken. A file that is replaced
is kept in ``tmp/kept``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.study.errors import UserError

if TYPE_CHECKING:
    import psutil

LOCK = Path("dvc.lock")
COPY = Path("tmp/launch/dvc.lock")
"""A whole dvc.lock, which the launcher keeps."""
KEPT = Path("tmp/kept")
OWN = Path(".dvc/tmp")
"""DVC's own folder."""
RWLOCK = OWN / "rwlock"
WAIT_SECONDS = 3.0
"""For a DVC that is writing one of the files."""
CLOCK_SECONDS = 2.0
"""By which clocks of processes and of files may differ."""
_NUMBERS = ("size", "nfiles")


@dataclass(frozen=True)
class Entry:
    """A process that, as rwlock says, reads or writes a path."""

    pid: int
    command: str
    why: str
    """Why it cannot be the one that is meant; of one that can be, what it is."""


def broken_lock(content: bytes) -> str | None:
    """Return what keeps DVC from reading `content` as a dvc.lock, or None."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if not content.strip(b"\0 \n"):
        return "is empty"
    if not content.endswith(b"\n"):
        return "is not whole: its last line is cut"
    try:
        loaded = YAML(typ="safe").load(content.decode("utf-8"))
    except UnicodeDecodeError:
        return "is not UTF-8"
    except (YAMLError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        return f"is not whole: line {where.line + 1} is no YAML" if where else "is no YAML"
    if not isinstance(loaded, dict) or loaded.get("schema") != "2.0":
        return "is not whole: it does not begin as a dvc.lock does"
    stages = loaded.get("stages", {})
    if not isinstance(stages, dict):
        return "is not whole: its stages are missing"
    cut = [name for name, stage in stages.items() if not (isinstance(name, str) and _is_stage(stage))]
    return f"is not whole: stage {cut[0]} is cut" if cut else None


def _is_stage(stage: Any) -> bool:
    """Whether DVC takes an entry of dvc.lock; see LOCK_FILE_STAGE_SCHEMA of its module schema."""
    if not isinstance(stage, dict) or not isinstance(stage.get("cmd"), str | list):
        return False
    files = [stage.get(key, []) for key in ("deps", "outs")]
    if not all(isinstance(listed, list) and all(map(_is_file, listed)) for listed in files):
        return False
    params = stage.get("params", {})
    return isinstance(params, dict) and all(isinstance(values, dict) for values in params.values())


def _is_file(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        return False
    if not all(isinstance(entry[key], int) for key in _NUMBERS if key in entry):
        return False
    checksum = entry.get("md5", "...")
    return isinstance(entry.get("hash", ""), str) and isinstance(checksum, str | int) and len(str(checksum)) >= 3


def is_merge(content: bytes) -> bool:
    """Whether `content` holds both sides of a merge."""
    lines = content.splitlines()
    return any(line.startswith(b"<<<<<<< ") for line in lines) and any(line.startswith(b">>>>>>> ") for line in lines)


def mend_lock() -> str | None:
    """Put the last whole dvc.lock in the place of one that DVC cannot read; return what was done, or None.

    What was computed since then is not lost: DVC finds it in its cache.
    """
    if (what := _broken()) is None:
        return None
    with alone(OWN / "lock") as had:
        if not had or (what := _broken()) is None:
            return None  # DVC is at work: it is being written, or the one that holds the lock will say what is wrong
        content = LOCK.read_bytes()
        kept = keep(LOCK)
        source, whole = _last_whole(content)
        if whole is None:
            LOCK.unlink()
            done = "nothing whole was left of it: DVC makes a new one from its cache"
        else:
            _write(LOCK, whole)
            done = f"restored from {source}; what was done since then is taken from DVC's cache"
    return f"{LOCK} {what}; {done} (the broken one is kept as {kept})"


def locked_stages(lock: Path = LOCK) -> dict[str, Any]:
    """Return the stages of a dvc.lock; none where there is no such file."""
    from pipeline.study.params import parse_yaml  # pydantic and ruamel.yaml take a moment, which mending does not need

    content = parse_yaml(lock.read_text(encoding="utf-8"), str(lock)) if lock.exists() else None
    return dict((content or {}).get("stages") or {})


def _broken() -> str | None:
    try:
        content = LOCK.read_bytes()
    except OSError:
        return None  # none yet, or for DVC to say
    what = broken_lock(content)
    if what and is_merge(content):
        raise UserError(
            f"{LOCK} holds both sides of a merge; take one of them, then let DVC bring it up to date: "
            f"git checkout --ours {LOCK} (or --theirs), then dvc repro"
        )
    return what


def _last_whole(broken: bytes) -> tuple[str, bytes | None]:
    """Return where the whole dvc.lock is that agrees longest with the broken one, and its content; None for none."""
    found = {
        "git's index": _git("show", f":./{LOCK}"),
        str(COPY): _read(COPY),
        "git's HEAD": _git("show", f"HEAD:./{LOCK}"),
    }
    whole = {name: content for name, content in found.items() if content and broken_lock(content) is None}
    best = max(whole, key=lambda name: _agreement(whole[name], broken), default="")
    return best, whole.get(best)


def _agreement(one: bytes, other: bytes) -> int:
    """Count the bytes at the beginning that two contents share."""
    length = min(len(one), len(other))
    return next((i for i in range(length) if one[i] != other[i]), length)


def remember() -> None:
    """Keep a copy of dvc.lock where `mend` finds it, if it is whole."""
    if (content := _read(LOCK)) and content != _read(COPY) and broken_lock(content) is None:
        COPY.parent.mkdir(parents=True, exist_ok=True)
        _write(COPY, content)


def mend_rwlock() -> str | None:
    """Remove rwlock if it is cut, or what it says of processes that are gone or others by now.

    Returns
    -------
    str or None
        What was done; None also where the processes were gone, over which DVC passes by itself.
    """
    if (what := broken_rwlock()) is None and not _gone() and not reused():
        return None
    with alone(OWN / "rwlock.lock") as had:
        if not had:
            return None
        what, entries, gone = broken_rwlock(), reused(), _gone()
        if what is None and not entries and not gone:
            return None
        kept = keep(RWLOCK) if what or entries else None
        if what is not None:
            RWLOCK.unlink()
            return f"{RWLOCK} {what}; it is removed, and DVC makes a new one (the broken one is kept as {kept})"
        content, others = _rwlock(), {entry.pid for entry in entries} | gone
        written = {path: info for path, info in content["write"].items() if info["pid"] not in others}
        read = {path: [info for info in infos if info["pid"] not in others] for path, infos in content["read"].items()}
        _write(RWLOCK, json.dumps({"write": written, "read": {p: i for p, i in read.items() if i}}).encode())
    if not entries:
        return None
    told = "; ".join(f"process {entry.pid}, `{entry.command}`: {entry.why}" for entry in entries)
    return f"{RWLOCK} named processes that have ended: {told}; what it said of them is removed (kept as {kept})"


def _rwlock() -> dict[str, Any]:
    """Read rwlock: the process that writes each path, and those that read each."""
    content = json.loads(RWLOCK.read_bytes())
    return {"write": content.get("write", {}), "read": content.get("read", {})}


def _infos(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [*content["write"].values(), *(info for listed in content["read"].values() for info in listed)]


def broken_rwlock() -> str | None:
    """Return what keeps DVC from reading rwlock, or None."""
    if not RWLOCK.is_file():
        return None
    try:
        whole = all(isinstance(info["pid"], int) and isinstance(info["cmd"], str) for info in _infos(_rwlock()))
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    return None if whole else "is not whole"


def _gone() -> set[int]:
    """Return the numbers in rwlock that no process has."""
    import psutil

    if not RWLOCK.is_file() or broken_rwlock() is not None:
        return set()
    return {info["pid"] for info in _infos(_rwlock()) if not psutil.pid_exists(info["pid"])}


def reused() -> list[Entry]:
    """Return the processes of rwlock whose number is that of another process now; empty if rwlock is broken.

    DVC itself passes over those that are gone. A number that lives again stops it: after a restart of the machine, and
    always in containers, where the first process is number 1 each time.
    """
    if not RWLOCK.is_file() or broken_rwlock() is not None:
        return []
    moment = RWLOCK.stat().st_mtime
    named = {(info["pid"], info["cmd"]) for info in _infos(_rwlock())}
    return [Entry(pid, cmd, why) for pid, cmd in sorted(named) if (why := _another(pid, moment))]


def _another(pid: int, moment: float) -> str | None:
    """Return why process `pid` is not the DVC that was at work here at `moment`; None if it may be, or is gone."""
    import psutil

    if pid == os.getpid():
        return "that is this command"
    try:
        process = psutil.Process(pid)
        if process.create_time() > moment + CLOCK_SECONDS:
            return "it began later"
        arguments = process.cmdline()
        program = _program(process, arguments)
        if program and "python" not in program.lower() and "dvc" not in program.lower():
            return f"it is {program}"
        folder, command = Path(process.cwd()), " ".join(arguments)
    except (psutil.Error, OSError):
        return None
    if "dvc" in command or not folder.is_absolute() or folder.is_relative_to(Path.cwd()):
        return None
    return f"it works in {folder}"


def _program(process: psutil.Process, arguments: list[str]) -> str:
    """Return the name of the file that a process runs; of another user's, which may not be asked, what it calls itself.

    In a container number 1 is such a process as a rule.
    """
    import psutil

    try:
        return Path(process.exe()).name
    except (psutil.AccessDenied, OSError):
        return Path(arguments[0]).name if arguments else process.name()


def at_work() -> list[Entry]:
    """Return the processes of rwlock that live and may be the DVC that is meant, with what they are."""
    import psutil

    if not RWLOCK.is_file() or broken_rwlock() is not None:
        return []
    others = {entry.pid for entry in reused()} | _gone()
    found = []
    for pid, cmd in sorted({(info["pid"], info["cmd"]) for info in _infos(_rwlock()) if info["pid"] not in others}):
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            found.append(Entry(pid, cmd, " ".join(process.cmdline()) or process.name()))
    return found


def keep(path: Path) -> Path:
    """Copy a file into `KEPT`, under the first number that is free, and return where it is."""
    KEPT.mkdir(parents=True, exist_ok=True)
    content, number = path.read_bytes(), 1
    while True:
        kept = KEPT / f"{path.name}.{number}"
        with contextlib.suppress(FileExistsError), kept.open("xb") as copy:
            copy.write(content)
            return kept
        number += 1


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Hold a lock of DVC's, which takes them by the same call of the system; say whether it could be had."""
    deadline = time.monotonic() + WAIT_SECONDS
    with contextlib.ExitStack() as stack:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context(lock.open("a+b"))
        except OSError:  # read-only: DVC could not work there, either
            yield False
            return
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(0.05)
            except OSError:  # a disk without locks: DVC could not work there, either
                yield False
                return
        yield True


def _write(path: Path, content: bytes) -> None:
    """Replace a file as a whole, on the disk itself: a power cut may have been what broke it."""
    partial = path.with_name(f"partial-{path.name}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _git(*arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@contextlib.contextmanager
def alone_in(folder: Path, waiting: str) -> Iterator[None]:
    """Hold `folder`, which is there, until the end of the context; print `waiting` if another process holds it.

    The system gives it back when this process ends, however it ends. Nothing is written into the folder.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            pass  # a network's disk that holds no folders: two at once are then the user's own risk
        yield
    finally:
        os.close(descriptor)
