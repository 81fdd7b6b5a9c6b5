import numpy as np
import pytest
import torch

from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.networks.inference import predict, views
from pipeline.learning.settings import Tta

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 10, 12), dtype=np.uint8)


class Corner(torch.nn.Module):
    """Two logits that see where things are: the upper left corner and a weighted sum."""

    def forward(self, images):
        weights = torch.arange(images[0].numel(), dtype=torch.float32).reshape(images[0].shape)
        return torch.stack([images[:, 0, :3, :3].sum((1, 2)), (images * weights).sum((1, 2, 3))], 1)


def data():
    return ResidentImages(IMAGES, np.arange(7), np.zeros((7, 2), np.uint8), CPU)


def test_without_test_time_augmentation_images_are_seen_once_as_they_are():
    expected = Corner()(torch.from_numpy(IMAGES)[:, None].float() / 255)
    for tta in (None, Tta()):
        torch.testing.assert_close(predict(Corner(), data(), 3, "float32", tta), expected)


@pytest.mark.parametrize(
    ("tta", "changes"),
    [
        (Tta(horizontal_flip=True), [lambda x: np.flip(x, 2)]),
        (Tta(vertical_flip=True), [lambda x: np.flip(x, 1)]),
        (
            Tta(shift=0.1),  # one row of ten, one column of twelve; black comes in
            [
                lambda x: np.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1],
                lambda x: np.pad(x, ((0, 0), (0, 1), (0, 0)))[:, 1:],
                lambda x: np.pad(x, ((0, 0), (0, 0), (1, 0)))[:, :, :-1],
                lambda x: np.pad(x, ((0, 0), (0, 0), (0, 1)))[:, :, 1:],
            ],
        ),
    ],
)
def test_logits_are_averaged_over_the_image_and_its_changes(tta, changes):
    seen = [IMAGES, *(change(IMAGES) for change in changes)]
    each = [Corner()(torch.from_numpy(np.ascontiguousarray(x))[:, None].float() / 255) for x in seen]
    torch.testing.assert_close(predict(Corner(), data(), 3, "float32", tta), torch.stack(each).mean(0))


def test_changes_add_up():
    images = torch.rand(2, 3, 10, 10)
    every = list(views(images, Tta(horizontal_flip=True, vertical_flip=True, shift=0.2)))
    assert len(every) == 7
    assert torch.equal(every[0], images)
    assert all(v.shape == images.shape for v in every)
    assert len({v.sum().item() for v in every[3:]}) == 4
