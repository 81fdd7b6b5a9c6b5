"""Fetch published files over HTTP so that a broken line costs minutes and a wrong byte never reaches a study.

A transfer lies in ``<name>.part`` until its size and checksum are right (`stamps`); a second call goes on where the
first one broke off (`line`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.fetching.disk import check_room, file_size
from pipeline.datasets.shared.fetching.line import RETRIES, TIMEOUT, Line
from pipeline.datasets.shared.fetching.remote import Fetched, RemoteFile
from pipeline.datasets.shared.fetching.stamps import WrongFile, verified
from pipeline.datasets.shared.fetching.text import say, tail


def fetch_files(
    files: Sequence[RemoteFile],
    folder: Path,
    *,
    otherwise: str = "",
    progress: bool = True,
    retries: int = RETRIES,
    timeout: float = TIMEOUT,
    sleep: Callable[[float], None] | None = None,
) -> list[Fetched]:
    """Make every file complete and verified in `folder`.

    Parameters
    ----------
    files : sequence of RemoteFile
        Fetched one after the other, in this order.
    folder : Path
        Is made; may hold complete files, also such as were put there by hand, and ``.part`` files of broken transfers.
    otherwise : str
        What to do where the network does not help; ends the message of every failed transfer.
    progress : bool
        Show the progress on stderr.
    retries : int
        Failures in a row after which a transfer gives up.
    timeout : float
        Seconds without a byte after which a connection counts as broken.
    sleep : callable or None
        Waits so many seconds between attempts; `time.sleep` where None.

    Returns
    -------
    list of Fetched
        In the order of `files`.

    Raises
    ------
    DatasetError
        If the disk is too small for what is missing, an address does not answer, answers with a web page or with a
        file of another size, or a checksum is wrong. The message names the file and the address. A file with a wrong
        checksum is kept as ``<name>.bad``, a broken transfer as ``<name>.part``.
    """
    names = [file.name for file in files]
    if len(set(names)) != len(names):
        raise DatasetError(f"{folder}: '{max(names, key=names.count)}' is to be fetched twice; names must differ")
    folder.mkdir(parents=True, exist_ok=True)
    ready: dict[str, Fetched] = {}
    for file in files:
        path = folder / file.name
        if path.is_file():
            try:
                ready[file.name] = verified(file, path, folder, progress)
            except WrongFile as error:
                say(f"{error}; fetching it again", progress)
    missing = [file for file in files if file.name not in ready]
    _check_space(folder, missing)
    for file in missing:
        part = folder / f"{file.name}.part"
        line = Line(file, part, otherwise, progress, retries, timeout, sleep or time.sleep)
        line.transfer()
        try:
            ready[file.name] = verified(file, part, folder, progress)
        except WrongFile as error:
            line.state_path.unlink(missing_ok=True)
            raise DatasetError(
                f"{error}; it came from {file.url}. Run the stage again to fetch it anew{tail(otherwise)}"
            ) from None
        line.state_path.unlink(missing_ok=True)
    return [ready[file.name] for file in files]


def fetch_file(file: RemoteFile, folder: Path, **options: Any) -> Fetched:
    """Make one file complete and verified in `folder`; `options` and errors are those of `fetch_files`."""
    return fetch_files([file], folder, **options)[0]


def _check_space(folder: Path, missing: Sequence[RemoteFile]) -> None:
    needed = sum(max((f.largest or 0) - file_size(folder / f"{f.name}.part"), 0) for f in missing)
    named = ", ".join(f.name for f in missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    check_room(named, folder, needed)
