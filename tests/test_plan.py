import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.commands import plan
from pipeline.launching.status import SHARED, StageStatus, cell_stages, read_status
from pipeline.launching.work import METRICS, cell_tasks, evaluation_tasks, missing, shard_of
from pipeline.settings import load, parse
from pipeline.study.files import REPORTS
from pipeline.study.runs import Run, configurations, runs
from pipeline.study.trainings import run_folder
from tests.launching.standin import Standin
from tests.tiny import ROOT

GIB = 2**30


def statuses(study, state="up to date", shared="up to date", **cells):
    given = {name.replace("_", "-"): value for name, value in cells.items()}
    status = {name: StageStatus(Path(name), shared) for name in SHARED}
    for cell, stage in zip(runs(study), cell_stages(study)):
        name = stage.split("@")[1]
        status[stage] = given.get(name, StageStatus(run_folder(cell), state))
    return status


def test_what_dvc_has_is_told_apart(tmp_path, monkeypatch):
    """Up to date, in the run-cache, to be trained, unknown; against what `dvc repro` then does."""
    project = Standin(tmp_path / "project", models=("small", "wide"), replicates=())
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(os, "environ", project.environment)
    names = ["split", "train@small-bce-42", "train@wide-bce-42"]

    def states():
        return [status.state for status in read_status([*names, "no stage"]).values()]

    assert states() == ["unknown", "unknown", "unknown"]
    assert set(plan.states(load(), read_status([*SHARED, *names])).values()) == {"unknown"}
    project.set_lr(0.01)
    project.run("dvc", "repro", "split")
    assert states() == ["up to date", "to run", "to run"]
    project.run("dvc", "repro", "train")
    assert states() == ["up to date"] * 3
    status = read_status(names)["train@small-bce-42"]
    assert status.folder == Path("models/small-bce/seed42")
    assert status.run["seconds"] == 8.0
    assert status.size == sum(f.stat().st_size for f in status.folder.iterdir())

    models = project.content["models"]
    project.write(models={**models, "wide": {**models["wide"], "lr": 0.02}})
    assert states() == ["up to date", "up to date", "to run"]
    assert read_status(names)["train@wide-bce-42"].run["epochs"] == 4  # of the run before
    content = Path("dvc.lock").read_bytes()
    printed = project.run(sys.executable, "-m", "pipeline.commands.plan")
    assert "cells:    1 up to date, 1 will train" in printed
    assert "training at most 00:08 one after another" in printed  # 4 s and 2 epochs of 2 s
    assert Path("dvc.lock").read_bytes() == content
    assert "train@small" not in project.run("dvc", "repro", "-s", "train@wide-bce-42")
    project.write(models=models)
    assert states() == ["up to date", "up to date", "cached"]
    shutil.rmtree("models/small-bce")
    assert states() == ["up to date", "cached", "cached"]
    assert read_status(names)["train@small-bce-42"].run["seconds"] == 8.0  # from the cache
    before = project.journal()
    project.run("dvc", "repro", "train")
    assert project.journal() == before
    shutil.rmtree(".dvc/cache")
    assert states() == ["to run", "to run", "to run"]
    assert "Running stage 'split'" in project.run("dvc", "repro", "--dry", "split")


def test_the_plan_of_known_runs(tiny):
    tiny["train"]["epochs"] = 10
    study = parse(tiny)
    ran = {"seconds": 60.0, "epochs": 10}
    some = {
        "small_bce_42": StageStatus(Path(), "to run", 3 * GIB, ran),
        "small_bce_7": StageStatus(Path(), "cached", 3 * GIB, ran),
        "small_zlpr_42": StageStatus(Path(), "to run"),
    }
    text = plan.plan(study, statuses(study, **some), 2, 10 * GIB)
    assert "8 cells of phantom: 2 models x 2 losses x 2 seeds" in text
    assert "cells:    2 will train, 1 in the run-cache, 5 up to date" in text
    assert "at most 02:08 one after another, 01:04 with --jobs 2" in text
    assert "12.0 GiB for new models, in the workspace and in the cache; 10.0 GiB free  NOT ENOUGH" in text


