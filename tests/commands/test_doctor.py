"""What medmatrix doctor says of healthy and of broken checkouts."""

import json
import os
import subprocess
import types
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.commands import doctor
from pipeline.study import locks
from tests.tiny import IDENTITY, ROOT

LOCK = "schema: '2.0'\nstages:\n  one:\n    cmd: echo 1 > one\n    outs:\n    - path: one\n      md5: abc123\n"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a dvc.lock in its one commit."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    for command in (("init", "-q", "-b", "main"), ("add", "dvc.lock"), ("commit", "-qm", "lock")):
        subprocess.run(["git", *command], check=True, env=os.environ | IDENTITY)
    return tmp_path


def states(lines):
    lines = list(lines)
    return [line.state for line in lines], " | ".join(line.text for line in lines)


def test_locks(checkout):
    assert states(doctor.check_lock(False))[0] == ["ok"]
    assert states(doctor.check_rwlock(False))[0] == ["ok"]
    Path("dvc.lock").write_text(LOCK[:-20])
    locks.RWLOCK.write_text("{")
    for check in (doctor.check_lock, doctor.check_rwlock):
        found, text = states(check(False))
        assert found == ["PROBLEM"]
        assert "is not whole" in text
        assert "medmatrix doctor --fix (or by hand: " in text
    assert Path("dvc.lock").read_text() == LOCK[:-20]  # asking changes nothing
    assert states(doctor.check_lock(True))[0] == states(doctor.check_rwlock(True))[0] == ["note"]
    assert Path("dvc.lock").read_text() == LOCK
    assert not locks.RWLOCK.exists()


def test_a_number_that_is_another_processs(checkout):
    locks.RWLOCK.write_text(json.dumps({"write": {"/a": {"pid": os.getpid(), "cmd": "dvc repro"}}}))
    found, text = states(doctor.check_rwlock(False))
    assert found == ["PROBLEM"]
    assert f"names process {os.getpid()} as `dvc repro`, but that is this command" in text
    assert states(doctor.check_rwlock(True))[0] == ["note"]
    assert states(doctor.check_rwlock(False))[0] == ["ok"]


def test_git_and_merges(checkout, tmp_path):
    assert states(doctor.check_git())[0] == ["ok"]
    git = ["git", "-c", "merge.default=binary"]
    for branch, text in (("other", "2"), ("main", "3")):
        subprocess.run(["git", "switch", "-q", *(["-c"] if branch == "other" else []), branch], check=True)
        Path("dvc.lock").write_text(LOCK.replace("1", text))
        subprocess.run(["git", "commit", "-qam", text], check=True, env=os.environ | IDENTITY)
    subprocess.run([*git, "merge", "-q", "other"], check=False, env=os.environ | IDENTITY, capture_output=True)
    found, text = states(doctor.check_git())
    assert found == ["PROBLEM", "ok"]
    assert "dvc.lock is of a merge that is not finished" in text
    both = f"<<<<<<< ours\n{LOCK}=======\n{LOCK}>>>>>>> theirs\n"
    Path("dvc.lock").write_text(both)
    found, text = states(doctor.check_lock(True))
    assert (found, Path("dvc.lock").read_text()) == (["PROBLEM"], both)
    assert "git checkout --ours dvc.lock" in text


def test_packages_and_python(checkout, monkeypatch):
    assert states(doctor.check_packages())[0] == ["note"]
    Path("requirements.txt").write_text(f"psutil=={version('psutil')}  # why\nnone-such==1.0\npytest==0.1\n")
    found, text = states(doctor.check_packages())
    assert found == ["PROBLEM"]
    assert text.startswith(f"none-such none instead of 1.0, pytest {version('pytest')} instead of 0.1: ")
    Path("requirements.txt").write_text(f"psutil=={version('psutil')}\n")
    assert states(doctor.check_packages()) == (["ok"], "all 1 of requirements.txt in their versions")
    monkeypatch.setenv("PATH", "/nowhere")
    found, text = states(doctor.check_python())
    assert found == ["PROBLEM"]
    assert "; export PATH=" in text


