"""New images are cut to their region as the study's were, or refused."""

import base64
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from pipeline.deploying import dicom_pictures
from pipeline.deploying.bundle import study_regions
from pipeline.deploying.export import export
from pipeline.deploying.running import NOT_CUT, Predictor
from pipeline.deploying.sources import Source
from pipeline.imaging.enhance import prepare
from pipeline.imaging.region import NO_MASK, Region, Regions, model_identity, region_of
from pipeline.imaging.settings import Preprocess, Roi
from pipeline.segmenting.use import Segmenter
from pipeline.study.errors import UserError
from pipeline.study.files import READING
from tests.deploying.test_dicom import recipe

MASK = np.zeros((60, 80), bool)
MASK[20:50, 10:40] = True


@pytest.fixture
def study(tmp_path, monkeypatch, tiny):
    """A study whose regions are found by the network in the folder lungs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lungs").mkdir()
    (tmp_path / "lungs/model.safetensors").write_bytes(b"1")
    used = Segmenter(["lungs"], [128], 32, {"arch": "smp/unet", "lr": 0.1}, {"size": 32})
    (tmp_path / "lungs/segmenter.json").write_text(json.dumps(used.record()))
    roi = Roi(masks="lungs")

    def write(masks):
        tiny["preprocess"]["roi"] = masks and {"masks": masks}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny))

    write("lungs")
    READING.parent.mkdir(parents=True)
    READING.write_text(json.dumps({"region": model_identity(roi)}))
    return write


def test_a_network_must_be_the_one_that_the_studys_images_were_prepared_with(study, tmp_path):
    assert isinstance(study_regions(), Regions)
    (tmp_path / "lungs/model.safetensors").write_bytes(b"2")
    with pytest.raises(UserError, match=r"^preprocess.roi.masks: 'lungs': its files are not those"):
        study_regions()


def test_masks_of_the_data_set_are_refused_in_one_sentence(study):
    study("own")
    with pytest.raises(UserError, match=r"^preprocess.roi.masks: 'own': .* new images have none; to predict, train"):
        study_regions()


def test_a_study_of_whole_images_needs_nothing(study):
    study(None)
    READING.write_text("{}")
    assert study_regions()("x", np.zeros((4, 4), np.uint8)) is None


def test_an_export_that_could_not_find_the_region_is_refused(study, tmp_path):
    with pytest.raises(UserError, match=r"^preprocess.roi.masks: 'lungs': the network expects images that were cut"):
        export(SimpleNamespace(method="mean", members=()), "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_new_images_are_cut_as_those_of_the_study_and_said_to_be_whole_where_they_are(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, MASK.shape, np.uint8)
    for name in ("cut", "whole"):
        (tmp_path / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    settings = Preprocess(size=32, roi=Roi(masks="lungs", margin=0.0))
    regions = Regions(settings.roi, lambda name, pixels: MASK if name == "cut" else NO_MASK)
    made = recipe(preprocess=settings.model_dump(mode="json"))
    predictor = Predictor(None, made, None, None, regions=regions)
    ((cut,), (whole,)) = (list(predictor._images(Source(tmp_path / name, name))) for name in ("cut", "whole"))
    np.testing.assert_array_equal(cut.pixels, prepare(np.ascontiguousarray(image[20:50, 10:40]), settings))
    np.testing.assert_array_equal(whole.pixels, prepare(image, settings))
    assert cut.told == ()
    assert whole.told == (f"{NOT_CUT}: {NO_MASK}",)


@pytest.mark.parametrize("keep_aspect", ["stretch", "pad", "crop"])
def test_a_heat_map_lies_on_its_region_of_the_original(keep_aspect):
    cells = np.full((8, 8), 255, np.uint8)
    each = {"height": 8, "width": 8, "cells": base64.b64encode(cells.tobytes()).decode()}
    made = recipe(preprocess={"size": 32, "keep_aspect": keep_aspect})
    region = region_of(MASK, 60, 80, Roi(masks="lungs", margin=0.0))
    heat = dicom_pictures._map(each, 80, 60, region, made)
    np.testing.assert_array_equal(heat > 0.5, MASK)
    whole = dicom_pictures._map(each, 80, 60, Region("found", 0, 0, 80, 60), made)
    assert (whole > 0.5).mean() == (60 * 60 / (60 * 80) if keep_aspect == "crop" else 1.0)