def test_the_plan_of_a_study_that_never_ran(tiny):
    study = parse(tiny)
    text = plan.plan(study, statuses(study, "unknown", "to run"), 2, GIB)
    assert "8 known after the shared stages" in text
    assert "of none of the models a run is known" in text
    assert "size of the models unknown; 1.0 GiB free" in text


def test_a_download_that_runs_again_leaves_the_cells_known(tiny):
    study = parse(tiny)
    status = {**statuses(study), "download": StageStatus(Path(), "to run")}
    assert set(plan.states(study, status).values()) == {"up to date"}
    status["split"] = StageStatus(Path(), "to run")
    assert set(plan.states(study, status).values()) == {"unknown"}


def test_seeds_of_the_recipes_that_have_a_spread():
    metrics = {
        "a-bce": {"test": {"auroc": 0.8, "auroc_sd": 0.005}, "n_seeds": 3},
        "b-bce": {"test": {"auroc": 0.8}, "n_seeds": 1},
        "ensemble-mean_all": {"test": {"auroc": 0.9}},
    }
    text = plan.seeds_table(metrics, [0.003, 0.1])
    row = next(line for line in text.splitlines() if "a-bce" in line)
    assert [cell.strip() for cell in row.split("|")] == ["a-bce", "0.005", "3", "44", "2"]
    assert "b-bce" not in text
    assert "ensemble" not in text
    assert "no standard deviation" in plan.seeds_table({}, [0.003])


def test_the_summary_is_the_one_that_the_report_writes():
    assert METRICS == REPORTS / "metrics.json"
    if (ROOT / METRICS).exists():
        configurations = json.loads((ROOT / METRICS).read_text())
        assert next(key for key in configurations if not key.startswith("ensemble")) in plan.seeds_table(
            configurations, [0.01]
        )


def test_shards_are_all_the_cells_once(tiny):
    study = parse(tiny)
    shards = [shard_of(study, (number, 3)) for number in (1, 2, 3)]
    assert [len(s) for s in shards] == [3, 3, 2]
    assert sorted(cell for shard in shards for cell in shard) == sorted(runs(study))
    assert shard_of(study, None) == runs(study)


def test_tasks_begin_with_the_longest_recipe_and_evaluations_wait_for_their_seeds(tiny):
    study = parse(tiny)
    slow = StageStatus(Path("models/wide-bce/seed42"), "to run", 1, {"seconds": 90, "epochs": 1})
    fast = StageStatus(Path("models/small-bce/seed42"), "up to date", 1, {"seconds": 9, "epochs": 1})
    status = statuses(study, "to run", wide_bce_42=slow, small_bce_42=fast)
    trainings = cell_tasks(study, status)
    assert [t.name for t in trainings][:2] == ["wide-bce-42", "wide-bce-7"]
    assert trainings[0].finished == Path("models/wide-bce/seed42/run.json")
    assert [t.name for t in trainings if t.state.value == "up to date"] == ["small-bce-42"]
    evaluations = {t.name: t for t in evaluation_tasks(study, status, trainings)}
    assert list(evaluations["evaluate@small-bce"].needs) == ["small-bce-42", "small-bce-7"]
    assert set(missing(study, trainings)) == set(configurations(study))
    assert missing(study, trainings)[Run("small", "bce", 7).configuration] == [Run("small", "bce", 7)]


def test_an_evaluation_is_up_to_date_only_if_its_cells_are(tiny):
    study = parse(tiny)
    known = {f"evaluate@{configuration}": StageStatus(Path(), "up to date") for configuration in configurations(study)}
    stale = StageStatus(Path("models/small-bce/seed7"), "cached")
    status = {**statuses(study, small_bce_7=stale), **known}
    evaluations = evaluation_tasks(study, status, cell_tasks(study, status))
    assert [t.state.value for t in evaluations] == ["waiting", "up to date", "up to date", "up to date"]


@pytest.mark.parametrize("module", ["launch", "plan"])
def test_neither_torch_nor_pandas_is_imported(module):
    code = f"import sys, pipeline.commands.{module}\nassert not {{'torch', 'pandas', 'numpy'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("wrong", [["--jobs", "0"], ["--delta", "0"]])
def test_a_wrong_command_line_says_what_is_allowed(wrong, capsys):
    with pytest.raises(SystemExit):
        plan.main(wrong)
    assert "allowed:" in capsys.readouterr().err
