"""What DVC keeps to save work, beside dvc.lock: databases of SQLite, and the run-cache; found damaged, and put aside.

DVC 3.67 has its databases (checksums of files, links that it made, what a remote holds) in a folder of the project's
own below its *site cache*, outside of the project as a rule. It opens them as it starts: a cut or overwritten one stops
every command, "database disk image is malformed". The run-cache (``runs`` in its cache) has a file of YAML for each
stage that ever ran; a cut one stops its stage, "failed to reproduce 'train': 'outs'". A power cut does both.

Nothing is lost with either: DVC computes checksums again, and runs a stage again.
"""

from __future__ import annotations

import configparser
import contextlib
import functools
import getpass
import hashlib
import importlib.metadata
import json
import os
import pickletools
import re
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.study.locks import OWN, alone, keep

BROKEN = ".broken"
"""A database that was put aside ends so; it lies where it lay."""
FILES = ("cache.db", "db.db")
"""What DVC calls its databases."""
NEWEST = 200
"""So many files of the run-cache are looked at without being asked for all: a power cut damages the newest."""
WRITING_SECONDS = 60.0
"""For a DVC in another clone that writes into the same run-cache."""
_PICKLED = 4
"""What the package diskcache calls the mode of a value that is pickled."""
_MOST_PICKLES = 10_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NO_MATTER = ("size", "nfiles")
"""Keys that DVC leaves out of the digest by which it finds a file of the run-cache."""


def configured(section: str, key: str) -> str | None:
    """Return what DVC's configuration says of a key: that of the project, of the user and of the machine.

    Importing DVC, which knows it best, takes a second.
    """
    import platformdirs

    names = ("dvc", "iterative")
    folders = (
        os.environ.get("DVC_SYSTEM_CONFIG_DIR") or platformdirs.site_config_dir(*names),
        os.environ.get("DVC_GLOBAL_CONFIG_DIR") or platformdirs.user_config_dir(*names),
    )
    found = None
    for file in (*(Path(folder) / "config" for folder in folders), Path(".dvc/config"), Path(".dvc/config.local")):
        settings = configparser.ConfigParser(interpolation=None, strict=False)
        with contextlib.suppress(OSError, UnicodeDecodeError, configparser.Error):  # for DVC to say
            settings.read(file, encoding="utf-8")
            value = settings.get(section, key, fallback=None)
            if value is None:
                continue
            found = value.strip().strip("'\"")
            if (section, key) == ("cache", "dir") and not Path(found).expanduser().is_absolute():
                found = str(file.parent / found)
    return found


def site_folder() -> Path | None:
    """Return the folder in DVC's site cache of the working directory's project; None if no DVC has run here yet."""
    site = os.environ.get("DVC_SITE_CACHE_DIR") or configured("core", "site_cache_dir") or _default_site()
    try:
        made, user = os.path.getmtime(OWN / "btime"), getpass.getuser()
        major = int(importlib.metadata.version("dvc").split(".")[0])
    except (OSError, KeyError, ImportError):  # a container may have no name for its user: DVC does not run there
        return None
    named = str((str(Path.cwd()), None, made, user, major, 0))
    return Path(site) / "repo" / hashlib.md5(named.encode(), usedforsecurity=False).hexdigest()


def _default_site() -> str:
    if sys.platform == "darwin":
        import platformdirs

        return platformdirs.site_cache_dir("dvc", "iterative")
    return "/var/tmp/dvc"


def run_cache() -> Path:
    """Return the folder of the run-cache."""
    return Path(configured("cache", "dir") or ".dvc/cache").expanduser() / "runs"


def databases() -> list[Path]:
    """Return DVC's databases of the working directory's project."""
    folder = site_folder()
    return sorted(path for path in folder.rglob("*.db") if path.name in FILES) if folder else []


def database_damage(path: Path) -> str | None:
    """Return what is wrong with a database, None if nothing is, or if it cannot be told: it is in use, say.

    What a process that was killed has left half done SQLite finishes or takes back, as it would for DVC.
    """
    if not path.is_file() or not path.stat().st_size:
        return None  # to SQLite a new one
    address = f"{path.absolute().as_uri()}?mode=rw"  # read-only, it could not take back what is half done
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=1.0)) as opened:
            ((said,),) = opened.execute("PRAGMA quick_check(1)").fetchall()
            return _pickle_damage(opened) if said == "ok" else " ".join(str(said).splitlines()[-1:])
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return str(error) if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else None


def _pickle_damage(opened: sqlite3.Connection) -> str | None:
    """Return what is wrong with the newest values that DVC would unpickle; here they are only read."""
    if not opened.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'Cache'").fetchall():
        return None
    query = "SELECT value FROM Cache WHERE mode = ? AND filename IS NULL ORDER BY rowid DESC LIMIT ?"
    for (value,) in opened.execute(query, (_PICKLED, _MOST_PICKLES)):
        try:
            for _ in pickletools.genops(value):
                pass
        except Exception:  # whatever a reader of broken bytes raises
            return "a value in it is not whole"
    return None


