"""Small studies on disk, in the form in which the stages leave them."""

from pathlib import Path

import pytest

from benchmarks.shared.drawn_study import FINDINGS, settings, write_study
from pipeline.settings import Params

__all__ = ["FINDINGS", "settings"]


@pytest.fixture(scope="module", params=["multilabel", "multiclass"])
def root(request, tmp_path_factory) -> tuple[Path, Params]:
    """Return the folder of a complete study and its parameters, once for each task."""
    folder = tmp_path_factory.mktemp(request.param)
    study = settings(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_study(request.param, study)
    return folder, study


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
def make(tmp_path, monkeypatch):
    """Enter an empty folder and return a function that writes a multi-label study into it."""
    monkeypatch.chdir(tmp_path)

    def make(models=("densenet", "small_cnn"), losses=("bce",), replicates=(12,), **options) -> Params:
        study = settings("multilabel", models, losses, replicates)
        write_study("multilabel", study, **options)
        return study

    return make
