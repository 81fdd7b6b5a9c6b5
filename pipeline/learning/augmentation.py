"""Random changes of training images, on the batch but drawn a sample, on the device that trains."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.params import Augment


def augment(images: Tensor, settings: Augment, generator: torch.Generator) -> Tensor:
    """Flip, rotate, shift, zoom and change the exposure of each image by its own draw.

    Parameters
    ----------
    images : Tensor, float32 [N, C, H, W]
        Values in [0, 1].
    settings : Augment
        Ranges; a range of 0 changes nothing.
    generator : Generator
        On the CPU, so that every device draws the same numbers.

    Returns
    -------
    Tensor, float32 [N, C, H, W]
        Values in [0, 1]. What comes in from outside the image is black.
    """
    draw = torch.rand(len(images), 7, generator=generator)
    flip = draw[:, 0] < settings.horizontal_flip
    either_way = 2 * draw[:, 1:] - 1
    angle = either_way[:, 0] * math.radians(settings.rotation)
    shift_x, shift_y = (either_way[:, i] * 2 * settings.shift for i in (1, 2))  # grid coordinates span 2
    zoom = 1 + either_way[:, 3] * settings.zoom
    if settings.rotation or settings.shift or settings.zoom:
        cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        mirror = torch.where(flip, -1.0, 1.0)
        rows = (torch.stack([mirror * cos, -mirror * sin, shift_x], 1), torch.stack([sin, cos, shift_y], 1))
        theta = torch.stack(rows, 1).to(images.device)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    elif settings.horizontal_flip:
        images = torch.where(flip.to(images.device)[:, None, None, None], images.flip(3), images)
    if settings.brightness or settings.contrast:
        factor = (1 + either_way[:, 4] * settings.contrast)[:, None, None, None].to(images.device)
        offset = (either_way[:, 5] * settings.brightness)[:, None, None, None].to(images.device)
        middle = images.mean((1, 2, 3), keepdim=True)
        images = ((images - middle) * factor + middle + offset).clamp(0, 1)
    return images