def broken_databases() -> dict[Path, str]:
    """Return the databases that DVC cannot use, with the reason."""
    found = {path: database_damage(path) for path in databases()}
    return {path: what for path, what in found.items() if what}


def mend_databases() -> list[str]:
    """Put the databases aside that DVC cannot use, and empty ones in their place.

    Returns
    -------
    list of str
        One sentence, if anything was wrong.
    """
    if not broken_databases():
        return []
    with alone(OWN / "lock") as had:
        broken = broken_databases() if had else {}
        for path in broken:
            os.replace(path, path.with_name(path.name + BROKEN))
            for suffix in ("-wal", "-shm"):  # SQLite would put their content into the new one
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            if path.name == FILES[0]:
                _make(path.parent)
    if not broken:
        return []
    what = "; ".join(f"{path} ({what})" for path, what in broken.items())
    return [f"DVC could not have read its database {what}; it is put aside as *{BROKEN}, and DVC hashes files anew"]


def _make(folder: Path) -> None:
    """Make an empty database, as a DVC that is in the middle of running a stage expects one."""
    from dvc_data.hashfile.cache import Cache

    Cache(str(folder)).close()


def run_files(every: bool) -> list[Path]:
    """Return the files of the run-cache, and folders of it that hold none, the newest first.

    Parameters
    ----------
    every : bool
        Else the newest `NEWEST` alone.
    """
    shared = configured("cache", "dir") is not None
    found: list[tuple[float, str]] = []
    for folder in run_cache().glob("*/*"):
        with contextlib.suppress(OSError):
            for path in [*folder.iterdir()] or [folder]:
                written = path.stat().st_mtime
                # A whole one is renamed into its place. Others may be at work in another clone, if not in this one.
                if (
                    (_DIGEST.fullmatch(path.name) and path != folder)
                    or not shared
                    or time.time() - written > WRITING_SECONDS
                ):
                    found.append((written, str(path)))
    return [Path(name) for _, name in sorted(found, reverse=True)[: None if every else NEWEST]]


def run_damage(path: Path) -> str | None:
    """Return what is wrong with a file of the run-cache, None if nothing is, or if it cannot be read."""
    try:
        about = path.stat()
        return "holds nothing" if path.is_dir() else _run_damage(path, about.st_mtime_ns, about.st_size)
    except OSError:
        return None


@functools.cache  # by date and size: a launcher looks many times
def _run_damage(path: Path, *_: int) -> str | None:
    """Hold a file to its name, a digest of its content, and to that of its folder: of inputs and names of outputs."""
    from ruamel.yaml import YAML

    content = path.read_bytes()
    if not content.strip(b"\0 \n"):
        return "is empty"
    try:
        stage = YAML(typ="safe").load(content.decode("utf-8"))
        asked = {**stage, "outs": [out["path"] for out in stage["outs"]]}
        whole = _digest(asked) == path.parent.name
        whole = whole and (not _DIGEST.fullmatch(path.name) or _digest(stage) == path.name)
    except Exception:  # whatever a reader of broken text raises
        whole = False
    return None if whole else "is not whole"


def _digest(content: Any) -> str:
    """Digest an entry as DVC does, see `dvc.utils.dict_sha256`."""
    return hashlib.sha256(json.dumps(_that_matters(content), sort_keys=True).encode()).hexdigest()


def _that_matters(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _that_matters(value) for key, value in content.items() if key not in _NO_MATTER}
    return [_that_matters(value) for value in content] if isinstance(content, list) else content


def broken_runs(every: bool) -> dict[Path, str]:
    """Return the files of the run-cache that would stop DVC, with the reason; see `run_files` for `every`."""
    found = {path: run_damage(path) for path in run_files(every)}
    return {path: what for path, what in found.items() if what}


def mend_runs(every: bool = False) -> list[str]:
    """Put files of the run-cache aside that are not whole; return a sentence for each.

    A folder without a file stops DVC, too, which takes the newest file of one that is there.
    """
    if not broken_runs(every):
        return []
    told = []
    with alone(OWN / "lock") as had:
        for path, what in broken_runs(every).items() if had else ():
            if path.is_dir():
                path.rmdir()
                told.append(f"{path} of DVC's run-cache {what}; it is removed")
                continue
            kept = keep(path)
            path.unlink()
            with contextlib.suppress(OSError):
                path.parent.rmdir()
            told.append(f"{path} of DVC's run-cache {what}; it is removed (kept as {kept}): its stage runs again")
    return told
