"""Several files: what is missing, what fits on the disk, what is printed."""

import shutil
import sys
from types import SimpleNamespace

import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.fetching.files import fetch_files
from pipeline.datasets.shared.fetching.remote import RemoteFile
from tests.datasets.shared.fetching.site import CONTENT, MD5, left


def test_disk_too_small_for_all_that_is_missing(site, tmp_path, monkeypatch):
    files = [RemoteFile(name, f"{site.address}/a.gz", size=len(CONTENT)) for name in ("a", "b", "c", "d", "e")]
    fetch_files(files[:1], tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 * len(CONTENT) - 1))
    with pytest.raises(DatasetError, match=r"b, c, d and 1 more still need 1\.2 MiB, 1\.2 MiB are free"):
        fetch_files(files, tmp_path)
    assert len(site.seen) == 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 * len(CONTENT)))
    assert [f.path.name for f in fetch_files(files, tmp_path)] == ["a", "b", "c", "d", "e"]


def test_disk_too_small_is_seen_when_the_server_tells_the_size(get, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DatasetError, match=r"still need 300\.0 KiB, 1000 bytes are free"):
        get(md5=MD5)
    assert left(tmp_path) == []


def test_several_files_and_what_is_said(site, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    site.files["b"] = b"second"
    files = [RemoteFile("a.gz", f"{site.address}/a.gz", size=len(CONTENT)), RemoteFile("b", f"{site.address}/b")]
    assert [f.path.read_bytes() for f in fetch_files(files, tmp_path)] == [CONTENT, b"second"]
    assert capsys.readouterr().err.splitlines() == ["a.gz: 0 bytes of 300.0 KiB", "b: 0 bytes of 6 bytes"]
    shutil.rmtree(tmp_path)
    fetch_files(files, tmp_path, progress=False)
    assert capsys.readouterr().err == ""
    with pytest.raises(DatasetError, match="'b' is to be fetched twice"):
        fetch_files([*files, files[1]], tmp_path)
