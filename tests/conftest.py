"""What several tests share: a tiny study on drawn images, prepared once."""

import contextlib
import os
import shutil
from pathlib import Path

import hypothesis
import pytest
import yaml

from tests.tiny import BLANK, TINY

os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine must not fail a test; the same examples each time on a machine that decides whether a change lands.
hypothesis.settings.register_profile("medmatrix", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("medmatrix")


@pytest.fixture
def tiny() -> dict:
    """Content of the params.yaml of a study that takes seconds."""
    return yaml.safe_load(yaml.safe_dump(TINY))


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory) -> Path:
    """A folder in which download, preprocess, split and configure of the tiny study have run."""
    from pipeline import configure, download, preprocess, split
    from pipeline.settings import load

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "params.yaml").write_text(yaml.safe_dump(TINY))
    with contextlib.chdir(folder):
        study = load()
        download.download(study)
        preprocess.main()
        split.main()
        configure.configure(study)
    return folder


def _enter_copy(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a fresh copy of a study the working directory."""
    copy = tmp_path / "study"
    shutil.copytree(folder, copy)
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def prepared(prepared_once, tmp_path, monkeypatch) -> Path:
    """A fresh copy of the prepared tiny study, as the working directory."""
    return _enter_copy(prepared_once, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def trained_once(prepared_once, tmp_path_factory) -> Path:
    """A folder in which every run of the tiny study has been trained, too."""
    from pipeline import train
    from pipeline.settings import load
    from pipeline.study.runs import runs

    folder = tmp_path_factory.mktemp("trained") / "study"
    shutil.copytree(prepared_once, folder)
    with contextlib.chdir(folder):
        study = load()
        for run in runs(study):
            train.train(run, study)
    return folder


@pytest.fixture
def trained(trained_once, tmp_path, monkeypatch) -> Path:
    """A fresh copy of the trained tiny study, as the working directory."""
    return _enter_copy(trained_once, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def evaluated_once(trained_once, tmp_path_factory) -> Path:
    """A folder in which every configuration of the tiny study has been evaluated, too, and its ensembles made."""
    from pipeline import ensemble, evaluate
    from pipeline.settings import load
    from pipeline.study.runs import configurations

    folder = tmp_path_factory.mktemp("evaluated") / "study"
    shutil.copytree(trained_once, folder)
    with contextlib.chdir(folder):
        study = load()
        for configuration in configurations(study):
            evaluate.evaluate(configuration, study)
        ensemble.ensemble(study)
    return folder


@pytest.fixture
def evaluated(evaluated_once, tmp_path, monkeypatch) -> Path:
    """A fresh copy of the evaluated tiny study, as the working directory."""
    return _enter_copy(evaluated_once, tmp_path, monkeypatch)


@pytest.fixture
def blank_figures(monkeypatch) -> None:
    """Have reports written by this process alone, with figures of one pixel: painting takes most of the time."""
    from pipeline.reporting.figures import style

    monkeypatch.setattr(style, "png", lambda *_: BLANK)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


_LONG = ("test_repro.py", "test_launch.py", "test_cluster.py", "test_dvc.py", "test_stages.py")
"""Files that take minutes, the longest first."""


def pytest_collection_modifyitems(items):
    """Begin with the longest files, so that no process is left alone with one at the end."""
    rank = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
