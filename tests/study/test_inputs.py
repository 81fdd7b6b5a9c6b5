"""What params.yaml names outside of the project."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline.settings import checks, parse
from pipeline.study.inputs import not_to_stay, relative_to_project
from pipeline.study.params import ParamsError
from tests.tiny import ROOT


def outputs():
    """Return the outputs of dvc.yaml that are no links to what the user has."""
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        for out in stage.get("outs", []):
            path = re.sub(r"\$\{[^}]*\}", "x", out if isinstance(out, str) else next(iter(out)))
            if not {"raw", "inputs"} & set(Path(path).parts) and "asked.json" not in path:
                yield path


def test_what_a_stage_writes_is_no_place_for_an_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(set(outputs())) > 15
    for out in outputs():
        for written in (Path(out), Path(out) / "file.pth", Path("x/..") / out, tmp_path / out):
            assert "results of earlier studies" in (not_to_stay(written) or ""), written
    for mine in ("w.pth", "../models/w.pth", "data/w.pth", "data/weights/w.pth", "teachers/a.npz", "tmp/w.pth", "."):
        assert not_to_stay(Path(mine)) is None


def test_links_into_results_are_none_either_nor_are_results_that_are_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models/a-b").mkdir(parents=True)
    Path("w").symlink_to("models/a-b")
    Path("cache").mkdir()
    Path("models/a-b/seed1").symlink_to(tmp_path / "cache")
    assert not_to_stay(Path("w"))
    assert not_to_stay(Path("models/a-b/seed1"))
    assert not_to_stay(Path("cache")) is None
    monkeypatch.chdir("cache")
    assert not_to_stay(tmp_path / "models/a-b") is None  # of another study
    with relative_to_project(tmp_path):
        assert not_to_stay(tmp_path / "models/a-b")


@pytest.mark.parametrize("file", ["models/small-bce/seed7/model.safetensors", "models/small-bce/seed7"])
def test_weights_and_teachers_among_results_are_refused_before_any_work(tiny, tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    Path("models/small-bce/seed7").mkdir(parents=True)
    Path("models/small-bce/seed7/model.safetensors").write_bytes(b"abc")
    tiny["models"]["small"] |= {"weights": file}
    with pytest.raises(
        ParamsError, match=rf"models\.small\.weights: {file}: lies in models, from where .*; copy it to"
    ):
        checks.check(parse(tiny))
    tiny["models"]["small"] |= {"weights": None, "teacher": {"file": "ensembles/t.npz"}}
    with pytest.raises(ParamsError, match=r"models\.small\.teacher\.file: ensembles/t\.npz: lies in ensembles, from"):
        checks.check(parse(tiny))
