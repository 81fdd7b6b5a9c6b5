"""Images that stay in memory as bytes, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


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
    augmented : int64 [n], optional
        Where k > 0 stands, the image is replaced by its k-th `augmented_copy`, once and for all.
    """

    def __init__(
        self,
        images: np.ndarray,
        rows: np.ndarray,
        targets: np.ndarray,
        device: torch.device,
        augmented: np.ndarray | None = None,
    ) -> None:
        pixels = images[rows]
        for i in np.flatnonzero(augmented) if augmented is not None else ():
            pixels[i] = augmented_copy(pixels[i], int(rows[i]), int(augmented[i]))
        part = torch.from_numpy(pixels)
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


def augmented_copy(image: np.ndarray, row: int, number: int) -> np.ndarray:
    """Change an image as studies did that wrote augmented copies beside their images before they split them.

    Flips either way (probability 0.5 each), rotation by up to 20 degrees, contrast about the mean and brightness by up
    to 10 %: the table of a published leukaemia study, without its JPEG noise. It is apart from the augmentation of
    training, which may change without changing the images that a model is tested on, and has no setting: these are
    files that were written once. Computed on the CPU, so that every device has the same bytes.

    Parameters
    ----------
    image : uint8 [H, W] or [H, W, C]
        As prepared; left as it is.
    row, number : int
        Position in images.npy and number of the copy, from 1; with nothing else they decide what is drawn.

    Returns
    -------
    uint8, shape of `image`
        What comes in from outside the image is black.
    """
    rng = np.random.default_rng([20, row, number])
    mirrored, upside_down = rng.random(2) < 0.5
    angle, contrast, brightness = rng.uniform(-1, 1, 3) * (np.deg2rad(20), 0.1, 0.1)
    pixels = torch.from_numpy(image.reshape(*image.shape[:2], -1).astype(np.float32)).permute(2, 0, 1)[None] / 255
    if flipped := [axis for axis, wanted in ((2, upside_down), (3, mirrored)) if wanted]:
        pixels = pixels.flip(flipped)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    side = image.shape[0] / image.shape[1]  # the grid spans 2 both ways, whatever the shape
    theta = torch.tensor([[[cos, -sin * side, 0.0], [sin / side, cos, 0.0]]])
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    pixels = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    middle = pixels.mean()
    changed = ((pixels - middle) * (1 + contrast) + middle + brightness).clamp(0, 1)
    return (changed[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy().reshape(image.shape)


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
