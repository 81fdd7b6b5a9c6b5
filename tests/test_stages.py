"""The stages on a tiny study of drawn images."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import configure, download, ensemble, evaluate, report, train
from pipeline.datasets import DatasetError
from pipeline.datasets.settings import DataSections
from pipeline.settings import load
from pipeline.study.classes import SAMPLE_COLUMNS
from pipeline.study.files import (
    CHECKPOINTS,
    ENSEMBLES,
    EVALUATIONS,
    EXCLUDED,
    MODELS,
    REPORTS,
    SAMPLES,
    SOURCE,
    ArtifactError,
    raw_folder,
    write_csv,
)
from pipeline.study.params import ParamsError
from pipeline.study.params import load as checked
from pipeline.study.parts import read_parts, read_split
from pipeline.study.predictions import METRIC_COLUMNS, Predictions, read_metrics
from pipeline.study.prepared import open_images, read_dataset, read_samples
from pipeline.study.runs import Configuration, Run, configurations, runs, seeds
from pipeline.study.trainings import evaluation_folder, run_folder

CELL = Run("small", "bce", 42)


def rewrite(tiny, **changes):
    Path("params.yaml").write_text(yaml.safe_dump(tiny | changes))
    return load()


@pytest.fixture
def run(forks):
    """Run a stage as a process."""
    return lambda stage, *arguments, **options: forks.run(["-m", f"pipeline.{stage}", *arguments], **options)


def test_download_records_the_source_and_runs_twice_without_drawing_again(prepared):
    folder = raw_folder("phantom")
    source = json.loads(SOURCE.read_text())
    assert source["name"] == "phantom"
    assert source["licence"]
    drawn = {p: p.stat().st_mtime_ns for p in (folder / "images").iterdir()}
    download.download(load())
    assert {p: p.stat().st_mtime_ns for p in (folder / "images").iterdir()} == drawn
    assert json.loads(SOURCE.read_text()) == source


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"study": {"models": ["small"], "losses": ["ce"]}, "losses": {"ce": {}}}, "study.losses: 'ce'"),
        ({"losses": {"bce": {"weight": 1}, "zlpr": {}}}, "losses.bce.weight: unknown key"),
    ],
)
def test_download_refuses_a_study_that_cannot_run_before_fetching(tiny, tmp_path, monkeypatch, changes, said):
    monkeypatch.chdir(tmp_path)
    rewrite(tiny, ensemble={"top_k": 1}, **changes)
    with pytest.raises(ParamsError) as error:
        download.download(checked(DataSections))
    assert said in str(error.value)
    assert not Path("data").exists()


@pytest.mark.parametrize("name", ["chestxray14", "paediatric_pneumonia"])
def test_a_root_that_is_not_there_is_a_clear_error(tiny, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    changes = {"dataset": name, "study": {"models": ["small"], "losses": ["focal"]}, "losses": {"focal": {}}}
    with pytest.raises(DatasetError, match=rf"datasets\.{name}\.root.*nowhere"):
        download.download(rewrite(tiny, datasets={name: {"root": "nowhere"}}, ensemble={"top_k": 1}, **changes))


def test_a_user_error_is_a_message_and_not_a_traceback(tiny, tmp_path, run):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny | {"seeds": 3}))
    done = run("split", cwd=tmp_path)
    assert done.returncode == 1
    assert "seeds: unknown key (did you mean 'seed'?)" in done.stderr
    assert "Traceback" not in done.stderr


def test_prepared_files_are_what_the_design_says(prepared):
    images, samples, info = open_images(), read_samples(), read_dataset()
    assert images.dtype == np.uint8
    assert images.shape == (len(samples), 24, 24)
    assert samples["row"].tolist() == list(range(len(samples)))
    assert samples.columns[len(SAMPLE_COLUMNS) :].tolist()[: len(info.classes)] == list(info.classes)
    assert pd.api.types.is_numeric_dtype(samples["age"])
    assert info.synthetic
    planted = json.loads((raw_folder("phantom") / "planted.json").read_text())
    excluded = pd.read_csv(EXCLUDED)
    assert len(samples) + len(excluded) == 220
    assert len(excluded) == 6
    assert (samples["duplicate_of"] != "").sum() >= 1
    assert planted


def test_parts_never_share_a_patient_or_a_picture(prepared):
    table = read_samples().merge(read_split(), on="row")
    used = table[table["part"] != "unused"]
    assert (used.groupby("group_id")["part"].nunique() == 1).all()
    assert (used.groupby("patient_id")["part"].nunique() == 1).all()
    first = used.set_index("sample_id")["part"]
    for row in used[used["duplicate_of"].isin(first.index)].itertuples():
        assert row.part == first[row.duplicate_of]


def test_read_parts_returns_no_label_of_a_part_that_was_not_named(prepared):
    parts = read_parts(["train", "val"])
    assert set(parts) == {"train", "val"}
    rows = set(parts["train"].rows) | set(parts["val"].rows)
    split = read_split().set_index("row")["part"]
    assert set(split[sorted(rows)]) == {"train", "val"}


def contents(folder):
    """Files of a cell: weights as bytes, tables without what depends on the clock."""
    history = pd.read_csv(folder / "history.csv").drop(columns=["seconds", "images_per_second"])
    clock = ("seconds", "images_per_second", "git_commit", "git_dirty")
    record = {k: v for k, v in json.loads((folder / "run.json").read_text()).items() if k not in clock}
    return (folder / "model.safetensors").read_bytes(), history.to_csv(), record


def test_the_same_cell_trained_twice_gives_the_same_bytes_and_another_seed_does_not(trained):
    study = load()
    found = [contents(run_folder(CELL))]
    shutil.rmtree(run_folder(CELL))
    train.train(CELL, study)
    found.append(contents(run_folder(CELL)))
    shutil.rmtree(run_folder(CELL))
    assert found[0] == found[1]
    train.train(CELL._replace(seed=43), study)
    assert contents(run_folder(CELL._replace(seed=43)))[0] != found[0][0]
    assert list(CHECKPOINTS.iterdir()) == []


def test_train_does_not_look_at_test_labels(trained):
    study = load()
    before = contents(run_folder(CELL))
    samples, split = read_samples(), read_split()
    classes = list(read_dataset().classes)
    samples.loc[split["part"] == "test", classes] = 1 - samples.loc[split["part"] == "test", classes]
    write_csv(SAMPLES, samples)
    train.train(CELL, study)
    assert contents(run_folder(CELL)) == before


@pytest.mark.parametrize("residency", ["auto", "memmap"])
def test_killed_at_a_random_moment_and_run_again_gives_the_bytes_of_an_undisturbed_run(
    prepared, tiny, residency, forks, run
):
    rewrite(tiny, train=tiny["train"] | {"epochs": 60, "patience": 60})
    arguments = ["--model", "small", "--loss", "zlpr", "--seed", "5"]
    cell = Run("small", "zlpr", 5)
    configure.configure(load())
    reading, writing = os.pipe()
    with open(reading) as printed:
        with open(writing, "w") as output:
            process = forks.start(["-m", "pipeline.train", *arguments], stdout=output)
        draws = random.Random(f"{residency} {os.getpid()}")
        left = draws.randint(1, 30)  # epochs: a fast machine makes sixty in half a second
        while left:
            line = printed.readline()
            assert line, "it ended before the kill"
            left -= "  epoch " in line
        time.sleep(draws.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        printed.read()
        process.wait()
    assert not (run_folder(cell) / "model.safetensors").exists(), "it ended before the kill"
    assert len(list(CHECKPOINTS.glob("[!p]*.pt"))) == 1  # beside what a kill in a write leaves: partial-*.pt
    # It goes on also where the images are held elsewhere then, as after it ran out of memory.
    rewrite(tiny, train=tiny["train"] | {"epochs": 60, "patience": 60, "residency": residency})
    done = run("train", *arguments)
    assert done.returncode == 0, done.stderr
    assert 0 < done.stdout.count("  epoch ") < 60, "the second run did not go on from the checkpoint"
    resumed = contents(run_folder(cell))
    shutil.rmtree(run_folder(cell))
    assert run("train", *arguments).stdout.count("  epoch ") == 60
    assert contents(run_folder(cell)) == resumed


def test_from_evaluation_to_reports(evaluated, blank_figures, capsys):
    study = load()
    configuration = Configuration("small", "bce")
    folder = evaluation_folder(configuration)
    predictions = Predictions.load(folder / "predictions.npz")
    assert predictions.seeds.tolist() == [42, 7]
    assert predictions.test_logits.dtype == np.float32
    parts = read_parts(["val", "test"])
    assert np.array_equal(predictions.test_rows, parts["test"].rows)
    metrics = read_metrics(folder / "metrics.csv")
    assert metrics.columns.tolist() == METRIC_COLUMNS
    from sklearn.metrics import roc_auc_score

    name = read_dataset().classes[3]
    row = metrics.query("seed == '7' and part == 'test' and metric == 'auroc'").set_index("class").loc[name]
    expected = roc_auc_score(predictions.test_targets[:, 3], predictions.test_logits[1][:, 3])
    assert row["value"] == pytest.approx(expected, abs=1e-9)
    # The best epoch's validation AUROC was computed while training; scoring the saved weights gives it again.
    history = pd.read_csv(run_folder(CELL) / "history.csv")
    value = metrics.query("seed == '42' and part == 'val' and metric == 'auroc' and `class` == 'macro'")["value"].item()
    assert value == pytest.approx(history["val_auroc"].max(), abs=1e-6)

    groups = pd.read_csv(folder / "subgroups.csv")
    assert set(groups["variable"]) == {"sex", "view", "age"}
    women = read_samples().set_index("row").loc[predictions.test_rows, "sex"] == "F"
    assert set(groups.query("variable == 'sex' and subgroup == 'F'")["n"]) == {women.sum()}
    expected_of_recipe = pd.read_csv(folder / "recipe.csv").set_index(["metric", "class"]).loc[("auroc", "macro")]
    of_seeds = metrics.query("seed != 'mean' and part == 'test' and metric == 'auroc' and `class` == 'macro'")["value"]
    assert expected_of_recipe["mean"] == pytest.approx(of_seeds.mean(), abs=1e-9)
    assert len(pd.read_csv(folder / "disagreement.csv")) == len(predictions.classes)
    assert len(pd.read_csv(folder / "seed_suits_class.csv")) == len(predictions.classes) + 1
    assert {"seed", "class", "calibrated"} <= set(pd.read_csv(folder / "reliability.csv").columns)

    described = json.loads((ENSEMBLES / "members.json").read_text())["ensembles"]
    members = {name: of["members"] for name, of in described.items()}
    assert len(members["mean_all"]) == 8
    best = sorted((m["val_auroc"] for m in members["mean_all"]), reverse=True)[:2]
    assert [m["val_auroc"] for m in members["mean_top2"]] == best

    # A cell that has left the study stays on disk: nothing may pick it up.
    stale = EVALUATIONS / "gone-bce"
    shutil.copytree(folder, stale)
    shutil.copytree(run_folder(CELL), MODELS / "small-bce/seed99")
    ensemble_before = (ENSEMBLES / "metrics.csv").read_bytes()
    evaluate.evaluate(configuration, study)
    ensemble.ensemble(study)
    assert (ENSEMBLES / "metrics.csv").read_bytes() == ensemble_before
    report.main([])
    pages = {str(p.relative_to(REPORTS)) for p in REPORTS.rglob("*.md")}
    named = {f"{kind}/{r}.md" for kind in ("seeds", "model_cards") for r in configurations(study)}
    one = {"README", "methods", "data", "losses", "models", "ensembles", "errors", "seeds/README"}
    one |= {"claims", "clinical", "clinical-ensemble", "stability", "checklist", "timing"}
    assert pages == {f"{n}.md" for n in one} | named
    text = "".join(p.read_text() for p in REPORTS.rglob("*.md"))
    assert "gone-bce" not in text
    assert "seed 99" not in text.lower()
    assert "synthetic" in text.lower()
    keys = json.loads((REPORTS / "metrics.json").read_text())
    assert set(keys) == {*map(str, configurations(study)), "ensemble"}


def test_evaluation_twice_gives_the_same_bytes(evaluated):
    folder = evaluation_folder(CELL.configuration)
    found = {p.name: p.read_bytes() for p in folder.iterdir()}
    shutil.rmtree(folder)
    evaluate.evaluate(CELL.configuration, load())
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == found


def test_a_missing_input_names_the_stage_that_makes_it(prepared):
    with pytest.raises(ArtifactError, match="models/small-bce holds no training run of this study: dvc repro"):
        evaluate.evaluate(CELL.configuration, load())
    with pytest.raises(ArtifactError, match="evaluations holds no configuration of this study: dvc repro evaluate"):
        ensemble.ensemble(load())


def test_what_failed_is_missing_in_every_page_and_the_rest_is_reported(evaluated, blank_figures):
    """One seed of a configuration, and every seed of another, have no training run."""
    study = load()
    lost = {Run("small", "bce", 7), *(Run("wide", "zlpr", s) for s in seeds(study))}
    for each in lost:
        shutil.rmtree(run_folder(each))
        shutil.rmtree(evaluation_folder(each.configuration), ignore_errors=True)
    evaluate.evaluate(Configuration("small", "bce"), study)
    shutil.rmtree(ENSEMBLES)
    ensemble.ensemble(study)
    report.main([])
    front = (REPORTS / "README.md").read_text()
    assert "small-bce, seed 7; wide-zlpr, all seeds (42, 7)" in front[: front.index("## Verdict")]
    assert "- 8 training runs: **3 missing**" in front
    assert "= 8; **3 missing**" in (REPORTS / "methods.md").read_text()
    members = json.loads((ENSEMBLES / "members.json").read_text())["ensembles"]["mean_all"]["members"]
    assert {Run(m["model"], m["loss"], m["seed"]) for m in members} == set(runs(study)) - lost
    assert not (REPORTS / "seeds/wide-zlpr.md").exists()
    assert "seed 7" in (REPORTS / "seeds/small-bce.md").read_text()


def test_a_cell_that_learned_nothing_is_named(prepared, tiny, capsys):
    tiny["models"]["small"]["lr"] = 1e-12
    study = rewrite(tiny)
    train.train(CELL, study)
    record = json.loads((run_folder(CELL) / "run.json").read_text())
    assert record["collapsed"]
    assert "COLLAPSED" in capsys.readouterr().out


def test_shuffled_labels_give_chance(prepared, tiny):
    """A pipeline that scores noise above chance leaks."""
    samples, classes = read_samples(), list(read_dataset().classes)
    order = np.random.default_rng(0).permutation(len(samples))
    samples[classes] = samples[classes].to_numpy()[order]
    write_csv(SAMPLES, samples)
    study = rewrite(tiny, study=tiny["study"] | {"models": ["small"], "losses": ["bce"]})
    for seed in seeds(study):
        train.train(CELL._replace(seed=seed), study)
    evaluate.evaluate(CELL.configuration, study)
    metrics = read_metrics(evaluation_folder(CELL.configuration) / "metrics.csv")
    row = metrics.query("seed == 'mean' and part == 'test' and metric == 'auroc' and `class` == 'macro'").iloc[0]
    assert abs(row["value"] - 0.5) < 0.15  # too few patients for an interval
