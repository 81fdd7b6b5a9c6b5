"""Progressive resizing: training images that grow from epoch to epoch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from pipeline.learning.settings import Progressive

MULTIPLE = 8
"""Pixels of which the sides of smaller images are a multiple: networks halve them several times."""


def side(full: int, settings: Progressive, epoch: int, epochs: int) -> int:
    """Return the side of training images in `epoch`, from 1, of `epochs`: it grows in a straight line up to `full`.

    Parameters
    ----------
    full : int
        Pixels per side of the prepared images.
    settings : Progressive
        Share of `full` in the first epoch, and share of the epochs after which it is reached.
    """
    grown = min(1.0, (epoch - 1) / max(1.0, settings.until * epochs))
    share = settings.start + (1 - settings.start) * grown
    return full if share >= 1 else min(full, max(MULTIPLE, MULTIPLE * round(share * full / MULTIPLE)))


def shrunk(images: Tensor, settings: Progressive, epoch: int, epochs: int) -> Tensor:
    """Shrink training images to the side of their epoch, bilinear with antialiasing.

    Parameters
    ----------
    images : Tensor, float32 [N, C, H, W]
        In [0, 1]; square. Shrunk before they are augmented, whose ranges are shares of the side.

    Returns
    -------
    Tensor, float32 [N, C, S, S]
        `images` itself in full size.

    References
    ----------
    Tan & Le, "EfficientNetV2: smaller models and faster training", ICML 2021, arXiv 2104.00298, who let augmentation
    grow with the images, too; here it stays.
    """
    full = images.shape[3]
    size = side(full, settings, epoch, epochs)
    if size == full:
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", antialias=True).clamp_(0, 1)
