"""Searches within folds: each sees the validation images of its fold alone, and its fold alone gets what it found."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline import configure, prepare_variant, split, train
from pipeline.commands.plan import _search
from pipeline.commands.search import apply, summary, text
from pipeline.launching.schedule import State
from pipeline.launching.status import cache_folder
from pipeline.learning.settings import TrainingSections
from pipeline.searching import running, workplace
from pipeline.searching.record import RECORD, read_record, read_records
from pipeline.searching.sides import Side, sides_of
from pipeline.settings import load
from pipeline.settings.search import held_values
from pipeline.study.errors import UserError
from pipeline.study.files import IMAGES
from pipeline.study.params import load as load_sections
from pipeline.study.parts import read_parts
from pipeline.study.records import record_file
from pipeline.study.runs import Run
from pipeline.study.workplaces import inside
from pipeline.variants.records import VariantRecordSections
from tests.tiny import ROOT, TINY

OVER = {"models.small.lr": {"low": 0.001, "high": 0.1, "log": True}, "train.batch_size": [16, 32]}
SEARCH = {"model": "small", "loss": "bce", "trials": 4, "batch": 2, "over": OVER}
SPLIT = {**TINY["split"], "method": "folds", "folds": 3, "validation": 0.25}
VARIANTS = {name: {"split": {"fold": int(name[-1])}} for name in ("fold2", "fold3")}
STUDY = {
    **TINY,
    "study": {"models": ["small"], "losses": ["bce"], "replicates": []},
    "split": {**SPLIT, "fold": 1},
    "variants": VARIANTS,
    "search": SEARCH,
}


def write(**sections):
    Path("params.yaml").write_text(yaml.safe_dump({**STUDY, **sections}))
    return load()


@pytest.fixture(scope="module")
def dealt(prepared_once, tmp_path_factory):
    """The tiny study in three folds, before anything is trained."""
    folder = tmp_path_factory.mktemp("folds") / "study"
    shutil.copytree(prepared_once, folder)
    with contextlib.chdir(folder):
        configure.configure(write())
        split.main()
        for name in VARIANTS:
            prepare_variant.prepare(name, load_sections(VariantRecordSections))
    return folder


@pytest.fixture
def folds(dealt, tmp_path, monkeypatch):
    """A fresh copy, as the working directory."""
    shutil.copytree(dealt, tmp_path / "study", symlinks=True)
    monkeypatch.chdir(tmp_path / "study")
    monkeypatch.setattr(running, "cache_folder", lambda: Path("/nowhere"))
    return load()


class Fake:
    """Stands for training: scores a trial by its settings, in each fold by others."""

    def __init__(self, monkeypatch, stops=None, shift=0.0):
        self.trained, self.stops, self.shift, self.searching = [], stops, shift, None
        monkeypatch.setattr(running, "score_of", self.score)
        monkeypatch.setattr(running, "validation_outputs", self.outputs)

    def score(self, run, *_):
        content = json.loads(Path("params.yaml").read_text())
        best = {1: -1.2, 2: -2.0, 3: -2.8}[content["split"]["fold"]]
        score = (
            0.9 - abs(np.log10(content["models"]["small"]["lr"]) - best) / 10 - content["train"]["batch_size"] / 1000
        )
        return round(score + self.shift * (content["split"]["fold"] == 1), 6), 2.0, False

    def outputs(self, run, params):
        rows = read_parts(["val"])["val"].rows
        rng = np.random.default_rng(int(params.models["small"].lr * 1e6))
        return rng.normal(size=(len(rows), 14)).astype(np.float32), rows

    def __call__(self, tasks):
        for task in tasks:
            if self.stops is not None and len(self.trained) >= self.stops:
                self.searching.stop.status = 130
                task.state = State.STOPPED
                continue
            self.trained.append(task.name)
            task.state = State.DONE

    def search(self, params):
        self.searching = running.Searching(params, params.search.trials, train=self)
        return self.searching.run()


def test_each_fold_has_a_search_of_its_own(folds, monkeypatch):
    fake = Fake(monkeypatch)
    assert fake.search(folds) == 0
    records = read_records()
    assert [*records] == [1, 2, 3]
    assert fake.trained[:2] == ["trial 0 of fold 1", "trial 1 of fold 1"]
    assert len({record.digest for record in records.values()}) == 3
    assert {record.trials[0].origin for record in records.values()} == {"params.yaml"}
    drawn = [[trial.values["models.small.lr"] for trial in record.trials[1:]] for record in records.values()]
    assert len({value for of in drawn for value in of}) == 9  # no two samplers draw alike
    for fold, record in records.items():
        folder = "data/study" if fold == 1 else f"variants/fold{fold}/study"
        assert record.about["split"] == json.loads(Path(folder, "split/audit.json").read_text())["sha256"]
        validation = json.loads(Path(folder, "split/audit.json").read_text())["parts"]["val"]["images"]
        assert record.optimism["images"] == validation
        assert f"Fold {fold}" in text(record)
    mean = np.mean([record.best.score for record in records.values()])
    assert f"12 trials in 3 folds, each fold by its own validation part. Mean of the best scores: {mean:.4f}" in (
        "\n".join(summary(records))
    )
    assert not list(workplace.PLACES.glob("*-*"))
    before = RECORD.read_bytes()
    assert Fake(monkeypatch).search(load()) == 0
    assert RECORD.read_bytes() == before


def test_no_search_knows_the_scores_of_another_fold(folds, monkeypatch):
    Fake(monkeypatch).search(folds)
    first = read_records()
    shutil.rmtree("tmp/search")
    RECORD.unlink()
    Fake(monkeypatch, shift=-0.3).search(folds)
    second = read_records()
    assert second[1].best.score < first[1].best.score - 0.2
    assert [second[fold] for fold in (2, 3)] == [first[fold] for fold in (2, 3)]
    # A fold has the trials of the same split searched alone.
    shutil.rmtree("tmp/search")
    RECORD.unlink()
    alone = write(split={**SPLIT, "fold": 2}, variants={})
    shutil.copytree("variants/fold2/study/split", "data/study/split", dirs_exist_ok=True)
    Fake(monkeypatch).search(alone)
    assert [*read_records()] == [2]
    assert read_record(fold=2).trials == first[2].trials
    assert read_record(fold=2).optimism == first[2].optimism


def test_a_search_that_was_stopped_goes_on_in_the_fold_where_it_was(folds, monkeypatch):
    Fake(monkeypatch).search(folds)
    whole = RECORD.read_bytes()
    RECORD.unlink()
    shutil.rmtree("tmp/search")
    first, then = Fake(monkeypatch, stops=6), Fake(monkeypatch)
    with pytest.raises(running.workers.Stopped):
        first.search(folds)
    assert {fold: len(record.trials) for fold, record in read_records().items()} == {1: 4, 2: 2}
    assert "18 trials" not in _search(folds, folds.search, {}, 1)
    assert "12 trials of small-bce, 4 in each of 3 folds; 6 to be done" in _search(folds, folds.search, {}, 1)
    assert then.search(folds) == 0
    assert RECORD.read_bytes() == whole
    assert not set(first.trained) & set(then.trained)


def test_each_fold_gets_what_its_own_search_found(folds, monkeypatch):
    content = "\n".join(["# all", *yaml.safe_dump(STUDY).splitlines()]).replace("split:\n", "split:  # of the study\n")
    Path("params.yaml").write_text(content)
    with pytest.raises(UserError, match=r"search.json: no finished trial of fold 1 is there"):
        apply(load())
    fake = Fake(monkeypatch)
    fake.search(load())
    records, trained = read_records(), len(fake.trained)
    assert len({json.dumps(record.best.values) for record in records.values()}) == 3
    said = apply(load())
    assert f"of trial {records[2].best.number} of fold 2:\n  models.small.lr: 0.01 -> " in said
    params, after = load(), Path("params.yaml").read_text()
    assert "# all\n" in after
    assert "split:  # of the study" in after
    for side in sides_of(params):
        best = records[side.fold].best.values
        assert held_values(params.search, side.params) == best
        assert side.found == ({} if side.variant is None else best)
    assert params.models["small"].lr == records[1].best.values["models.small.lr"]
    configure.configure(params)
    for fold in (2, 3):
        kept = json.loads(record_file(f"fold{fold}-small-bce", "train").read_text())
        assert kept["model"]["lr"] == records[fold].best.values["models.small.lr"]
        assert kept["train"]["batch_size"] == records[fold].best.values["train.batch_size"]
    assert apply(params).count("already") == 3
    assert fake.search(params) == 0  # applying makes no other search of it
    assert len(fake.trained) == trained
    # Another fold's record that is missing is no reason to leave it with the values of fold 1.
    kept = json.loads(RECORD.read_text())
    RECORD.write_text(json.dumps({"folds": kept["folds"][:2]}))
    with pytest.raises(UserError, match="no finished trial of fold 3"):
        apply(params)


def test_a_fold_that_is_searched_later_does_not_begin_with_what_another_has_found(folds, monkeypatch):
    fake = Fake(monkeypatch)
    fake.search(write(variants={"fold2": VARIANTS["fold2"]}))
    apply(load())
    found = load()
    assert found.models["small"].lr != 0.01
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["variants"]["fold3"] = VARIANTS["fold3"]
    Path("params.yaml").write_text(yaml.safe_dump(content))
    fake.search(load())
    third = read_record(fold=3)
    assert third.trials[0].values == {"models.small.lr": 0.01, "train.batch_size": 32}
    assert third.trials[0].origin == "params.yaml"


def test_another_search_keeps_the_records_and_a_fold_that_has_left_goes(folds, monkeypatch, capsys):
    fake = Fake(monkeypatch)
    fake.search(folds)
    old, records = RECORD.read_bytes(), read_records()
    fake.search(write(variants={"fold3": VARIANTS["fold3"]}))
    assert "a new search but for folds 1, 3: folds differ from reports/search.json" in capsys.readouterr().out
    assert Path(f"{RECORD}.1").read_bytes() == old
    assert read_records() == {fold: records[fold] for fold in (1, 3)}
    fake.search(write(search={**SEARCH, "trials": 2, "seed": 4}))
    assert "a new search: seed differ from" in capsys.readouterr().out
    assert {len(record.trials) for record in read_records().values()} == {2}


def change(rows):
    """Zero images and turn labels of these rows."""
    samples = Path("data/study/prepared/samples.csv")
    lines = samples.read_text().splitlines()
    head = lines[0].split(",")
    for row in rows.tolist():
        cells = lines[1 + row].split(",")
        for name in json.loads(Path("data/study/prepared/dataset.json").read_text())["classes"]:
            cells[head.index(name)] = str(1 - int(cells[head.index(name)]))
        lines[1 + row] = ",".join(cells)
    samples.write_text("\n".join(lines) + "\n")
    images = np.load(IMAGES)
    images[rows] = 0
    np.save(IMAGES, images)


def test_the_search_of_a_fold_reads_nothing_that_the_fold_tests(folds, monkeypatch):
    """Of the record of fold 2, no byte depends on its tested images or their labels; on others it does."""
    score_of = running.score_of
    monkeypatch.setattr(running, "score_of", lambda *of: (score_of(*of)[0], 1.0, score_of(*of)[2]))  # not the seconds

    def trained(tasks):
        for task in tasks:
            with contextlib.chdir(Path(task.command[2])), inside("fold2"):
                train.train(Run("small", "bce", 42), load_sections(TrainingSections))
            task.state = State.DONE

    def searched():
        shutil.rmtree("tmp/search", ignore_errors=True)
        RECORD.unlink(missing_ok=True)
        searching = running.Searching(folds, 2, train=trained)
        searching.sides = [side for side in searching.sides if side.fold == 2]
        searching.run()
        return RECORD.read_bytes()

    with inside("fold2"):
        parts = read_parts(["val", "test"])
    before = searched()
    change(parts["test"].rows)
    assert searched() == before
    change(parts["val"].rows[::2])
    assert searched() != before


def test_the_study_takes_the_best_run_of_a_fold_from_the_cache(folds, monkeypatch, forks):
    from dvc.repo import Repo

    Repo.init(no_scm=True).close()
    monkeypatch.setattr(running, "cache_folder", cache_folder)

    def through_dvc(tasks):
        for task in tasks:
            task.log.parent.mkdir(parents=True, exist_ok=True)
            with task.log.open("wb") as log:
                environment = workplace.environment({**os.environ})
                process = forks.start(
                    ["-m", *task.command], stdout=log, stderr=log, env=environment, start_new_session=True
                )
                assert process.wait(120) == 0, task.log.read_text()
            task.state = State.DONE

    params = write(search={**SEARCH, "trials": 1, "over": {"models.small.lr": [0.02, 0.03]}})
    searching = running.Searching(params, 1, train=through_dvc)
    searching.sides = [Side(params, 2, "fold2")]
    searching.run()
    best = read_record(fold=2).best
    assert best.values["models.small.lr"] in (0.02, 0.03)
    fold = {**VARIANTS["fold2"], "found": best.values}
    configure.configure(write(variants={"fold2": fold}))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"train_variant": stages["train_variant"]}}, sort_keys=False))
    with Repo() as repo, pytest.MonkeyPatch.context() as patch:
        patch.setattr("dvc.stage.run._run", lambda *_, **__: pytest.fail("it was trained again"))
        repo.reproduce()
    run = json.loads(Path("variants/fold2/models/small-bce/seed42/run.json").read_text())
    assert run["val_auroc"] == best.score
