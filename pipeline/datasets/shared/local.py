"""What the data sets that lie in a folder share: finding that folder, listing its images, describing what was found."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.dicom import is_dicom_file
from pipeline.datasets.shared.fetching.kaggle import fetch_kaggle
from pipeline.datasets.shared.irregular import check_name, why_unreadable
from pipeline.study.files import write_text
from pipeline.study.inputs import located

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".dcm", ".dic", ".dicom", ".gif", ".ima", ".j2k", ".jp2", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Names that promise an image; what the bytes are is for the decoder to say."""

_KAGGLE = "kaggle.json"
"""Where in data/raw/<name> a copy from Kaggle lies: its path holds the version that Kaggle chose."""
_JUNK_FOLDERS = {"__macosx", "@eadir"}
"""Folders that macOS archives and network storage add beside the images, with copies or thumbnails in them."""
_NAMED = 10
"""How many file names a summary lists."""


_NO_IMAGES = (
    *(".csv", ".db", ".doc", ".docx", ".gz", ".htm", ".html", ".ini", ".jar", ".json", ".mat", ".md", ".nii", ".npy"),
    *(".npz", ".pdf", ".py", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip"),
)
"""Suffixes of files that need not be opened to know that they are no DICOM images."""


class Listing(NamedTuple):
    """Files below a folder, as paths relative to it, sorted.

    Parameters
    ----------
    images : list of str
        Visible files with an image suffix, and DICOM files under any name.
    hidden : list of str
        Files with an image suffix whose name starts with a dot: rarely images, whatever the suffix says.
    others : list of str
        Everything else, and whatever lies in hidden or junk folders.
    closed : list of str
        Folders that may not be looked into.
    """

    images: list[str]
    hidden: list[str]
    others: list[str]
    closed: list[str]


def is_junk_folder(name: str) -> bool:
    """Whether a folder of this name holds copies or bookkeeping (``.ipynb_checkpoints``, ``__MACOSX``), no data."""
    return name.startswith(".") or name.lower() in _JUNK_FOLDERS


def root_folder(root: str | None, key: str, layout: str) -> Path:
    """Return the folder that a ``root`` setting names.

    Parameters
    ----------
    root : str or None
        Relative to the folder of params.yaml, or absolute; ``~`` is the home folder.
    key : str
        Name of the data set under ``datasets``.
    layout : str
        What is expected in the folder, for the message.

    Raises
    ------
    DatasetError
        If it is not set, or is no folder.
    """
    if not root:
        raise DatasetError(f"datasets.{key}.root is not set; set it in params.yaml to the folder that holds {layout}")
    path = located(root)
    if not path.is_dir():
        state = "is not a folder" if path.exists() else "does not exist"
        raise DatasetError(f"datasets.{key}.root: '{root}' {state}; expected a folder that holds {layout}")
    return path


def fetch_kaggle_copy(handle: str, folder: Path, key: str) -> Path:
    """Fetch a data set from Kaggle and note in `folder` where it lies.

    Parameters
    ----------
    handle : str
        ``owner/name``, with or without ``/versions/N``.
    folder : Path
        ``data/raw/<name>``.
    key : str
        Name of the data set under ``datasets``.

    Raises
    ------
    DatasetError
        If it cannot be fetched.
    """
    path = fetch_kaggle(handle, folder, f"datasets.{key}.root").resolve()
    inside = path.is_relative_to(folder.resolve())
    where = path.relative_to(folder.resolve()).as_posix() if inside else path.as_posix()
    write_text(folder / _KAGGLE, json.dumps({"handle": handle, "path": where}, indent=2) + "\n")
    return path


def kaggle_copy(folder: Path, key: str) -> Path:
    """Return the folder that `fetch_kaggle_copy` noted.

    Raises
    ------
    DatasetError
        If nothing was fetched, or it is gone.
    """
    try:
        path = folder / json.loads((folder / _KAGGLE).read_text(encoding="utf-8"))["path"]
    except (OSError, ValueError, KeyError, TypeError):
        path = None
    if path is None or not path.is_dir():
        raise DatasetError(
            f"{folder}: the files from Kaggle are not there; run stage download, or set datasets.{key}.root to a copy"
        )
    return path


def find_below(top: Path, fits: Callable[[Path], bool], depth: int = 2) -> Path | None:
    """Return the first folder for which `fits` holds, breadth first: `top`, its sub-folders, theirs.

    Parameters
    ----------
    top : Path
        Where to start; archives and mirrors wrap a data set in one or two folders of their own.
    fits : callable
        Takes a folder.
    depth : int
        Levels below `top` to look at, at least 0.

    Returns
    -------
    Path or None
        Folders of one level are tried by name, so that the answer does not depend on the file system.
    """
    level = [top]
    for remaining in range(depth, -1, -1):
        for folder in level:
            if fits(folder):
                return folder
        if remaining:
            level = [child for folder in level for child in subfolders(folder)]
    return None


def subfolders(folder: Path) -> list[Path]:
    """Folders in `folder` that may hold data, sorted by name; none if it is no folder.

    Raises
    ------
    DatasetError
        If it may not be looked into, or a name is not UTF-8.
    """
    if not folder.is_dir():
        return []
    try:
        found = [p for p in folder.iterdir() if p.is_dir() and not is_junk_folder(p.name)]
    except OSError as error:
        raise DatasetError(f"{folder}: folder not readable: {error.strerror}") from None
    for path in found:
        check_name(path.name, str(folder))
    return sorted(found, key=lambda p: p.name)


def list_files(
    folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES, recursive: bool = True, dicom: bool = False
) -> Listing:
    """List the files below `folder`.

    Parameters
    ----------
    folder : Path
        Need not exist.
    suffixes : iterable of str
        Suffixes of images, in lower case, with their dot.
    recursive : bool
        Descend into sub-folders; links to folders are not followed, for they may lead in a circle.
    dicom : bool
        Take files without an image suffix for images if their content is DICOM: on hospital media they have none, or
        end with the last number of a UID.

    Returns
    -------
    Listing
        Sorted as text: the order of a folder differs between file systems. What is no file that can be read is listed
        by its name, see `pipeline.datasets.shared.irregular`.

    Raises
    ------
    DatasetError
        If a name is not UTF-8.
    """
    allowed = frozenset(suffixes)
    images: list[str] = []
    hidden: list[str] = []
    others: list[str] = []
    closed: list[str] = []

    def note(error: OSError) -> None:
        if error.errno != errno.ENOENT:
            closed.append(Path(error.filename).relative_to(folder).as_posix())

    for parent, folders, names in os.walk(folder, onerror=note):
        base = Path(parent).relative_to(folder)
        junk = any(is_junk_folder(part) for part in base.parts)
        if not recursive:
            folders.clear()
        for name in [*folders, *names]:
            check_name(name, f"{folder / base}")
        for name in names:
            path = (base / name).as_posix()
            suffix = os.path.splitext(name)[1].lower()
            if junk or (suffix not in allowed and not (dicom and _is_hidden_dicom(Path(parent) / name, suffix))):
                others.append(path)
            elif name.startswith("."):
                hidden.append(path)
            else:
                images.append(path)
    return Listing(sorted(images), sorted(hidden), sorted(others), sorted(closed))


def _is_hidden_dicom(path: Path, suffix: str) -> bool:
    """Whether a file whose name does not say so is a DICOM image; the directory of a medium (DICOMDIR) is none."""
    if suffix in _NO_IMAGES or path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    return is_dicom_file(path)


def fingerprint(base: Path, paths: Iterable[str]) -> tuple[str, int]:
    """Digest names and sizes, which change with any file that is added, removed, renamed or cut short.

    Parameters
    ----------
    base : Path
        Folder that `paths` are relative to.
    paths : iterable of str
        Files; their order does not matter.

    Returns
    -------
    str
        SHA-256 over the sorted names and sizes, 64 hex digits.
    int
        Bytes of all files.
    """
    digest = hashlib.sha256()
    total = 0
    for path in sorted(paths):
        reason = why_unreadable(base / path)
        size = (base / path).stat().st_size if reason is None else 0
        total += size
        digest.update(f"{path}\t{reason or size}\n".encode())
    return digest.hexdigest(), total


def summary(names: Sequence[str]) -> dict[str, Any]:
    """Count `names` and keep the first few, for SOURCE.json."""
    return {"count": len(names), "first": list(names[:_NAMED])}


def count_differences(found: dict[str, int], published: dict[str, int]) -> dict[str, dict[str, int]]:
    """Compare counts of images with the published ones.

    Returns
    -------
    dict
        ``{class: {"found": n, "published": m}}`` of the classes that differ; empty where none does.
    """
    return {
        name: {"found": found.get(name, 0), "published": count}
        for name, count in published.items()
        if found.get(name, 0) != count
    }
