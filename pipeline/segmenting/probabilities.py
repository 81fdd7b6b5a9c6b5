"""Probabilities of pixels, in 255ths, and how well masks made of them fit at every threshold at once.

A byte per pixel keeps the probabilities of a whole study on disk. Everything that is decided, is decided by these
bytes, in training, evaluation and use, so that no decision depends on which of them is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.learning.images.loader import PartData
from pipeline.learning.session import autocast
from pipeline.learning.settings import Tta
from pipeline.metrics.places import best_places

LEVELS = 256
HALF = 128
"""Of 255: the threshold where validation can choose none, just above one half."""

_PIXELS = 2**22
"""Pixels that are counted at once: each takes eight bytes there."""

Probabilities = NDArray[np.uint8]


def quantised(logits: Tensor) -> Tensor:
    """Turn logits into probabilities in 255ths, uint8."""
    return logits.float().sigmoid().mul_(255).round_().to(torch.uint8)


@torch.inference_mode()
def predicted(
    model: nn.Module, data: PartData, batch_size: int, precision: str, tta: Tta | None = None
) -> Iterator[tuple[Probabilities, NDArray[np.bool_], Tensor, Tensor]]:
    """Yield, batch by batch: probabilities [B, K, H, W], true masks likewise, and logits and masks on the device.

    Parameters
    ----------
    model, data, batch_size, precision
        As for `pipeline.learning.networks.inference.predict`; the model is left in evaluation mode.
    tta : Tta, optional
        Changes over which probabilities are averaged: those of flips alone, undone before.
    """
    model.eval()
    for images, masks in data.batches(torch.arange(len(data)), batch_size):
        logits = predict_masks(model, images, precision, tta)
        yield quantised(logits).cpu().numpy(), masks.cpu().numpy() > 0.5, logits, masks


@torch.inference_mode()
def predict_masks(model: nn.Module, images: Tensor, precision: str, tta: Tta | None = None) -> Tensor:
    """Compute the logits of every pixel, float32 [B, K, H, W]; with flips, the mean logits of image and flips."""
    with autocast(images.device, precision):
        logits = [model(images).float()]
        if tta is not None:
            for wanted, axis in ((tta.horizontal_flip, 3), (tta.vertical_flip, 2)):
                if wanted:
                    logits.append(model(images.flip(axis)).float().flip(axis))
    return torch.stack(logits).mean(0) if len(logits) > 1 else logits[0]


def averaged(of: Sequence[Probabilities]) -> Probabilities:
    """Average the probabilities of several networks, uint8 [N, K, H, W], rounded."""
    total = np.zeros(of[0].shape, np.uint32)
    for each in of:
        total += each
    return ((2 * total + len(of)) // (2 * len(of))).astype(np.uint8)


def dice_curves(probabilities: Probabilities, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the Dice of each mask at every threshold.

    Parameters
    ----------
    probabilities, truth : [N, K, H, W]
        In 255ths; and the true masks.

    Returns
    -------
    float64 [N, K, 256]
        At place t: of the pixels of at least t of 255. NaN where the true mask has no pixel.
    """
    step = max(1, _PIXELS // max(1, truth[0].size if len(truth) else 1))
    starts = range(0, max(1, len(truth)), step)
    return np.concatenate([_curves(probabilities[i : i + step], truth[i : i + step]) for i in starts])


def _curves(probabilities: Probabilities, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    n, k = truth.shape[:2]
    masks = (np.arange(n * k) * LEVELS)[:, None]
    levels = probabilities.reshape(n * k, -1) + masks
    every = np.bincount(levels.ravel(), minlength=n * k * LEVELS)
    true = np.bincount(levels[truth.reshape(n * k, -1)], minlength=n * k * LEVELS)
    found, hit = (np.cumsum(each.reshape(n, k, LEVELS)[..., ::-1], axis=2)[..., ::-1] for each in (every, true))
    pixels = truth.reshape(n, k, -1).sum(2)[..., None]
    return np.where(pixels > 0, 2 * hit / np.maximum(found + pixels, 1), np.nan)


def best_thresholds(curves: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose for each class the threshold with the highest mean Dice over the images that have the structure.

    Parameters
    ----------
    curves : float64 [N, K, 256]
        From `dice_curves`, of the validation part.

    Returns
    -------
    thresholds : int64 [K]
        Of 255, at least 1; in the middle of those that tie. `HALF` where no image has the structure.
    dice : float64 [K]
        The mean Dice there; NaN where no image has the structure.
    """
    thresholds, dice = [], []
    for k in range(curves.shape[1]):
        known = curves[~np.isnan(curves[:, k, 0]), k, 1:]
        if not len(known):
            thresholds.append(HALF)
            dice.append(np.nan)
            continue
        mean = known.mean(0)
        thresholds.append(int(best_places(mean)) + 1)
        dice.append(float(mean.max()))
    return np.array(thresholds, np.int64), np.array(dice)


def macro(values: NDArray[np.float64]) -> float:
    """Average over the classes that have a value; NaN where none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
