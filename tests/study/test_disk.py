"""A full disk is told in one sentence: what, where, how much is needed."""

import errno
import os
import resource

import numpy as np
import pytest

from pipeline.study import disk
from pipeline.study.errors import UserError, stage_errors
from pipeline.study.files import exchanged, replaced, write_bytes, write_text


@pytest.fixture
def small_files():
    """No file may become larger than 64 KiB, which is told as a full disk is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


BIG = np.arange(200_000, dtype=np.float32)


def by_savez(path):
    with replaced(path, BIG.nbytes) as partial:
        np.savez(partial, a=BIG)


def by_save(path):
    with replaced(path, BIG.nbytes) as partial, partial.open("wb") as file:
        np.save(file, BIG)


def by_torch(path):
    import torch

    from pipeline.learning.training.checkpoints import Checkpoint

    checkpoint = Checkpoint(path.parent, "key")
    checkpoint.path = path
    checkpoint.save({"model": {"a": torch.from_numpy(BIG)}, "history": []})


def by_safetensors(path):
    import torch

    from pipeline.learning.networks.models import save

    save(path, {"a": torch.from_numpy(BIG)}, {})


def by_text(path):
    write_text(path, "a" * BIG.nbytes)


@pytest.mark.parametrize("write", [by_savez, by_save, by_torch, by_safetensors, by_text])
def test_whatever_writes_says_what_where_and_how_much(write, tmp_path, small_files):
    path = tmp_path / "file.npz"
    path.write_bytes(b"as before")
    with pytest.raises(disk.DiskFull) as told:
        write(path)
    why = "the disk is full" if write is by_save else "a file must not become larger here (ulimit -f)"  # no number
    assert str(told.value).startswith(f"{path}: {why}: it needs 781.2 KiB, and ")
    assert f"on the disk of {tmp_path}; free some space and type the same again" in str(told.value)
    assert os.listdir(tmp_path) == ["file.npz"]
    assert path.read_bytes() == b"as before"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "the quota of this disk is used up"),
        (OSError("3000000 requested and 262112 written"), "the disk is full"),  # ndarray.tofile
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError("I/O error: Disk quota exceeded (os error 122)"), "the quota of this disk is used up"),
        (OSError(errno.EACCES, "Permission denied"), None),
        (ValueError("3 requested"), None),
        (UserError("No space left on device"), None),  # has been told
    ],
)
def test_errors_that_mean_a_full_disk(error, why):
    assert disk.why_full(error) == why
    outer = RuntimeError("unexpected pos 704 vs 598")  # of torch
    outer.__context__ = error
    assert disk.why_full(outer) == why


def test_a_stage_tells_it_and_ends_with_1(capsys, tmp_path):
    with pytest.raises(SystemExit) as end, stage_errors():
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a/b"))
    assert end.value.code == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"error: {tmp_path}/a/b: the disk is full: it needs more than there is, and ")
    with pytest.raises(RuntimeError, match="a bug"), stage_errors():
        raise RuntimeError("a bug")


def test_amounts():
    told = [disk.amount(n) for n in (0, 1023, 1024, 1 << 20, 3 << 30, 5 << 40)]
    assert told == ["0 bytes", "1023 bytes", "1.0 KiB", "1.0 MiB", "3.0 GiB", "5120.0 GiB"]


def test_a_folder_is_exchanged_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "reports"
    for content in ("first", "second"):
        with exchanged(folder) as new:
            write_text(new / "page", content)
            write_text(new / content, "")
        assert sorted(os.listdir(folder)) == sorted([content, "page"])
        assert (folder / "page").read_text() == content

    def fail():
        with exchanged(folder) as new:
            write_bytes(new / "page", b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (folder / "page").read_text() == "second"
    assert os.listdir(tmp_path) == ["reports"]


def test_a_folder_is_exchanged_where_the_disk_cannot_in_one_step_and_behind_a_link(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.study.files.ctypes.CDLL", lambda *_, **__: object())
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "reports"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    with exchanged(folder) as new:
        write_text(new / "page", "new")
    assert folder.is_symlink()
    assert (elsewhere / "page").read_text() == "new"
    elsewhere.rename(tmp_path / "partial-old-elsewhere")  # killed between the two steps
    with pytest.raises(RuntimeError), exchanged(folder):
        raise RuntimeError
    assert (folder / "page").read_text() == "new"


def test_what_a_library_does_not_say_is_said(tmp_path):
    said = rf"^--out: x: the disk is full: .* on the disk of {tmp_path}; free some"
    with pytest.raises(disk.DiskFull, match=said), disk.told_of("--out: x", tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(KeyError), disk.told_of("x", tmp_path):
        raise KeyError("x")


def test_of_a_copy_the_new_file_is_named(capsys):
    with pytest.raises(SystemExit), stage_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "old.onnx", None, "new.onnx")
    assert capsys.readouterr().err.startswith("error: new.onnx: the disk is full")
