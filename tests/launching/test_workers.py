import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from benchmarks.shared.waiting import gone, until
from pipeline.launching import guard, workers
from pipeline.launching.workers import Worker
from pipeline.study.errors import UserError
from pipeline.study.memory import ON_A_CARD, SHARE
from tests.tiny import ROOT

until = partial(until, seconds=120.0)

PARENT = """
import subprocess, sys
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(sys.argv[1]).write_text(str(child.pid))
child.wait()
sys.exit(7)
"""
RECORDS = """
import subprocess, sys
from pathlib import Path
if subprocess.call([sys.executable, "trains.py", *sys.argv[1:]]):
    sys.exit("the training failed")
Path(sys.argv[4]).write_text("recorded")
"""
TRAINS = """
import sys, time
from pathlib import Path
Path(sys.argv[1]).write_text("trained")
Path(sys.argv[2]).touch()
while not Path(sys.argv[3]).exists():
    time.sleep(0.02)
"""
ABANDONS = """
import os, sys, time
from pathlib import Path
from pipeline.launching import workers
worker = workers.Worker(["parent", sys.argv[1]], {**os.environ, "MEDMATRIX_LAUNCH": "abandoned"})
while not (Path(sys.argv[1]).exists() and Path(sys.argv[1]).read_text()):
    time.sleep(0.02)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, code in {"parent": PARENT, "records": RECORDS, "trains": TRAINS, "abandons": ABANDONS}.items():
        (tmp_path / f"{name}.py").write_text(code)
    (tmp_path / "prints.py").write_text("import os, sys; print(sys.argv[1:], repr(sys.stdin.read())); sys.exit(3)\n")
    return tmp_path


def environment(mark="test"):
    return {**workers.base_environment(mark), "PYTHONPATH": str(ROOT)}


def pid_in(file):
    until(lambda: file.exists() and file.read_text())
    return int(file.read_text())


def test_a_worker_runs_a_module_with_an_empty_input_and_gives_its_status(here):
    assert Worker(["prints", "a", "b c"], environment(), here / "logs/log").wait() == 3
    assert (here / "logs/log").read_text() == "['a', 'b c'] ''\n"


def test_stopping_a_worker_ends_its_grandchildren(here):
    worker = Worker(["parent", "pid"], environment())
    child = pid_in(here / "pid")
    assert worker.poll() is None
    worker.stop()
    assert worker.wait() == 7  # the module itself ended in order, after its child was ended
    until(lambda: gone(child))


def test_a_worker_whose_guard_is_killed_leaves_no_grandchild(here):
    worker = Worker(["parent", "pid"], environment())
    child = pid_in(here / "pid")
    os.kill(worker._process.pid, signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL
    until(lambda: gone(child))


def guarded(*command):
    """Start a command as a node of a cluster does, which does not end the group itself."""
    arguments = [sys.executable, "-m", "pipeline.launching.guard", "", *command]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, env=environment(), start_new_session=True)


def test_of_a_guard_and_the_process_that_works_either_ends_the_rest_if_the_other_is_killed(here):
    with guarded("parent", "first") as killed:
        child = pid_in(here / "first")
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
        until(lambda: gone(child))  # though standard input is open
    with guarded("parent", "second") as told:
        child = pid_in(here / "second")
        (working,) = psutil.Process(told.pid).children()
        working.kill()
        assert told.wait() == -signal.SIGKILL
        until(lambda: gone(child))


def test_a_starter_that_is_killed_leaves_no_grandchild(here):
    starter = Worker(["abandons", "pid"], environment())
    assert starter.wait() == -signal.SIGKILL
    until(lambda: gone(int((here / "pid").read_text())))
    until(lambda: not workers.leftovers("abandoned"))


def test_work_that_has_ended_is_recorded_before_a_worker_stops(here):
    worker = Worker(["records", "run.json", "began", "go", "result"], environment(), finished=here / "run.json")
    until((here / "began").exists)
    worker.stop()
    time.sleep(4 * guard.PAUSE_SECONDS)
    assert worker.poll() is None
    (here / "go").touch()
    assert worker.wait() == 0
    assert (here / "result").read_text() == "recorded"


def test_a_record_of_an_earlier_run_does_not_save_the_work(here):
    (here / "run.json").write_text("old")
    os.utime(here / "run.json", (1, 1))
    worker = Worker(["parent", "pid"], environment(), finished=here / "run.json")
    child = pid_in(here / "pid")
    worker.stop()
    assert worker.wait() == 7
    until(lambda: gone(child))


def test_leftovers_are_found_by_the_folder_and_the_shard_and_ended(here):
    mark = workers.mark_of(here, (1, 2))
    with Worker(["parent", "pid"], environment(mark)):
        pid_in(here / "pid")
        assert workers.leftovers(workers.mark_of(here, (2, 2))) == []
        assert workers.leftovers(str(here) + "-other") == []
        assert len(workers.leftovers(workers.mark_of(here, None))) == 3  # two that guard each other, and the work
        assert workers.end_leftovers(mark, patience=0.0) == 3
        assert workers.leftovers(mark) == []


def test_the_environment_divides_processors_and_gpus(monkeypatch):
    monkeypatch.setattr(workers, "processors", lambda: 8)
    slots = [workers.environment("m", slot, 3, ["0", "5"], 900) for slot in range(3)]
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "5", "0"]
    assert {slot[name] for slot in slots for name in workers.THREADS} == {"2"}
    assert {slot[SHARE] for slot in slots} == {"300"}
    assert {slot[ON_A_CARD] for slot in slots} == {"2"}
    assert ON_A_CARD not in workers.environment("m", 0, 2, ["0", "5"], 900)
    assert workers.environment("m", 0, 20, [], 900)["OMP_NUM_THREADS"] == "1"
    assert workers.environment("m", 0, 20, [], 900)["CUDA_VISIBLE_DEVICES"] == ""


def test_one_job_has_the_environment_of_dvc_repro(monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    changed = workers.environment("m", 0, 1, None, 900).items() - os.environ.items()
    assert {name for name, _ in changed} == {workers.MARK, "PATH", "PYTHONUNBUFFERED"}
    assert workers.environment("m", 0, 1, None, 900)["PATH"].startswith(str(Path(sys.executable).parent))


def test_gpus_that_are_visible(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert workers.visible_gpus() == ["2", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,-1,1")  # CUDA sees the first alone
    assert workers.visible_gpus() == ["0"]
    for nothing in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert workers.visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert workers.visible_gpus() is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    tool.chmod(0o755)
    assert workers.visible_gpus() == ["0", "1"]
    tool.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    assert workers.visible_gpus() is None


def test_a_lock_is_held_alone_or_shared(tmp_path):
    with workers.locked(tmp_path / "lock"), pytest.raises(UserError, match="another launcher"):  # noqa: SIM117
        with workers.locked(tmp_path / "lock", shared=True):
            pass
    with workers.locked(tmp_path / "lock", shared=True), workers.locked(tmp_path / "lock", shared=True):
        with pytest.raises(UserError, match="another launcher"), workers.locked(tmp_path / "lock"):
            pass
        with pytest.raises(workers.Stopped), workers.locked(tmp_path / "lock", waiting=lambda: True):
            pass
    with workers.locked(tmp_path / "lock"):
        pass


def test_a_signal_is_noted_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with workers.Stop() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        until(stop)
        assert stop.status == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_runs_in_the_foreground_can_be_stopped(here):
    assert workers.foreground(["prints"], environment()) == 3
    with pytest.raises(workers.Stopped):
        workers.foreground(["parent", "pid"], environment(), stopping=(here / "pid").exists)
