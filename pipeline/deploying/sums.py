"""The sums in the folder of an export: they tell a folder of ours, whole or cut, from one of the user's."""

from __future__ import annotations

from pathlib import Path

from pipeline.learning.weights import sha256_of
from pipeline.study.files import write_text

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write the sums of all files in `folder`, as ``sha256sum --check`` reads them."""
    write_text(folder / SUMS, "".join(f"{sha256_of(path)}  {path.name}\n" for path in sorted(folder.iterdir())))


def lacking(folder: Path) -> int | None:
    """Count the files that the sums in `folder` name and that are not there.

    Returns
    -------
    int or None
        None if there are no sums, or anything that they do not name, or that is not as they say: a file of the user's.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        found = [path for path in folder.iterdir() if path.name != SUMS]
        if any(path.is_symlink() or not path.is_file() or sums.get(path.name) != sha256_of(path) for path in found):
            return None
    except (OSError, ValueError):
        return None
    return len(sums) - len(found)
