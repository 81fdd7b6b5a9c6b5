"""RandAugment, drawn per image, of the operations that have a meaning for grey medical images."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pipeline.learning.settings import RandAugment

STEPS = 30
"""The highest magnitude: those of torchvision are 31 steps from nothing to the most."""

Operation = Callable[[Tensor, float], Tensor]
"""Changes images by a share of the most, in [-1, 1], of torchvision's range."""


def _shear(images: Tensor, share: float, axis: int) -> Tensor:
    from torchvision.transforms.v2 import functional

    shear = [0.0, 0.0]
    shear[axis] = math.degrees(math.atan(0.3 * share))
    return functional.affine(images, 0.0, [0, 0], 1.0, shear, functional.InterpolationMode.BILINEAR, center=[0, 0])


def _translate(images: Tensor, share: float, axis: int) -> Tensor:
    from torchvision.transforms.v2 import functional

    shift = [0, 0]
    shift[axis] = int(150 / 331 * images.shape[3 - axis] * share)
    return functional.affine(images, 0.0, shift, 1.0, [0.0, 0.0], functional.InterpolationMode.BILINEAR)


def _rotate(images: Tensor, share: float) -> Tensor:
    from torchvision.transforms.v2 import functional

    return functional.rotate(images, 30 * share, functional.InterpolationMode.BILINEAR)


def _adjust(images: Tensor, share: float, what: str) -> Tensor:
    from torchvision.transforms.v2 import functional

    return getattr(functional, f"adjust_{what}")(images, 1 + 0.9 * share)


def _levels(images: Tensor, share: float, what: str) -> Tensor:
    from torchvision.transforms.v2 import functional

    return getattr(functional, what)(images)


SIGNED: dict[str, Operation] = {
    "ShearX": partial(_shear, axis=0),
    "ShearY": partial(_shear, axis=1),
    "TranslateX": partial(_translate, axis=0),
    "TranslateY": partial(_translate, axis=1),
    "Rotate": _rotate,
    "Brightness": partial(_adjust, what="brightness"),
    "Contrast": partial(_adjust, what="contrast"),
    "Sharpness": partial(_adjust, what="sharpness"),
}
"""Operations that go either way, by torchvision's names."""
OPERATIONS: dict[str, Operation] = {
    "Identity": lambda images, share: images,
    **SIGNED,
    "AutoContrast": partial(_levels, what="autocontrast"),
    "Equalize": partial(_levels, what="equalize"),
}
"""All of them; the last two stretch and even out the grey levels of an image."""


def randaugment(images: Tensor, settings: RandAugment, generator: torch.Generator) -> Tensor:
    """Change each image by so many operations one after another, each drawn from `OPERATIONS` with equal odds.

    The operations and their ranges are those of torchvision's ``RandAugment``, its resampling bilinear, without
    Posterize, Solarize and Color: grey levels are measurements here, of which the first takes digits and the second
    inverts the upper ones, and grey images have no saturation. torchvision draws once for a batch, here each
    image has its own draw.

    Parameters
    ----------
    images : Tensor, float32 [N, C, H, W]
        Values in [0, 1]; left as they are. C is 1 or 3.
    settings : RandAugment
        Number of operations and their magnitude; the sign is drawn.
    generator : Generator
        On the CPU: every device draws the same.

    Returns
    -------
    Tensor, float32 [N, C, H, W]
        Values in [0, 1]. What comes in from outside the image is black.

    References
    ----------
    Cubuk et al., NeurIPS 2020, arXiv 1909.13719.
    """
    for _ in range(settings.operations):
        drawn = torch.randint(len(OPERATIONS), (len(images),), generator=generator)
        sign = 2 * torch.randint(2, (len(images),), generator=generator) - 1
        changed = images.clone()
        for number, (name, operation) in enumerate(OPERATIONS.items()):
            for way in (1, -1) if name in SIGNED else (0,):
                chosen = ((drawn == number) & ((sign == way) | (way == 0))).nonzero()[:, 0]
                wanted = chosen.to(images.device, non_blocking=True)
                if len(wanted):
                    made = operation(images.index_select(0, wanted), way * settings.magnitude / STEPS)
                    changed.index_copy_(0, wanted, made.clamp(0, 1))
        images = changed
    return images
