"""What was verified is remembered; what changed is noticed."""

import hashlib
import os

import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.fetching import stamps as stamping
from tests.datasets.shared.fetching.site import CHANGED, CONTENT, HALF, SHA256, left


def test_a_flipped_byte_is_kept_aside(site, get, tmp_path):
    flipped = bytearray(CONTENT)
    flipped[HALF] ^= 1
    site.files["a.gz"] = bytes(flipped)
    with pytest.raises(
        DatasetError, match=rf"SHA256 {hashlib.sha256(flipped).hexdigest()}, expected {SHA256}.*a\.gz\.bad"
    ):
        get()
    assert left(tmp_path) == ["a.gz.bad"]
    assert (tmp_path / "a.gz.bad").read_bytes() == flipped
    site.files["a.gz"] = CONTENT
    assert get().path.read_bytes() == CONTENT


def test_a_transfer_complete_but_for_its_check_is_not_repeated(site, get, monkeypatch):
    with monkeypatch.context() as patch:

        def killed(*_):
            raise KeyboardInterrupt

        patch.setattr(stamping, "digest_of", killed)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert get().path.read_bytes() == CONTENT
    assert len(site.seen) == 1


@pytest.fixture
def hashed(monkeypatch):
    calls, digest = [], stamping.digest_of
    monkeypatch.setattr(stamping, "digest_of", lambda path, alg: calls.append(path.name) or digest(path, alg))
    return calls


def test_a_verified_file_is_neither_fetched_nor_hashed_again(site, get, hashed):
    first = get()
    assert get() == first
    assert get(size_range=(1, 10**6)) == first
    assert len(site.seen) == len(hashed) == 1


@pytest.mark.parametrize("stamps", [b"", b"[]", b'{"a.gz": 3}', None])
def test_a_file_put_there_by_hand_or_with_a_lost_stamp_is_hashed_once(site, get, hashed, tmp_path, stamps):
    (tmp_path / "a.gz").write_bytes(CONTENT)
    if stamps is not None:
        (tmp_path / stamping.STAMPS).write_bytes(stamps)
    assert get().digest == get().digest == SHA256
    assert hashed == ["a.gz"]
    assert site.seen == []


def test_a_verified_file_that_was_changed_is_noticed(site, get, tmp_path, capsys):
    status = get().path.stat()
    (tmp_path / "a.gz").write_bytes(CHANGED)
    os.utime(tmp_path / "a.gz", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert get().path.read_bytes() == CONTENT
    assert (tmp_path / "a.gz.bad").read_bytes() == CHANGED
    assert "kept as a.gz.bad; fetching it again" in capsys.readouterr().err


def test_another_published_checksum_is_not_answered_by_the_stamp(get):
    get()
    with pytest.raises(DatasetError, match=f"expected {'0' * 64}"):
        get(sha256="0" * 64)
