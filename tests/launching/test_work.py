"""The study as tasks."""

import yaml

from pipeline.launching.schedule import State
from pipeline.launching.status import StageStatus
from pipeline.launching.work import ensemble_tasks, evaluation_tasks, explanation_tasks, probe_task, run_tasks
from pipeline.settings import load
from tests.tiny import ROOT


def status(names, but=()):
    return {name: StageStatus(ROOT / "out", "to run" if name in but else "up to date") for name in names}


def all_tasks(params, known):
    trainings = run_tasks(params, known)
    evaluations = evaluation_tasks(params, known, trainings)
    ensembles = ensemble_tasks(params, known, evaluations)
    maps = explanation_tasks(params, params.explain.methods, known, evaluations)
    return {task.name: task for task in [*trainings, *evaluations, *probe_task(known), *ensembles, *maps]}


def test_tasks_and_stages_before_them_are_those_of_dvc_lock(monkeypatch):
    """All but the data, their records, and the report, which `dvc repro` does before and after."""
    monkeypatch.chdir(ROOT)
    locked = set(yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"])
    tasks = all_tasks(load(), status(locked))
    assert {task.command[-1] for task in tasks.values()} == locked - {
        *("download", "preprocess", "split", "configure", "report")
    }
    assert {task.state for task in tasks.values()} == {State.UP_TO_DATE}


def test_what_depends_on_a_training_run_waits_for_it_and_the_rest_is_up_to_date(monkeypatch):
    monkeypatch.chdir(ROOT)
    locked = set(yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"])
    changed = "replicate@cnn-bce-12"
    tasks = all_tasks(load(), status(locked, {changed}))
    waiting = {name for name, task in tasks.items() if task.state is State.WAITING}
    assert waiting == {"cnn-bce-12", "evaluate@cnn-bce", "fuse", "ensemble", "explain@cnn-bce-grad-cam"}
    assert tasks["explain@cnn-bce-grad-cam"].needs == ["evaluate@cnn-bce"]
    assert set(tasks["fuse"].needs) == {f"evaluate@{m}-{loss}" for m in ("densenet", "cnn") for loss in ("bce", "zlpr")}
    assert tasks["ensemble"].needs == ["fuse"]
