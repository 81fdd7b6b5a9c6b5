"""Small studies on disk, in the form in which the stages leave them."""

import hashlib
import shutil
from pathlib import Path

import pytest

from benchmarks.shared.drawn_study import FINDINGS, settings, write_study
from pipeline.report import write_reports
from pipeline.reporting.figures import style
from pipeline.reporting.loading import load_study
from pipeline.settings import Params
from tests.blank import BLANK, empty_figures
from tests.once import made_once

__all__ = ["FINDINGS", "settings"]


@pytest.fixture(autouse=True)
def _figures_are_blank(request, monkeypatch):
    """Have nothing in figures, which take most of a page's time.

    Tests marked ``drawn`` have them laid out, and those marked ``pictures`` look at them.
    """
    if request.node.get_closest_marker("pictures"):
        return
    if request.node.get_closest_marker("drawn"):
        monkeypatch.setattr(style, "png", lambda *_: BLANK)
    else:
        empty_figures(monkeypatch, style)


@pytest.fixture(scope="session")
def written_studies(tmp_path_factory):
    """Return a function that copies a study into a folder; the same one is computed once."""

    def copy(folder: Path, task: str, study: Params, **options) -> None:
        key = repr((task, study.model_dump_json(), sorted(options.items())))
        name = f"written-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        made = made_once(tmp_path_factory, name, lambda _: write_study(task, study, **options))
        shutil.copytree(made, folder, dirs_exist_ok=True)

    return copy


@pytest.fixture(scope="module", params=["multilabel", "multiclass"])
def root(request, tmp_path_factory, written_studies) -> tuple[Path, Params]:
    """Return the folder of a complete study and its parameters, once for each task."""
    folder = tmp_path_factory.mktemp(request.param)
    study = settings(request.param)
    written_studies(folder, request.param, study)
    return folder, study


@pytest.fixture(scope="module")
def pages(root, tmp_path_factory) -> Path:
    """Return a folder with the pages of that study, whose figures are empty files; they are written once for all."""
    folder, study = root

    def make(made: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            empty_figures(patch, style)
            write_reports(load_study(study), made)

    task = folder.name.rstrip("0123456789")
    made = made_once(tmp_path_factory, f"pages-{task}", make)
    return shutil.copytree(made, tmp_path_factory.mktemp("pages"), dirs_exist_ok=True)


@pytest.fixture
def here(root, monkeypatch) -> Params:
    """Enter the folder of a complete study and return its parameters."""
    monkeypatch.chdir(root[0])
    return root[1]


@pytest.fixture(name="settings")
def _settings():
    """Return the function that makes parameters."""
    return settings


@pytest.fixture
def make(tmp_path, monkeypatch, written_studies):
    """Enter an empty folder and return a function that writes a multi-label study into it."""
    monkeypatch.chdir(tmp_path)

    def make(models=("densenet", "small_cnn"), losses=("bce",), replicates=(12,), **options) -> Params:
        study = settings("multilabel", models, losses, replicates)
        written_studies(tmp_path, "multilabel", study, **options)
        return study

    return make