def test_checkpoints(checkout):
    import torch

    assert states(doctor.check_checkpoints(False))[0] == ["ok"]
    Path("tmp/ckpt").mkdir(parents=True)
    for name in ("a", "b"):
        torch.save({"weights": torch.arange(1000)}, f"tmp/ckpt/{name}.pt")
    assert states(doctor.check_checkpoints(False))[0] == ["note"]
    content = bytearray(Path("tmp/ckpt/b.pt").read_bytes())
    content[2000:2100] = bytes(100)
    Path("tmp/ckpt/b.pt").write_bytes(content)
    found, text = states(doctor.check_checkpoints(False))
    assert found == ["PROBLEM"]
    assert text.startswith("1 of 2 checkpoints is damaged: tmp/ckpt/b.pt; ")
    assert states(doctor.check_checkpoints(True))[0] == ["note", "note"]
    assert os.listdir("tmp/ckpt") == ["a.pt"]
    assert Path("tmp/kept/b.pt.1").read_bytes() == content


@pytest.mark.parametrize(
    ("blocks", "files", "told"),
    [(10, 5, "10.0 KiB free at "), (1 << 30, 0, "no further file fits"), (1 << 30, 5, "1024.0 GiB free")],
)
def test_disk(blocks, files, told, checkout, monkeypatch):
    about = types.SimpleNamespace(f_bavail=blocks, f_frsize=1024, f_files=100, f_favail=files)
    monkeypatch.setattr(os, "statvfs", lambda _: about)
    found, text = states(doctor.check_disk())
    assert set(found) == {"ok" if blocks > 10 and files else "PROBLEM"}
    assert told in text


def test_folders_that_others_can_write_to(checkout):
    (checkout / "pipeline").mkdir()
    assert not doctor.is_loose(checkout / "pipeline")
    (checkout / "pipeline").chmod(0o777)
    assert doctor.is_loose(checkout / "pipeline")


def test_a_look_that_fails_is_a_problem_and_the_others_go_on(checkout, monkeypatch):
    for name in ("python", "packages", "params", "checkpoints", "gpu", "disk"):
        monkeypatch.setattr(doctor, f"check_{name}", lambda *_: iter([doctor.ok("x", "y")]))
    Path("dvc.yaml").write_text("stages: 3\n")
    lines = list(doctor.examine())
    failed = {line.what for line in lines if "could not be looked at" in line.text}
    assert failed == {"cache", "to do"}
    assert lines[-1].what == "owner"


def test_a_folder_that_is_no_project(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        doctor.main([])
    assert "run from the root of the project" in capsys.readouterr().err


def test_damaged_files_of_the_cache(tmp_path, monkeypatch, forks):
    monkeypatch.chdir(tmp_path)
    stage = "{cmd: 'mkdir out; seq 1000 > out/a; seq 10 > out/b', outs: [out]}"
    Path("dvc.yaml").write_text(f"stages:\n  one: {stage}\n")
    around = {**os.environ, "PYTHONPATH": str(ROOT)}
    forks.run(["-m", "dvc", "init", "--no-scm", "-q"], env=around, check=True)
    forks.run(["-m", "dvc", "repro", "-q"], env=around, check=True)
    assert states(doctor.check_cache(False, False))[0] == ["ok"]
    (damaged,) = (
        path for path in Path(".dvc/cache/files").rglob("*") if path.is_file() and path.stat().st_size == 3893
    )
    damaged.chmod(0o644)
    damaged.write_bytes(bytes(3893))
    found, text = states(doctor.check_cache(False, False))
    assert found == ["PROBLEM"]
    assert text.startswith("1 files are damaged: ")
    assert states(doctor.check_cache(True, False))[0] == ["note"]
    assert states(doctor.check_cache(False, False))[0] == ["note"]  # one is not there
    forks.run(["-m", "dvc", "repro", "-q"], env=around, check=True)
    assert states(doctor.check_cache(False, True))[0] == ["ok"]


def test_without_git_dvc_must_be_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    Path(".dvc").mkdir()
    found, text = states(doctor.check_git())
    assert found == ["PROBLEM"]
    assert "dvc config --local core.no_scm true" in text
    Path(".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert states(doctor.check_git())[0] == ["note"]
