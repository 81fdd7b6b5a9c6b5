import numpy as np
import pytest
import torch

from pipeline.learning.loader import ResidentImages, augmented_copy, epoch_order

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(9, 6, 6), (9, 6, 6, 3)])
def test_batches_are_the_chosen_rows_in_order(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rows = np.array([7, 2, 4])
    targets = np.array([[1, 0], [0, 1], [1, 1]], np.uint8)
    data = ResidentImages(images, rows, targets, CPU)
    got = list(data.batches(torch.tensor([2, 0, 1]), 2))
    assert [len(x) for x, _ in got] == [2, 1]
    everything = torch.cat([x for x, _ in got])
    expected = images[rows][[2, 0, 1]].reshape(3, 6, 6, -1).transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_allclose(everything.numpy(), expected, rtol=1e-6)
    assert everything.dtype == torch.float32
    assert torch.cat([t for _, t in got]).tolist() == [[1, 1], [1, 0], [0, 1]]


def test_an_epoch_draws_each_row_as_often_as_asked():
    copies = np.array([1, 3, 0, 2])
    order = epoch_order(copies, torch.Generator().manual_seed(0))
    assert np.bincount(order.numpy(), minlength=4).tolist() == copies.tolist()
    assert torch.equal(order, epoch_order(copies, torch.Generator().manual_seed(0)))
    orders = {tuple(epoch_order(copies, torch.Generator().manual_seed(s)).tolist()) for s in range(20)}
    assert len(orders) > 5


@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 3), (16, 24)])
def test_an_augmented_copy_is_another_picture_of_the_same_thing(shape):
    image = np.random.default_rng(0).integers(60, 200, shape, dtype=np.uint8)
    before = image.copy()
    copies = [augmented_copy(image, 5, number) for number in range(1, 41)]
    assert np.array_equal(image, before)
    assert all(c.dtype == np.uint8 and c.shape == shape for c in copies)
    assert len({c.tobytes() for c in (image, *copies)}) == 41
    assert np.array_equal(copies[2], augmented_copy(image, 5, 3))
    assert not np.array_equal(copies[2], augmented_copy(image, 6, 3))


def test_augmented_copies_stay_within_their_ranges():
    """A line from the centre to one side: where it points says how it was turned and flipped, its grey how exposed."""
    size = 65
    image = np.full((size, size), 100, np.uint8)
    image[31:34, 34:60] = 250  # to the right of the centre
    image[10:16, 31:34] = 250  # and a shorter one above it
    angles, mirrored, upside_down, greys = [], 0, 0, []
    y, x = np.mgrid[:size, :size] - size // 2
    for number in range(1, 201):
        copy = augmented_copy(image, 0, number).astype(float)
        inner = copy[np.hypot(x, y) < 31]
        greys.append(np.median(inner))
        bright = (copy > (np.median(inner) + copy.max()) / 2) & (np.hypot(x, y) < 31)
        long = bright & (np.abs(y) < np.abs(x))
        short = bright & (np.abs(y) > np.abs(x))
        right, up = np.sign(x[long].mean()), -np.sign(y[short].mean())
        mirrored += right < 0
        upside_down += up < 0
        angles.append(np.degrees(np.arctan2(y[long].mean(), abs(x[long].mean()))))
    assert 70 <= mirrored <= 130
    assert 70 <= upside_down <= 130
    assert 18 < np.abs(angles).max() < 21
    assert abs(np.mean(angles)) < 3
    # The background is near the mean, so contrast moves it little: brightness alone moves it by up to 25.5.
    assert 74 - 3 < min(greys) < 80
    assert 120 < max(greys) < 126 + 3


@pytest.mark.parametrize("shape", [(9, 8, 8), (9, 8, 8, 3)])
def test_resident_images_hold_the_copies_and_leave_the_others_alone(shape):
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    rows, augmented = np.array([4, 4, 4, 7]), np.array([0, 1, 2, 0])
    data = ResidentImages(images, rows, np.eye(4, dtype=np.uint8), CPU, augmented)
    held = data.images.permute(0, 2, 3, 1).numpy().reshape(4, *shape[1:])
    for got, row, number in zip(held, rows, augmented):
        assert np.array_equal(got, augmented_copy(images[row], row, number) if number else images[row])
    part = ResidentImages(images, rows[2:], np.eye(2, dtype=np.uint8), CPU, augmented[2:])
    assert torch.equal(part.images, data.images[2:])  # whoever else is in the part
