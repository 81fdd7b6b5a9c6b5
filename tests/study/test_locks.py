"""What a kill leaves of DVC's own files, and how it is mended."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.study import locks, mending
from pipeline.study.errors import UserError, stage_errors
from tests.tiny import IDENTITY

LOCK = """\
schema: '2.0'
stages:
  first:
    cmd: python -m first
    deps:
    - path: code.py
      hash: md5
      md5: dff43f3c2dc097d3a2c519e382cad426
      size: 7539
    params:
      params.yaml:
        seed: 1
        since: 12:30
    outs:
    - path: data
      hash: md5
      md5: 2746b97b05df2f9b623743376fcdd7de.dir
      size: 62625
      nfiles: 8
  second@a:
    cmd: python -m second
    outs:
    - path: 'no'
      hash: md5
      md5: '12345678901234567890123456789012'
      size: 682
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository in whose index a whole dvc.lock lies."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    for command in (("init", "-q"), ("add", "dvc.lock")):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def test_a_cut_lock_is_found_wherever_dvc_finds_it():
    """At every byte: DVC's own reader and schema are the reference."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML

    found = of_dvc = 0
    for length in range(len(LOCK)):
        cut = LOCK[:length]
        try:
            COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(cut) or {})
            refused = False
        except Exception:
            refused = True
        ours = locks.broken_lock(cut.encode())
        assert ours or not refused, cut[-40:]
        found, of_dvc = found + bool(ours), of_dvc + refused
    assert found > of_dvc  # DVC takes the others for locks of other content
    assert locks.broken_lock(LOCK.encode()) is None


@pytest.mark.parametrize(
    "broken", [b"", bytes(300), LOCK[:200].encode(), LOCK.encode()[:301], b"\xff\xfe\n", b"a: 1\n"]
)
def test_a_broken_lock_is_restored_from_git_and_kept(project, broken):
    Path("dvc.lock").write_bytes(broken)
    (told,) = mending.mend()
    assert "restored from git's index" in told
    assert "tmp/kept/dvc.lock.1" in told
    assert Path("dvc.lock").read_text() == LOCK
    assert Path("tmp/kept/dvc.lock.1").read_bytes() == broken
    assert mending.mend() == []


def test_the_copy_that_agrees_longest_is_taken(project):
    newer = LOCK.replace("seed: 1", "seed: 2")
    Path("dvc.lock").write_text(newer)
    locks.remember()
    Path("dvc.lock").write_text(newer[:-30])
    assert "restored from tmp/launch/dvc.lock" in mending.mend()[0]
    assert Path("dvc.lock").read_text() == newer
    Path("dvc.lock").write_text(LOCK[:-30])
    locks.remember()  # what is broken is not remembered
    assert "restored from git's index" in mending.mend()[0]


def test_without_any_copy_dvc_begins_a_new_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    Path("dvc.lock").write_text(LOCK[:-30])
    assert "DVC makes a new one from its cache" in mending.mend()[0]
    assert not Path("dvc.lock").exists()
    assert Path("tmp/kept/dvc.lock.1").read_text() == LOCK[:-30]


def test_nothing_is_mended_under_the_hands_of_dvc(project, monkeypatch):
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.0)
    Path("dvc.lock").write_text("")
    Path(".dvc/tmp/rwlock").write_text("{")
    import zc.lockfile

    held = [zc.lockfile.LockFile(f".dvc/tmp/{name}") for name in ("lock", "rwlock.lock")]  # as DVC holds them
    assert mending.mend() == []
    for each in held:
        each.close()
    assert len(mending.mend()) == 2


def test_both_sides_of_a_merge_are_for_the_user_to_choose_from(project):
    text = f"<<<<<<< ours\n{LOCK}=======\n{LOCK}>>>>>>> theirs\n"
    Path("dvc.lock").write_text(text)
    with pytest.raises(UserError, match=r"git checkout --ours dvc\.lock"):
        mending.mend()
    assert Path("dvc.lock").read_text() == text


@pytest.mark.parametrize("broken", ["", '{"write": {"/a"', '{"write": {"/a": {"pid": "x", "cmd": 1}}}', "[]"])
def test_a_broken_rwlock_is_removed_and_kept(project, broken):
    locks.RWLOCK.write_text(broken)
    assert "is not whole; it is removed" in mending.mend()[0]
    assert not locks.RWLOCK.exists()
    assert Path("tmp/kept/rwlock.1").read_text() == broken


def rwlock(pid, others=()):
    info = {"pid": pid, "cmd": "dvc repro"}
    locks.RWLOCK.write_text(json.dumps({"write": {"/out": info}, "read": {"/dep": [info, *others]}}))


def test_a_process_that_is_another_by_now_does_not_block(project):
    from dvc.lock import LockError
    from dvc.rwlock import rwlock as of_dvc
    from dvc_objects.fs.local import localfs

    def blocked():
        try:
            with of_dvc(str(project / ".dvc/tmp"), localfs, "dvc status", [], ["/out"], False):
                return False
        except LockError:
            return True

    sleeping = subprocess.Popen(["sleep", "60"], cwd=project)
    try:
        rwlock(sleeping.pid)
        assert blocked()
        assert "it is sleep" in mending.mend()[0]
        assert not blocked()
        rwlock(1)
        os.utime(locks.RWLOCK, (1, 1))  # before the machine was started
        assert "it began later" in mending.mend()[0]
        assert not blocked()
    finally:
        sleeping.kill()
        sleeping.wait()


@pytest.mark.parametrize("denied", [psutil.AccessDenied(1), PermissionError()])
def test_a_process_that_may_not_be_asked_is_told_by_its_name(project, monkeypatch, denied):
    """Another user's, and number 1 of a container."""

    def exe(self):
        raise denied

    monkeypatch.setattr(psutil.Process, "exe", exe)
    with subprocess.Popen(["sleep", "60"], cwd=project) as sleeping:
        rwlock(sleeping.pid)
        assert "it is sleep" in mending.mend()[0]
        sleeping.kill()
    assert locks.at_work() == []


