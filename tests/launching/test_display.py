import io

import pytest
from rich.console import Console

from pipeline.launching import display
from pipeline.launching.log import Progress
from pipeline.launching.schedule import State, Task


def task(name, state=State.WAITING, **progress):
    return Task(name, [], f"tmp/{name}.log", state=state, progress=Progress(**progress))


def test_lines_say_what_changed():
    stream = io.StringIO()
    lines = display.Lines(stream)
    done = task("cnn-bce-42", State.DONE, metric="AUROC 0.8123", collapsed=True)
    done.seconds = 12.4
    failed = task("cnn-bce-7", State.FAILED)
    failed.status = 1
    for each in (done, failed, task("waits", State.STARTING)):
        lines.changed(each)
    said = [line[10:] for line in stream.getvalue().splitlines()]
    assert said == [
        "cnn-bce-42: done, AUROC 0.8123, 12 s, COLLAPSED",
        "cnn-bce-7: FAILED, exit 1, see tmp/cnn-bce-7.log",
    ]


def test_a_summary_comes_once_a_minute(monkeypatch):
    stream = io.StringIO()
    lines = display.Lines(stream)
    tasks = [task("a", State.DONE), task("b", State.RUNNING, epoch="3/8"), task("c")]
    lines.refresh(tasks)
    assert stream.getvalue() == ""
    lines._summary -= display.SUMMARY_SECONDS
    lines.refresh(tasks)
    lines.refresh(tasks)
    assert [line[10:] for line in stream.getvalue().splitlines()] == [
        "1 of 3 done, 1 running, 1 waiting; running: b 3/8"
    ]


def test_the_table_shows_every_column(monkeypatch):
    live = display.Live()
    live._tasks = [task("cnn-bce-42", State.RUNNING, epoch="3/8", metric="AUROC 0.8123", left="01:05"), task("waits")]
    stream = io.StringIO()
    Console(file=stream, width=100).print(live._table())
    text = stream.getvalue()
    for part in (*display.COLUMNS, "cnn-bce-42", "running", "3/8", "AUROC 0.8123", "01:05", "0 of 2 done"):
        assert part in text


def test_a_retried_and_an_ended_run():
    again = task("a", State.RUNNING, left="00:10")
    again.attempts = 2
    assert display.row(again) == ("a", "running again", "", "", "00:10")
    ended = task("a", State.DONE, epoch="8/8", left="00:00", collapsed=True)
    assert display.row(ended) == ("a", "done, COLLAPSED", "8/8", "", "")


def test_more_runs_than_rows():
    tasks = [task(f"done{i}", State.DONE) for i in range(5)] + [task("runs", State.RUNNING), task("bad", State.FAILED)]
    shown, hidden = display.fitting(tasks, 4)
    assert [t.name for t in shown] == ["done0", "runs", "bad"]
    assert len(hidden) == 4
    assert display.fitting(tasks, 7) == (tasks, [])


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "00:05"), (65, "01:05"), (3599.6, "1:00:00"), (90061, "25:01:01")])
def test_durations(seconds, text):
    assert display.duration(seconds) == text


def test_no_terminal_no_table():
    assert isinstance(display.display(), display.Lines)
