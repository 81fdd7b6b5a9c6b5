"""What lies on the disk, and whether more fits on it."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.fetching.text import binary


def file_size(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def check_room(named: str, folder: Path, needed: int) -> None:
    """Refuse to begin what does not fit on the disk.

    Parameters
    ----------
    named : str
        Files to write, for the message.
    folder : Path
        Where to; exists.
    needed : int
        Bytes.

    Raises
    ------
    DatasetError
        If fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"{folder}: {named} still need {binary(needed)}, {binary(free)} are free; free some space, or make the "
            "folder a link to a larger disk"
        )
