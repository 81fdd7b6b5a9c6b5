import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.shared.standin import Standin
from pipeline import configure
from pipeline.commands import plan
from pipeline.launching.status import SHARED, StageStatus, read_status, run_stages
from pipeline.launching.work import (
    METRICS,
    ensemble_tasks,
    evaluation_tasks,
    missing,
    read_summary,
    run_tasks,
    shard_of,
)
from pipeline.settings import load, parse
from pipeline.study.files import REPORTS
from pipeline.study.records import record_file
from pipeline.study.runs import Configuration, Run, configurations, every_run, runs
from pipeline.study.trainings import run_folder

GIB = 2**30


def statuses(study, state="up to date", shared="up to date", **some):
    given = {name.replace("_", "-"): value for name, value in some.items()}
    status = {name: StageStatus(Path(name), shared) for name in SHARED}
    for run, stage in zip(every_run(study), run_stages(study)):
        status[stage] = given.get(run.name, StageStatus(run_folder(run), state))
    return status


@pytest.mark.slow
def test_what_dvc_has_is_told_apart(tmp_path, monkeypatch, forks):
    """Up to date, in the run-cache, to be trained, unknown; against what `dvc repro` then does."""
    project = Standin(tmp_path / "project", models=("small", "wide"), replicates=())
    project.forks = forks
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(os, "environ", project.environment)
    names = ["split", "train@small-bce-42", "train@wide-bce-42"]

    def states():
        return [status.state for status in read_status([*names, "no stage"]).values()]

    assert states() == ["unknown", "unknown", "unknown"]
    assert set(plan.states(load(), read_status([*SHARED, *names])).values()) == {"unknown"}
    project.set_lr(0.01)
    project.run("dvc", "repro", "split")
    assert states() == ["up to date", "to run", "to run"]  # the images depend on a record, so that all were written
    project.run("dvc", "repro", "train")
    assert states() == ["up to date"] * 3
    status = read_status(names)["train@small-bce-42"]
    assert status.folder == Path("models/small-bce/seed42")
    assert status.record["seconds"] == 8.0
    assert status.size == sum(f.stat().st_size for f in status.folder.iterdir())

    models = project.content["models"]
    project.write(models={**models, "wide": {**models["wide"], "lr": 0.02}})
    every = read_status([*SHARED, *names])
    kept = json.loads(Path("data/configurations/small-bce.train.json").read_text())["code"]
    monkeypatch.setattr("pipeline.learning.records.code_of", lambda *_: kept)  # stand-in scripts are not the project's
    assert [*plan.states(load(), every).values()] == ["up to date", "changed"]
    project.run("dvc", "repro", "configure")
    assert states() == ["up to date", "up to date", "to run"]
    assert read_status(names)["train@wide-bce-42"].record["epochs"] == 4  # of the run before
    content = Path("dvc.lock").read_bytes()
    printed = project.run(sys.executable, "-m", "pipeline.commands.plan")
    shared_line = ", ".join(f"{stage} up to date" for stage in ("download", "preprocess", "split", "configure"))
    assert f"shared:   {shared_line}" in printed
    assert "runs:     1 up to date, 1 will train" in printed
    assert "training at most 00:08 one after another" in printed  # 4 s and 2 epochs of 2 s
    assert Path("dvc.lock").read_bytes() == content
    assert "train@small" not in project.run("dvc", "repro", "-s", "train@wide-bce-42")
    project.write(models=models)
    project.run("dvc", "repro", "configure")
    assert states() == ["up to date", "up to date", "cached"]
    shutil.rmtree("models/small-bce")
    assert states() == ["up to date", "cached", "cached"]
    assert read_status(names)["train@small-bce-42"].record["seconds"] == 8.0  # from the cache
    before = project.journal()
    project.run("dvc", "repro", "train")
    assert project.journal() == before
    shutil.rmtree(".dvc/cache")
    assert states() == ["to run", "to run", "to run"]
    assert "Running stage 'split'" in project.run("dvc", "repro", "--dry", "split")


