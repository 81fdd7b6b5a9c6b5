"""Kaggle without Kaggle: a module in the place of kagglehub."""

import os
import sys
from types import SimpleNamespace

import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.fetching.kaggle import fetch_kaggle


class Kaggle(SimpleNamespace):
    def __init__(self, error=None):
        self.error, self.caches = error, []

    def dataset_download(self, handle):
        self.caches.append(os.environ["KAGGLEHUB_CACHE"])
        if self.error:
            raise self.error
        target = f"{self.caches[-1]}/datasets/{handle}"
        os.makedirs(target, exist_ok=True)
        return target


def test_kaggle_writes_below_the_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", Kaggle())
    monkeypatch.setenv("KAGGLEHUB_CACHE", "before")
    path = fetch_kaggle("owner/set/versions/2", tmp_path)
    assert path == tmp_path / "kagglehub" / "datasets" / "owner/set/versions/2"
    assert path.is_dir()
    assert os.environ["KAGGLEHUB_CACHE"] == "before"
    monkeypatch.delenv("KAGGLEHUB_CACHE")
    fetch_kaggle("owner/set", tmp_path)
    assert "KAGGLEHUB_CACHE" not in os.environ


def kaggle_errors():
    import requests
    from kagglehub import exceptions as kaggle

    def http(code):
        return requests.HTTPError("no", response=SimpleNamespace(status_code=code))

    return [
        (requests.ConnectionError("Max retries exceeded"), "cannot be reached .*network"),
        (http(403), "wants credentials: set KAGGLE_USERNAME"),
        (kaggle.KaggleApiHTTPError("no", SimpleNamespace(status_code=401)), "wants credentials"),
        (kaggle.UnauthenticatedError(), "wants credentials"),
        (http(404), "no such data set"),
        (kaggle.DataCorruptionError("checksum"), r"kagglehub failed \(DataCorruptionError: checksum\)"),
    ]


@pytest.mark.parametrize("number", range(6))
def test_kaggle_errors_name_the_handle_the_page_and_the_key(tmp_path, monkeypatch, number):
    pytest.importorskip("kagglehub")
    error, said = kaggle_errors()[number]
    monkeypatch.setitem(sys.modules, "kagglehub", Kaggle(error))
    by_hand = r"download https://www\.kaggle\.com/datasets/owner/set in a browser.*set datasets\.x\.root to"
    with pytest.raises(DatasetError, match=f"Kaggle data set owner/set/versions/2: .*{said}.*{by_hand}"):
        fetch_kaggle("owner/set/versions/2", tmp_path, "datasets.x.root")


def test_kaggle_without_its_package_or_with_a_bad_handle(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DatasetError, match=r"owner/set: install kagglehub .*set root to its folder"):
        fetch_kaggle("owner/set", tmp_path)
    for handle in ("owner", "a/b/c", "https://www.kaggle.com/a/b", "../x/versions/1/y"):
        with pytest.raises(DatasetError, match="must be owner/name or owner/name/versions/N"):
            fetch_kaggle(handle, tmp_path)
