"""Look a checkout over: what keeps it from running, what to type.

One line for each thing looked at: ok, note, or PROBLEM with what to type. The exit status is 1 if there is a problem.
Nothing is changed but by --fix, which mends what can be mended without losing anything: a dvc.lock or rwlock that a
kill has left cut, a database or run-cache of DVC's that a power cut has, damaged files in DVC's cache and damaged
checkpoints. What it replaces is kept in tmp/kept, a database beside itself.

Examples
--------
  medmatrix doctor                        what is wrong, and what to type
  medmatrix doctor --fix                  the same, after mending what can be mended
  medmatrix doctor --deep                 hash all of DVC's cache, however large (1.2 s a GB)
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.commands import command_parser
from pipeline.commands._doctor_dvc import (
    FIX,
    Line,
    check_cache,
    check_databases,
    check_lock,
    check_runs,
    check_rwlock,
    named,
    note,
    ok,
    problem,
)
from pipeline.launching import workers
from pipeline.launching.status import SHARED, read_status, run_stages
from pipeline.launching.work import LOGS
from pipeline.reporting.english import count, plural
from pipeline.study import disk, locks
from pipeline.study.dvc_state import configured
from pipeline.study.errors import UserError
from pipeline.study.files import CHECKPOINTS
from pipeline.study.repository import WITHOUT_GIT, opened

LEAST_FREE = 1 << 30
"""Bytes; less is a problem whatever the study."""
_LINES = 2
"""How many lines of an error a line has: of DVC's "is busy" the second says by whom."""


def check_python() -> Iterator[Line]:
    """Look at the version of Python, and at which one the stages get."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = shutil.which("python")
    same = found is not None and Path(found).parent.resolve() == Path(sys.executable).parent.resolve()
    if not same:
        yield problem(
            "python",
            f"`python` in dvc.yaml is {found or 'not there'}, this is {sys.executable}",
            f"export PATH={Path(sys.executable).parent}:$PATH",
        )
    else:
        yield ok("python", f"{version}, {sys.executable}")


def check_packages() -> Iterator[Line]:
    """Compare what is installed with the pins of requirements.txt."""
    file = Path("requirements.txt")
    if not file.exists():
        yield note("packages", "there is no requirements.txt here to compare with")
        return
    pins = re.findall(r"^([\w.\-\[\]]+)==([^\s#;]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    other = []
    for name, version in pins:
        try:
            installed = importlib.metadata.version(name.split("[")[0])
        except importlib.metadata.PackageNotFoundError:
            installed = "none"
        if installed != version:
            other.append(f"{name} {installed} instead of {version}")
    if other:
        yield problem("packages", f"{named(other)}: other versions, other bytes", "pip install -r requirements.txt")
    else:
        yield ok("packages", f"all {len(pins)} of requirements.txt in their versions")


def check_git() -> Iterator[Line]:
    """Look at the repository: whether there is one, a merge that is not finished, what differs from the commit."""
    done = git("rev-parse", "--short", "HEAD")
    if done is None:
        if git("rev-parse", "--git-dir") is None and not _without_scm():
            said = "no repository, and DVC is not told that there is none: it begins nothing"
            yield problem("git", said, WITHOUT_GIT)
            return
        yield note("git", "no repository with a commit: pages cannot name their code, dvc.lock has no second copy")
        return
    if unmerged := (git("ls-files", "--unmerged", "--", str(locks.LOCK)) or "").strip():
        sides = len(unmerged.splitlines())
        yield problem("git", f"dvc.lock is of a merge that is not finished ({sides} versions)", "git add dvc.lock")
    changed = [
        line[3:]
        for line in (git("status", "--porcelain", "--", "pipeline", "params.yaml", "dvc.yaml") or "").splitlines()
    ]
    yield ok("git", f"commit {done.strip()}, " + (f"changed since: {named(changed)}" if changed else "nothing changed"))


def _without_scm() -> bool:
    """Whether DVC is told that there is no git."""
    return (configured("core", "no_scm") or "").lower() in ("true", "1", "yes", "on")


def check_params() -> Iterator[Line]:
    """Hold params.yaml to what a stage would hold it to, the machine's GPU among it."""
    from pipeline.settings.checks import load
    from pipeline.study.runs import every_run

    try:
        params = load()
    except UserError as error:
        yield problem("params", " / ".join(str(error).splitlines()), "edit params.yaml, then medmatrix check")
    else:
        yield ok("params", f"{count('training run', len(every_run(params)))} of {params.dataset}")


