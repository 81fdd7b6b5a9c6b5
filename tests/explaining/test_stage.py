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
from pipeline.reporting.values import Estimate
from pipeline.reporting.views import explain as view
from pipeline.settings import load, parse
from pipeline.study.params import ParamsError
from pipeline.study.params import load as load_sections
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import read_dataset
from pipeline.study.runs import Run, configurations, seeds
from pipeline.study.trainings import evaluation_folder
from tests.blank import BLANK
from tests.tiny import TINY


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


def row(name, hit, mean_box, low, high, n=300):
    """A class of which `mean_box` of n images are hit by the mean box, and the difference has an interval."""
    of = Estimate(hit, hit - 0.01, hit + 0.01, n), Estimate(mean_box, mean_box - 0.01, mean_box + 0.001, n)
    difference = Estimate(hit - mean_box, low, high, n)
    return view.ClassRow(name, n, of[0], of[1], Estimate(0.1), difference, [Estimate(0.5)] * 3)


@pytest.mark.parametrize(
    ("mean_box", "low", "high", "said"),
    [
        (0.996, -0.020, 0.012, True),  # at most 0.004 above, of an interval that reaches 0.016
        (0.990, -0.008, 0.010, False),  # 0.010 above would be seen: it reaches 0.009
        (0.600, -0.300, 0.050, False),
        (0.996, np.nan, np.nan, False),  # without an interval nothing is said
    ],
)
def test_where_no_map_could_be_above_the_mean_box_it_is_said_to_be_undecidable(mean_box, low, high, said):
    of = row("Cardiomegaly", mean_box + (low + high) / 2 if low == low else 0.9, mean_box, low, high)
    assert of.without_room is said
    if said:
        assert of.largest_gain == pytest.approx(1 - mean_box)
        assert of.reach == pytest.approx((high - low) / 2)


def test_the_page_names_the_findings_that_cannot_be_decided(evaluated, tmp_path, monkeypatch):
    params = params_with(methods=["grad-cam"])
    explain.explain(configurations(params)[0], "grad-cam", params)
    monkeypatch.setattr(style, "png", lambda *_: BLANK)
    rows = [row("every class", 0.8, 0.6, 0.1, 0.3), row("Cardiomegaly", 0.994, 0.996, -0.02, 0.016)]
    rows.append(row("Edema", 0.9, 0.6, 0.2, 0.4))
    facts = view.facts_of(read_explanation(configurations(params)[0], "grad-cam"))
    monkeypatch.setattr(view, "facts_of", lambda of: replace(facts, classes=rows))
    study = load_study(load())
    chosen = next(r for r in study.configurations if r.key == str(configurations(params)[0]))
    monkeypatch.setattr(type(study), "subject", chosen)
    with page.about(study):
        view.render(study, tmp_path)
    (line,) = [each for each in (tmp_path / "explain.md").read_text().splitlines() if "No room above" in each]
    assert "Cardiomegaly (the mean box is right in 0.996, so that a map which is always right would be 0.004" in line
    assert "reaches 0.018 to either side" in line
    assert "Edema" not in line


def test_a_network_without_a_picture_is_named_and_the_others_are_explained(evaluated, monkeypatch, capsys):
    params = params_with(methods=["grad-cam"])
    first, classes = configurations(params)[0], len(read_dataset().classes)

    def flat(configuration, params, *_):
        for seed in seeds(params):
            backbone = nn.Sequential(nn.Flatten(), nn.Linear(24 * 24, classes))
            yield Run(*configuration, seed), Classifier(backbone, torch.zeros(1), torch.ones(1), "1")

    monkeypatch.setattr(explain, "trained_models", flat)
    explain.explain(first, "grad-cam", params)
    said = "Sequential: no layer's output is a picture, so there is no heat map of it but by occlusion"
    assert f"{first}: no heat maps, as {said}" in capsys.readouterr().out
    assert f"heat maps by grad-cam of {first} ({said})" in load_study(load()).missing


def test_maps_that_are_the_same_everywhere_are_named_before_they_are_scored(evaluated, monkeypatch):
    """As of a network whose logits depend on no place: the study goes on, and its page says why there is no map."""
    params = params_with(methods=["layercam"])
    first, classes = configurations(params)[0], len(read_dataset().classes)

    def dead(configuration, params, *_):
        for seed in seeds(params):
            layers = [nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)]
            nn.init.zeros_(layers[-1].weight)
            yield Run(*configuration, seed), Classifier(nn.Sequential(*layers), torch.zeros(1), torch.ones(1), "3")

    monkeypatch.setattr(explain, "trained_models", dead)
    explain.explain(first, "layercam", params)
    assert [path.name for path in explanation_folder(first, "layercam").iterdir()] == ["none.json"]
    (said,) = [each for each in load_study(load()).missing if str(first) in each]
    assert "maps that were made first are the same in every place" in said
