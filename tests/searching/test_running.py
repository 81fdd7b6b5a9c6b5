"""A search: its trials, its record, how it goes on, and that nothing of it reads the test part."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import yaml

from pipeline import train
from pipeline.commands.search import apply, text
from pipeline.launching.schedule import State
from pipeline.searching import running, workplace
from pipeline.searching.about import about_search
from pipeline.searching.record import RECORD, read_record
from pipeline.searching.scores import outputs_file
from pipeline.searching.sides import Side
from pipeline.settings import load, parse
from pipeline.study.errors import UserError
from pipeline.study.files import IMAGES
from pipeline.study.parts import read_parts
from pipeline.study.runs import Run
from tests.tiny import TINY

OVER = {"models.small.lr": {"low": 0.001, "high": 0.1, "log": True}, "train.batch_size": [16, 32]}
SEARCH = {"model": "small", "loss": "bce", "trials": 6, "batch": 2, "over": OVER}


def write(**section):
    Path("params.yaml").write_text(yaml.safe_dump({**TINY, "search": {**SEARCH, **section}}))
    return load()


class Fake:
    """Stands for training: counts, and scores a trial by its settings; fails or stops where it is told to."""

    def __init__(self, monkeypatch, fails=(), stops=None):
        self.trained, self.fails, self.stops, self.searching = [], fails, stops, None
        monkeypatch.setattr(running, "cache_folder", lambda: Path("/nowhere"))
        monkeypatch.setattr(running, "score_of", self.score)
        rows = read_parts(["val"])["val"].rows
        monkeypatch.setattr(running, "validation_outputs", lambda run, params: (self.logits(params, rows), rows))

    def score(self, run, params):
        content = json.loads(Path("params.yaml").read_text())
        lr, size = content["models"]["small"]["lr"], content["train"]["batch_size"]
        return round(0.9 - abs(np.log10(lr) + 2) / 10 - size / 1000 + run.seed / 1e6, 6), 2.0, False

    def logits(self, params, rows):
        rng = np.random.default_rng(int(params.models["small"].lr * 1e6))
        return rng.normal(size=(len(rows), 14)).astype(np.float32)

    def __call__(self, tasks):
        for task in tasks:
            number = int(task.name.split()[1])
            if self.stops is not None and number >= self.stops:
                self.searching.stop.status = 130
                task.state = State.STOPPED
                continue
            self.trained.append(task.name)
            task.state = State.FAILED if number in self.fails else State.DONE
            if task.state is State.FAILED:
                task.log.parent.mkdir(parents=True, exist_ok=True)
                task.log.write_text("error: /home/who/study/models: the loss is not finite\n")

    def search(self, params, trials=None):
        self.searching = running.Searching(params, trials or params.search.trials, train=self)
        return self.searching.run()


def test_a_search_and_its_record(prepared, monkeypatch):
    fake = Fake(monkeypatch)
    assert fake.search(write()) == 0
    record = read_record()
    assert [trial.number for trial in record.trials] == list(range(6))
    assert record.trials[0].values == {"models.small.lr": 0.01, "train.batch_size": 32}
    assert [trial.origin for trial in record.trials] == ["params.yaml"] + ["sampler"] * 5
    assert len(fake.trained) == len({json.dumps(trial.values) for trial in record.trials})
    study = optuna.create_study(direction="maximize")
    study.add_trials([optuna.trial.create_trial(value=trial.score) for trial in record.trials])
    assert record.best.score == study.best_value == max(trial.score for trial in record.trials)
    assert record.best.number == study.best_trial.number
    assert record.optimism["trials"] == len(fake.trained)
    assert sum(record.optimism["chosen"].values()) == pytest.approx(1)
    assert not list(workplace.PLACES.glob("*-*"))
    assert f"{record.best.score:.4f}" in text(record)
    # All is there: nothing more is done, and more trials are only those that are missing.
    assert fake.search(load()) == 0
    assert len(fake.trained) == len(record.optimism["chosen"]) or len(fake.trained) <= 6
    before = len(fake.trained)
    fake.search(load(), trials=7)
    assert len(fake.trained) - before <= 1
    assert read_record().trials[:6] == record.trials


def test_a_search_that_was_stopped_goes_on_as_it_would_have(prepared, monkeypatch):
    Fake(monkeypatch).search(write())
    whole = RECORD.read_bytes()
    RECORD.unlink()
    shutil.rmtree("tmp/search")
    first, then = Fake(monkeypatch, stops=3), Fake(monkeypatch)
    with pytest.raises(running.workers.Stopped):
        first.search(load())
    assert [trial.number for trial in read_record().trials] == [0, 1, 2]
    assert then.search(load()) == 0
    assert RECORD.read_bytes() == whole
    assert not set(first.trained) & set(then.trained)


def test_outputs_that_are_missing_are_made_again_and_the_record_stays(prepared, monkeypatch):
    fake = Fake(monkeypatch)
    fake.search(write())
    record = read_record()
    outputs_file(record.digest, 1).unlink()
    again = Fake(monkeypatch)
    again.search(load(), trials=7)
    assert "trial 1" in again.trained
    assert read_record().trials[:6] == record.trials


def test_a_trial_that_fails_is_recorded_with_its_reason_and_not_trained_again(prepared, monkeypatch):
    fake = Fake(monkeypatch, fails=(1,))
    fake.search(write())
    failed = read_record().trials[1]
    assert (failed.state, failed.score, failed.reason) == ("failed", None, "error: models: the loss is not finite")
    again = Fake(monkeypatch)
    again.search(load(), trials=7)
    assert "trial 1" not in again.trained


def test_a_search_of_failures_is_given_up(prepared, monkeypatch):
    fake = Fake(monkeypatch, fails=range(9))
    with pytest.raises(UserError, match=r"the first 4 trials have failed: error: models: the loss is not finite"):
        fake.search(write())
    assert len(fake.trained) == 4
    again = Fake(monkeypatch)
    assert again.search(load(), trials=2) == 0  # whatever was wrong has been mended
    assert again.trained == ["trial 0", "trial 1"]


def test_the_score_is_the_mean_over_the_seeds(prepared, monkeypatch):
    Fake(monkeypatch).search(write(seeds=[1000, 3000], trials=2))
    trial = read_record().trials[0]
    assert trial.by_seed == {"1000": 0.869, "3000": 0.871}
    assert trial.score == pytest.approx(0.87)


def test_another_search_keeps_the_record_of_the_first(prepared, monkeypatch, capsys):
    fake = Fake(monkeypatch)
    fake.search(write(trials=2))
    old = RECORD.read_bytes()
    fake.search(write(trials=2, seed=1))
    assert Path(f"{RECORD}.1").read_bytes() == old
    assert "a new search: seed differ from reports/search.json" in capsys.readouterr().out


def test_the_best_values_are_applied_and_the_search_is_still_the_same(prepared, monkeypatch):
    fake = Fake(monkeypatch)
    fake.search(write())
    record, trained = read_record(), len(fake.trained)
    assert f"has the values of trial {record.best.number}" in apply(load())
    params = load()
    assert params.models["small"].lr == record.best.values["models.small.lr"]
    assert params.train.batch_size == record.best.values["train.batch_size"]
    assert apply(params).endswith("already")
    assert fake.search(params) == 0
    assert len(fake.trained) == trained
    write(seed=5)
    with pytest.raises(UserError, match=r"search.json is of another search \(seed\)"):
        apply(load())


def test_a_trial_on_images_that_changed_meanwhile_is_not_recorded(prepared, monkeypatch):
    fake = Fake(monkeypatch)

    def train(tasks):
        fake(tasks)
        for task in tasks:
            place = next(folder for folder in workplace.PLACES.glob("*-*") if str(folder.absolute()) in task.command)
            data = "after" if task.name == "trial 3" else "before"
            lock = {"stages": {"train": {"deps": [{"path": "data/study", "md5": data}]}}}
            (place / "dvc.lock").write_text(yaml.safe_dump(lock))

    with pytest.raises(UserError, match="data/study: has changed since the first trial of this call, so that trial 3"):
        running.Searching(write(), 6, train=train).run()
    assert [trial.number for trial in read_record().trials] == [0, 1, 2]


def test_which_weights_were_applied_does_not_make_another_search(prepared):
    for name in ("a", "b"):
        Path(f"{name}.safetensors").write_text(name)
    tried = {"models.small.weights": ["a.safetensors", "b.safetensors"]}

    def about(given):
        models = {**TINY["models"], "small": {**TINY["models"]["small"], "weights": f"{given}.safetensors"}}
        return about_search(Side(parse({**TINY, "models": models, "search": {**SEARCH, "over": tried}}, "params.yaml")))

    first = about("a")
    assert about("b") == first
    Path("b.safetensors").write_text("others")
    assert about("a") != first


def test_the_test_part_is_not_read(prepared, trained_once):
    part = read_parts(["test"])["test"]
    samples = Path("data/study/prepared/samples.csv")
    lines = samples.read_text().splitlines()
    classes = [
        lines[0].split(",").index(name)
        for name in json.loads(Path("data/study/prepared/dataset.json").read_text())["classes"]
    ]
    for row in part.rows.tolist():
        cells = lines[1 + row].split(",")
        for place in classes:
            cells[place] = str(1 - int(cells[place]))
        lines[1 + row] = ",".join(cells)
    samples.write_text("\n".join(lines) + "\n")
    images = np.load(IMAGES)
    images[part.rows] = 0
    np.save(IMAGES, images)
    train.train(Run("small", "bce", 42), load())
    model = "models/small-bce/seed42/model.safetensors"
    assert Path(model).read_bytes() == (trained_once / model).read_bytes()


def test_every_trial_is_a_training_run_in_the_cache_of_dvc(prepared, forks):
    from dvc.repo import Repo

    Repo.init(no_scm=True).close()
    counted = []

    def through_dvc(tasks):
        for task in tasks:
            task.log.parent.mkdir(parents=True, exist_ok=True)
            with task.log.open("wb") as log:
                environment = workplace.environment({**os.environ})
                process = forks.start(
                    ["-m", *task.command], stdout=log, stderr=log, env=environment, start_new_session=True
                )
                assert process.wait(120) == 0, task.log.read_text()
            ran = "Running stage" in task.log.read_text()
            counted.append(ran)
            task.state = State.DONE if ran else State.CACHED

    params = write(trials=2)
    running.Searching(params, 2, train=through_dvc).run()
    first = read_record()
    assert counted == [True, True]
    assert not Path("evaluations").exists()
    RECORD.unlink()
    shutil.rmtree("tmp/search")
    counted.clear()
    running.Searching(params, 2, train=through_dvc).run()
    second = read_record()
    assert counted == [False, False]
    assert [trial.from_cache for trial in second.trials] == [True, True]
    assert [replace(trial, from_cache=False) for trial in second.trials] == first.trials
    assert second.optimism == first.optimism
    # The study's own stage takes the run of the trial that has its values.
    run = "python -m pipeline.train --model small --loss bce --seed 42"
    stage = {
        "cmd": run,
        "deps": ["data/study", "data/configurations/small-bce.train.json"],
        "outs": ["models/small-bce/seed42"],
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    with Repo() as repo, pytest.MonkeyPatch.context() as patch:
        patch.setattr("dvc.stage.run._run", lambda *_, **__: pytest.fail("it was trained again"))
        repo.reproduce()
    score = json.loads(Path("models/small-bce/seed42/run.json").read_text())["val_auroc"]
    assert score == first.trials[0].score
