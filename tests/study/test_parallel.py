"""Work that is divided among processes: the same results in the same order, and no process that is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from pipeline.study import parallel
from pipeline.study.orphans import STAGE
from tests.tiny import ROOT

READ = []
"""What a parent has read, which forks find and spawned processes do not."""


def squared(number):
    return number**2, len(READ), os.getpid()


def refused(number):
    if number == 2:
        raise ValueError(f"number = {number}; must be odd")
    return number


def total(seed):
    return float(np.random.default_rng(seed).standard_normal(10_000).cumsum().sum())


@pytest.mark.parametrize(("forked", "found"), [(True, 3), (False, 0)])
def test_results_come_in_the_order_of_the_items_from_forks_and_from_spawned_processes(monkeypatch, forked, found):
    monkeypatch.setattr(parallel, "safe_to_fork", lambda: forked)
    monkeypatch.setattr(sys.modules[__name__], "READ", [1, 2, 3])
    results = parallel.over_processes(squared, range(20), 3)
    assert [value for value, *_ in results] == [n**2 for n in range(20)]
    assert {read for _, read, _ in results} == {found}
    assert os.getpid() not in {pid for *_, pid in results}
    assert parallel.over_processes(total, [5, 4, 3], 3) == [total(5), total(4), total(3)]


def test_one_process_is_this_one():
    assert {pid for *_, pid in parallel.over_processes(squared, range(3), 1)} == {os.getpid()}
    assert {pid for *_, pid in parallel.over_processes(squared, [7], 8)} == {os.getpid()}


@pytest.mark.parametrize("forked", [True, False])
def test_what_a_process_raises_is_raised_here(monkeypatch, forked):
    monkeypatch.setattr(parallel, "safe_to_fork", lambda: forked)
    with pytest.raises(ValueError, match="number = 2; must be odd"):
        parallel.over_processes(refused, [1, 2, 3], 2)


def test_a_process_with_threads_is_not_forked(monkeypatch, tmp_path):
    monkeypatch.setattr(parallel, "THREADS", tmp_path)  # as the one thread of a process that has loaded nothing
    (tmp_path / "1").mkdir()
    assert parallel.safe_to_fork()
    (tmp_path / "2").mkdir()
    assert not parallel.safe_to_fork()
    monkeypatch.setattr(parallel, "THREADS", tmp_path / "absent")  # on other systems
    assert not parallel.safe_to_fork()
    monkeypatch.undo()
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    try:
        assert not parallel.safe_to_fork()
    finally:
        waiting.set()
        thread.join()


@pytest.mark.parametrize("above", ["", "report"])
@pytest.mark.parametrize("stage", ["report", "ensemble", "evaluate"])
def test_a_stage_can_fork_with_what_it_imports_below_dvc_too(tmp_path, stage, above):
    code = f"import pipeline.{stage}; from pipeline.study.errors import stage_errors; import threading\n"
    code += "from pipeline.study.parallel import safe_to_fork\n"
    code += "with stage_errors(): print(safe_to_fork()); assert threading.active_count() == COUNT"
    code = code.replace("COUNT", "2" if above else "1")
    own = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")} | {"PYTHONPATH": str(ROOT)}
    own |= {STAGE: above} if above else {}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=own, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{sys.platform == 'linux'}\n"


@pytest.mark.parametrize("forked", [True, False])
def test_processes_end_with_the_one_that_started_them(tmp_path, forked):
    code = (
        "import sys; from pipeline.study import parallel; from tests.study.test_parallel import wait\n"
        "if __name__ == '__main__':\n"
        f"    parallel.safe_to_fork = lambda: {forked}\n"
        f"    parallel.over_processes(wait, [{str(tmp_path / 'a')!r}, {str(tmp_path / 'b')!r}], 2)"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(script)], cwd=ROOT, env=here)
    files = [tmp_path / "a", tmp_path / "b"]
    until = time.monotonic() + 60
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < until
        assert parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    left = {int(file.read_text()) for file in files}
    until = time.monotonic() + 30
    while left:
        assert time.monotonic() < until, f"still there: {left}"
        left = {pid for pid in left if _alive(pid)}
        time.sleep(0.05)


def wait(file):
    with open(file, "w") as written:
        written.write(str(os.getpid()))
    time.sleep(600)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
