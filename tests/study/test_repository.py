"""A project that DVC cannot open is told in one sentence that says what to do."""

from pathlib import Path

import pytest

from pipeline.launching.status import read_status
from pipeline.study.errors import UserError
from pipeline.study.repository import opened


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return tmp_path


def test_no_project(folder):
    with pytest.raises(UserError, match=r"not inside of a DVC repository.*; run from the root of the project"):
        read_status(["train"])


def test_a_copy_without_git(folder):
    Path(".dvc").mkdir()
    with pytest.raises(UserError, match=r"is not a git repository: .*; git init && .*core.no_scm true$"):
        read_status(["train"])
    Path(".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert read_status(["train"]) == {}


def test_what_dvc_says_of_its_files(folder):
    Path(".dvc").mkdir()
    Path(".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    Path("dvc.yaml").write_text("stages: 3\n")
    with pytest.raises(UserError, match=r"^DVC: './dvc.yaml' validation failed"):
        read_status(["train"])
    database = next(Path("site").rglob("links/cache.db"))
    database.write_bytes(b"\1" * 4096)
    with (
        pytest.raises(UserError, match=r"^DVC cannot use its databases: file is not a database; medmatrix doctor"),
        opened(),
    ):
        pass
