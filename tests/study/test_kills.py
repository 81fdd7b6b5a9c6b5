"""SIGKILL at random moments: the next run ends as one that was left in peace. benchmarks/chaos.py does it for hours."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.shared.reaper import MARK, marked
from benchmarks.shared.waiting import gone, until
from pipeline.study import mending
from tests.tiny import ROOT

TRAIN = ("pipeline.train", "--model", "small", "--loss", "bce", "--seed", "42")
CLOCK = ("run.json", "history.csv")


def contents(folder):
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file() and path.name not in CLOCK)
    return {str(path): path.read_bytes() for path in files}


def killed(process, moment):
    until(lambda: process.poll() is not None or time.monotonic() > moment)
    process.kill()
    return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("command", "folder", "kills", "longest"),
    [(("pipeline.split",), "data/study/split", 2, 0.4), (TRAIN, "models/small-bce/seed42", 3, 1.2)],
    ids=["split", "train"],
)
def test_a_stage_that_is_killed_ends_with_the_same_bytes(command, folder, kills, longest, trained, forks):
    expected, moments = contents(folder), random.Random(1)
    shutil.rmtree(folder)
    with open("printed", "w") as printed:
        for _ in range(kills):
            killed(
                forks.start(["-m", *command], stdout=printed, stderr=printed),
                time.monotonic() + moments.uniform(0, longest),
            )
    done = forks.run(["-m", *command])
    assert done.returncode == 0, done.stderr
    assert contents(folder) == expected
    assert not [*Path().rglob("partial-*")]
    assert not [*Path("tmp/ckpt").glob("*")]


@pytest.fixture(scope="module")
def trivial_once(tmp_path_factory, forks):
    """Two stages that DVC has run."""
    folder = tmp_path_factory.mktemp("trivial")
    (folder / "dvc.yaml").write_text(
        "stages:\n  one: {cmd: echo 1 > one, outs: [one]}\n  two: {cmd: cp one two, deps: [one], outs: [two]}\n"
    )
    around = {**os.environ, "PYTHONPATH": str(ROOT)}
    forks.run(["-m", "dvc", "init", "--no-scm", "-q"], cwd=folder, env=around, check=True)
    forks.run(["-m", "dvc", "repro", "-q"], cwd=folder, env=around, check=True)
    return folder, around


@pytest.fixture
def trivial(trivial_once, tmp_path, monkeypatch):
    """A copy of them as the working directory; the environment in which DVC runs there."""
    folder, around = trivial_once
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "trivial"))
    return around


@pytest.mark.parametrize(("file", "number", "size"), [("dvc.lock", 1, 0), ("dvc.lock", 2, 100), ("dvc.lock", 1, 90)])
def test_dvc_that_is_killed_while_it_writes_its_lock(file, number, size, trivial, forks):
    expected = Path("dvc.lock").read_bytes()
    for name in ("dvc.lock", "one", "two"):
        Path(name).unlink()
    dying = ["-m", "benchmarks.shared.dying", file, number, size, "dvc", "repro", "-q"]
    assert forks.run(dying, env=trivial).returncode == -signal.SIGKILL
    assert forks.run(["-m", "dvc", "repro", "-q"], env=trivial).returncode != 0  # for ever
    assert len(mending.mend()) == 1
    forks.run(["-m", "dvc", "repro", "-q"], env=trivial, check=True)
    assert Path("dvc.lock").read_bytes() == expected
    assert Path("two").read_text() == "1\n"


@pytest.mark.parametrize("size", [0, 20])
def test_dvc_that_is_killed_while_it_writes_rwlock(size, trivial, forks):
    Path("two").unlink()
    dying = ["-m", "benchmarks.shared.dying", "rwlock", 1, size, "dvc", "repro", "-q"]
    assert forks.run(dying, env=trivial).returncode == -signal.SIGKILL
    assert "corrupted" in forks.run(["-m", "dvc", "repro"], env=trivial).stderr
    assert "is not whole; it is removed" in mending.mend()[0]
    forks.run(["-m", "dvc", "repro", "-q"], env=trivial, check=True)
    assert Path("two").read_text() == "1\n"


def test_a_report_that_is_killed_leaves_the_last_one_and_no_worker(evaluated, forks):
    Path("reports").mkdir()
    Path("reports/README.md").write_text("the last one")
    with open("printed", "w") as printed:
        report = forks.start(["-m", "pipeline.report"], stdout=printed, stderr=printed)

    def workers():
        with contextlib.suppress(psutil.Error):
            return [p.pid for p in psutil.Process(report.pid).children()]

    # One alone may be the fork that ends the threads of libraries, and itself.
    until(lambda: len(workers() or []) > 1 or report.poll() is not None)
    started = workers()
    assert started, Path("printed").read_text()
    report.kill()
    report.wait()
    until(lambda: all(map(gone, started)), 20.0)
    assert Path("reports/README.md").read_text() == "the last one"
    assert os.listdir("reports") == ["README.md"]


def test_a_stage_ends_when_the_dvc_above_it_is_killed(tmp_path, forks):
    """Between them is a shell, which goes on waiting for the stage."""
    stage = (
        "import os, time; from pipeline.study.errors import stage_errors\n"
        "with stage_errors():\n"
        "    open('pid', 'w').write(str(os.getpid())); time.sleep(60)\n"
    )
    (tmp_path / "stage.py").write_text(stage)
    above = "import subprocess, sys; subprocess.run(['sh', '-c', sys.executable + ' stage.py; true'])"
    around = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_STAGE": "train"}
    dvc = subprocess.Popen([sys.executable, "-c", above], cwd=tmp_path, env=around)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    dvc.kill()
    dvc.wait()
    until(lambda: gone(int((tmp_path / "pid").read_text())), 20.0)


def test_what_a_benchmark_has_started_ends_with_it(tmp_path):
    code = (
        "import os, subprocess; from benchmarks.shared.reaper import MARK, end_with_me\n"
        "end_with_me(); subprocess.Popen(['sleep', '61'], start_new_session=True)\n"
        "print(os.environ[MARK], flush=True); subprocess.run(['sleep', '62'])\n"
    )
    around = {**os.environ, "PYTHONPATH": str(ROOT)}
    benchmark = subprocess.Popen([sys.executable, "-c", code], env=around, stdout=subprocess.PIPE, text=True)
    mark = f"{MARK}={benchmark.stdout.readline().strip()}".encode()
    until(lambda: len(marked(mark)) == 2)
    benchmark.kill()
    benchmark.wait()
    benchmark.stdout.close()
    until(lambda: not marked(mark), 20.0)
