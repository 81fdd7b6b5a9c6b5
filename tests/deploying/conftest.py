"""A model of the tiny study, made ready once."""

import shutil

import pytest

from pipeline.deploying.bundle import KEPT
from tests.once import enter_copy, made_once


@pytest.fixture(scope="session")
def deployed_once(evaluated_once, tmp_path_factory):
    """A folder in which the chosen configuration of the tiny study has its bundle, too."""
    from pipeline.deploying.bundle import bundle
    from pipeline.deploying.choice import choose
    from pipeline.ensembling.settings import EnsembleSections
    from pipeline.study.params import load

    def make(folder):
        shutil.copytree(evaluated_once, folder, dirs_exist_ok=True)
        bundle(choose(load(EnsembleSections)))
        assert KEPT.is_dir()

    return made_once(tmp_path_factory, "deployed", make)


@pytest.fixture
def deployed(deployed_once, tmp_path, monkeypatch):
    """A fresh copy of that study, as the working directory."""
    return enter_copy(deployed_once, tmp_path, monkeypatch)
