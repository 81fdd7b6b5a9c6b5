"""Figures of the study as PDF or SVG: the pages are rendered again, into a folder that is thrown away."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.reporting import page
from pipeline.reporting.figures.style import vector
from pipeline.reporting.loading import load_study
from pipeline.reporting.registry import PAGES
from pipeline.settings import load
from pipeline.study.outputs import keep_others, note_written


def write_figures(folder: Path, suffix: str) -> list[Path]:
    """Write the figures of the study of params.yaml into `folder`; those that show images of people are not among them.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    suffix : str
        ``.pdf`` or ``.svg``.
    """
    study = load_study(load())
    with TemporaryDirectory() as scratch, vector(Path(scratch), suffix) as drawn, page.about(study):
        for render in PAGES.values():
            render(study, Path(scratch))
        folder.mkdir(parents=True, exist_ok=True)
        for line in keep_others(folder, [path.name for path in drawn]):
            print(line)
        written = [Path(shutil.copy(path, folder / path.name)) for path in drawn]
        note_written(folder, [path.name for path in written])
        return written
