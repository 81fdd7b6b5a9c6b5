"""What medmatrix doctor looks at in DVC: dvc.lock, rwlock, databases, run-cache, and the files of its cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.study import disk, dvc_state, locks
from pipeline.study.digests import digest_of
from pipeline.study.repository import opened

FIX = "medmatrix doctor --fix"
HASHED = 1 << 28
"""Bytes of DVC's cache that are hashed unasked."""
_SHOWN = 80
"""How many letters of a command a line has."""
NAMED = 4
"""How many names a line has."""


@dataclass(frozen=True)
class Line:
    """What was found: `state` is ok, note or PROBLEM."""

    state: str
    what: str
    text: str


def ok(what: str, text: str) -> Line:
    """Nothing is wrong."""
    return Line("ok", what, text)


def note(what: str, text: str) -> Line:
    """Nothing is wrong, and there is something to know."""
    return Line("note", what, text)


def problem(what: str, text: str, typed: str) -> Line:
    """Something is wrong, and this is to be typed or done."""
    return Line("PROBLEM", what, f"{text}; {typed}")


def named(names: Any) -> str:
    """Join some names, and count the others."""
    listed = list(names)
    more = len(listed) - NAMED
    return ", ".join(listed[:NAMED]) + (f" and {more} more" if more > 0 else "")


def check_lock(fix: bool) -> Iterator[Line]:
    """Look whether DVC can read dvc.lock."""
    if not locks.LOCK.exists():
        yield note("dvc.lock", "none yet: dvc repro makes it")
        return
    content = locks.LOCK.read_bytes()
    what = locks.broken_lock(content)
    if what is None:
        yield ok("dvc.lock", f"{disk.amount(len(content))}, whole")
    elif locks.is_merge(content):
        yield problem("dvc.lock", "holds both sides of a merge", "git checkout --ours dvc.lock, then dvc repro")
    elif fix and (told := locks.mend_lock()):
        yield note("dvc.lock", told)
    else:
        yield problem("dvc.lock", what, f"{FIX} (or by hand: git checkout -- dvc.lock, then dvc repro)")


def check_rwlock(fix: bool) -> Iterator[Line]:
    """Look whether rwlock is whole, and whether the processes that it names are DVC."""
    broken, entries = locks.broken_rwlock(), locks.reused()
    if broken is None and not entries:
        if living := locks.at_work():
            them = named([f"process {each.pid} (`{each.command}`), now `{each.why[:_SHOWN]}`" for each in living])
            yield note("rwlock", f"{them} is at work here; if that is no DVC: rm {locks.RWLOCK}")
        else:
            yield ok("rwlock", "whole" if locks.RWLOCK.exists() else "none")
    elif fix and (told := locks.mend_rwlock()):
        yield note("rwlock", told)
    else:
        told = broken or "names " + named(
            [f"process {each.pid} as `{each.command}`, but {each.why}" for each in entries]
        )
        yield problem("rwlock", f"{locks.RWLOCK} {told}", f"{FIX} (or by hand: rm {locks.RWLOCK})")


def check_databases(fix: bool) -> Iterator[Line]:
    """Look whether DVC can use its databases of checksums and links."""
    found = dvc_state.databases()
    broken = dvc_state.broken_databases()
    if not broken:
        yield ok("databases", f"{len(found)} of DVC, whole" if found else "none of DVC yet")
    elif fix and (told := dvc_state.mend_databases()):
        yield from (note("databases", line) for line in told)
    else:
        said = named([f"{path} ({what})" for path, what in broken.items()])
        by_hand = f"rm -r {dvc_state.site_folder()} while no DVC is at work: it computes the checksums anew"
        yield problem("databases", f"DVC cannot use its database {said}", f"{FIX} (or by hand: {by_hand})")


def check_runs(fix: bool) -> Iterator[Line]:
    """Look whether the files of the run-cache are whole, from which DVC takes stages that it has run before."""
    broken = dvc_state.broken_runs(every=True)
    if not broken:
        yield ok("run-cache", f"{len(dvc_state.run_files(every=True))} stages, whole")
    elif fix and (told := dvc_state.mend_runs(every=True)):
        yield from (note("run-cache", line) for line in told)
    else:
        said = named([f"{path} {what}" for path, what in broken.items()])
        yield problem("run-cache", f"{len(broken)} files are damaged: {said}", f"{FIX} (or by hand: rm them)")


def check_cache(fix: bool, deep: bool) -> Iterator[Line]:
    """Hold the files of DVC's cache that dvc.lock names to their checksums."""
    files, missing = _cached()
    present = {path: digest for path, digest in files.items() if path.exists()}
    size = sum(path.stat().st_size for path in present)
    hashed = deep or size <= HASHED
    damaged = [path for path, digest in present.items() if _is_damaged(path, digest, hashed)]
    about = f"{len(present)} files, {disk.amount(size)}" + ("" if hashed else ", not hashed (--deep does)")
    gone = missing + len(files) - len(present)
    if damaged and fix:
        for path in damaged:
            kept = locks.keep(path)
            path.unlink()
            yield note("cache", f"{path} was damaged and is removed (kept as {kept}): dvc repro makes it again")
    elif damaged:
        yield problem("cache", f"{len(damaged)} files are damaged: {named(map(str, damaged))}", FIX)
    elif gone:
        yield note("cache", f"{about}; {gone} of dvc.lock are not there: dvc pull, or dvc repro makes them again")
    else:
        yield ok("cache", about)


def _cached() -> tuple[dict[Path, str], int]:
    """Return the files of the cache that dvc.lock names, with their MD5, and the number of folders without a list."""
    files: dict[Path, str] = {}
    missing = 0
    with opened() as repo:
        for out in repo.index.outs:
            if not out.use_cache or not out.hash_info:
                continue
            listing = Path(out.cache.oid_to_path(out.hash_info.value))
            files[listing] = out.hash_info.value.removesuffix(".dir")
            if out.hash_info.isdir:
                try:
                    entries = json.loads(listing.read_text(encoding="utf-8"))
                    files |= {Path(out.cache.oid_to_path(entry["md5"])): entry["md5"] for entry in entries}
                except OSError:
                    missing += 1
                except (ValueError, TypeError, KeyError):
                    continue  # damaged: its checksum says so
    return files, missing


def _is_damaged(path: Path, md5: str, hashed: bool) -> bool:
    if not hashed and path.stat().st_size:  # an empty file is told by its checksum in no time
        return False
    return digest_of(path, "md5") != md5
