"""Weights that have learned from images which the study tests on."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline import split, train
from pipeline.learning.networks.origin import origin
from pipeline.learning.seen import SAME, UNKNOWN, check_unseen, trained_on
from pipeline.learning.settings import TrainingSections
from pipeline.learning.teacher import names_by_part
from pipeline.learning.weights import ModelError
from pipeline.study.params import load
from pipeline.study.prepared import read_dataset
from pipeline.study.runs import Run
from tests.once import enter_copy

FILE = Path("../start/model.safetensors")


@pytest.fixture
def study(evaluated_once, tmp_path, monkeypatch):
    """A study whose model starts from a training run of it, copied to a place outside."""
    folder = enter_copy(evaluated_once, tmp_path, monkeypatch)
    shutil.rmtree(FILE.parent, ignore_errors=True)
    shutil.copytree("models/small-bce/seed42", FILE.parent)
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["models"]["small"]["weights"] = str(FILE)
    Path("params.yaml").write_text(yaml.safe_dump(content))
    yield folder
    shutil.rmtree(FILE.parent, ignore_errors=True)


def settings():
    return load(TrainingSections).models["small"]


def split_otherwise():
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["split"] |= {"method": "grouped", "seed": 5}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    before = names_by_part()
    split.main()
    return before, names_by_part()


def described(**changes):
    """Write other words into the header of the file of weights."""
    with safe_open(FILE, "np") as file:
        about = json.loads(file.metadata()["medmatrix"])
    save_file(load_file(FILE), FILE, {"medmatrix": json.dumps(about | changes)})


def recorded(**changes):
    record = FILE.with_name("run.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))


def test_weights_of_the_same_split_are_taken_and_recorded_as_such(study):
    check_unseen("small", settings(), read_dataset())
    assert trained_on(settings()) == origin(settings())["trained on"] == SAME


def test_weights_of_another_split_of_the_same_images_are_refused_before_training(study):
    before, now = split_otherwise()
    assert before["train"] & now["test"]  # images that are to be tested on, and were trained on
    with pytest.raises(
        ModelError, match=r"models\.small\.weights: .* was trained on phantom by another split: its trai"
    ):
        train.train(Run("small", "bce", 42), load(TrainingSections))


def test_an_export_of_another_split_is_refused_too(study):
    from pipeline.learning.seen import record

    run = json.loads(FILE.with_name("run.json").read_text())
    (FILE.with_name("labels.json")).write_text(json.dumps({"trained_on": record(read_dataset(), run)}))
    FILE.with_name("run.json").unlink()
    assert trained_on(settings()) == SAME
    split_otherwise()
    with pytest.raises(ModelError, match=r"was trained on phantom by another split"):
        check_unseen("small", settings(), read_dataset())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: described(name="leukemia", title="Blood"), "another data set (Blood)"),
        (lambda: described(source={"images": 3}), UNKNOWN),  # of a user's own set that is called alike
        (lambda: FILE.with_name("run.json").unlink(), UNKNOWN),
        (lambda: recorded(seed=7), UNKNOWN),  # of another training run
        (lambda: recorded(parts=None), UNKNOWN),
        (lambda: described(name=None), UNKNOWN),
    ],
)
def test_of_which_nothing_is_known_nothing_is_claimed(study, change, said):
    split_otherwise()
    change()
    check_unseen("small", settings(), read_dataset())
    assert trained_on(settings()) == said


@pytest.mark.parametrize(("before", "said"), [(SAME, SAME), (UNKNOWN, UNKNOWN), (None, UNKNOWN)])
def test_what_these_weights_began_with_counts_too(study, before, said):
    recorded(weights={"file": "w.pth", "sha256": "0" * 64} | ({"trained on": before} if before else {}))
    assert trained_on(settings()) == said
    recorded(weights={"hub": "timm/resnet18"})
    assert trained_on(settings()) == SAME
