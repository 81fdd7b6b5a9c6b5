"""Images that stay in memory as bytes, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


class ResidentImages:
    """The images and targets of one part, uint8, on the device.

    Parameters
    ----------
    images : uint8 array [N, H, W] or [N, H, W, C]
        The whole array of the study, memory-mapped.
    rows : int64 [n]
        Which of them.
    targets : uint8 [n, K]
        Their labels.
    device : device
        Where batches are wanted.
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray, targets: np.ndarray, device: torch.device) -> None:
        part = torch.from_numpy(images[rows])
        self.images = (part[:, None] if part.ndim == 3 else part.permute(0, 3, 1, 2)).contiguous().to(device)
        self.targets = torch.from_numpy(np.ascontiguousarray(targets)).to(device)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images at `index` as float32 [B, C, H, W] in [0, 1], channels last, and targets [B, K]."""
        index = index.to(self.images.device)
        batch = self.images.index_select(0, index).to(memory_format=torch.channels_last).float().div_(255)
        return batch, self.targets.index_select(0, index).float()

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `take` of consecutive pieces of `order`; the last may be smaller."""
        for start in range(0, len(order), size):
            yield self.take(order[start : start + size])


def epoch_order(copies: np.ndarray, generator: torch.Generator) -> Tensor:
    """Shuffle the positions 0..n-1, each as often as `copies` says.

    Parameters
    ----------
    copies : int64 [n]
        Draws of each image an epoch.
    generator : Generator
        On the CPU.

    Returns
    -------
    Tensor, int64 [sum of copies]
    """
    positions = torch.from_numpy(np.repeat(np.arange(len(copies)), copies))
    return positions[torch.randperm(len(positions), generator=generator)]
