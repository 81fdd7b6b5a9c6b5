from pathlib import Path

import pytest

from pipeline.launching import schedule, workers
from pipeline.launching.schedule import State, Task
from tests.tiny import ROOT

WORK = """
import sys, time
from pathlib import Path
name, failures, needed = sys.argv[1:]
with open("journal", "a") as journal:
    journal.write(f"{name} begins\\n")
print("Running stage 'x':", flush=True)
attempt = Path("journal").read_text().splitlines().count(f"{name} begins")
while needed and not Path(needed).exists():
    time.sleep(0.01)
Path(name).touch()
if attempt <= int(failures):
    sys.exit(f"error: attempt {attempt}")
with open("journal", "a") as journal:
    journal.write(f"{name} ends\\n")
"""
ENDLESS = """
import subprocess, sys
print("Running stage 'x':", flush=True)
sys.exit(subprocess.call([sys.executable, "-c", "import time; time.sleep(600)"]))
"""


class Seen:
    def __init__(self):
        self.changes = []

    def changed(self, task):
        self.changes.append((task.name, task.state))

    def refresh(self, tasks):
        pass


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work.py").write_text(WORK)
    return tmp_path


def task(name, failures=0, waits_for="", **others):
    return Task(name, ["work", name, str(failures), waits_for], Path(f"logs/{name}.log"), **others)


def do(tasks, jobs, **others):
    seen, slots = Seen(), []

    def environment(slot):
        slots.append(slot)
        return {**workers.base_environment("test"), "PYTHONPATH": str(ROOT)}

    schedule.run(tasks, jobs, environment, seen, **others)
    return seen, slots, Path("journal").read_text().splitlines() if Path("journal").exists() else []


def test_tasks_run_side_by_side_in_their_slots(here):
    """Each waits for the other to have begun: one after the other they would never end."""
    tasks = [task("a", waits_for="b"), task("b", waits_for=""), task("c")]
    _, slots, journal = do(tasks, 2)
    assert [t.state for t in tasks] == [State.DONE] * 3
    assert sorted(journal) == sorted(f"{n} {what}" for n in "abc" for what in ("begins", "ends"))
    assert set(slots) == {0, 1}


def test_one_job_keeps_the_order_and_needs_come_first(here):
    tasks = [task("last", needs=["a", "b"]), task("a"), task("b")]
    _, slots, journal = do(tasks, 1)
    assert [line.split()[0] for line in journal] == ["a", "a", "b", "b", "last", "last"]
    assert slots == [0, 0, 0]


def test_a_failed_task_is_tried_once_more_behind_the_others(here):
    tasks = [task("flaky", failures=1), task("other")]
    seen, _, journal = do(tasks, 1)
    assert [t.state for t in tasks] == [State.DONE, State.DONE]
    assert [line for line in journal if "begins" in line] == ["flaky begins", "other begins", "flaky begins"]
    assert ("flaky", State.RETRY) in seen.changes
    log = Path("logs/flaky.log").read_text()
    assert "attempt 1" in log
    assert "attempt 2" in log


def test_what_needs_a_task_that_failed_twice_is_skipped_and_the_rest_is_done(here):
    tasks = [task("bad", failures=9), task("after", needs=["bad"]), task("beyond", needs=["after"]), task("good")]
    _, _, journal = do(tasks, 2)
    assert [t.state for t in tasks] == [State.FAILED, State.SKIPPED, State.SKIPPED, State.DONE]
    assert tasks[0].attempts == 2
    assert tasks[0].status == 1
    assert not [line for line in journal if line.startswith(("after", "beyond"))]


def test_what_is_up_to_date_is_not_run_and_counts_as_done(here):
    tasks = [task("known", state=State.UP_TO_DATE), task("after", needs=["known"])]
    _, _, journal = do(tasks, 2)
    assert journal == ["after begins", "after ends"]


def test_stopping_ends_what_runs_and_leaves_the_rest(here):
    Path("endless.py").write_text(ENDLESS)
    tasks = [Task("endless", ["endless"], Path("logs/endless.log")), task("later")]
    seen, _, journal = do(tasks, 1, stopping=lambda: tasks[0].state is State.RUNNING)
    assert seen.changes[1:] == [("endless", State.RUNNING), ("endless", State.STOPPED), ("later", State.STOPPED)]
    assert workers.leftovers("test") == []
    assert journal == []


def test_the_log_of_an_earlier_launch_is_begun_anew(here):
    Path("logs").mkdir()
    Path("logs/a.log").write_text("of old\n")
    do([task("a")], 1)
    assert "of old" not in Path("logs/a.log").read_text()
