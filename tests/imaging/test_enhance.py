import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.imaging.enhance import clahe, fit, map_boxes, placement, prepare, resize
from pipeline.imaging.settings import Clahe, Preprocess


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


MODES = ["stretch", "pad", "crop"]


@pytest.mark.parametrize("order", ["before_resize", "after_resize"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(70, 90), (90, 70), (64, 64), (20, 300), (300, 20, 3), (1, 40)])
def test_every_mode_gives_a_square(mode, shape, order):
    image = np.random.default_rng(0).integers(1, 256, shape, np.uint8)
    settings = Preprocess(size=32, keep_aspect=mode, channels=1 if len(shape) == 2 else 3, clahe=Clahe(order=order))
    out = prepare(image, settings)
    assert out.shape == (32, 32, *shape[2:])
    assert out.dtype == np.uint8
    plain = prepare(image, settings.model_copy(update={"clahe": Clahe(enabled=False)}))
    np.testing.assert_array_equal(plain, fit(image, 32, mode))


def test_padding_is_black_centred_and_not_enhanced():
    wide = np.random.default_rng(0).integers(100, 256, (50, 100), np.uint8)
    for order in ("before_resize", "after_resize"):
        out = prepare(wide, Preprocess(size=40, keep_aspect="pad", clahe=Clahe(order=order)))
        assert (out[:10] == 0).all()
        assert (out[30:] == 0).all()
        assert (out[10:30].mean(axis=1) > 50).all()
    np.testing.assert_array_equal(fit(wide, 40, "pad")[10:30], cv2.resize(wide, (40, 20), interpolation=cv2.INTER_AREA))


def test_crop_is_the_centre_and_the_rest_has_no_influence():
    tall = np.random.default_rng(0).integers(0, 256, (101, 64), np.uint8)
    np.testing.assert_array_equal(fit(tall, 64, "crop"), tall[18:82])
    settings = Preprocess(size=32, keep_aspect="crop")
    np.testing.assert_array_equal(
        prepare(tall, settings), prepare(np.ascontiguousarray(tall[18:82]), Preprocess(size=32))
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(120, 200), (200, 120), (128, 128), (33, 77)])
def test_a_box_stays_on_what_it_frames(mode, shape):
    height, width = shape
    image = np.zeros(shape, np.uint8)
    x, y, w, h = int(0.45 * width), int(0.4 * height), int(0.2 * width), int(0.25 * height)
    image[y : y + h, x : x + w] = 255
    fractions = [[x / width, y / height, w / width, h / height]]
    ((left, top, across, down),) = map_boxes(fractions, [width], [height], 64, mode)
    rows, columns = np.nonzero(fit(image, 64, mode) > 127)
    np.testing.assert_allclose([left, left + across], [columns.min(), columns.max() + 1], atol=1)
    np.testing.assert_allclose([top, top + down], [rows.min(), rows.max() + 1], atol=1)


def test_boxes_that_are_cropped_away_or_cut():
    # 200 x 100: the crop shows x from 0.25 to 0.75
    boxes = [[0.0, 0.0, 0.2, 1.0], [0.2, 0.5, 0.1, 0.25], [0.7, 0.9, 0.3, 0.5], [0.8, 0.1, 0.1, 0.1]]
    mapped = map_boxes(boxes, [200] * 4, [100] * 4, 100, "crop")
    np.testing.assert_allclose(mapped[[1, 2]], [[0, 50, 10, 25], [90, 90, 10, 10]])
    assert (mapped[[0, 3], 2:] == 0).all()


def test_padded_boxes_end_where_the_image_does():
    np.testing.assert_allclose(map_boxes([[0.5, -0.5, 1.0, 2.0]], [200], [100], 100, "pad"), [[50, 25, 50, 50]])


@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(16, 128),
    st.sampled_from(MODES),
    st.lists(st.floats(-0.5, 1.5), min_size=4, max_size=4),
)
def test_mapped_boxes_lie_in_the_square(width, height, size, mode, box):
    box = [box[0], box[1], abs(box[2]), abs(box[3])]
    ((x, y, w, h),) = map_boxes([box], [width], [height], size, mode)
    assert w >= 0
    assert h >= 0
    assert (w == 0) == (h == 0)
    if w > 0:
        assert x >= 0
        assert y >= 0
        assert x + w <= size + 1e-6
        assert y + h <= size + 1e-6
    place = placement(width, height, size, mode)
    assert (mode == "crop") or (place.width <= size and place.height <= size)
