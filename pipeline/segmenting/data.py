"""The images of a part beside their masks, as the training loop takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import cast

import numpy as np
import torch
from torch import Tensor

from pipeline.learning.images.loader import ResidentImages
from pipeline.study.parts import Part


class MaskedImages:
    """Images and masks of one part: two `ResidentImages`, of which the masks have a channel per class.

    Parameters
    ----------
    images : uint8 or uint16 array [N, H, W] or [N, H, W, C]
        The whole array of the study, memory-mapped.
    masks : uint8 array [N, H, W, K]
        Likewise; 0 and 255.
    part : Part
        Which of them.
    device : device
        Where batches are wanted.
    residency : {"auto", "device", "host", "memmap"}
        Of images and masks alike, see `pipeline.learning.images.loader.choose_residency`.
    """

    metadata = None

    def __init__(
        self, images: np.ndarray, masks: np.ndarray, part: Part, device: torch.device, residency: str = "auto"
    ) -> None:
        self.images = ResidentImages(images, part.rows, part.targets, device, None, residency)
        self.masks = ResidentImages(masks, part.rows, part.targets, device, None, residency)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.images.device

    @property
    def targets(self) -> Tensor:
        """Whether each mask has a pixel, uint8 [n, K]."""
        return self.images.targets

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the images: (n, C, H, W)."""
        return self.images.shape

    def batches(self, order: Tensor, size: int | Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images, float32 [B, C, H, W] in [0, 1], and masks, float32 [B, K, H, W] of 0 and 1."""
        with (
            closing(cast("Iterator", self.images.batches(order, size))) as pictures,  # type: ignore[type-var]  # generators
            closing(cast("Iterator", self.masks.batches(order, size))) as masks,  # type: ignore[type-var]  # generators
        ):
            for (image, _), (mask, _) in zip(pictures, masks):
                yield image, mask
