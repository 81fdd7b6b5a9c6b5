"""What several tests share: a tiny study on drawn images, prepared once."""

import os
import shutil
from pathlib import Path

import hypothesis
import pytest
import yaml

from tests.tiny import TINY

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
    """A folder in which download, preprocess, split and loss of the tiny study have run."""
    from pipeline import download, loss, preprocess, split
    from pipeline.settings import load

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "params.yaml").write_text(yaml.safe_dump(TINY))
    before = Path.cwd()
    os.chdir(folder)
    try:
        study = load()
        download.download(study)
        preprocess.main()
        split.main()
        for name in study.losses:
            loss.loss(name, study)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def prepared(prepared_once, tmp_path, monkeypatch) -> Path:
    """A fresh copy of the prepared tiny study, as the working directory."""
    folder = tmp_path / "study"
    shutil.copytree(prepared_once, folder)
    monkeypatch.chdir(folder)
    return folder


_LONG = ("test_repro.py", "test_launch.py", "test_cluster.py", "test_dvc.py", "test_stages.py")
"""Files that take minutes, the longest first."""


def pytest_collection_modifyitems(items):
    """Begin with the longest files, so that no process is left alone with one at the end."""
    rank = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
