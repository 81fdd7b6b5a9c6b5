"""DVC's databases and run-cache: what a power cut leaves of them is found and put aside."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from dvc_data.hashfile.cache import Cache, HashesCache

from pipeline.commands import doctor
from pipeline.study import dvc_state, mending
from pipeline.study.errors import stage_errors
from pipeline.study.orphans import STAGE
from tests.tiny import ROOT

PAGE = 4096


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose databases DVC's own classes have filled: links, and checksums of 3,000 files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    for folder in (".dvc/tmp", "site"):
        Path(folder).mkdir(parents=True)
    Path(".dvc/config.local").write_text(f"[core]\n    site_cache_dir = {tmp_path}/site\n")
    Path(".dvc/tmp/btime").touch()
    folder = dvc_state.site_folder()
    with Cache(str(folder / "links")) as links:
        links["out"] = (1, "2")
    with HashesCache(str(folder / "hashes/local")) as hashes:
        hashes.set_many([(f"/a/{i}", '{"checksum": "1"}') for i in range(3000)])
    return tmp_path


def damaged(content, how):
    half = len(content) // 2 // PAGE * PAGE
    return {
        "cut": content[:half],
        "cut in a page": content[: half + 100],
        "zeroed": bytes(len(content)),
        "garbage": b"\x93" * len(content),
        "a page zeroed": content[: 3 * PAGE] + bytes(PAGE) + content[4 * PAGE :],
    }[how]


def usable(folder):
    """Whether DVC's own class can open, read and write a database."""
    try:
        with Cache(str(folder)) as reference:
            reference["new"] = 1
            return "new" in [*reference]
    except sqlite3.DatabaseError:
        return False


def test_the_folder_is_the_one_that_dvc_has(tmp_path, monkeypatch):
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    assert dvc_state.site_folder() is None  # no DVC has run here
    Repo.init(no_scm=True).close()
    core = "[core]\n    no_scm = true\n    site_cache_dir ="
    Path(".dvc/config").write_text(f"{core} /nowhere\n[cache]\n    dir = ../its\n")
    Path(".dvc/config.local").write_text(f"['remote \"x\"']\n    url = y\n{core} {tmp_path}/x y\n")
    with Repo() as repo:
        assert dvc_state.site_folder() == Path(repo.site_cache_dir)
        assert dvc_state.run_cache().resolve() == Path(repo.stage_cache.cache_dir).resolve()
        assert dvc_state.databases()
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "z"))
    with Repo() as repo:
        assert dvc_state.site_folder() == Path(repo.site_cache_dir)


@pytest.mark.parametrize("name", ["links/cache.db", "hashes/local/cache.db"])
@pytest.mark.parametrize("how", ["cut", "cut in a page", "zeroed", "garbage", "a page zeroed"])
def test_a_database_that_dvc_cannot_use(name, how, project):
    assert (len(dvc_state.databases()), dvc_state.broken_databases()) == (2, {})
    path = dvc_state.site_folder() / name
    content = damaged(path.read_bytes(), how)
    path.write_bytes(content)
    assert not usable(path.parent)
    path.write_bytes(content)
    (line,) = doctor.check_databases(False)
    assert line.state == "PROBLEM"
    assert str(path) in line.text
    assert path.read_bytes() == content  # asking changes nothing
    (told,) = mending.mend()
    assert str(path) in told
    assert path.with_name("cache.db.broken").read_bytes() == content
    assert usable(path.parent)
    assert mending.mend() == []
    assert next(doctor.check_databases(False)).state == "ok"


def test_a_value_that_cannot_be_unpickled(project):
    path = dvc_state.site_folder() / "links/cache.db"
    with sqlite3.connect(path) as opened:
        opened.execute("UPDATE Cache SET value = ?", (b"\x80\x04\0\0\0",))
    assert dvc_state.broken_databases() == {path: "a value in it is not whole"}


def test_what_a_killed_dvc_left_half_done_is_whole(project):
    """A journal with what is not in the database yet, as SIGKILL leaves it."""
    path = dvc_state.site_folder() / "hashes/local/cache.db"
    pid = os.fork()
    if not pid:
        HashesCache(str(path.parent)).set_many([(f"/b/{i}", "{}") for i in range(500)])
        os._exit(0)
    os.waitpid(pid, 0)
    assert path.with_name("cache.db-wal").stat().st_size
    assert dvc_state.broken_databases() == {}
    with HashesCache(str(path.parent)) as hashes:
        assert hashes.get("/b/499") == "{}"


