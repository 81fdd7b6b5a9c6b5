"""Verify files and remember in ``.verified.json`` what was verified, so that 45 GB are not read again at each call."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pipeline.datasets.shared.fetching.remote import Fetched, RemoteFile
from pipeline.datasets.shared.fetching.text import binary, say
from pipeline.study.digests import digest_of

STAMPS = ".verified.json"
"""Name, size, modification time and checksum of the verified files of a folder."""

_LONG_CHECK = 64 << 20
"""Bytes of a file from which its check takes long enough to be announced."""


class WrongFile(Exception):
    """A file is complete and is not the published one; it was moved aside."""


def verified(file: RemoteFile, path: Path, folder: Path, progress: bool) -> Fetched:
    """Check `path`, give it its final name and remember it.

    Parameters
    ----------
    file : RemoteFile
        What it is to be.
    path : Path
        Where it lies: under its final name, or as ``<name>.part``.
    folder : Path
        Folder of its final name and of the stamps; on the same disk as `path`.
    progress : bool
        Announce a check that takes long.

    Returns
    -------
    Fetched
        With the published algorithm. A file whose size and time are those of its stamp is not read again.

    Raises
    ------
    WrongFile
        If it is not the published file; it is then ``<name>.bad``.
    """
    status = path.stat()
    algorithm, published = file.checksum
    stamps = _stamps(folder)
    stamp = stamps.get(file.name)
    final = folder / file.name
    wrong = file.wrong_size(status.st_size)
    if wrong:
        raise _aside(file, path, folder, f"{status.st_size:,} bytes, expected {wrong}")
    if (
        path == final
        and isinstance(stamp, dict)
        and (stamp.get("size"), stamp.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
        and isinstance(stamp.get(algorithm), str)
        and published in (None, stamp[algorithm])
    ):
        return Fetched(final, status.st_size, algorithm, stamp[algorithm])
    if progress and status.st_size >= _LONG_CHECK:
        say(f"{file.name}: checking {binary(status.st_size)}", progress)
    digest = digest_of(path, algorithm)
    if published not in (None, digest):
        raise _aside(file, path, folder, f"{algorithm.upper()} {digest}, expected {published}")
    os.replace(path, final)
    stamps[file.name] = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, algorithm: digest}
    partial = folder / f"{STAMPS}.partial"
    partial.write_text(json.dumps(stamps, indent=1, sort_keys=True) + "\n")
    os.replace(partial, folder / STAMPS)
    return Fetched(final, status.st_size, algorithm, digest)


def _aside(file: RemoteFile, path: Path, folder: Path, found: str) -> WrongFile:
    bad = folder / f"{file.name}.bad"
    os.replace(path, bad)
    return WrongFile(f"{folder / file.name} is not the published file ({found}); kept as {bad.name}")


def _stamps(folder: Path) -> dict[str, Any]:
    try:
        stamps = json.loads((folder / STAMPS).read_text())
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}
