"""Logits of trained models."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pipeline.learning.images.loader import PartData, with_metadata
from pipeline.learning.session import autocast
from pipeline.learning.settings import Tta


@torch.inference_mode()
def predict(model: nn.Module, data: PartData, batch_size: int, precision: str, tta: Tta | None = None) -> Tensor:
    """Compute the logits of every image, in order.

    Parameters
    ----------
    model : Module
        Is left in evaluation mode.
    data : PartData
        N images, on the model's device.
    batch_size : int
        Images per call; changes the last digits only.
    precision : {"float32", "bfloat16"}
        Of the model's arithmetic.
    tta : Tta, optional
        Changes over which logits are averaged.

    Returns
    -------
    Tensor, float32 [N, K]
        On the data's device.
    """
    model.eval()
    order = torch.arange(len(data))
    with autocast(data.device, precision):
        return torch.cat(
            [
                torch.stack([model(view, *known).float() for view in views(images, tta)]).mean(0)
                for images, _, known in with_metadata(data, order, batch_size)
            ]
        )


def views(images: Tensor, tta: Tta | None) -> Iterator[Tensor]:
    """Yield `images` and their changes.

    Parameters
    ----------
    images : Tensor, float [N, C, H, W]
        Comes first, as it is.
    tta : Tta or None
        Which changes: each flip, and a shift each of four ways. Flips and shifts are not combined. What comes in from
        outside the image is black, as in training.
    """
    yield images
    if tta is None:
        return
    if tta.horizontal_flip:
        yield images.flip(3)
    if tta.vertical_flip:
        yield images.flip(2)
    for side, axis in ((int(images.shape[2]), 2), (int(images.shape[3]), 3)):  # of tracers: numbers
        if distance := round(tta.shift * side):
            moved = torch.zeros_like(images)
            moved.narrow(axis, distance, side - distance).copy_(images.narrow(axis, 0, side - distance))
            yield moved
            moved = torch.zeros_like(images)
            moved.narrow(axis, 0, side - distance).copy_(images.narrow(axis, distance, side - distance))
            yield moved
