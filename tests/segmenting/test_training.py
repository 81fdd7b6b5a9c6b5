"""Training on masks: augmentation moves them with their images, and a killed training run ends with the same bits."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.learning import losses
from pipeline.learning.images.augmentation import augment, augment_with_masks
from pipeline.learning.settings import Augment, Train
from pipeline.learning.training.checkpoints import Checkpoint
from pipeline.learning.training.loop import fit
from pipeline.segmenting.data import MaskedImages
from pipeline.segmenting.training import HANDLING, validated
from pipeline.study.params import ParamsError
from pipeline.study.parts import Part
from tests.learning.tiny_training import same

CPU = torch.device("cpu")
SETTINGS = Train(
    epochs=4,
    batch_size=8,
    patience=9,
    threads=1,
    select="dice",
    augment={"rotation": 10.0, "shift": 0.1, "noise": 0.02},
)


class Network(nn.Module):
    """Logits of two masks of grey images."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.1))
        self.head = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, images):
        return self.head(self.body(images))


def part(n=20, seed=0, residency="auto"):
    """Images with a bright square, which is the first mask; the second, of a dark one, is there half of the time."""
    rng = np.random.default_rng(seed)
    images = rng.integers(90, 120, (n, 16, 16), dtype=np.uint8)
    masks = np.zeros((n, 16, 16, 2), np.uint8)
    for i, (y, x) in enumerate(rng.integers(0, 10, (n, 2))):
        images[i, y : y + 6, x : x + 6], masks[i, y : y + 6, x : x + 6, 0] = 220, 255
        if i % 2:
            images[i, -4:, :4], masks[i, -4:, :4, 1] = 10, 255
    there = masks.any((1, 2)).astype(np.uint8)
    rows = np.arange(n)
    about = Part(rows, there, rows.astype(str), np.ones(n, np.int64), np.zeros(n, np.int64))
    return MaskedImages(images, masks, about, CPU, residency)


def train(folder, settings=SETTINGS, report=lambda row: None, handling=HANDLING):
    parts = {"train": part(), "val": part(12, 1)}
    return fit(
        Network(),
        losses.create("bce_dice", {}, "segmentation"),
        parts["train"],
        np.ones(20, np.int64),
        parts["val"],
        lr=0.02,
        settings=settings,
        seed=3,
        checkpoint=Checkpoint(folder, "key"),
        report=report,
        handling=handling,
    )


class Killed(BaseException):
    """Nothing in the pipeline may catch it."""


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_killed_training_run_ends_with_the_bits_of_one_that_was_not(tmp_path, ema):
    settings = Train.model_validate({**SETTINGS.model_dump(), "ema": ema})
    whole = train(tmp_path / "whole", settings)
    assert same(whole, train(tmp_path / "again", settings))
    assert whole.history[-1]["train_loss"] < whole.history[0]["train_loss"]
    assert whole.best_epoch == 1 + int(np.argmax([row["val_dice"] for row in whole.history]))

    def after_two(row):
        if row["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "killed", settings, after_two)
    steps = itertools.count()

    def in_a_step(*arguments):
        if next(steps) == 1:
            raise Killed
        return HANDLING.change(*arguments)

    with pytest.raises(Killed):
        train(tmp_path / "killed", settings, handling=replace(HANDLING, change=in_a_step))
    assert same(whole, train(tmp_path / "killed", settings))


def test_batches_are_the_same_bits_wherever_images_and_masks_are():
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    held, mapped = (list(part(residency=wish).batches(order, 7)) for wish in ("device", "memmap"))
    for (images, masks), (others, other_masks) in zip(held, mapped, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(masks, other_masks)
        assert set(masks.unique().tolist()) <= {0, 1}
        assert masks.shape[1:] == (2, 16, 16)


@pytest.mark.parametrize(
    "ranges",
    [
        {"rotation": 30.0, "shift": 0.2, "zoom": 0.2, "vertical_flip": 0.5},
        {"rotation": 30.0, "shift": 0.2, "fill": "edge", "zoom": 0.3, "zoom_axes": "separate"},
        {"horizontal_flip": 0.5, "vertical_flip": 0.5},
    ],
)
def test_masks_move_with_their_images(ranges):
    settings = Augment.model_validate(ranges)
    # An image that is its own mask: smooth, so that bilinear and nearest sampling agree but for half a step.
    y, x = torch.meshgrid(*2 * [torch.linspace(-1, 1, 64)], indexing="ij")
    disc = ((x - 0.2) ** 2 + (y + 0.1) ** 2 < 0.3).float()
    images = disc.expand(16, 1, 64, 64).contiguous()
    moved, masks = augment_with_masks(images, images.clone(), settings, torch.Generator().manual_seed(1))
    assert set(masks.unique().tolist()) <= {0, 1}
    assert not torch.equal(masks, images)
    sure = (moved - 0.5).abs() > 0.49
    assert torch.equal(masks[sure], (moved[sure] > 0.5).float())
    assert sure.float().mean() > 0.9


def test_images_are_those_without_masks_and_what_is_no_place_leaves_masks_alone():
    settings = Augment(brightness=0.2, contrast=0.2, noise=0.1, erase={"probability": 1.0}, horizontal_flip=0.0)
    images = torch.rand(6, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    masks = (images > 0.5).float()
    one, other = torch.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    changed, kept = augment_with_masks(images, masks, settings, one)
    assert torch.equal(changed, augment(images, settings, other))
    assert torch.equal(kept, masks)
    assert torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=other))  # the next batch draws alike


def test_validation_is_the_same_in_any_batches():
    model, loss, of = Network().eval(), losses.create("dice", {}, "segmentation"), part(12, 1)
    whole, pieces = (validated(model, loss, of, size, "float32") for size in (12, 5))
    assert whole[0] == pytest.approx(pieces[0], rel=1e-6)
    assert whole[1] == pytest.approx(pieces[1], abs=1e-4)


def test_an_epoch_of_masks_is_chosen_by_dice_alone(tmp_path):
    with pytest.raises(ParamsError, match=r"train.select: 'auroc' is not defined for a segmentation data set.*be dice"):
        train(tmp_path, Train.model_validate({**SETTINGS.model_dump(), "select": "auroc"}))
