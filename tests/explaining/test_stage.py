"""Stage explain on the tiny study, and the page that its results make."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from pipeline import explain
from pipeline.explaining.results import explanation_folder, read_explanation
from pipeline.explaining.settings import ExplainSections
from pipeline.learning.networks.models import Classifier
from pipeline.reporting import page
from pipeline.reporting.figures import style
from pipeline.reporting.loading import load_study
from pipeline.reporting.views import explain as view
from pipeline.settings import load, parse
from pipeline.study.params import ParamsError
from pipeline.study.params import load as load_sections
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import read_dataset
from pipeline.study.runs import Run, configurations, seeds
from pipeline.study.trainings import evaluation_folder
from tests.tiny import BLANK, TINY


def params_with(**settings):
    with open("params.yaml", "w") as file:
        yaml.safe_dump({**TINY, "explain": {"images": 10, **settings}}, file)
    return load_sections(ExplainSections)


def test_the_maps_of_a_study_and_their_page(evaluated, tmp_path, monkeypatch):
    params = params_with(methods=["grad-cam"])
    for configuration in configurations(params):
        explain.explain(configuration, "grad-cam", params)
    again = explanation_folder(configurations(params)[0], "grad-cam")
    before = {path.name: path.read_bytes() for path in again.iterdir() if path.suffix != ".npz"}
    explain.explain(configurations(params)[0], "grad-cam", params)
    assert {path.name: path.read_bytes() for path in again.iterdir() if path.suffix != ".npz"} == before
    monkeypatch.setattr(style, "png", lambda *_: BLANK)
    study = load_study(load())
    assert len(study.explanations) == len(configurations(params))
    with page.about(study):
        written = {path.name: path for path in view.render(study, tmp_path / "pages")}
    text = written["explain.md"].read_text()
    assert f"## {study.subject.key}, grad-cam" in text
    assert "mean box" in text
    assert "Every configuration" in text
    table = pd.read_csv(written["explain.csv"])
    assert set(table["metric"]) >= {"pointing", "energy", "pixel_ap", "deletion", "insertion", "random weights"}
    of = read_explanation(configurations(params)[0], "grad-cam")
    assert len(of.maps) == len(of.examples)
    assert np.isin(of.examples["row"], study.samples.query("part == 'test'")["row"]).all()
    assert 0 <= of.maps.min() <= of.maps.max() <= 1


def test_networks_of_colour_images_are_explained_on_grey_ones(evaluated, monkeypatch):
    """As those that start from weights of ImageNet."""
    params = params_with(methods=["grad-cam"])
    configuration = configurations(params)[0]
    classes = len(read_dataset().classes)

    def colour(configuration, params, *_):
        for seed in seeds(params):
            torch.manual_seed(seed)
            backbone = nn.Sequential(
                nn.Conv2d(3, 4, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(4, classes),
            )
            yield Run(*configuration, seed), Classifier(backbone, torch.full((3,), 0.4), torch.ones(3), "4")

    monkeypatch.setattr(explain, "trained_models", colour)
    explain.explain(configuration, "grad-cam", params)
    of = read_explanation(configuration, "grad-cam")
    assert of.about["layer"]["name"] in ("0", "1")
    assert of.maps.max() > 0


def test_maps_without_gradients(evaluated, monkeypatch):
    params = params_with(methods=["occlusion"])
    configuration = configurations(params)[0]
    explain.explain(configuration, "occlusion", params)
    of = read_explanation(configuration, "occlusion")
    assert of.about["layer"] is None
    assert of.maps.shape[1:] == (24, 24)


def test_without_boxes_there_are_checks_alone(evaluated, tmp_path, monkeypatch):
    (evaluated / "data/study/prepared/boxes.csv").unlink()
    params = params_with(methods=["grad-cam"])
    for configuration in configurations(params):
        explain.explain(configuration, "grad-cam", params)
    assert not (explanation_folder(configuration, "grad-cam") / "localisation.csv").exists()
    monkeypatch.setattr(style, "png", lambda *_: BLANK)
    study = load_study(load())
    with page.about(study):
        written = {path.name: path for path in view.render(study, tmp_path / "pages")}
    text = written["explain.md"].read_text()
    assert "mean box" not in text
    assert "Deletion" in text


@pytest.mark.parametrize("methods", [["gradcam"], ["grad-cam", "grad-cam"], "grad-cam"])
def test_bad_methods_are_named(methods):
    with pytest.raises(ParamsError, match=r"explain\.methods"):
        parse({**TINY, "explain": {"methods": methods}})


def test_a_map_that_is_missing_is_said_to_be(evaluated):
    params_with(methods=["layercam"])
    assert any("heat maps" in each for each in load_study(load()).missing)


def test_a_configuration_whose_trainings_all_diverged_has_no_maps_and_stops_nothing(evaluated):
    params = params_with(methods=["grad-cam"])
    configuration = configurations(params)[0]
    path = evaluation_folder(configuration) / "predictions.npz"
    made = Predictions.load(path)
    replace(made, test_logits=np.full_like(made.test_logits, np.nan)).save(path)
    explain.explain(configuration, "grad-cam", params)
    assert (explanation_folder(configuration, "grad-cam") / "none.json").exists()
    assert read_explanation(configuration, "grad-cam") is None