def check_at_work() -> Iterator[Line]:
    """Look for a launcher or a DVC at work, and for what a killed launcher has left."""
    launcher, dvc = is_held(LOGS / "lock"), is_held(locks.OWN / "lock")
    left = [] if launcher else workers.leftovers(workers.mark_of(Path.cwd(), None))
    if left:
        numbers = named([str(process.pid) for process in left])
        yield problem("at work", f"processes of a launcher that is gone: {numbers}", "medmatrix launch ends them")
    elif launcher or dvc:
        yield note("at work", f"{'a launcher' if launcher else 'a DVC'} is at work here: some of this will change")
    else:
        yield ok("at work", "nobody")


def check_state() -> Iterator[Line]:
    """Ask DVC what is to be done: inputs that have changed, runs that are missing."""
    if is_held(locks.OWN / "lock"):
        yield note("to do", "not asked: DVC is at work")
        return
    from pipeline.settings import load

    params = load()
    status = read_status([*SHARED, *run_stages(params)])
    to_run = [name for name, each in status.items() if each.state in ("to run", "unknown")]
    cached = sum(each.state == "cached" for each in status.values())
    if to_run or cached:
        yield note(
            "to do", f"{count('stage', len(to_run))} to run ({named(to_run)}), {cached} from the cache: dvc repro"
        )
    else:
        yield ok("to do", f"{len(status)} stages of data and training runs are up to date")


def check_checkpoints(fix: bool) -> Iterator[Line]:
    """Look at the training runs that were interrupted."""
    found = sorted(CHECKPOINTS.glob("*.pt")) if CHECKPOINTS.is_dir() else []
    whole = [path for path in found if not path.name.startswith("partial-")]
    if not whole:
        yield ok("unfinished", "no training run")
        return
    from pipeline.learning.training.checkpoints import damage

    damaged = [path for path in whole if damage(path)]
    for path in damaged if fix else ():
        kept = locks.keep(path)
        path.unlink()
        yield note("unfinished", f"{path} was damaged and is removed (kept as {kept}): its training run begins anew")
    if damaged and not fix:
        which = f"{len(damaged)} of {count('checkpoint', len(whole))} {plural('is', len(damaged))} damaged"
        told = f"{which}: {named(map(str, damaged))}"
        yield problem("unfinished", told, f"their training runs begin anew, and {FIX} removes them")
    elif len(whole) > len(damaged):
        size = sum(path.stat().st_size for path in whole if path.exists())
        told = (
            f"{count('training run', len(whole) - len(damaged))} that can go on, {disk.amount(size)} in {CHECKPOINTS}"
        )
        yield note("unfinished", f"{told}; those of settings that have changed may be deleted")


def check_gpu() -> Iterator[Line]:
    """Say what torch computes on."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield ok("gpu", f"{named(names)}, CUDA {torch.version.cuda}")
        return
    listed = workers.visible_gpus()
    if listed and os.environ.get("CUDA_VISIBLE_DEVICES") is None:
        yield problem(
            "gpu",
            f"nvidia-smi lists {len(listed)}, torch {torch.__version__} sees none",
            "install a torch for its driver: see https://pytorch.org",
        )
    else:
        yield ok("gpu", "none; training runs are on the CPU")


def check_disk() -> Iterator[Line]:
    """Look for room where the study, DVC's cache and temporary files lie, and whether it may be written to."""
    places = {"here": Path(), "cache": _cache_folder(), "temporary": Path(os.environ.get("TMPDIR", "/tmp"))}
    for name, folder in places.items():
        while not folder.exists():
            folder = folder.parent
        about = os.statvfs(folder)
        free = about.f_bavail * about.f_frsize
        if not os.access(folder, os.W_OK):
            yield problem("disk", f"{name}: {folder.resolve()} is not writable", f"chmod u+w {folder.resolve()}")
        elif about.f_files and not about.f_favail:
            yield problem(
                "disk", f"{name}: no further file fits on the disk of {folder.resolve()}", "delete some files"
            )
        elif free < LEAST_FREE:
            yield problem(
                "disk", f"{name}: {disk.amount(free)} free at {folder.resolve()}", "free some space, or dvc gc -A"
            )
        else:
            yield ok("disk", f"{name}: {disk.amount(free)} free")


