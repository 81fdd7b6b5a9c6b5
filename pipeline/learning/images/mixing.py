"""Mixtures of training images and of their labels: mixup and CutMix, drawn per image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.learning.settings import Mix


def mix(images: Tensor, targets: Tensor, settings: Mix, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mix each image, and its labels alike, with another one of the batch.

    mixup fades the partner in by 1 - λ, CutMix puts the partner's pixels into a rectangle of that share of the image,
    cut off where it goes beyond the edge; λ ~ Beta(α, α). Labels become λ times the image's own plus 1 - λ times the
    partner's, λ by the pixels that were really replaced. Where both are on, an image gets one of them, with equal odds.

    Parameters
    ----------
    images : Tensor, float32 [N, C, H, W]
        Left as they are.
    targets : Tensor, float32 [N, K]
        0 or 1, of one or of several labels per image; NaN where unknown, in a mixture too where it is in a part of it.
    settings : Mix
        α of both, and the probability that an image is mixed at all.
    rng : Generator
        Every device draws the same numbers.

    Returns
    -------
    images : Tensor, float32 [N, C, H, W]
    targets : Tensor, float32 [N, K]
        In [0, 1]; where each row summed to 1, it still does.

    References
    ----------
    mixup: Zhang et al., ICLR 2018, arXiv 1710.09412. CutMix: Yun et al., ICCV 2019, arXiv 1905.04899.
    """
    n, height, width = len(images), *images.shape[2:]
    partner = torch.from_numpy(rng.permutation(n)).to(images.device, non_blocking=True)
    mixed = rng.random(n) < settings.probability
    cut = mixed & (rng.random(n) < (0.0 if not settings.cutmix else 1.0 if not settings.mixup else 0.5))
    faded = np.where(mixed & ~cut, 1 - rng.beta(settings.mixup or 1.0, settings.mixup or 1.0, n), 0.0)
    side = np.where(cut, np.sqrt(1 - rng.beta(settings.cutmix or 1.0, settings.cutmix or 1.0, n)), 0.0)
    rows, columns = (_stretch(rng.random(n), side, size) for size in (height, width))
    share = faded + rows.mean(1) * columns.mean(1)

    others = images.index_select(0, partner)
    made = images.lerp(others, _of_each(faded, images)[:, :, None, None]) if settings.mixup else images
    if settings.cutmix:
        inside = torch.from_numpy(rows[:, None, :, None] & columns[:, None, None, :])
        inside = inside.to(images.device, non_blocking=True)
        made = torch.where(inside, others, made)
    weight = _of_each(share, targets)
    mixture = targets.lerp(targets.index_select(0, partner), weight)
    return made, torch.where(weight > 0, mixture, targets)  # a label unknown of a partner with no part in it is no loss


def _of_each(values: np.ndarray, like: Tensor) -> Tensor:
    """Return `values` [N] as [N, 1], of the type and on the device of `like`."""
    return torch.from_numpy(values[:, None]).to(like.device, like.dtype, non_blocking=True)


def _stretch(middle: np.ndarray, side: np.ndarray, size: int) -> np.ndarray:
    """Return which of `size` places lie in a stretch of the share `side` [N] around `middle` [N], bool [N, size]."""
    length, centre = (side * size).astype(np.int64), (middle * size).astype(np.int64)
    first = centre - length // 2
    place = np.arange(size)
    return (place >= first[:, None]) & (place < (first + length)[:, None])