def test_a_dvc_that_may_be_at_work_is_let_alone_and_one_that_is_gone_goes_unsaid(project):
    """A Python of this folder, older than the lock, may be a DVC."""
    code = "import time; print(flush=True); time.sleep(60)"
    working = subprocess.Popen([sys.executable, "-c", code], cwd=project, stdout=subprocess.PIPE)
    working.stdout.readline()
    try:
        time.sleep(0.05)
        rwlock(working.pid, [{"pid": 2**22 + 1, "cmd": "dvc repro"}])  # above all numbers of Linux
        assert mending.mend() == []
        assert [(entry.pid, entry.command) for entry in locks.at_work()] == [(working.pid, "dvc repro")]
        assert code in locks.at_work()[0].why
        content = json.loads(locks.RWLOCK.read_text())
        assert content["write"]["/out"]["pid"] == working.pid
        assert [info["pid"] for info in content["read"]["/dep"]] == [working.pid]
    finally:
        working.kill()
        working.communicate()


def test_a_stage_mends_as_it_begins(project, capsys):
    Path("dvc.lock").write_text(LOCK[:100])
    with stage_errors():
        assert Path("dvc.lock").read_text() == LOCK
    assert capsys.readouterr().err.startswith("note: dvc.lock is not whole")


def test_two_in_one_folder_work_in_turn(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from pipeline.study.locks import alone_in\n"
        "with alone_in(Path('.'), 'waiting'):\n"
        "    Path('busy').touch(exist_ok=False); time.sleep(0.5); Path('busy').unlink()\n"
    )
    command = [sys.executable, "-c", code]
    around = {**os.environ, **IDENTITY, "PYTHONPATH": os.pathsep.join(sys.path)}
    both = [subprocess.Popen(command, cwd=tmp_path, env=around, stdout=subprocess.PIPE) for _ in range(2)]
    assert sorted(process.communicate()[0] for process in both) == [b"", b"waiting\n"]
    assert [process.returncode for process in both] == [0, 0]
