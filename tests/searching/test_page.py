"""The page about a search: what it says of trials, luck and the values that params.yaml has."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pipeline.reporting import page
from pipeline.reporting.kept import carry_over
from pipeline.reporting.loading import load_study
from pipeline.reporting.pseudonyms import _without_paths
from pipeline.reporting.views import methods, readme
from pipeline.reporting.views import search as view
from pipeline.searching.about import settings_digest
from pipeline.searching.record import Record, Trial, read_record, write_record
from pipeline.settings import load, parse
from pipeline.settings.search import Search
from pipeline.study.files import read_json
from tests.tiny import TINY

KEYS = ("models.small.lr", "train.batch_size")
ABOUT = {
    "dataset": "phantom",
    "model": "small",
    "loss": "bce",
    "seeds": [42],
    "over": {KEYS[0]: {"low": 0.001, "high": 0.1, "log": True, "step": None}, KEYS[1]: [16, 32]},
    "seed": 0,
    "batch": 2,
    "weights": None,
    "data": "",
}
OPTIMISM = {
    "images": 40,
    "patients": 30,
    "patients_known": True,
    "classes": 12,
    "all_classes": 14,
    "trials": 3,
    "draws": 100,
    "confidence": 0.95,
    "highest": 0.72,
    "corrected": 0.66,
    "low": 0.55,
    "high": 0.77,
    "refused": "",
    "optimism": 0.06,
    "left_out": 0.36,
    "chosen": {"1": 0.5, "2": 0.3},
}


def trial(number, lr, size, score, **more):
    state = "finished" if score is not None else "failed"
    return Trial(number, dict(zip(KEYS, (lr, size))), state, score, {"42": score} if score else {}, **more)


TRIALS = [
    trial(0, 0.01, 32, 0.70, origin="params.yaml"),
    trial(1, 0.02, 16, 0.73),
    trial(2, 0.05, 16, 0.71, from_cache=True),
    trial(3, 0.02, 16, 0.73, same_as=1, from_cache=True),
    trial(4, 0.09, 32, None, reason="error: the loss is not | finite"),
]


@pytest.fixture
def written(evaluated, tmp_path):
    """Write the pages of the evaluated study beside a record; sections of params.yaml may be changed."""
    split = read_json(Path("data/study/split/audit.json"), "split")["sha256"]

    def write(record=None, **sections):
        Path("params.yaml").write_text(yaml.safe_dump({**TINY, **sections}))
        search = Search(model="small", loss="bce", over=ABOUT["over"])
        about = {**ABOUT, "split": split, "settings": settings_digest(parse(TINY), search)}
        whole = Record(about, {"optuna": "5.0.0"}, TRIALS, asked=6, optimism=OPTIMISM)
        write_record(whole if record is None else record(whole))
        study, folder = load_study(load()), tmp_path / "pages"
        with page.about(study):
            view.render(study, folder)
            facts = methods.facts(study, {"roc": False, "curves": False})
            page.write(folder / "methods.md", "methods.md", **facts)
        return {path.name: path.read_text() for path in folder.glob("*")}, study

    return write


def test_the_page_says_what_was_done_and_what_it_is_worth(written):
    pages, study = written()
    text = pages["search.md"]
    for said in (
        "Settings of small-bce were searched by its validation images: 5 trials",
        "No trial has scored the test set.",
        "TPE sampler of Optuna 5.0.0, seed 0, 2 at a time",
        "The trials were proposed 2 at a time from the scores of those before",
        "**4 of 6 trials finished**; 1 failed, 1 was not begun. 1 came from DVC's cache, 1 repeated the values",
        "**Trial 1 has the highest score, 0.730**; the values before the search had 0.700.",
        "it is 0.660 [0.550, 0.770] (95 % CI): the highest of 3 scores is too high by about 0.060, on the 12 classes",
        "**params.yaml has the values of trial 0**, not those of the best trial",
        "| 0.001 to 0.1, on a logarithmic scale | 0.01",
        "Trial 1 was the best in 50 % of the draws; 2 of 3 trials were the best in some.",
        "In a study with folds, `medmatrix search` searches each fold apart (nested)",
    ):
        assert said in text, said
    results = next(r for r in study.configurations if r.key == "small-bce")
    assert f" {results.get('auroc').value:.3f} [" in text.split("## On the test set")[1]
    assert "Another split" not in text
    assert "Not closed" not in text
    rows = pages["search.csv"].splitlines()
    assert len(rows) == 6
    assert rows[0].startswith("trial,models.small.lr,train.batch_size,state,score,score_seed42,origin,from_cache")
    assert (
        "Settings of small-bce were [searched](search.md) on the validation set: 5 trials over 2 settings."
        in pages["methods.md"]
    )


def test_values_that_were_applied_and_then_lost(written):
    models = {**TINY["models"], "small": {**TINY["models"]["small"], "lr": 0.02}}
    train = {**TINY["train"], "batch_size": 16}
    pages, _ = written(models=models, train=train)
    assert "**params.yaml has these values**." in pages["search.md"]
    assert "| Best trial, validation, corrected" in pages["search.md"]
    pages, _ = written(models=models, train={**train, "epochs": 3})
    assert "have these values" not in pages["search.md"]
    assert (
        "has these values**, but other settings of how small-bce is trained have changed since." in pages["search.md"]
    )
    assert "which is not what the best trial was" in pages["search.md"]
    pages, _ = written(models=models, train={**train, "batch_size": 8})
    assert "**params.yaml does not have these values**, or no longer" in pages["search.md"]
    assert "which is not what the best trial was" in pages["search.md"]
    assert "| Best trial, validation" not in pages["search.md"]


def test_what_casts_doubt_on_a_search_is_said(written):
    pages, _ = written(lambda record: replace(record, about={**record.about, "split": "another"}))
    assert "**Another split.**" in pages["search.md"]
    few = {**OPTIMISM, "low": None, "high": None, "refused": "fewer than 10 patients (7)"}
    pages, _ = written(lambda record: replace(record, optimism=few))
    assert "it is 0.660 (fewer than 10 patients (7)): the highest of 3" in pages["search.md"]
    assert "No interval: fewer than 10 patients (7)." in pages["search.md"]
    pages, _ = written(lambda record: replace(record, evaluated_before=True, optimism={}))
    assert "**Not closed.**" in pages["search.md"]
    assert "has not been computed: `medmatrix search` does it" in pages["search.md"]


def test_of_errors_the_lowest_is_the_best(written):
    optimism = {key: value for key, value in OPTIMISM.items() if key != "highest"}
    optimism |= {"lowest": 0.70, "corrected": 0.76, "low": 0.6, "high": 0.9, "classes": 1, "all_classes": 1}
    pages, _ = written(
        lambda record: replace(
            record, about={**record.about, "metric": "rmse"}, optimism={**optimism, "chosen": {"0": 1}}
        )
    )
    text = pages["search.md"]
    for said in (
        "A trial's score is its root mean squared error on the validation set (the lower, the better), at",
        "**Trial 0 has the lowest score, 0.700**: the values before the search.",
        "it is 0.760 [0.600, 0.900] (95 % CI): the lowest of 3 scores is too low by about 0.060.",
        "The lowest of many noisy scores is too low on average",
        "Root mean squared error, validation [95 % CI]",
        "**params.yaml has these values**.",
    ):
        assert said in text, said
    table = text.split("## The best 4 trials")[1].split("##")[0]
    assert [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")][2:] == [
        "0",
        "2",
        "1",
        "3",
    ]
    assert "AUROC" not in text.split("## In short")[1]


@pytest.mark.parametrize("about", [{"dataset": "leukemia"}, {"model": "large"}])
def test_a_record_of_another_study_has_no_page(written, about):
    pages, study = written(lambda record: replace(record, about={**record.about, **about}))
    assert study.searched is None
    assert "search.md" not in pages
    assert "searched" not in pages["methods.md"]


def test_the_record_stays_when_reports_are_written_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = Record(ABOUT, {"optuna": "5.0.0"}, TRIALS, asked=6, optimism=OPTIMISM)
    write_record(record)
    assert read_record() == record
    Path("reports/search.json.1").write_text("an earlier one")
    Path("new").mkdir()
    carry_over(Path("new"))
    assert read_record(Path("new/search.json")) == record
    assert Path("new/search.json.1").read_text() == "an earlier one"


def test_a_file_of_weights_is_the_same_without_its_folder_which_no_page_shows():
    models = {**TINY["models"], "small": {**TINY["models"]["small"], "weights": "/home/jane/a.safetensors"}}
    params, search = parse({**TINY, "models": models}), Search(model="small", loss="bce", over=ABOUT["over"])
    shown = _without_paths(params, synthetic=True)
    assert shown.models["small"].weights == "a.safetensors"
    assert settings_digest(shown, search) == settings_digest(params, search)
    other = {**models, "small": {**models["small"], "weights": "/home/jane/b.safetensors"}}
    assert settings_digest(parse({**TINY, "models": other}), search) != settings_digest(params, search)


def test_the_front_page_links_it():
    assert "search.md" in readme._PAGES