def test_images_that_changed_are_told_from_code_that_did(tmp_path, monkeypatch, forks):
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    Path("images/1.png").write_text("one")
    Path("images/2.png").write_text("two")
    Path("code.py").write_text("1")
    Path("params.yaml").write_text("dataset: own\n")
    stage = "cmd: python -c pass, deps: [code.py], params: [dataset], outs: [images: {cache: false, persist: true}]"
    Path("dvc.yaml").write_text(f"stages:\n  download: {{{stage}}}\n")
    for arguments in (["init", "--no-scm", "-q"], ["commit", "-f", "-q"]):
        assert forks.run(["-m", "dvc", *arguments], cwd=tmp_path).returncode == 0

    def state():
        found = read_status(["download"])["download"]
        return found.state, found.altered

    assert state() == ("up to date", False)
    Path("code.py").write_text("2")
    assert state() == ("to run", False)
    Path("images/2.png").unlink()
    assert state() == ("to run", True)
    Path("code.py").write_text("1")
    assert state() == ("to run", True)
    Path("images/2.png").write_text("two")
    assert state() == ("up to date", False)
    Path("params.yaml").write_text("dataset: other\n")
    assert state() == ("to run", True)


def test_the_plan_of_runs_that_were_trained_before(tiny):
    tiny["train"]["epochs"] = 10
    study = parse(tiny)
    ran = {"seconds": 60.0, "epochs": 10}
    some = {
        "small_bce_42": StageStatus(Path(), "to run", 3 * GIB, ran),
        "small_bce_7": StageStatus(Path(), "cached", 3 * GIB, ran),
        "small_zlpr_42": StageStatus(Path(), "to run"),
    }
    text = plan.plan(study, statuses(study, **some), 2, 10 * GIB)
    assert "8 training runs of phantom: 2 models x 2 losses x 2 seeds" in text
    assert "runs:     2 will train, 1 in the run-cache, 5 up to date" in text
    assert "at most 02:08 one after another, 01:04 with --jobs 2" in text
    assert "12.0 GiB for new models, in the workspace and in the cache; 10.0 GiB free  NOT ENOUGH" in text


def test_the_plan_of_a_study_that_never_ran(tiny):
    study = parse(tiny)
    text = plan.plan(study, statuses(study, "unknown", "to run"), 2, GIB)
    assert "8 known after the shared stages" in text
    assert "none of these models has been trained yet" in text
    assert "size of the models unknown; 1.0 GiB free" in text


def test_a_download_that_runs_again_leaves_the_runs_known(tiny):
    study = parse(tiny)
    status = {**statuses(study), "download": StageStatus(Path(), "to run")}
    assert set(plan.states(study, status).values()) == {"up to date"}
    status["split"] = StageStatus(Path(), "to run")
    assert set(plan.states(study, status).values()) == {"unknown"}


def test_other_images_or_settings_of_them_leave_nothing_to_be_promised(tiny):
    study = parse(tiny)
    status = {**statuses(study), "download": StageStatus(Path(), "to run", altered=True)}
    assert set(plan.states(study, status).values()) == {"unknown"}
    text = plan.plan(study, status, 2, GIB)
    assert "nothing to train" not in text
    assert "8 known after the shared stages" in text
    assert "the split is dealt anew" in text
    assert "dealt anew" not in plan.plan(study, statuses(study), 2, GIB)


def test_a_configuration_without_a_record_leaves_the_runs_of_the_others_known(prepared):
    study = load()
    status = {**statuses(study), "configure": StageStatus(Path(), "to run")}
    record_file(Configuration("small", "zlpr"), "train").unlink()
    states = plan.states(study, status)
    assert {str(run.configuration) for run, state in states.items() if state == "unknown"} == {"small-zlpr"}
    others = {str(run.configuration) for run, state in states.items() if state == "up to date"}
    assert others == {"small-bce", "wide-bce", "wide-zlpr"}
    assert "split up to date, configure to run\n" in plan.plan(study, status, 2, GIB)


