import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional

from pipeline.learning.images import augmentation
from pipeline.learning.images.augmentation import augment, examples
from pipeline.learning.images.jpeg import jpeg
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.settings import PRESETS, Augment

NOTHING = {"horizontal_flip": 0.0}
ALL = {
    "horizontal_flip": 0.5,
    "vertical_flip": 0.5,
    "rotation": 10.0,
    "shift": 0.1,
    "zoom": 0.1,
    "brightness": 0.1,
    "contrast": 0.1,
    "noise": 0.1,
    "jpeg": {"quality": [30, 90], "probability": 0.5},
    "erase": {"probability": 0.5},
}
EACH = [
    ({"horizontal_flip": 0.5}, 2),
    ({"vertical_flip": 0.5}, 2),
    ({"horizontal_flip": 0.5, "vertical_flip": 0.5}, 4),
    ({"rotation": 20.0}, 64),
    ({"shift": 0.2}, 64),
    ({"zoom": 0.2}, 64),
    ({"brightness": 0.3}, 64),
    ({"contrast": 0.5}, 64),
    ({"noise": 0.1}, 64),
    ({"jpeg": {"quality": [1, 100]}}, 30),
    ({"erase": {"probability": 1.0}}, 60),
    (ALL, 64),
]
"""Settings, and how many distinct results they must give of one picture 64 times."""


def picture(n=64, channels=1, height=32, width=32):
    across, down = torch.linspace(0.2, 0.8, width), torch.linspace(0.2, 0.8, height)
    return (0.7 * across[None, :] + 0.3 * down[:, None]).expand(n, channels, height, width).clone()


def texture(n, channels=1, height=32, width=32, seed=0):
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(seed))


def drawn(settings, images, seed=0):
    return augment(images, Augment(**{**NOTHING, **settings}), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("settings", "least"), EACH)
def test_each_sample_of_a_batch_is_changed_by_its_own_draw_that_repeats_with_the_seed(settings, least, channels):
    images = picture(channels=channels)
    before = images.clone()
    changed = drawn(settings, images)
    assert torch.equal(images, before)
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    distinct = len({x.numpy().tobytes() for x in changed})
    assert distinct == least if least < 5 else distinct >= least
    assert torch.equal(changed, drawn(settings, images))
    assert not torch.equal(changed, drawn(settings, images, seed=1))


# So small that nothing is to be seen of it, and yet on.
SILENT = {
    "horizontal_flip": 1e-12,
    "vertical_flip": 1e-12,
    "rotation": 1e-9,
    "shift": 1e-9,
    "zoom": 1e-9,
    "brightness": 1e-9,
    "contrast": 1e-9,
    "noise": 1e-9,
    "jpeg": {"probability": 1e-12},
    "erase": {"probability": 1e-12},
}


@pytest.mark.parametrize("other", SILENT)
@pytest.mark.parametrize("name", ALL)
def test_an_operation_draws_the_same_whatever_else_is_on(name, other):
    """In the first batch and in the next one."""
    alone, images = Augment(**{**NOTHING, name: ALL[name]}), picture(16)
    both = Augment(**{**NOTHING, other: SILENT[other], name: ALL[name]})
    first, second = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    for _ in range(2):
        with_other, without = augment(images, both, second), augment(images, alone, first)
        assert not torch.equal(without, images)
        assert (with_other - without).abs().mean() < 2e-4
    assert torch.equal(first.get_state(), second.get_state())


@settings(max_examples=25)
@given(
    st.sampled_from([*PRESETS, ALL]),
    st.sampled_from([1, 3]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 5),
    st.integers(0, 2**31),
)
def test_values_stay_in_range_for_every_shape(chosen, channels, height, width, n, seed):
    images = texture(n, channels, height, width, seed).round(decimals=1)
    changed = augment(images, Augment.model_validate(chosen), torch.Generator().manual_seed(seed))
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert ((changed >= 0) & (changed <= 1)).all()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_format_does_not_matter(memory_format):
    images = texture(8, 3, 20, 28)
    changed = drawn(ALL, images.contiguous(memory_format=memory_format))
    # A grey level at most where rounding to 8 bits falls the other way, and in few places.
    assert (changed - drawn(ALL, images)).abs().mean() < 1e-4


