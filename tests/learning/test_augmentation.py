import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageEnhance
from scipy import ndimage, stats
from torch.nn import functional
from torchvision.transforms import functional as transforms

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
    "brightness_offset": 0.1,
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
    ({"brightness_offset": 0.3}, 64),
    ({"zoom": 0.2, "zoom_axes": "separate", "fill": "edge"}, 64),
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
    "brightness_offset": 1e-9,
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


def the_draws(settings, images, seed=0):
    """Return what `drawn` draws for each image, either way of 0, and whether it is flipped."""
    draws = torch.rand(len(augmentation._DRAWN), len(images), generator=torch.Generator().manual_seed(seed))
    return {name: 2 * draw - 1 for name, draw in zip(augmentation._DRAWN, draws)}


def photographs(n, channels, height, width):
    """Pictures with structure at every scale, as photographs have it."""
    noise = texture(n, channels, height, width, seed=4)
    rough = functional.interpolate(texture(n, channels, 6, 6, seed=5), (height, width), mode="bicubic")
    return (0.75 * rough + 0.35 * noise).clamp(0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(33, 33), (40, 25), (24, 36)])
@pytest.mark.parametrize("wish", [{"rotation": 30.0}, {"shift": 0.2}, {"zoom": 0.3}, "all"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_places_are_those_of_torchvision_affine(interpolation, wish, size, channels):
    """Flips, then `affine` about the centre, translated in the result's pixels; black outside."""
    turned = {"horizontal_flip": 0.5, "vertical_flip": 0.5, "rotation": 30.0, "shift": 0.2, "zoom": 0.3}
    wish = turned if wish == "all" else wish
    images, (height, width) = photographs(12, channels, *size), size
    draw = the_draws(wish, images)
    of = {name: draw[name] * wish.get(name[:5] if name.startswith("shift") else name, 0.0) for name in draw}
    for k, changed in enumerate(drawn({**wish, "interpolation": interpolation}, images)):
        image = images[k]
        for axis, name in ((2, "horizontal_flip"), (1, "vertical_flip")):
            image = image.flip(axis) if (draw[name][k] + 1) / 2 < wish.get(name, 0.0) else image
        expected = transforms.affine(
            image,
            angle=-math.degrees(math.radians(of["rotation"][k])),
            translate=[of["shift_x"][k].item() * width, of["shift_y"][k].item() * height],
            scale=1 + of["zoom"][k].item(),
            shear=[0.0, 0.0],
            interpolation=transforms.InterpolationMode(interpolation),
        )
        apart = (changed - expected).abs() > 2e-4
        # A place between two pixels is rounded either way: the last digit of its coordinate decides.
        assert apart.float().mean() <= (0.01 if interpolation == "nearest" else 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_and_contrast_are_those_of_torchvision(channels):
    """Also where grey levels are clipped in between."""
    images, wish = photographs(40, channels, 20, 30), {"brightness": 0.6, "contrast": 0.7}
    draw = the_draws(wish, images)
    brighter = drawn({"brightness": 0.6}, images)
    both = drawn(wish, images)
    assert (brighter == 1).any()
    for k, image in enumerate(images):
        expected = transforms.adjust_brightness(image, 1 + 0.6 * draw["brightness"][k].item())
        torch.testing.assert_close(brighter[k], expected, atol=1e-6, rtol=0)
        expected = transforms.adjust_contrast(expected, 1 + 0.7 * draw["contrast"][k].item())
        torch.testing.assert_close(both[k], expected, atol=1e-5, rtol=0)


def test_brightness_and_contrast_are_those_of_pillow():
    """Within the two roundings to 8 bits and that of the mean, by which the published leukaemia grid was made."""
    wish = {"brightness": 0.1, "contrast": 0.1}
    images = (photographs(20, 3, 24, 24) * 255).round() / 255
    draw = the_draws(wish, images)
    for k, changed in enumerate(drawn(wish, images)):
        picture_ = transforms.to_pil_image(images[k])
        picture_ = ImageEnhance.Brightness(picture_).enhance(1 + 0.1 * draw["brightness"][k].item())
        picture_ = ImageEnhance.Contrast(picture_).enhance(1 + 0.1 * draw["contrast"][k].item())
        assert (transforms.to_tensor(picture_) - changed).abs().max() < 2.5 / 255


def test_an_offset_is_added_to_every_grey_level_alike():
    images = texture(300, 3, 8, 8) * 0.2 + 0.4
    moved = (drawn({"brightness_offset": 0.2}, images) - images).flatten(1)
    assert (moved.amax(1) - moved.amin(1)).max() < 1e-6
    assert stats.kstest(moved[:, 0].numpy(), "uniform", (-0.2, 0.4)).pvalue > 0.01


def test_places_of_the_published_notebook_are_those_of_keras():
    """`apply_affine_transform` of Keras: rotation, shift and zoom of each axis, about the centre, edges repeated.

    Written anew with scipy, rows first as there. Keras shifts before it zooms and draws the factor by which it reads;
    so does the expectation.
    """
    preset, n = Augment.model_validate("seeds002"), 21
    images = photographs(10, 1, n, n)
    draw = the_draws({}, images)
    changed = augment(images, preset, torch.Generator().manual_seed(0))
    for k, image in enumerate(images[:, 0].numpy().astype(float)):
        angle = math.radians(preset.rotation) * draw["rotation"][k].item()
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        read = np.diag([1 / (1 + preset.zoom * draw[name][k].item()) for name in ("zoom_y", "zoom")])
        shift = n * preset.shift * np.array([draw[name][k].item() for name in ("shift_y", "shift_x")])
        matrix, centre = turn @ read, np.full(2, n / 2 - 0.5)
        offset = centre - matrix @ (centre + shift)
        image = image[:, ::-1] if (draw["horizontal_flip"][k] + 1) / 2 < 0.5 else image
        expected = ndimage.affine_transform(image, matrix, offset, order=1, mode="nearest")
        np.testing.assert_allclose(changed[k, 0], expected, atol=2e-4)


@pytest.mark.parametrize("axes", ["joint", "separate"])
def test_zoom_scales_both_axes_by_one_draw_or_each_by_its_own(axes):
    images = torch.zeros(300, 1, 33, 33)
    images[:, :, 12:21, 12:21] = 1
    zoomed = drawn({"zoom": 0.2, "zoom_axes": axes}, images)[:, 0]
    high, wide = zoomed[:, :, 16].sum(1) / 9, zoomed[:, 16].sum(1) / 9
    for factor in (high, wide):
        assert stats.kstest(factor.numpy(), "uniform", (0.8, 0.4)).pvalue > 0.01
    related = stats.pearsonr(high, wide).statistic
    assert related > 0.999 if axes == "joint" else abs(related) < 0.2


def test_operations_are_what_is_on():
    assert Augment.model_validate("none").operations() == {}
    nothing = Augment(horizontal_flip=0.0, fill="edge", zoom_axes="separate", erase={"probability": 0.0})
    assert nothing.operations() == {}
    assert Augment(horizontal_flip=0.5, zoom=0.1).operations() == {"horizontal_flip": 0.5, "zoom": 0.1}


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


@pytest.mark.cuda
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