def test_nothing_is_done_below_a_dvc_nor_beside_one(project, monkeypatch):
    path = dvc_state.site_folder() / "links/cache.db"
    path.write_bytes(bytes(PAGE))
    monkeypatch.setenv(STAGE, "train")
    assert mending.mend() == []
    monkeypatch.delenv(STAGE)
    monkeypatch.setattr("pipeline.study.locks.WAIT_SECONDS", 0.0)
    with dvc_state.alone(Path(".dvc/tmp/lock")) as had:
        assert had
        assert mending.mend() == []
    assert len(mending.mend()) == 1


@pytest.fixture(scope="module")
def ran_once(tmp_path_factory, forks):
    """A project whose stage of two outputs DVC has run."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "seed").write_text("1\n")
    (folder / "dvc.yaml").write_text("stages:\n  one: {cmd: cp seed a; cp seed b, deps: [seed], outs: [a, b]}\n")
    around = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_SITE_CACHE_DIR": str(folder / "site")}
    for command in (("init", "--no-scm", "-q"), ("repro", "-q")):
        forks.run(["-m", "dvc", *command], env=around, cwd=folder, check=True)
    return folder


@pytest.fixture
def ran(ran_once, tmp_path, monkeypatch, forks):
    """A copy of it, the file of its run-cache, and what runs DVC in it."""
    shutil.copytree(ran_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    (file,) = Path(".dvc/cache/runs").glob("*/*/*")
    around = {**os.environ, "PYTHONPATH": str(ROOT)}
    return file, lambda: forks.run(["-m", "dvc", "repro"], env=around)


def test_dvc_goes_on_after_all_were_damaged(ran, capsys):
    """By DVC itself: what stops it for ever, and that it ends right once a command of ours has begun."""
    file, repro = ran
    whole = file.read_text()
    assert repro().returncode == 0  # there is nothing to do
    assert dvc_state.broken_runs(every=True) == {}
    for name in ("a", "b", "dvc.lock"):
        Path(name).unlink()
    file.chmod(0o644)
    file.write_text(whole[: whole.index("- path: b")])  # still YAML, with one output fewer
    (hashes,) = dvc_state.site_folder().glob("hashes/local/cache.db")
    hashes.write_bytes(hashes.read_bytes()[:5000])
    done = repro()
    assert done.returncode
    assert "malformed" in done.stderr
    assert [line.state for line in doctor.check_runs(False)] == ["PROBLEM"]
    with stage_errors():
        pass
    said = capsys.readouterr().err
    assert said.count("note: ") == 2
    assert "DVC could not have read its database" in said
    assert "of DVC's run-cache is not whole; it is removed (kept as tmp/kept/" in said
    assert not file.exists()
    assert repro().returncode == 0
    assert Path("b").read_text() == "1\n"
    assert file.read_text() == whole


def test_a_cut_file_of_the_run_cache(ran):
    file, _ = ran
    content = file.read_bytes()
    file.chmod(0o644)
    for length in (0, 5, 40, len(content) - 40, len(content) - 1):
        file.write_bytes(content[:length])
        whole = length == len(content) - 1  # the last newline is nothing
        assert set(dvc_state.broken_runs(every=False)) == (set() if whole else {file}), length
    file.write_bytes(b"\xff" + content)
    assert dvc_state.broken_runs(every=True) == {file: "is not whole"}
    file.write_bytes(bytes(len(content)))
    assert dvc_state.broken_runs(every=True) == {file: "is empty"}


def test_a_file_that_a_killed_dvc_was_writing(ran):
    """DVC takes the newest file of the folder, whatever its name; in a shared cache it may be another clone's."""
    file, _ = ran
    partial = file.with_name(".x.tmp")
    partial.write_text("cmd: a\n")
    assert dvc_state.broken_runs(every=True) == {partial: "is not whole"}
    Path(".dvc/config.local").write_text("[cache]\n    dir = cache\n")
    assert dvc_state.broken_runs(every=True) == {}
    os.utime(partial, (1, 1))
    (line,) = doctor.check_runs(True)
    assert (line.state, partial.exists(), file.exists()) == ("note", False, True)


def test_a_folder_of_the_run_cache_without_a_file(ran):
    """What a kill leaves before the file, or DVC itself: it removes a file that is no YAML, and not its folder."""
    file, repro = ran
    folder = file.parent
    file.unlink()
    Path("dvc.lock").unlink()
    assert "join() argument must be str" in repro().stderr
    assert mending.mend() == [f"{folder} of DVC's run-cache holds nothing; it is removed"]
    assert repro().returncode == 0
    assert file.exists()
