"""The record of a loss: what it holds, and that a training run refuses any other."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipeline import loss as stage
from pipeline import train
from pipeline.learning import losses
from pipeline.settings import load
from pipeline.study.files import MODELS, ArtifactError, loss_file
from pipeline.study.params import ParamsError
from pipeline.study.runs import Run


def test_a_record_holds_kind_settings_and_every_file_that_the_loss_consists_of():
    folder = Path(losses.__file__).parent
    record = losses.record("mine", {"kind": "calibrated_focal", "gamma": 1.0})
    assert record == {
        "kind": "calibrated_focal",
        "settings": {"gamma": 1.0},
        "code": {
            name: hashlib.sha256((folder / f"{name}.py").read_bytes()).hexdigest()
            for name in ("_calibration", "calibrated_focal", "focal")
        },
    }
    assert list(record["code"]) == sorted(record["code"])
    assert json.loads(json.dumps(record)) == record
    assert losses.record("bce", None)["settings"] == {}
    with pytest.raises(ParamsError, match=r"losses\.mine\.kind: 'other' is not a loss; use one of: .*bce"):
        losses.record("mine", {"kind": "other"})


@pytest.fixture
def folder_of_losses(tmp_path, monkeypatch):
    """A copy of the folder of losses that `record` looks at, and a working directory."""
    copy = tmp_path / "losses"
    shutil.copytree(losses._FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(losses, "_FOLDER", copy)
    monkeypatch.chdir(tmp_path)
    return copy


def edit(path):
    path.write_text(path.read_text() + "\n# another comment\n")


def written(name, settings):
    loss_file(name).parent.mkdir(parents=True, exist_ok=True)
    loss_file(name).write_text(json.dumps(losses.record(name, settings)))


def test_only_the_settings_and_the_files_of_a_loss_change_its_record(folder_of_losses):
    settings = {"gamma": 1.0}
    written("calibrated_focal", settings)
    losses.check_record("calibrated_focal", settings)
    edit(folder_of_losses / "bce.py")
    losses.check_record("calibrated_focal", settings)
    with pytest.raises(ArtifactError, match=r"data/losses/calibrated_focal\.json is not losses\.calibrated_focal as"):
        losses.check_record("calibrated_focal", {"gamma": 2.0})
    edit(folder_of_losses / "focal.py")  # which it imports
    with pytest.raises(ArtifactError, match=r"the code define it now; stage 'loss' makes it: dvc repro loss"):
        losses.check_record("calibrated_focal", settings)


def test_a_record_that_is_missing_names_its_stage(folder_of_losses):
    with pytest.raises(ArtifactError, match=r"data/losses/bce\.json is missing; stage 'loss' makes it: dvc repro loss"):
        losses.check_record("bce", {})


def test_a_training_run_refuses_a_loss_without_its_record_before_any_work(prepared, monkeypatch):
    run, study = Run("small", "bce", 42), load()
    content = json.loads(loss_file("bce").read_text())
    loss_file("bce").write_text(json.dumps(content | {"code": {"bce": "0" * 64}}))
    with pytest.raises(ArtifactError, match="dvc repro loss"):
        train.train(run, study)
    loss_file("bce").unlink()
    with pytest.raises(ArtifactError, match="dvc repro loss"):
        train.train(run, study)
    assert not MODELS.exists()
    stage.loss("bce", study)
    assert json.loads(loss_file("bce").read_text()) == content
