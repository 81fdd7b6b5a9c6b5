"""Scores of trials of every task: those of the evaluation, and of the validation part alone."""

import contextlib
import copy
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import download, evaluate, preprocess, split, train
from pipeline.commands.search import apply, text
from pipeline.launching.schedule import State
from pipeline.regressing.evaluation import evaluate_regression
from pipeline.regressing.training import train_regression
from pipeline.searching import running
from pipeline.searching.record import RECORD, read_record
from pipeline.searching.scores import measured, score_of, validation_outputs
from pipeline.settings import load
from pipeline.settings.checks import check
from pipeline.study.files import IMAGES
from pipeline.study.parts import read_parts
from pipeline.study.prepared import read_dataset
from pipeline.study.runs import Run, configurations
from pipeline.study.target import COLUMN
from pipeline.study.trainings import evaluation_folder
from tests.segmenting.example import segmented_once
from tests.tiny import TINY

OVER = {"models.small.lr": {"low": 0.001, "high": 0.1, "log": True}}


def enter(task, loss, select):
    """Make the prepared study in the working directory one of another task on the same images."""
    content = copy.deepcopy(TINY)
    content["datasets"]["phantom"]["task"] = task
    content["study"] = {"models": ["small"], "losses": [loss], "replicates": []}
    content["losses"] = {loss: {}}
    content["train"]["select"] = select
    content["search"] = {"model": "small", "loss": loss, "trials": 3, "batch": 2, "over": OVER}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    study = load()
    download.download(study)
    preprocess.main()
    split.main()
    return study


def check_equal(run, study, metric, column, group):
    """Hold a trial's score, and what its outputs say, to the evaluation's number on validation."""
    rows = pd.read_csv(evaluation_folder(run.configuration) / "metrics.csv", dtype={"seed": str})
    of_run = rows.query("part == 'val' and seed == @seed", local_dict={"seed": str(run.seed)})
    value = of_run[(of_run["metric"] == column) & (of_run["class"] == group)]["value"].item()
    settings = study.train.model_copy(update={"select": metric})
    study = study.model_copy(update={"train": settings})
    score, seconds, _ = score_of(run, study)
    assert seconds > 0
    assert score == pytest.approx(value, abs=1e-6)
    outputs, rows_of = validation_outputs(run, study)
    part = read_parts(["val"])["val"]
    assert np.array_equal(rows_of, part.rows)
    of = measured(metric, read_dataset(), part, outputs[None])
    assert np.nanmean(of.whole) == pytest.approx(value, abs=1e-6)


def test_a_score_of_masks_is_that_of_the_evaluation(tmp_path_factory, tmp_path, monkeypatch):
    shutil.copytree(segmented_once(tmp_path_factory), tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    study = load()
    for loss in ("bce_dice", "tversky"):
        check_equal(Run("unet", loss, 12), study, "dice", "dice", "macro")


def test_a_score_of_grades_is_that_of_the_evaluation(prepared):
    study = enter("ordinal", "ce", "qwk")
    check(study)
    run = Run("small", "ce", 42)
    train.train(run, study)
    evaluate.evaluate(run.configuration, study)
    for metric, column, group in (("qwk", "qwk", "overall"), ("macro_f1", "f1", "macro"), ("auroc", "auroc", "macro")):
        check_equal(run, study, metric, column, group)


def trained_here(tasks):
    """Train trials of a regression in this process."""
    for task in tasks:
        with contextlib.chdir(task.command[task.command.index("--cd") + 1]):
            params = load()
            train_regression(Run(*configurations(params)[0], params.seed), params)
        task.state = State.DONE


def searched():
    """Search the study in the working directory; return its record without what a clock says."""
    for path in (RECORD, Path("tmp/search")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    running.Searching(load(), 3, train=trained_here).run()
    return re.sub(r'"seconds": [0-9.]+', "", RECORD.read_text())


def test_a_search_of_errors_takes_the_lowest_and_does_not_read_the_test_part(prepared, monkeypatch):
    study = enter("regression", "l1", "rmse")
    check(study)
    monkeypatch.setattr(running, "cache_folder", lambda: Path("/nowhere"))
    whole = searched()
    record = read_record()
    scores = [trial.score for trial in record.trials]
    assert record.best.score == min(scores) < max(scores)
    assert record.about["metric"] == "rmse"
    assert record.optimism["lowest"] == pytest.approx(min(scores), rel=1e-6)
    assert "highest" not in record.optimism
    assert [trial.number for trial in record.ranked] == np.argsort(scores).tolist()
    said = text(record)
    assert "Score: root mean squared error of the validation part, the lowest is the best." in said
    assert f"The best score is the lowest of many: {min(scores):.4f}, corrected for that" in said

    # Nothing of the test part counts.
    part, samples = read_parts(["test"])["test"], Path("data/study/prepared/samples.csv")
    table = pd.read_csv(samples, dtype=str, keep_default_na=False)
    table.loc[table["row"].astype(int).isin(part.rows), COLUMN] = "1000000.0"
    table.to_csv(samples, index=False)
    images = np.load(IMAGES)
    images[part.rows] = 0
    np.save(IMAGES, images)
    assert searched() == whole

    apply(study)
    study, run = load(), Run("small", "l1", 42)
    assert study.models["small"].lr == record.best.values["models.small.lr"]
    train_regression(run, study)
    evaluate_regression(run.configuration, study)
    for metric in ("rmse", "mae"):
        check_equal(run, study, metric, metric, "overall")
    assert score_of(run, study)[0] == record.best.score
