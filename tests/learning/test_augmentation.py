import pytest
import torch

from pipeline.learning.augmentation import augment
from pipeline.params import Augment

NOTHING = {"horizontal_flip": 0.0}
EACH = [
    {"horizontal_flip": 0.5},
    {"rotation": 20.0},
    {"shift": 0.2},
    {"zoom": 0.2},
    {"brightness": 0.3},
    {"contrast": 0.5},
    {"horizontal_flip": 0.5, "rotation": 10.0, "shift": 0.1, "zoom": 0.1, "brightness": 0.1, "contrast": 0.1},
]


def picture(n=64, channels=1):
    ramp = torch.linspace(0.2, 0.8, 32)
    return (0.7 * ramp[None, :] + 0.3 * ramp[:, None]).expand(n, channels, 32, 32).clone()


def drawn(settings, images, seed=0):
    return augment(images, Augment(**{**NOTHING, **settings}), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("settings", EACH)
def test_each_sample_of_a_batch_is_changed_by_its_own_draw_that_repeats_with_the_seed(settings):
    images = picture()
    changed = drawn(settings, images)
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    distinct = {tuple(x.flatten()[::37].tolist()) for x in changed}
    assert len(distinct) == 2 if settings == EACH[0] else len(distinct) > 60
    assert torch.equal(changed, drawn(settings, images))
    assert not torch.equal(changed, drawn(settings, images, seed=1))


def test_nothing_asked_is_nothing_done():
    images = picture()
    assert torch.equal(drawn({}, images), images)


def test_flip_is_a_mirror_with_and_without_the_geometric_path():
    images = picture(8)
    plain = drawn({"horizontal_flip": 1.0}, images)
    assert torch.equal(plain, images.flip(3))
    sampled = drawn({"horizontal_flip": 1.0, "rotation": 1e-9}, images)
    torch.testing.assert_close(sampled, plain, atol=1e-4, rtol=0)


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
