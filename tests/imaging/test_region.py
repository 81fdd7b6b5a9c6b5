import itertools
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.datasets import MaskSource, Sample
from pipeline.datasets.phantom.cohort import sample_cohort
from pipeline.datasets.phantom.dataset import Data as Phantom
from pipeline.datasets.phantom.drawing import draw, draw_with_masks
from pipeline.imaging.enhance import prepare
from pipeline.imaging.outcome import boxes_in_pixels, region_lines
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.region import (
    COLUMNS,
    EMPTY,
    FOUND,
    NO_MASK,
    SMALL,
    Regions,
    model_files,
    model_identity,
    prepare_region,
    region_of,
    regions_of,
    without_specks,
)
from pipeline.imaging.settings import Clahe, Preprocess, Roi
from pipeline.study.errors import UserError

HEIGHT, WIDTH = 90, 120
PLAIN = Preprocess(size=48, threads=1, clahe=Clahe(enabled=False))


def rectangle(x, y, width, height, shape=(HEIGHT, WIDTH)):
    mask = np.zeros(shape, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def noise(seed, shape=(HEIGHT, WIDTH), dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize(
    ("margin", "box"),
    [(0.0, (40, 30, 50, 20)), (0.1, (35, 28, 60, 24)), (1.0, (0, 10, 120, 60))],  # the last reaches the borders
)
def test_the_box_grows_by_its_margin_as_far_as_the_image_reaches(margin, box):
    region = region_of(rectangle(40, 30, 50, 20), HEIGHT, WIDTH, Roi(masks="own", margin=margin))
    assert region == (FOUND, *box, None)


@pytest.mark.parametrize(
    ("mask", "status"),
    [
        (NO_MASK, NO_MASK),
        ("mask not usable: of another size", "mask not usable: of another size"),
        (np.zeros((HEIGHT, WIDTH), bool), EMPTY),
        (rectangle(3, 3, 10, 10), SMALL),  # 0.93 % of the image
        (rectangle(3, 3, 20, 11), FOUND),  # 2.04 %
    ],
)
def test_an_image_without_a_region_is_kept_whole_and_says_why(mask, status):
    region = region_of(mask, HEIGHT, WIDTH, Roi(masks="own", outside="blank", margin=0.0))
    assert region.status == status
    if status != FOUND:
        assert region == (status, 0, 0, WIDTH, HEIGHT, None)


class Masked:
    """A data set with the masks of two structures, as its files give them."""

    name = "masked"
    mask_classes = ("left", "right")

    def masks(self, folder):
        def of(name):
            if name == "missing":
                raise FileNotFoundError
            if name == "unreadable":
                raise PermissionError(13, "Permission denied")
            return given.get(name)

        left, right = rectangle(10, 10, 20, 30), rectangle(70, 20, 20, 30)
        small = rectangle(5, 5, 10, 15, shape=(HEIGHT // 2, WIDTH // 2)).astype(np.uint8) * 255
        given = {
            "both": (MaskSource(left), MaskSource(right)),
            "one": (MaskSource(left), MaskSource(None)),
            "none": (MaskSource(None), MaskSource(None)),
            "rescaled": (MaskSource(cv2.imencode(".png", small)[1].tobytes(), rescaled=True), MaskSource(None)),
            "other size": (MaskSource(cv2.imencode(".png", small)[1].tobytes()), MaskSource(None)),
        }
        return of


@pytest.mark.parametrize(
    ("name", "classes", "wanted"),
    [
        ("both", [], (FOUND, 10, 10, 80, 40)),  # the union
        ("both", ["right"], (FOUND, 70, 20, 20, 30)),
        ("one", [], (FOUND, 10, 10, 20, 30)),
        ("one", ["right"], (EMPTY, 0, 0, WIDTH, HEIGHT)),
        ("none", [], (EMPTY, 0, 0, WIDTH, HEIGHT)),
        ("rescaled", [], (FOUND, 10, 10, 20, 30)),
        ("missing", [], (NO_MASK, 0, 0, WIDTH, HEIGHT)),
        ("nobody", [], (NO_MASK, 0, 0, WIDTH, HEIGHT)),
        ("unreadable", [], ("mask not usable: Permission denied", 0, 0, WIDTH, HEIGHT)),
        (
            *("other size", []),
            ("mask not usable: mask size is not that of the image: 60 x 45, not 120 x 90 pixels", 0, 0, WIDTH, HEIGHT),
        ),
    ],
)
def test_own_masks_are_joined_and_what_is_wrong_with_one_keeps_its_image_whole(name, classes, wanted):
    regions = regions_of(Roi(masks="own", classes=classes, margin=0.0), Masked(), Path())
    assert regions(name, np.zeros((HEIGHT, WIDTH), np.uint8)) == (*wanted, None)


@pytest.mark.parametrize("order", ["before_resize", "after_resize"])
def test_the_region_is_cut_out_before_contrast_is_enhanced(order):
    image, settings = noise(1), Preprocess(size=32, clahe=Clahe(tiles=2, order=order))
    region = region_of(rectangle(40, 30, 50, 20), HEIGHT, WIDTH, Roi(masks="own", margin=0.0))
    wanted = prepare(np.ascontiguousarray(image[30:50, 40:90]), settings)
    np.testing.assert_array_equal(prepare_region(image, region, settings), wanted)
    np.testing.assert_array_equal(prepare_region(image, None, settings), prepare(image, settings))


@pytest.mark.parametrize("keep_aspect", ["stretch", "pad", "crop"])
@pytest.mark.parametrize(
    ("shape", "dtype", "store", "order"),
    [
        ((HEIGHT, WIDTH), np.uint8, "uint8", "before_resize"),
        ((HEIGHT, WIDTH, 3), np.uint8, "uint8", "after_resize"),
        ((HEIGHT, WIDTH), np.uint16, "uint16", "before_resize"),
    ],
)
@pytest.mark.parametrize("crop", [True, False])
def test_nothing_of_what_is_blanked_reaches_the_prepared_image(keep_aspect, shape, dtype, store, order, crop):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (55, 40), (30, 22), 20, 0, 360, 1, -1)
    inside = mask.astype(bool)
    one, other = noise(1, shape, dtype), noise(2, shape, dtype)
    other[inside] = one[inside]
    settings = Preprocess(
        size=40,
        channels=1 if len(shape) == 2 else 3,
        store=store,
        keep_aspect=keep_aspect,
        clahe=Clahe(tiles=2, order=order),
    )
    region = region_of(inside, HEIGHT, WIDTH, Roi(masks="own", outside="blank", crop=crop))
    before = one.copy()
    prepared = prepare_region(one, region, settings)
    np.testing.assert_array_equal(one, before)
    np.testing.assert_array_equal(prepared, prepare_region(other, region, settings))
    black = (prepared == 0).reshape(40, 40, -1).all(axis=-1)
    assert black[0, 0], "CLAHE lifts black"
    assert black[-1, -1]
    assert 0.1 < (~black).mean() < 0.95
    kept = prepare_region(one, region._replace(mask=None), settings)
    assert (kept != prepare_region(other, region._replace(mask=None), settings)).any()


def samples(images, labels=("a",)):
    for name, image in images.items():
        yield Sample(name, f"p{name}", labels, lambda image=image: image)


def prepared(images, masks, settings, folder):
    regions = Regions(settings.roi, lambda name, image: masks.get(name, NO_MASK))
    return prepare_all(samples(images), ("a",), "multilabel", settings, folder / "images.npy", regions=regions)


@pytest.mark.parametrize("keep_aspect", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("crop", [True, False])
def test_boxes_lie_on_what_they_mark_in_the_prepared_image(keep_aspect, crop, tmp_path):
    """White rectangles are found again where boxes.csv says, within a pixel of the prepared image."""
    roi = Roi(masks="own", crop=crop, outside="keep" if crop else "blank", margin=0.1)
    settings = Preprocess(size=64, threads=1, clahe=Clahe(enabled=False), keep_aspect=keep_aspect, roi=roi)
    marked = {"in": (50, 36, 24, 12), "across": (20, 30, 30, 20), "whole": (5, 50, 20, 30)}
    images = {name: np.zeros((HEIGHT, WIDTH), np.uint8) for name in marked}
    for name, (x, y, w, h) in marked.items():
        images[name][y : y + h, x : x + w] = 255
    masks = {"in": rectangle(40, 20, 50, 50), "across": rectangle(40, 20, 50, 50)}
    if not crop:
        masks["across"] = rectangle(15, 20, 60, 50)  # what is blanked would not be found
    table = prepared(images, masks, settings, tmp_path).samples
    boxes = pd.DataFrame(
        [(name, "a", x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT) for name, (x, y, w, h) in marked.items()],
        columns=["sample_id", "class", "x", "y", "width", "height"],
    )
    found = boxes_in_pixels(boxes, table, 64, keep_aspect).set_index("sample_id")
    array = np.load(tmp_path / "images.npy")
    for row, name in enumerate(table["sample_id"]):
        lit = array[row] > 127
        if not lit.any():
            assert name not in found.index
            continue
        x, y, w, h = cv2.boundingRect(lit.astype(np.uint8))
        box = found.loc[name, ["x", "y", "width", "height"]].to_numpy(float)
        np.testing.assert_allclose([box[0], box[1], box[0] + box[2], box[1] + box[3]], [x, y, x + w, y + h], atol=1.01)
    assert "in" in found.index


def test_a_box_outside_of_the_region_is_dropped(tmp_path):
    settings = PLAIN.model_copy(update={"roi": Roi(masks="own", margin=0.0)})
    table = prepared({"x": noise(3)}, {"x": rectangle(60, 20, 50, 50)}, settings, tmp_path).samples
    boxes = pd.DataFrame([("x", "a", 0.0, 0.0, 0.2, 0.2)], columns=["sample_id", "class", "x", "y", "width", "height"])
    assert boxes_in_pixels(boxes, table, 48, "stretch").empty


def test_the_table_lists_what_became_of_each_region_and_duplicates_are_of_whole_images(tmp_path):
    settings = PLAIN.model_copy(update={"roi": Roi(masks="own", margin=0.0)})
    same = noise(4)
    images = {"cut": same, "copy": same.copy(), "none": noise(5), "small": noise(6)}
    masks = {"cut": rectangle(0, 0, 60, 45), "copy": rectangle(60, 45, 60, 45), "small": rectangle(0, 0, 5, 5)}
    result = prepared(images, masks, settings, tmp_path)
    table = result.samples.set_index("sample_id")
    assert table["roi"].to_dict() == {"cut": FOUND, "copy": FOUND, "none": NO_MASK, "small": SMALL}
    assert table.loc["copy", list(COLUMNS[1:])].tolist() == [60, 45, 60, 45]
    assert table.loc["none", list(COLUMNS[1:])].tolist() == [0, 0, WIDTH, HEIGHT]
    assert table.loc["copy", "duplicate_of"] == "cut", "identical files, though cut to different parts"
    assert region_lines(result.samples) == ["region of interest: 2 found; kept whole: 1 no mask, 1 too small"]
    array = np.load(tmp_path / "images.npy")
    np.testing.assert_array_equal(array[1], prepare(np.ascontiguousarray(same[45:, 60:]), PLAIN))
    np.testing.assert_array_equal(array[2], prepare(images["none"], PLAIN))


def test_a_study_without_a_region_has_no_column_of_it(tmp_path):
    result = prepare_all(samples({"x": noise(1)}), ("a",), "multilabel", PLAIN, tmp_path / "images.npy")
    assert not set(COLUMNS) & set(result.samples)
    assert region_lines(result.samples) == []


def test_the_phantoms_lungs_are_where_it_drew_them():
    """The box of an emphysema is drawn around the lungs by the painter of the findings, not by what is tested."""
    data = Phantom(images=200, size=128, duplicates=4)
    cohort = sample_cohort(data, np.random.SeedSequence(data.seed))
    masks = data.masks(None)
    cases = [case for case in cohort.cases if "Emphysema" in case.findings][:4]
    for case in cases:
        (box,) = [box[1:] for box in draw(case, 128)[1] if box[0] == "Emphysema"]
        x, y, w, h = cv2.boundingRect(masks(case.name)[0].content.astype(np.uint8))
        np.testing.assert_allclose(np.array(box) * 128, [x, y, w, h], atol=2)
        np.testing.assert_array_equal(masks(case.name)[0].content, draw_with_masks(case, 128)[2]["lungs"])
    assert len(cases) == 4
    original, copy = cohort.copies[0]
    np.testing.assert_array_equal(masks(original)[0].content, masks(copy.name)[0].content)
    assert masks("nobody.png") is None
    assert data.mask_classes == ("lungs",)


@pytest.fixture
def network(monkeypatch):
    """A network in the place of the trained one: what is brighter than half, and one bright speck."""
    loaded = []

    def find_masks(folder, images):
        loaded.append(folder)
        while some := list(itertools.islice(images, 32)):
            for image in some:
                assert image.ndim == 2
                yield np.stack([image > 127, image < 0], axis=-1)

    trained = types.SimpleNamespace(classes=["lungs", "heart"], preprocess={"channels": 1})
    module = types.SimpleNamespace(find_masks=find_masks, read_segmenter=lambda folder: trained)
    monkeypatch.setitem(sys.modules, "pipeline.segmenting.use", module)
    return loaded


def test_a_network_is_loaded_once_and_its_specks_are_dropped(network, tmp_path):
    roi = Roi(masks="somewhere/lungs", margin=0.0)
    settings = PLAIN.model_copy(update={"roi": roi, "threads": 3})
    images = {f"{i}": rectangle(10 + i, 20, 50, 40).astype(np.uint8) * 255 for i in range(9)}
    for image in images.values():
        image[85, 110:113] = 255
    regions = regions_of(roi)
    result = prepare_all(samples(images), ("a",), "multilabel", settings, tmp_path / "images.npy", regions=regions)
    assert result.samples["roi_x"].tolist() == [10 + i for i in range(9)]
    assert (result.samples[["roi_y", "roi_width", "roi_height"]] == [20, 50, 40]).all().all()
    assert [str(folder) for folder in network] == ["somewhere/lungs"]
    assert regions_of(roi.model_copy(update={"classes": ["heart"]}))("0", images["0"]).status == EMPTY
    with pytest.raises(UserError, match=r"roi.classes: 'spine' is not found by .*; use some of: lungs, heart"):
        regions_of(roi.model_copy(update={"classes": ["spine"]}))("0", images["0"])
    colour = np.repeat(images["0"][:, :, None], 3, axis=2)
    assert regions("new", colour)[1:5] == (10, 20, 50, 40)


def test_pieces_as_large_as_each_other_are_all_kept():
    two = rectangle(0, 0, 30, 40) | rectangle(60, 10, 30, 30)
    np.testing.assert_array_equal(without_specks(two), two)
    np.testing.assert_array_equal(without_specks(two | rectangle(100, 80, 4, 4)), two)
    assert not without_specks(np.zeros((4, 4), bool)).any()


def test_new_images_have_no_masks_of_their_own():
    with pytest.raises(UserError, match=r"preprocess.roi.masks: 'own': .* new images have none"):
        regions_of(Roi(masks="own"))


def test_a_folder_without_a_network_is_refused_by_its_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^preprocess.roi.masks: 'lungs': no such folder"):
        model_files(Roi(masks="lungs"))
    (tmp_path / "lungs").mkdir()
    with pytest.raises(UserError, match=r"^preprocess.roi.masks: 'lungs': holds none; must hold one"):
        model_files(Roi(masks="lungs"))
    (tmp_path / "lungs/model.safetensors").write_bytes(b"1")
    (tmp_path / "lungs/run.json").write_text("{}")
    before = model_identity(Roi(masks="lungs"))
    assert list(before) == ["model.safetensors", "run.json"]
    (tmp_path / "lungs/model.safetensors").write_bytes(b"2")
    after = model_identity(Roi(masks="lungs"))
    assert after["model.safetensors"] != before["model.safetensors"]
    assert after["run.json"] == before["run.json"]
    (tmp_path / "models").mkdir()
    (tmp_path / "lungs").rename("models/lungs")
    with pytest.raises(UserError, match=r"lies in models, from where results of earlier studies are moved away"):
        model_files(Roi(masks="models/lungs"))
    assert model_files(None) == model_files(Roi(masks="own")) == []