def test_an_exchanged_weights_file_concerns_the_runs_of_its_model_before_any_stage_has_seen_it(prepared, tiny):
    Path("start.pth").write_bytes(b"weights")
    tiny["models"]["wide"]["weights"] = "start.pth"
    Path("params.yaml").write_text(json.dumps(tiny))
    study = load()
    configure.configure(study)
    Path("start.pth").write_bytes(b"others")
    status = {**statuses(study), "configure": StageStatus(Path(), "to run")}
    changed = {run.model: state for run, state in plan.states(study, status).items()}
    assert changed == {"small": "up to date", "wide": "changed"}
    assert "split up to date, configure to run\n" in plan.plan(study, status, 2, GIB)


def test_seeds_of_the_configurations_that_have_a_spread():
    metrics = {
        "a-bce": {"test": {"auroc": 0.8, "auroc_sd": 0.005}, "n_seeds": 3},
        "b-bce": {"test": {"auroc": 0.8}, "n_seeds": 1},
        "ensemble-mean_all": {"test": {"auroc": 0.9}},
    }
    text = plan.seeds_table(metrics, [0.003, 0.1])
    row = next(line for line in text.splitlines() if "a-bce" in line)
    assert [entry.strip() for entry in row.split("|")] == ["a-bce", "0.005", "3", "45", "2"]
    assert "b-bce" not in text
    assert "ensemble" not in text
    assert "of the last report" not in text
    assert "of the last report" in plan.seeds_table(metrics, [0.003], of_now=False)
    assert "no standard deviation" in plan.seeds_table({}, [0.003])


def test_the_summary_is_of_the_seeds_in_the_table_that_the_report_writes(tmp_path, monkeypatch):
    assert METRICS == REPORTS / "metrics.csv"
    monkeypatch.chdir(tmp_path)
    assert read_summary() == {}
    rows = [("a", "bce", seed, part, "macro", "auroc", value) for seed, part, value in (
        (1, "test", 0.8), (2, "test", 0.81), (3, "test", ""), ("mean", "test", 0.805), (1, "val", 0.9))]  # fmt: skip
    rows += [("a", "bce", 1, "test", "Edema", "auroc", 0.7), ("a", "bce", 1, "test", "macro", "f1", 0.5)]
    rows += [
        ("ensemble", "mean_all", "mean", "test", "macro", "auroc", 0.9),
        ("b", "bce", 1, "test", "macro", "auroc", 1),
    ]
    lines = ["model,loss,seed,part,class,metric,value,ci_low", *(",".join(map(str, row)) + "," for row in rows)]
    METRICS.parent.mkdir()
    METRICS.write_text("\n".join(lines) + "\n")
    summary = read_summary()
    assert list(summary) == ["a-bce", "b-bce"]
    assert summary["a-bce"]["test"] == pytest.approx({"auroc": 0.805, "auroc_sd": 0.01 / 2**0.5})
    assert summary["a-bce"]["n_seeds"] == 3
    assert summary["b-bce"] == {"test": {"auroc": 1.0}, "n_seeds": 1}


def test_the_plan_of_a_study_says_nothing_of_the_seeds_of_the_study_before(monkeypatch, capsys, tiny):
    study = parse(tiny)
    metrics = {name: {"test": {"auroc": 0.8, "auroc_sd": 0.01}, "n_seeds": 2} for name in ("small-bce", "other-bce")}
    for name, value in (
        ("load", lambda: study),
        ("read_status", lambda _: statuses(study, "to run")),
        ("read_summary", lambda: metrics),
    ):
        monkeypatch.setattr(plan, name, value)
    monkeypatch.setattr("pipeline.planning.test_part.test_part", str)
    plan.main([])
    shown = capsys.readouterr().out
    assert "\n small-bce " in shown
    assert "other-bce" not in shown


