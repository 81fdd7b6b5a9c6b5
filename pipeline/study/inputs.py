"""Where things outside of the project lie: the images, tables and weights that params.yaml names by a path."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.study.files import REPLACED

KEYS = ("root", "table")
"""Settings of data sets that name a path outside of the project."""
_NONE = "# nothing\n"
_EXPERIMENTS = (".dvc", "tmp", "exps")
"""Where ``dvc exp run --temp`` and ``--queue`` make a workspace of their own, below the clone."""
_project: list[Path] = []
"""Folder that relative paths count from while a stage runs elsewhere; none = the one it runs in."""


@contextmanager
def relative_to_project(folder: Path) -> Iterator[None]:
    """Let relative paths of params.yaml count from `folder` in the body, which runs in another."""
    _project.append(folder)
    try:
        yield
    finally:
        _project.pop()


def project_folder() -> Path:
    """Return the absolute path of the project: the folder that the process runs in, but for `relative_to_project`."""
    return _project[-1] if _project else Path.cwd()


def patterns_text(patterns: Sequence[str]) -> str:
    """Return the content of a ``.dvcignore`` beside the links to inputs; it says how many patterns it has."""
    return "".join([f"# {len(patterns)} paths\n", *(f"{pattern}\n" for pattern in patterns)]) if patterns else _NONE


def has_all_patterns(text: str) -> bool:
    """Whether a ``.dvcignore`` is as `patterns_text` wrote it, not cut."""
    head, *lines = text.split("\n")
    return text == _NONE or (bool(lines) and lines[-1] == "" and head == f"# {len(lines) - 1} paths")


def main_checkout() -> Path | None:
    """Return the clone in whose temporary workspace of an experiment the study runs; None if it runs in the clone."""
    parts = project_folder().parts
    places = [i for i in range(1, len(parts)) if parts[i : i + len(_EXPERIMENTS)] == _EXPERIMENTS]
    return Path(*parts[: places[-1]]) if places else None


def located(path: str) -> Path:
    """Return where a path of params.yaml leads.

    Parameters
    ----------
    path : str
        Absolute, below the home folder (``~``), or relative to the folder of params.yaml. In a temporary workspace of
        an experiment a relative path counts from the clone: ``../my_images`` is the same folder in both.

    Returns
    -------
    Path
        As it is written, absolute in such a workspace. Links in it are not resolved: where a link is turned to another
        folder, the path leads there.
    """
    return (main_checkout() or (_project[-1] if _project else Path())) / Path(path).expanduser()


def not_to_stay(path: Path) -> str | None:
    """Say why an input that lies at `path` would not stay there: in a folder of the study's own results.

    DVC removes such a folder before its stage runs, and results that have left the study are moved away. What lies
    there under a link from elsewhere is lost likewise.

    Returns
    -------
    str or None
        To follow the key and the path in a message; None where it may lie.
    """
    project = main_checkout() or project_folder()
    for folder in REPLACED:
        for place, own in ((path.resolve(), (project / folder).resolve()), _as_written(path, project / folder)):
            if place.is_relative_to(own):
                return (
                    f"lies in {folder}, from where results of earlier studies are moved away or removed; copy it to a "
                    "place outside of the study's results, such as ../weights"
                )
    return None


def _as_written(*paths: Path) -> tuple[Path, ...]:
    """Return absolute paths without dots, links in them as they are: DVC keeps results as links to its cache."""
    return tuple(Path(os.path.abspath(path)) for path in paths)
