import cv2
import numpy as np
import pytest

from pipeline.imaging.enhance import clahe, prepare, resize
from pipeline.params import Clahe, Preprocess


@pytest.fixture
def dim():
    """A smooth picture that uses a quarter of the grey range."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 12).astype(float)
    smooth -= smooth.min()
    return (100 + smooth / smooth.max() * 60).astype(np.uint8)


def test_halving_is_the_mean_of_blocks():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    blocks = image.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(image, 32), blocks, atol=0.51)


@pytest.mark.parametrize("shape", [(50, 70), (16, 16), (10, 300), (300, 10), (8, 9, 3), (100, 40, 3)])
@pytest.mark.parametrize("value", [0, 37, 255])
def test_constant_stays_constant_and_square(shape, value):
    image = resize(np.full(shape, value, np.uint8), 32)
    assert image.shape == (32, 32, *shape[2:])
    assert image.dtype == np.uint8
    assert (image == value).all()


def test_an_axis_that_shrinks_is_averaged_while_the_other_grows():
    stripes = np.tile(np.array([0, 200], np.uint8), (8, 32))  # 8 x 64, a column black, a column bright
    np.testing.assert_allclose(resize(stripes, 32), 100, atol=1)


def test_same_size_is_untouched():
    image = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    np.testing.assert_array_equal(resize(image, 32), image)


def test_clahe_widens_the_range_and_agrees_with_another_implementation(dim):
    exposure = pytest.importorskip("skimage.exposure", reason="scikit-image is not installed")
    ours = clahe(dim, 2.0, 8)
    theirs = exposure.equalize_adapthist(dim, kernel_size=32, clip_limit=2 / 256)
    assert ours.std() > 1.2 * dim.std()
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9


def test_clahe_spreads_contrast(dim):
    assert np.ptp(clahe(dim, 4.0, 8)) > np.ptp(dim)
    assert clahe(dim, 8.0, 4).std() > clahe(dim, 1.0, 4).std()


def test_clahe_of_colour_keeps_grey_grey_and_hue():
    ramp = np.tile(np.linspace(60, 140, 128).astype(np.uint8), (128, 1))
    neutral = clahe(np.dstack([ramp] * 3), 3.0, 4).astype(int)
    assert np.ptp(neutral, axis=2).max() <= 2
    purple = np.dstack([ramp, ramp // 2, ramp])
    enhanced = clahe(purple, 3.0, 4)
    lab, lab_before = (cv2.cvtColor(i, cv2.COLOR_RGB2LAB).astype(int) for i in (enhanced, purple))
    assert np.abs(lab[..., 1:] - lab_before[..., 1:]).mean() < 3
    assert lab[..., 0].std() > lab_before[..., 0].std()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", ["before_resize", "after_resize"])
def test_prepare_shape(order, channels):
    shape = (70, 90) if channels == 1 else (70, 90, 3)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    settings = Preprocess(size=32, channels=channels, clahe=Clahe(order=order))
    out = prepare(image, settings)
    assert out.dtype == np.uint8
    assert out.shape == (32, 32, *shape[2:])


def test_orders_differ_and_are_what_they_say(dim):
    before, after = (prepare(dim, Preprocess(size=64, clahe=Clahe(order=o))) for o in ("before_resize", "after_resize"))
    np.testing.assert_array_equal(before, resize(clahe(dim, 2.0, 8), 64))
    np.testing.assert_array_equal(after, clahe(resize(dim, 64), 2.0, 8))
    assert (before != after).any()


def test_without_clahe_only_the_size_changes(dim):
    np.testing.assert_array_equal(prepare(dim, Preprocess(size=64, clahe=Clahe(enabled=False))), resize(dim, 64))


def test_input_is_not_changed(dim):
    colour = np.dstack([dim] * 3)
    copies = dim.copy(), colour.copy()
    prepare(dim, Preprocess(size=256))
    prepare(colour, Preprocess(size=256, channels=3))
    np.testing.assert_array_equal(dim, copies[0])
    np.testing.assert_array_equal(colour, copies[1])


def test_image_smaller_than_the_tiles():
    assert prepare(np.full((3, 5), 9, np.uint8), Preprocess(size=16)).shape == (16, 16)
