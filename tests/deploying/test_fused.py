"""Feature ensembles on new images and elsewhere: the numbers that stage fuse has for them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.commands.export import main as export
from pipeline.deploying.bundle import bundle, onnx_engine
from pipeline.deploying.choice import FUSION, ChoiceSections, choose
from pipeline.deploying.predicting import predict
from pipeline.deploying.sources import Source
from pipeline.ensembling.settings import FeatureSections
from pipeline.fuse import fuse
from pipeline.metrics.thresholds import probabilities
from pipeline.study.errors import UserError
from pipeline.study.files import ENSEMBLES, FUSED
from pipeline.study.params import load
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import read_samples
from tests.deploying.test_predict import RAW, numbers, read_rows
from tests.once import made_once

NAME = "features_top2"


@pytest.fixture(scope="session")
def fused_once(deployed_once, tmp_path_factory):
    """A folder in which the tiny study has a feature ensemble with its bundle; of stage ensemble's file, its name."""

    def make(folder):
        shutil.copytree(deployed_once, folder, dirs_exist_ok=True)
        content = yaml.safe_load(Path("params.yaml").read_text())
        content["ensemble"] = {"top_k": 2, "features": True}
        Path("params.yaml").write_text(yaml.safe_dump(content))
        fuse(load(FeatureSections))
        made = json.loads((FUSED / "fused.json").read_text())["models"][0]
        members = json.loads((ENSEMBLES / "members.json").read_text())
        members["ensembles"][NAME] = {"method": FUSION, "members": made["members"]}
        (ENSEMBLES / "members.json").write_text(json.dumps(members))
        bundle(choose(load(ChoiceSections), ensemble=NAME))

    return made_once(tmp_path_factory, "fused", make)


@pytest.fixture
def fused(fused_once, tmp_path, monkeypatch):
    """A fresh copy of it, as the working directory; the ensemble's predictions."""
    copy = tmp_path / "study"
    shutil.copytree(fused_once, copy)
    monkeypatch.chdir(copy)
    return Predictions.load(FUSED / "predictions.npz")


def test_files_and_exports_get_the_probabilities_that_the_study_has(fused):
    choice = choose(load(ChoiceSections), ensemble=NAME)
    ids = read_samples().set_index("row").loc[fused.test_rows, "sample_id"]
    predict(choice, [Source(RAW / name, name) for name in ids], Path("answers"))
    rows = read_rows(Path("answers"))
    expected = probabilities(choice.calibration.apply(fused.test_logits[0]), fused.task)
    for what in ("probability", "low", "high"):
        np.testing.assert_allclose(numbers(rows, what, fused.classes), expected, atol=1e-5)
    kept = onnx_engine(bundle(choice).folder / "model.onnx", 1)(np.zeros((3, 1, 24, 24), np.float32))
    assert kept[0].shape == (1, 3, len(fused.classes))
    export(["--ensemble", NAME, "--out", "out"])
    assert (Path("out/model.onnx")).read_bytes() == (bundle(choice).folder / "model.onnx").read_bytes()
    assert json.loads(Path("out/labels.json").read_text())["combined_by"] == "a head on their features"
    assert f"`logits` [1, N, {len(fused.classes)}]" in Path("out/README.md").read_text()
    with pytest.raises(UserError, match="--heatmaps: features_top2 decides by features"):
        predict(choice, [], Path("maps"), heat="grad-cam")


def test_its_head_is_part_of_what_it_is(fused):
    choice = choose(load(ChoiceSections), ensemble=NAME)
    first = bundle(choice).folder
    data = bytearray((FUSED / f"{NAME}.safetensors").read_bytes())
    data[-1] ^= 1
    (FUSED / f"{NAME}.safetensors").write_bytes(bytes(data))
    assert bundle(choice).folder != first


def test_timm_knows_no_ensembles(fused, capsys):
    for name in (NAME, "mean_all"):
        with pytest.raises(SystemExit):
            export(["--ensemble", name, "--format", "timm", "--out", "out"])
        assert f"--format timm: {name} is an ensemble" in capsys.readouterr().err


def test_what_is_no_network_is_not_exported(fused, capsys):
    with pytest.raises(SystemExit):
        export(["--ensemble", "stack_all", "--out", "out"])
    assert "stack_all: its members are combined by stack" in capsys.readouterr().err
