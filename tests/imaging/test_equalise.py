"""CLAHE of 16 bits against OpenCV's of 8, and what 16 bits are for."""

import cv2
import numpy as np
import pytest

from pipeline.imaging.depth import holds_8_bits, to_8_bits
from pipeline.imaging.enhance import prepare
from pipeline.imaging.equalise import clahe
from pipeline.imaging.settings import Clahe, Preprocess


def blobs(shape, seed=0):
    """A smooth picture in [0, 1] with a little grain."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.normal(0, 1, shape).astype(np.float32), (0, 0), 4) + rng.normal(0, 0.01, shape)
    return (image - image.min()) / np.ptp(image)


@pytest.mark.parametrize("shape", [(64, 64), (60, 65), (65, 64), (9, 9), (17, 5), (120, 250)])
@pytest.mark.parametrize(("tiles", "clip"), [(1, 2.0), (2, 1.0), (8, 2.0), (13, 40.0), (64, 3.0)])
def test_eight_bits_stored_with_16_are_equalised_as_opencv_does_it(shape, tiles, clip):
    image = np.rint(blobs(shape) * 255).astype(np.uint8)
    deep = clahe(image.astype(np.uint16) * 257, clip, tiles)
    assert deep.dtype == np.uint16
    # OpenCV rounds twice, the curves of the tiles and what lies between them.
    assert np.abs(deep / 257 - clahe(image, clip, tiles)).max() < 1.01


def test_colours_of_16_bits_are_those_of_8():
    image = np.rint(np.dstack([blobs((200, 200), seed) for seed in range(3)]) * 255).astype(np.uint8)
    deep = clahe(image.astype(np.uint16) * 257, 2.0, 2)
    assert deep.shape == image.shape
    difference = deep / 257 - clahe(image, 2.0, 2)
    assert abs(difference.mean()) < 1
    assert np.abs(difference).mean() < 1.5  # the lightness of 8 bits is a whole number before its curve is steepened


def test_levels_within_one_of_8_bits_stay_apart():
    """A ramp over a 64th of the range has 4 levels of 8 bits; CLAHE of 16 shows all of its columns."""
    ramp = np.tile(np.linspace(20000, 21000, 64).astype(np.uint16), (64, 1))
    deep = clahe(ramp, 40.0, 1)
    assert (np.diff(deep[0].astype(int)) > 0).all()
    assert len(np.unique(clahe(to_8_bits(ramp), 40.0, 1))) <= 5


@pytest.mark.parametrize("order", ["before_resize", "after_resize"])
@pytest.mark.parametrize("keep_aspect", ["stretch", "pad", "crop"])
def test_sixteen_bits_are_rounded_once_at_the_end(order, keep_aspect):
    image = np.rint(blobs((90, 70)) * 65535).astype(np.uint16)
    clahe_settings = Clahe(tiles=2, order=order)
    deep = prepare(image, Preprocess(size=32, keep_aspect=keep_aspect, clahe=clahe_settings, store="uint16"))
    shown = prepare(image, Preprocess(size=32, keep_aspect=keep_aspect, clahe=clahe_settings))
    assert deep.dtype == np.uint16
    np.testing.assert_array_equal(shown, to_8_bits(deep))


def test_eight_bits_kept_with_16_have_the_fractions_of_the_means():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    settings = Preprocess(size=16, clahe=Clahe(enabled=False), store="uint16")
    means = image.reshape(16, 4, 16, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(prepare(image, settings) / 257, means, atol=0.5 / 257 + 1e-9)


def test_rounding_to_8_bits_for_every_value():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(to_8_bits(values), np.rint(values / 257))
    assert not holds_8_bits(values)
    assert holds_8_bits(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)
    late = np.zeros((16, 16), np.uint16)
    late[-1, -1] = 1
    assert not holds_8_bits(late)