def _cache_folder() -> Path:
    from pipeline.launching.status import cache_folder

    try:
        return cache_folder()
    except Exception:  # whatever keeps DVC from starting has a line of its own
        return Path(".dvc/cache")


def check_owner(fix: bool) -> Iterator[Line]:
    """Look for folders into which others could put what this user then reads as code."""
    with opened() as repo:
        site = Path(repo.site_cache_dir).parent
    places = [
        folder for folder in (Path(), Path(".dvc"), Path(".dvc/tmp"), Path("tmp"), Path("pipeline")) if folder.is_dir()
    ]
    loose = [folder for folder in places if is_loose(folder)]
    if loose:
        paths = " ".join(str(folder.resolve()) for folder in loose)
        yield problem("owner", f"other users can write to {paths}", f"chmod go-w {paths}")
    if not is_loose(site):
        yield ok("owner", "nobody else can write here" if not loose else f"{site} is this user's alone")
    elif fix:
        own = Path(".dvc/tmp/site").absolute()
        (own / "repo").mkdir(parents=True, exist_ok=True, mode=0o700)
        own.chmod(0o700)
        subprocess.run([sys.executable, "-m", "dvc", "config", "--local", "core.site_cache_dir", str(own)], check=True)
        yield note("owner", f"DVC's table of checksums is moved from {site} to {own}")
    else:
        yield note(
            "owner", f"DVC keeps a table that it unpickles in {site}, where every user of this machine can write: {FIX}"
        )


def is_loose(folder: Path) -> bool:
    """Whether somebody else than this user and root owns a folder, or may write to it."""
    about = folder.stat()
    return about.st_uid not in (0, os.getuid()) or bool(about.st_mode & stat.S_IWOTH)


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock."""
    if not lock.exists():
        return False
    with lock.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def git(*arguments: str) -> str | None:
    """Return what git prints, None if it fails."""
    with contextlib.suppress(OSError):
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, errors="replace", check=False)
        return done.stdout if done.returncode == 0 else None
    return None


def examine(fix: bool = False, deep: bool = False) -> Iterator[Line]:
    """Yield what is found, from top to bottom. A look that fails is a problem of its own.

    Parameters
    ----------
    fix : bool
        Mend what can be mended without losing anything.
    deep : bool
        Hash all of DVC's cache.
    """
    looks: dict[str, Callable[[], Iterator[Line]]] = {
        "python": check_python,
        "packages": check_packages,
        "git": check_git,
        "at work": check_at_work,
        "dvc.lock": lambda: check_lock(fix),
        "rwlock": lambda: check_rwlock(fix),
        "databases": lambda: check_databases(fix),
        "run-cache": lambda: check_runs(fix),
        "params": check_params,
        "cache": lambda: check_cache(fix, deep),
        "to do": check_state,
        "unfinished": lambda: check_checkpoints(fix),
        "gpu": check_gpu,
        "disk": check_disk,
        "owner": lambda: check_owner(fix),
    }
    for what, look in looks.items():
        try:
            yield from look()
        except Exception as error:  # DVC's own among them: the others are looked at all the same
            said = " ".join((str(error).strip() or type(error).__name__).splitlines()[:_LINES])
            yield problem(what, f"could not be looked at: {said}", "mend what is above first")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the lines; exit with 1 if one is a problem."""
    parser = command_parser("doctor", __doc__)
    parser.add_argument("--fix", action="store_true", help="mend what can be mended without losing anything")
    parser.add_argument("--deep", action="store_true", help="hash all of DVC's cache, however large")
    options = parser.parse_args(arguments)
    if not Path("dvc.yaml").exists():
        print("error: there is no dvc.yaml here: run from the root of the project", file=sys.stderr)
        raise SystemExit(1)
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    problems = 0
    for line in examine(options.fix, options.deep):
        problems += line.state == "PROBLEM"
        print(f"{line.state:8}{line.what:11}{line.text}", flush=True)
    print(f"{problems} problem{'s' * (problems != 1)}" if problems else "no problem")
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
