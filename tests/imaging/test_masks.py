"""Masks beside their images: the same geometry, two values, and a reason for each that cannot be used."""

from functools import partial

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.datasets import MaskSource, Sample
from pipeline.imaging.enhance import fit
from pipeline.imaging.masks import INSIDE, place, unplace
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Preprocess

WAYS = ["stretch", "pad", "crop"]


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def disc(height, width):
    y, x = np.mgrid[:height, :width]
    return ((y - 0.45 * height) / (0.3 * height)) ** 2 + ((x - 0.55 * width) / (0.25 * width)) ** 2 < 1


@pytest.mark.parametrize("keep_aspect", WAYS)
@pytest.mark.parametrize("shape", [(96, 96), (60, 110), (111, 60), (20, 30)])
def test_a_mask_lies_where_the_same_picture_does(keep_aspect, shape):
    mask = disc(*shape)
    placed, image = place(mask, 48, keep_aspect), fit((mask * 255).astype(np.uint8), 48, keep_aspect)
    sure = np.abs(image.astype(int) - 128) > 120  # pixels that are all inside or all outside
    assert sure.mean() > 0.8
    assert np.array_equal(placed[sure], image[sure] > 128)


@pytest.mark.parametrize("keep_aspect", WAYS)
@pytest.mark.parametrize("shape", [(96, 96), (200, 130), (37, 50)])
def test_a_mask_that_is_brought_back_is_where_it_was(keep_aspect, shape):
    mask = disc(*shape)
    back = unplace(place(mask, 64, keep_aspect), *shape, keep_aspect)
    assert back.shape == shape
    inside = 2 * (back & mask).sum() / (back.sum() + mask.sum())
    assert inside > 0.95
    whole = unplace(np.ones((64, 64), bool), *shape, keep_aspect)
    assert whole.all() == (keep_aspect != "crop" or shape[0] == shape[1])


def test_masks_of_one_size_are_kept_to_the_pixel():
    mask = np.random.default_rng(0).random((32, 32)) < 0.5
    for way in WAYS:
        assert np.array_equal(place(mask, 32, way), mask)
        assert np.array_equal(unplace(mask, 32, 32, way), mask)


def sample(name, masks, image=None):
    """A sample of 40 x 30 grey pixels; `masks` is what `read` returns or raises."""
    pixels = np.random.default_rng(len(name)).integers(0, 255, (40, 30), dtype=np.uint8) if image is None else image
    pixels[0, 0] = sum(map(ord, name)) % 256  # no two alike

    def read():
        if isinstance(masks, Exception):
            raise masks
        return masks

    return Sample(name, name, ("lungs",), lambda: png(pixels), masks=read)


def test_masks_are_stored_beside_their_images_and_each_that_cannot_be_used_says_why(tmp_path):
    inside = disc(40, 30)
    of = partial(MaskSource, rescaled=False)
    given = {
        "0 and 255": [of(png(inside * np.uint8(255))), of(None)],
        "0 and 1": [of(png(inside.astype(np.uint8))), of(png(inside * np.uint8(255)))],
        "0 and 1 in 16 bits": [of(png(inside.astype(np.uint16))), of(np.zeros((40, 30), bool))],
        "colour": [of(png(np.repeat(inside[..., None] * np.uint8(255), 3, 2))), of(None)],
        "an array": [of(inside), of(None)],
        "grey above 99": [of(png((inside * 100).astype(np.uint8)), 99), of(None)],
        "a third of the size": [of(png(inside[::3, ::3] * np.uint8(255)), rescaled=True), of(None)],
        "another size": [of(png(inside[::2, ::2] * np.uint8(255))), of(None)],
        "another shape": [of(png(inside[:, :20] * np.uint8(255)), rescaled=True), of(None)],
        "three values": [of(png(inside * np.uint8(200) + np.eye(40, 30, dtype=np.uint8))), of(None)],
        "no black": [of(png(inside * np.uint8(200) + 55)), of(None)],
        "no image": [of(b"text"), of(None)],
        "missing": FileNotFoundError(),
        "closed": PermissionError(13, "Permission denied"),
    }
    samples = [sample(name, tuple(m) if isinstance(m, list) else m) for name, m in given.items()]
    settings = Preprocess(size=20, clahe={"enabled": False}, duplicates={"near": False}, threads=2)
    classes = ["lungs", "heart"]
    made = prepare_all(
        samples, classes, "segmentation", settings, tmp_path / "images.npy", masks_path=tmp_path / "masks.npy"
    )
    reasons = dict(made.excluded.itertuples(index=False, name=None))
    assert list(reasons) == list(given)[7:]
    assert reasons["another size"] == "mask size is not that of the image: 15 x 20, not 30 x 40 pixels"
    assert reasons["another shape"].startswith("mask size is not that of the image")
    assert reasons["three values"] == "mask values are not two, one of them 0: 0, 1, 200, 201"
    assert reasons["no black"] == "mask values are not two, one of them 0: 55, 255"
    assert reasons["no image"].startswith("mask not readable: not an image")
    assert reasons["missing"] == "mask missing"
    assert reasons["closed"] == "mask not readable: Permission denied"
    masks = np.load(tmp_path / "masks.npy", mmap_mode="r")
    assert masks.shape == (7, 20, 20, 2)
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, INSIDE}
    expected = place(inside, 20, "stretch")
    for row in range(6):
        assert np.array_equal(masks[row, ..., 0] > 0, expected), list(given)[row]
    assert (masks[6, ..., 0] > 0).mean() == pytest.approx(expected.mean(), abs=0.03)
    assert made.samples[classes].to_numpy().tolist() == [[1, 0], [1, 1], [1, 0], [1, 0], [1, 0], [1, 0], [1, 0]]


def test_masks_of_images_that_are_left_out_as_copies_go_with_them(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)
    inside = disc(40, 30)
    samples = [
        Sample(str(i), str(i), ("lungs",), partial(png, image + np.uint8(i // 2)), masks=lambda i=i: (mask(i),))
        for i in range(4)
    ]

    def mask(i):
        return MaskSource(inside if i % 2 else ~inside if i == 0 else np.zeros_like(inside))

    settings = Preprocess(size=20, clahe={"enabled": False}, duplicates={"near": False}, threads=1)
    made = prepare_all(
        samples, ["lungs"], "segmentation", settings, tmp_path / "images.npy", masks_path=tmp_path / "masks.npy"
    )
    images, masks = (np.load(tmp_path / name) for name in ("images.npy", "masks.npy"))
    assert len(images) == len(masks) == len(made.samples)
    assert masks.shape[1:] == (20, 20)
    # 2 and 3 show the same, one with and one without lungs: a contradiction, as of labels
    assert made.samples["sample_id"].tolist() == ["0", "1"]
    assert isinstance(made.excluded, pd.DataFrame)
    assert np.array_equal(masks[1] > 0, place(inside, 20, "stretch"))
