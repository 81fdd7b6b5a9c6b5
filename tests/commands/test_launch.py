"""The launcher with DVC on a study of stand-in stages, and once on a real one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from benchmarks.shared.standin import COPIED, Standin
from benchmarks.shared.waiting import until
from pipeline.commands import launch
from pipeline.launching import workers
from pipeline.launching.workers import Worker
from pipeline.study.errors import UserError
from tests.blank import empty_figures_in
from tests.forked import ALONE
from tests.tiny import ROOT, TINY, copy_tracked

RUNS = {"small-bce-42", "small-bce-7", "wide-bce-42", "wide-bce-7"}


@pytest.fixture(scope="module", autouse=True)
def _launchers_are_forked(forks):
    """What they start in turn are processes as ever where they are ended before their end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Standin, "forks", forks)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study that has been launched once, two jobs."""
    study = Standin(tmp_path_factory.mktemp("study"))
    study.set_lr(0.01)
    study.first = study.launch("--jobs", "2")
    return study


@pytest.mark.slow
def test_a_launch_does_the_whole_study_and_another_has_nothing_to_do(study):
    assert study.metrics() == study.expected(0.01)
    assert study.ended(0.01) == dict.fromkeys(RUNS, 1)
    for name in RUNS:
        assert f"{name}: done, AUROC 0.75" in study.first
        assert "epoch 4/4" in (study.folder / f"tmp/launch/{name}.log").read_text()
    assert "fuse: done" in study.first
    assert "ensemble: done" in study.first
    before = study.journal()
    assert "Data and pipelines are up to date" in study.run("dvc", "repro", "--dry")
    assert "Data and pipelines are up to date" in study.launch("--jobs", "2")
    assert study.journal() == before


@pytest.mark.slow
def test_a_run_that_fails_is_tried_again_and_named_and_the_others_are_finished(study):
    study.set_lr(0.02)
    failing = study.folder / "tmp/fail-wide-bce-7"
    failing.touch()
    printed = study.launch("--jobs", "2", status=1)
    assert "failed: wide-bce-7, 2 times, see tmp/launch/wide-bce-7.log" in printed
    assert "error: wide-bce-7 fails by order" in printed
    assert "missing: wide-bce, seed 7\n" in printed
    # What is there is written up.
    assert study.metrics() == [line for line in study.expected(0.02) if not line.startswith("wide-bce-7 ")]
    assert study.ended(0.02) == dict.fromkeys(RUNS - {"wide-bce-7"}, 1)
    log = (study.folder / "tmp/launch/wide-bce-7.log").read_text()
    assert log.count("--- wide-bce-7, attempt") == 2
    failing.unlink()
    study.launch("--jobs", "2")
    assert study.metrics() == study.expected(0.02)
    assert study.ended(0.02) == dict.fromkeys(RUNS, 1)
    assert study.journal()["began wide-bce-7-0.02"] == 1
    assert study.journal()["went on wide-bce-7-0.02"] == 2


@pytest.mark.slow
def test_a_configuration_without_any_run_is_not_reported_by_what_it_was_before(study):
    study.set_lr(0.025)
    failing = [study.folder / f"tmp/fail-wide-bce-{seed}" for seed in (42, 7)]
    for file in failing:
        file.touch()
    (study.folder / "tmp/launch/warm.log").unlink()  # of the launches before
    printed = study.launch("--jobs", "2", "--cold", status=1)
    assert not (study.folder / "tmp/launch/warm.log").exists()
    assert "evaluate@wide-bce: skipped" in printed
    assert "missing: wide-bce, seed 42, 7\n" in printed
    assert study.metrics() == [line for line in study.expected(0.025) if line.startswith("small")]
    for file in failing:
        file.unlink()


@pytest.mark.slow
def test_a_launcher_that_is_killed_leaves_nothing_running_and_the_next_trains_nothing_twice(study):
    study.set_lr(0.03)
    moments = random.Random(3)
    for _ in range(2):
        launcher = study.start("--jobs", "2")
        trained = sum(study.journal().values())
        while sum(study.journal().values()) == trained and launcher.poll() is None:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 1))
        launcher.kill()
        assert launcher.wait() in (-signal.SIGKILL, 0)
    assert study.nothing_left()
    printed = study.launch("--jobs", "2")
    assert "failed" not in printed
    assert study.metrics() == study.expected(0.03)
    assert study.ended(0.03) == dict.fromkeys(RUNS, 1)


@pytest.mark.slow
def test_ctrl_c_stops_what_runs_and_leaves_it_resumable(study):
    study.set_lr(0.04)
    launcher = study.start("--jobs", "2")
    until(lambda: any(line.startswith("began") and line.endswith("-0.04") for line in study.journal()))
    assert "another launcher is at work here" in study.run(sys.executable, "-m", "pipeline.commands.launch", status=1)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(timeout=300) == 128 + signal.SIGINT
    assert "stopped; " in study.printed()
    assert study.nothing_left(0.0)
    study.launch("--jobs", "2")
    assert study.metrics() == study.expected(0.04)
    assert study.ended(0.04) == dict.fromkeys(RUNS, 1)


@pytest.mark.slow
def test_shards_in_clones_with_one_cache_share_the_runs_and_the_head_trains_none(tmp_path, forks):
    head = Standin(tmp_path / "head", models=("small",))
    cache = tmp_path / "cache"
    head.run("dvc", "cache", "dir", str(cache))
    head.run("git", "add", "-A")
    head.run("git", "commit", "-qm", "start")
    clones = []
    for number in (1, 2):
        clone = object.__new__(Standin)
        clone.folder, clone.content = tmp_path / f"clone{number}", head.content
        head.run("git", "clone", "-q", str(head.folder), str(clone.folder))
        clones.append((clone, clone.start("--shard", f"{number}/2", more=forks.inherited())))
    for clone, launcher in clones:
        assert launcher.wait(timeout=300) == 0, clone.printed()
    lr = head.content["models"]["small"]["lr"]
    assert [clone.ended(lr) for clone, _ in clones] == [{"small-bce-42": 1}, {"small-bce-7": 1}]
    # One made the split, the other found it in the cache.
    assert sum(clone.journal()["split"] for clone, _ in clones) == 1
    assert "small-bce-7: from cache" in head.launch("--jobs", "2")
    assert head.journal() == {}
    assert head.metrics() == head.expected(lr)


@pytest.mark.slow
def test_parallel_stages_lose_no_entry_of_dvc_lock(tmp_path, monkeypatch, forks):
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  trivial:\n    matrix: {i: [0, 1, 2, 3]}\n"
        "    cmd: echo ${item.i} > out${item.i}\n    params: [round]\n    outs: ['out${item.i}']\n"
    )
    monkeypatch.chdir(tmp_path)
    environment = {**workers.base_environment("trivial"), "PYTHONPATH": str(ROOT)}
    forks.run(["-m", "dvc", "init", "--no-scm", "-q"], env=environment, check=True)
    for number in range(2):
        Path("params.yaml").write_text(f"round: {number}\n")
        command = ["dvc", "--wait-for-lock", "repro", "-s"]
        running = [
            Worker([*command, f"trivial@{i}"], environment, Path(f"log{i}"), warm=forks.warm()) for i in range(4)
        ]
        assert [worker.wait() for worker in running] == [0] * 4
        lock = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
        assert {name: entry["params"]["params.yaml"]["round"] for name, entry in lock.items()} == {
            f"trivial@{i}": number for i in range(4)
        }


@pytest.mark.slow
def test_a_real_study_has_the_bytes_of_one_that_is_run_stage_by_stage(prepared, forks, blank_figures):
    """Here under the threads of this process, there two at a time under divided ones."""
    from pipeline import ensemble, evaluate, report, train
    from pipeline.settings import load
    from pipeline.study.runs import configurations, runs

    folder = prepared.parent / "launched"
    copy_tracked([*COPIED, "pipeline"], folder)
    empty_figures_in(folder)
    study = {"models": ["small"], "losses": ["bce"], "replicates": [7]}
    text = yaml.safe_dump({**TINY, "study": study, "train": {**TINY["train"], "threads": 2}})
    for place in (prepared, folder):
        (place / "params.yaml").write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    with (folder / "printed").open("w") as printed:
        command = ["-m", "pipeline.commands.launch", "--jobs", "2"]
        around = {**os.environ, **forks.inherited(), ALONE: "1"}
        launcher = forks.start(command, cwd=folder, env=around, stdout=printed, stderr=printed)
    loaded = load()
    for run in runs(loaded):
        train.train(run, loaded)
    evaluate.evaluate(configurations(loaded)[0], loaded)
    ensemble.ensemble(loaded)
    report.main([])
    assert launcher.wait(timeout=600) == 0, (folder / "printed").read_text()
    for name in (
        "reports/metrics.json",
        "models/small-bce/seed42/model.safetensors",
        "models/small-bce/seed7/model.safetensors",
        "evaluations/small-bce/predictions.npz",
    ):
        assert (folder / name).read_bytes() == (prepared / name).read_bytes(), name
    table = (folder / "reports/metrics.csv").read_text().splitlines()
    assert len({line.split(",")[2] for line in table if line.startswith("small,bce,")} - {"mean"}) == 2


def test_the_command_line():
    assert launch.parse(["--shard", "2/8"]).shard == (2, 8)
    assert launch.parse(["--gpus", "0,3"]).jobs == 2
    assert launch.parse(["--gpus", "0,3", "--jobs", "4"]).gpus == ["0", "3"]
    assert launch.parse(["--gpus", ""]).gpus == []
    on_cluster = launch.parse(["--ray", "head:6379", "--remote-url", "ssh://host/store", "--jobs", "2"])
    assert (on_cluster.ray, on_cluster.remote_url, on_cluster.jobs) == ("head:6379", "ssh://host/store", 2)
    assert launch.parse([]).ray is None
    assert [launch.parse(words).cold for words in ([], ["--cold"])] == [False, True]


@pytest.mark.parametrize(
    ("wrong", "demand"),
    [
        (["--shard", "0/2"], "'0/2': must be i/N with i from 1 to N"),
        (["--shard", "3/2"], "'3/2': must be i/N with i from 1 to N"),
        (["--shard", "a"], "'a': must be i/N with i from 1 to N"),
        (["--jobs", "0"], "--jobs 0: must be at least 1"),
        (["--ray", "head:6379", "--shard", "1/2"], "--ray excludes --gpus and --shard"),
        (["--ray", "head:6379", "--gpus", "0"], "--ray excludes --gpus and --shard"),
        (["--remote-url", "s3://bucket"], "--remote-url needs --ray"),
    ],
)
def test_a_wrong_command_line_says_what_is_demanded(wrong, demand, capsys):
    with pytest.raises(SystemExit):
        launch.parse(wrong)
    assert demand in capsys.readouterr().err


def test_too_many_threads_are_remarked_upon(tiny, monkeypatch):
    from pipeline.settings import parse

    monkeypatch.setattr(launch, "processors", lambda: 2)
    tiny["train"]["threads"] = 2
    assert "`train.threads: 1` is faster" in launch.advice(parse(tiny), 2)
    assert launch.advice(parse(tiny), 1) is None
    tiny["train"]["threads"] = 1
    assert launch.advice(parse(tiny), 2) is None


def test_an_edit_of_params_yaml_while_the_data_is_prepared_is_said(monkeypatch):
    monkeypatch.setattr(launch, "read_status", lambda names: dict.fromkeys([*names][:-1]))
    assert list(launch.Launch._known(["probe"], ["train@a-ce-1"][:0])) == []
    with pytest.raises(UserError, match=r"params\.yaml has changed since this launch began: replicate@a-ce-2 is no"):
        launch.Launch._known(["probe"], ["train@a-ce-1", "replicate@a-ce-2"])