def test_nothing_asked_is_nothing_done():
    images = picture()
    assert drawn({}, images) is images
    assert augment(images, Augment.model_validate("none"), torch.Generator()) is images
    never = {"jpeg": {"probability": 0.0}, "erase": {"probability": 0.0}}
    assert torch.equal(drawn(never, images), images)


@pytest.mark.parametrize(
    ("flips", "axes"),
    [
        ({"horizontal_flip": 1.0}, [3]),
        ({"vertical_flip": 1.0}, [2]),
        ({"horizontal_flip": 1.0, "vertical_flip": 1.0}, [2, 3]),
    ],
)
def test_flip_is_a_mirror_with_and_without_the_geometric_path(flips, axes):
    images = texture(8, 3, 20, 32)
    plain = drawn(flips, images)
    assert torch.equal(plain, images.flip(axes))
    sampled = drawn({**flips, "rotation": 1e-9}, images)
    torch.testing.assert_close(sampled, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(7, 7), (12, 31), (96, 40), (1, 5)])
def test_the_grid_is_that_of_affine_grid(size):
    theta = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = functional.affine_grid(theta, [5, 1, *size], align_corners=False)
    torch.testing.assert_close(augmentation._grid(theta, *size), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(64, 40), (40, 64)])
def test_rotation_keeps_distances_where_the_image_is_not_square(size):
    """A shear, which the normalised coordinates suggest, would not."""
    height, width = size
    images = torch.zeros(400, 1, *size)
    images[:, :, height // 2 - 1 : height // 2 + 1, width // 2 + 11 : width // 2 + 13] = 1  # 12 px right of the middle
    turned = drawn({"rotation": 60.0}, images)[:, 0]
    total = turned.sum((1, 2))
    x = (turned.sum(1) * (torch.arange(width) + 0.5)).sum(1) / total - width / 2
    y = (turned.sum(2) * (torch.arange(height) + 0.5)).sum(1) / total - height / 2
    torch.testing.assert_close(torch.hypot(x, y), torch.full((400,), 12.0), atol=0.1, rtol=0)
    angle = torch.rad2deg(torch.atan2(y, x)).numpy()
    assert stats.kstest(angle, "uniform", (-60, 120)).pvalue > 0.01


def test_shift_moves_by_at_most_the_fraction_and_reaches_it():
    images = torch.zeros(2000, 1, 33, 33)
    images[:, :, 16, 16] = 1
    moved = drawn({"shift": 0.25}, images)
    column = (moved.sum(2)[:, 0] * torch.arange(33)).sum(1) / moved.sum((1, 2, 3)) - 16
    assert column.abs().max() <= 0.25 * 33 + 0.01
    assert column.max() > 0.24 * 33
    assert column.min() < -0.24 * 33
    assert abs(column.mean()) < 0.5


def test_rotation_keeps_the_centre_and_zoom_scales_about_it():
    images = torch.zeros(500, 1, 33, 33)
    images[:, :, 12:21, 12:21] = 1
    area = images[0].sum()
    turned = drawn({"rotation": 45.0}, images).sum((1, 2, 3))
    torch.testing.assert_close(turned, area.expand(500), rtol=0.02, atol=0)
    zoomed = drawn({"zoom": 0.2}, images).sum((1, 2, 3)) / area  # bilinear edges cost up to half a pixel a side
    assert zoomed.min() == pytest.approx(0.8**2, rel=0.1)
    assert zoomed.max() == pytest.approx(1.2**2, rel=0.1)


def test_brightness_shifts_the_mean_and_contrast_keeps_it():
    images = torch.rand(300, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    mean = images.mean((1, 2, 3))
    brighter = drawn({"brightness": 0.2}, images).mean((1, 2, 3)) - mean
    assert brighter.abs().max() <= 0.2 + 1e-6
    assert brighter.max() > 0.18
    contrast = drawn({"contrast": 0.5}, images)
    torch.testing.assert_close(contrast.mean((1, 2, 3)), mean, atol=1e-5, rtol=0)
    ratio = contrast.std((1, 2, 3)) / images.std((1, 2, 3))
    assert ratio.min() == pytest.approx(0.5, abs=0.02)
    assert ratio.max() == pytest.approx(1.5, abs=0.02)


def test_noise_is_gaussian_with_an_sd_of_each_sample_up_to_the_setting():
    images = torch.full((300, 1, 32, 32), 0.5)
    noise = (drawn({"noise": 0.1}, images) - images).numpy()
    sd = noise.std((1, 2, 3))
    assert sd.max() < 0.109
    assert stats.kstest(sd, "uniform", (0, 0.1)).pvalue > 0.01
    strong = (noise / sd[:, None, None, None])[sd > 0.02]
    assert stats.kstest(strong.ravel()[:20_000], "norm").pvalue > 0.01
    pixels = strong.reshape(len(strong), -1)
    between = np.corrcoef(pixels) - np.eye(len(pixels))
    assert np.abs(between).max() < 6 / math.sqrt(pixels.shape[1])


def test_noise_is_new_in_every_batch():
    images, generator = torch.full((1, 1, 64, 64), 0.5), torch.Generator().manual_seed(0)
    batches = [augment(images, Augment(**NOTHING, noise=0.1), generator).flatten() for _ in range(4)]
    between = torch.corrcoef(torch.stack([*batches, drawn({"noise": 0.1}, images, seed=1).flatten()]))
    assert (between - torch.eye(5)).abs().max() < 0.1


def test_jpeg_is_drawn_with_its_probability_and_every_quality_of_the_range():
    images = texture(400, 1, 16, 16)
    lowest, highest = 20, 29
    changed = drawn({"jpeg": {"quality": [lowest, highest], "probability": 0.5}}, images)
    untouched = (changed == images).flatten(1).all(1)
    assert 0.42 < untouched.float().mean() < 0.58
    likely = {q: jpeg(images, torch.full((400,), q)) for q in range(lowest, highest + 1)}
    equal = torch.stack([((changed - other).abs() < 1e-5).flatten(1).all(1) for other in likely.values()])
    assert equal[:, ~untouched].any(0).all()
    assert equal.any(1).all()
    always = drawn({"jpeg": {"quality": [lowest, highest]}}, images)
    torch.testing.assert_close(changed[~untouched], always[~untouched], atol=1e-5, rtol=0)
    one = drawn({"jpeg": {"quality": [30, 30]}}, images)
    torch.testing.assert_close(one, jpeg(images, torch.full((400,), 30)))


def rectangles(changed, images):
    """Height, width, top and left of what is erased in each image, NaN where nothing is; checked to be a rectangle."""
    found = []
    for after, before in zip(changed, images):
        different = (after != before).any(0)
        if not different.any():
            found.append((math.nan,) * 4)
            continue
        rows, columns = different.any(1).nonzero()[:, 0], different.any(0).nonzero()[:, 0]
        inside = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert torch.allclose(inside, before.mean((1, 2))[:, None, None], atol=1e-6)
        found.append((*inside.shape[1:], int(rows[0]), int(columns[0])))
    return np.array(found, float).T


def test_erase_fills_a_rectangle_of_the_area_and_the_ratio_with_the_mean():
    images = texture(600, 3, 80, 80)
    erased = drawn({"erase": {"probability": 0.6, "area": [0.04, 0.2]}}, images)
    high, wide, top, left = rectangles(erased, images)
    known = np.isfinite(high)
    assert 0.54 < known.mean() < 0.66
    high, wide, top, left = (v[known] for v in (high, wide, top, left))
    area, ratio = high * wide / 80**2, np.log(high / wide)
    assert stats.kstest(area, "uniform", (0.04, 0.16)).pvalue > 0.01
    limit = math.log(1 / 0.3)
    assert np.abs(ratio).max() < limit + 0.06
    assert stats.kstest(ratio, "uniform", (-limit, 2 * limit)).pvalue > 0.01
    for start, length in ((top, high), (left, wide)):
        assert stats.kstest((start + 0.5) / (81 - length), "uniform").pvalue > 0.01
    assert abs(stats.spearmanr(top / (81 - high), left / (81 - wide)).statistic) < 0.2


@pytest.mark.parametrize("size", [(90, 20), (20, 90), (60, 60)])
def test_a_large_erased_rectangle_fits_any_image(size):
    images = texture(200, 1, *size)
    high, wide, top, left = rectangles(drawn({"erase": {"probability": 1.0, "area": [0.5, 0.9]}}, images), images)
    area = high * wide / (size[0] * size[1])
    assert area.min() > 0.47
    assert area.max() < 0.93
    assert (top + high).max() == size[0]
    assert (left + wide).max() == size[1]


def test_order_noise_is_compressed_and_what_is_erased_is_flat():
    images = torch.full((50, 1, 32, 32), 0.5)
    noisy = drawn({"noise": 0.2}, images)
    both = drawn({"noise": 0.2, "jpeg": {"quality": [20, 20]}}, images)
    torch.testing.assert_close(both, jpeg(noisy, torch.full((50,), 20)))
    final = drawn({"noise": 0.2, "jpeg": {"quality": [20, 20]}, "erase": {"probability": 1.0}}, images)
    visible = both.std((1, 2, 3)) > 0.02  # in an image that compression leaves flat nothing shows
    assert visible.sum() > 30
    assert np.isfinite(rectangles(final[visible], both[visible])).all()


def stored(n, channels=1, height=12, width=10):
    pixels = (texture(n, channels, height, width) * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    pixels = pixels[..., 0] if channels == 1 else pixels
    return pixels, ResidentImages(pixels, np.arange(n), np.zeros((n, 1), np.uint8), torch.device("cpu"))


@pytest.mark.parametrize("channels", [1, 3])
def test_examples_are_the_images_and_their_changes(channels):
    (originals, images), draws = stored(40, channels), np.ones(40, np.int64)
    places, pictures = examples(images, draws, Augment(**ALL), seed=3)
    assert places.tolist() == [5, 15, 25, 35]
    assert places.dtype == np.int64
    assert pictures.dtype == np.uint8
    assert pictures.shape == ((4, 6, 12, 10) if channels == 1 else (4, 6, 12, 10, 3))
    assert (pictures[:, 0] == originals[places]).all()
    assert len({p.tobytes() for p in pictures.reshape(24, -1)}) == 24
    again = examples(images, draws, Augment(**ALL), seed=3)[1]
    assert (again == pictures).all()
    assert (examples(images, draws, Augment(**ALL), seed=4)[1] != pictures).any()
    still = examples(images, draws, Augment.model_validate("none"), seed=3)[1]
    assert (still == still[:, :1]).all()
    mirrored = examples(images, draws, Augment(horizontal_flip=1.0), seed=3)[1]
    assert (mirrored[:, 1:] == mirrored[:, :1, :, ::-1]).all()


def test_examples_are_images_that_are_drawn():
    (_, images), draws = stored(40), np.zeros(40, np.int64)
    draws[[3, 8, 30]] = 1, 5, 2
    places, pictures = examples(images, draws, Augment(**ALL), seed=0, changes=2)
    assert places.tolist() == [3, 8, 30]
    assert len(pictures) == 3
    places, pictures = examples(images, draws, Augment(**ALL), seed=0, count=1)
    assert places.tolist() == [8]
    places, pictures = examples(images, 0 * draws, Augment(**ALL), seed=0)
    assert (len(places), pictures.shape) == (0, (0, 6, 12, 10))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_draws_what_the_cpu_draws():
    """But for the pixels of noise, which repeat with the seed."""
    images = picture(32, 3)
    quiet = {name: value for name, value in ALL.items() if name != "noise"}
    assert (drawn(quiet, images.cuda()).cpu() - drawn(quiet, images)).abs().mean() < 1e-3
    noisy = drawn(ALL, images.cuda())
    assert torch.equal(noisy, drawn(ALL, images.cuda()))
    flat = torch.full((32, 1, 64, 64), 0.5)
    sd = [(drawn({"noise": 0.1}, x) - 0.5).std((1, 2, 3)).cpu() for x in (flat, flat.cuda())]
    torch.testing.assert_close(*sd, rtol=0.1, atol=0)