def test_shards_are_all_the_runs_once(tiny):
    study = parse(tiny)
    shards = [shard_of(study, (number, 3)) for number in (1, 2, 3)]
    assert [len(s) for s in shards] == [3, 3, 2]
    assert sorted(run for shard in shards for run in shard) == sorted(runs(study))
    assert shard_of(study, None) == runs(study)


def test_tasks_begin_with_the_longest_configuration_and_evaluations_wait_for_their_seeds(tiny):
    study = parse(tiny)
    slow = StageStatus(Path("models/wide-bce/seed42"), "to run", 1, {"seconds": 90, "epochs": 1})
    fast = StageStatus(Path("models/small-bce/seed42"), "up to date", 1, {"seconds": 9, "epochs": 1})
    status = statuses(study, "to run", wide_bce_42=slow, small_bce_42=fast)
    trainings = run_tasks(study, status)
    assert [t.name for t in trainings][:2] == ["wide-bce-42", "wide-bce-7"]
    assert trainings[0].finished == Path("models/wide-bce/seed42/run.json")
    assert [t.name for t in trainings if t.state.value == "up to date"] == ["small-bce-42"]
    evaluations = {t.name: t for t in evaluation_tasks(study, status, trainings)}
    assert list(evaluations["evaluate@small-bce"].needs) == ["small-bce-42", "small-bce-7"]
    assert set(missing(study, trainings)) == set(configurations(study))
    assert missing(study, trainings)[Run("small", "bce", 7).configuration] == [Run("small", "bce", 7)]


def test_an_evaluation_is_up_to_date_only_if_its_runs_are(tiny):
    study = parse(tiny)
    known = {f"evaluate@{configuration}": StageStatus(Path(), "up to date") for configuration in configurations(study)}
    stale = StageStatus(Path("models/small-bce/seed7"), "cached")
    status = {**statuses(study, small_bce_7=stale), **known}
    evaluations = evaluation_tasks(study, status, run_tasks(study, status))
    assert [t.state.value for t in evaluations] == ["waiting", "up to date", "up to date", "up to date"]


def test_ensembles_wait_for_all_evaluations_of_their_side(tiny):
    study = parse({**tiny, "variants": {"other": {"split": {"seed": 5}}}})
    evaluated = [f"evaluate_variant@other-{each}" for each in configurations(study)]
    done = {f"{kind}_variant@other": StageStatus(Path(), "up to date") for kind in ("fuse", "ensemble")}
    status = statuses(study, "up to date") | done
    status |= {name: StageStatus(Path(), "up to date") for name in evaluated}
    status["fuse"] = StageStatus(Path(), "up to date")
    trainings = run_tasks(study, status)
    tasks = ensemble_tasks(study, status, evaluation_tasks(study, status, trainings))
    own, tasks = tasks[:2], tasks[2:]
    assert [(t.name, [*t.needs]) for t in own] == [
        ("fuse", [f"evaluate@{each}" for each in configurations(study)]),
        ("ensemble", ["fuse"]),
    ]
    assert [(t.name, [*t.needs], t.some) for t in tasks] == [
        ("fuse_variant@other", evaluated, False),
        ("ensemble_variant@other", ["fuse_variant@other"], False),
    ]
    assert [t.state.value for t in tasks] == ["up to date"] * 2
    status[evaluated[1]] = StageStatus(Path(), "to run")
    tasks = ensemble_tasks(study, status, evaluation_tasks(study, status, trainings))[2:]
    assert [t.state.value for t in tasks] == ["waiting"] * 2


@pytest.mark.parametrize(
    ("wrong", "demand"),
    [
        (["--jobs", "0"], "--jobs 0: must be at least 1"),
        (["--delta", "0.1", "0"], "--delta 0: must be above 0"),
    ],
)
def test_a_wrong_command_line_says_what_is_demanded(wrong, demand, capsys):
    with pytest.raises(SystemExit):
        plan.main(wrong)
    assert demand in capsys.readouterr().err
