"""Random changes of training images, on the whole batch but drawn per sample, on the device that trains."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.learning.constants import constant
from pipeline.learning.images.jpeg import jpeg
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.images.randaugment import randaugment
from pipeline.learning.settings import Augment, Erase

_DRAWN = (
    "horizontal_flip",
    "rotation",
    "shift_x",
    "shift_y",
    "zoom",
    "contrast",
    "brightness",
    "vertical_flip",
    "noise",
    "jpeg",
    "quality",
    "erase",
    "area",
    "ratio",
    "left",
    "top",
    "brightness_offset",
    "zoom_y",
)
"""What is drawn for every image, uniform in [0, 1): all of it whatever is on, so that no operation moves another's."""
_ERASED_RATIO = math.log(1 / 0.3)
"""Log of the most elongated erased rectangle, as in the paper of random erasing."""

Draw = dict[str, Tensor]


def augment(images: Tensor, settings: Augment, generator: torch.Generator) -> Tensor:
    """Change each image by its own draw: place, exposure, RandAugment, noise, JPEG, an erased rectangle, in this order.

    Flips, rotation, zoom and shift are one resampling, by `settings.interpolation` and about the centre (flips alone
    need none): that of torchvision's ``affine`` after its flips. Brightness and contrast are its
    ``adjust_brightness`` and then ``adjust_contrast``; ``ColorJitter`` draws the order of the two, which matters only
    where grey levels are clipped.
    Noise comes before compression, as in a file that a detector's image was saved to. An operation that is off costs no
    pass over the batch.

    Parameters
    ----------
    images : Tensor, float32 [N, C, H, W]
        Values in [0, 1]; left as they are. C is 1 or 3 where JPEG compression is on.
    settings : Augment
        Ranges and probabilities; a range of 0 changes nothing.
    generator : Generator
        On the CPU: every device draws the same numbers, but for the pixels of Gaussian noise, which each kind of
        device has its own generator for; it is seeded from this one.

    Returns
    -------
    Tensor, float32 [N, C, H, W]
        Values in [0, 1]. What comes in from outside the image is black, or the nearest pixel (`settings.fill`).
        `images` itself where nothing is on.

    References
    ----------
    Random erasing: Zhong et al. 2017, arXiv 1708.04896.
    """
    draw = dict(zip(_DRAWN, torch.rand(len(_DRAWN), len(images), generator=generator), strict=True))
    noise_seed = int(torch.randint(2**62, (1,), generator=generator))
    changed = _moved(images, settings, draw)
    if settings.brightness or settings.contrast or settings.brightness_offset:
        changed = _exposed(changed, settings, draw, in_place=changed is not images)
    if settings.rand is not None:  # draws of its own, so that it does not move those of the next batch
        changed = randaugment(changed, settings.rand, torch.Generator().manual_seed(noise_seed ^ 1))
    if settings.noise:
        changed = _noisy(changed, settings.noise * draw["noise"], noise_seed)
    if settings.jpeg is not None:
        lowest, highest = settings.jpeg.quality
        quality = lowest + (draw["quality"] * (highest - lowest + 1)).long()
        changed = _compressed(changed, quality, draw["jpeg"] < settings.jpeg.probability)
    if settings.erase is not None and settings.erase.probability:
        changed = _erased(changed, settings.erase, draw)
    return changed


def augment_with_masks(
    images: Tensor, masks: Tensor, settings: Augment, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Change each image as `augment` does, and move its masks with it; nothing but place changes a mask.

    Parameters
    ----------
    images, settings, generator
        As for `augment`; with the same generator the images are the same. RandAugment, which moves images by draws of
        its own, must be off.
    masks : Tensor, float32 [N, K, H, W]
        0 and 1.

    Returns
    -------
    images : Tensor, float32 [N, C, H, W]
    masks : Tensor, float32 [N, K, H, W]
        0 and 1: the value nearest to where the pixel comes from. What comes in from outside of the image has no
        structure, or that of the nearest pixel (`settings.fill`).
    """
    again = torch.Generator()
    again.set_state(generator.get_state())
    changed = augment(images, settings, generator)
    draw = dict(zip(_DRAWN, torch.rand(len(_DRAWN), len(images), generator=again), strict=True))
    return changed, _moved(masks, settings, draw, "nearest")


def examples(
    images: ResidentImages, draws: np.ndarray, settings: Augment, *, seed: int, count: int = 4, changes: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Change a few training images several times, for readers to see what the network sees.

    Parameters
    ----------
    images : ResidentImages
        The training part, n images; the changes are computed on the CPU, so that every device has the same ones.
    draws : int64 [n]
        Draws per epoch of each image; those never drawn are passed over.
    settings : Augment
        As in training.
    seed : int
        Of the changes.
    count, changes : int
        How many images, from the middles of equal stretches of the part, and how many changes of each.

    Returns
    -------
    places : int64 [R]
        Positions in `images`, ascending; R is `count`, or n where there are fewer.
    pictures : uint8 [R, 1 + changes, H, W] or [R, 1 + changes, H, W, C]
        Each image, then its changes; in 8 bits, whatever the images have, as they are there to be looked at.
    """
    seen = np.flatnonzero(draws)
    count = min(count, len(seen))
    places = seen[((np.arange(count) + 0.5) * len(seen) / max(count, 1)).astype(np.int64)]
    chosen = images.pixels(torch.from_numpy(places)).cpu()
    white = torch.iinfo(chosen.dtype).max
    batch = chosen.float().repeat_interleave(changes, 0).div_(white)
    changed = augment(batch, settings, torch.Generator().manual_seed(seed))
    changed = (changed * 255).round_().to(torch.uint8).view(count, changes, *chosen.shape[1:])
    if white > 255:
        chosen = chosen.float().mul_(255 / white).round_().to(torch.uint8)
    pictures = torch.cat([chosen[:, None], changed], 1)
    pictures = pictures[:, :, 0] if pictures.shape[2] == 1 else pictures.permute(0, 1, 3, 4, 2)
    return places, pictures.contiguous().numpy()


def _either_way(draw: Tensor) -> Tensor:
    """Return `draw` uniform in [-1, 1)."""
    return 2 * draw - 1


def _a_sample(values: Tensor, like: Tensor) -> Tensor:
    """Return `values` [N] as [N, 1, 1, 1] on the device of `like`."""
    return values[:, None, None, None].to(like.device, non_blocking=True)


def _moved(images: Tensor, settings: Augment, draw: Draw, mode: str | None = None) -> Tensor:
    """Flip, rotate, zoom and shift; `mode` = of interpolation, by default that of the settings."""
    mirrored = draw["horizontal_flip"] < settings.horizontal_flip
    upside_down = draw["vertical_flip"] < settings.vertical_flip
    if settings.geometric:
        theta = _theta(settings, draw, mirrored, upside_down, images.shape[2] / images.shape[3])
        grid = _grid(theta.to(images.device, non_blocking=True), *images.shape[2:])
        outside = "zeros" if settings.fill == "black" else "border"
        mode = mode or settings.interpolation
        return functional.grid_sample(images, grid, mode=mode, padding_mode=outside, align_corners=False)
    if settings.horizontal_flip:
        images = torch.where(_a_sample(mirrored, images), images.flip(3), images)
    if settings.vertical_flip:
        images = torch.where(_a_sample(upside_down, images), images.flip(2), images)
    return images


def _theta(settings: Augment, draw: Draw, mirrored: Tensor, upside_down: Tensor, side: float) -> Tensor:
    """Return where each pixel of the result comes from, [N, 2, 3], in coordinates that span 2 along either axis.

    A pixel is shifted back, turned back, shrunk back and mirrored: an image is mirrored first and shifted last, by a
    fraction of the side that zoom does not change. `side` is height over width: without it a rotation would shear
    images that are not square.
    """
    angle = _either_way(draw["rotation"]) * math.radians(settings.rotation)
    zoom_x = 1 + _either_way(draw["zoom"]) * settings.zoom
    zoom_y = zoom_x if settings.zoom_axes == "joint" else 1 + _either_way(draw["zoom_y"]) * settings.zoom
    shift_x, shift_y = (_either_way(draw[name]) * 2 * settings.shift for name in ("shift_x", "shift_y"))
    cos, sin = torch.cos(angle), torch.sin(angle)
    across, down = torch.where(mirrored, -1.0, 1.0), torch.where(upside_down, -1.0, 1.0)
    of_x = torch.stack([across * cos / zoom_x, -across * sin * side / zoom_y], 1)
    of_y = torch.stack([down * sin / side / zoom_x, down * cos / zoom_y], 1)
    linear = torch.stack([of_x, of_y], 1)
    return torch.cat([linear, -linear @ torch.stack([shift_x, shift_y], 1)[:, :, None]], 2)


def _grid(theta: Tensor, height: int, width: int) -> Tensor:
    """Return what ``affine_grid(theta, ..., align_corners=False)`` does, [N, H, W, 2], as a sum of a row and a column.

    On a CPU affine_grid takes several times as long as the sampling itself.
    """
    x, y = (torch.arange(1 - n, n, 2, device=theta.device) / n for n in (width, height))
    row, column = theta[:, :, :1] * x, theta[:, :, 1:2] * y + theta[:, :, 2:]
    return (row[:, :, None, :] + column[:, :, :, None]).permute(0, 2, 3, 1)


_LUMA = (0.2989, 0.587, 0.114)
"""Weights of R, G and B in a grey level, as torchvision and Pillow have them (ITU-R BT.601)."""


def _exposed(images: Tensor, settings: Augment, draw: Draw, in_place: bool) -> Tensor:
    """Multiply grey levels, then their distances from the image's mean grey level, then add to all of them alike."""
    if settings.brightness:
        factor = _a_sample(1 + _either_way(draw["brightness"]) * settings.brightness, images)
        images = torch.mul(images, factor, out=images if in_place else None).clamp_(0, 1)
        in_place = True
    if settings.contrast:
        factor = _a_sample(1 + _either_way(draw["contrast"]) * settings.contrast, images)
        offset = _mean_grey(images) * (1 - factor)
        images = torch.mul(images, factor, out=images if in_place else None).add_(offset).clamp_(0, 1)
        in_place = True
    if settings.brightness_offset:
        offset = _a_sample(_either_way(draw["brightness_offset"]) * settings.brightness_offset, images)
        images = torch.add(images, offset, out=images if in_place else None).clamp_(0, 1)
    return images


def _mean_grey(images: Tensor) -> Tensor:
    """Return the mean grey level of each image, [N, 1, 1, 1]."""
    means = images.mean((2, 3), keepdim=True)
    if images.shape[1] == 3:
        means = means * constant(_LUMA, means).reshape(1, 3, 1, 1)
    return means.sum(1, keepdim=True)


def _noisy(images: Tensor, sd: Tensor, seed: int) -> Tensor:
    """Add Gaussian noise, drawn on the device: on a CPU it takes longer than most of the other operations."""
    generator = torch.Generator(images.device).manual_seed(seed)
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return noise.mul_(_a_sample(sd, images)).add_(images).clamp_(0, 1)


def _compressed(images: Tensor, quality: Tensor, wanted: Tensor) -> Tensor:
    """Compress and decompress the images that are `wanted` [N]."""
    if wanted.all():
        return jpeg(images, quality)
    index = wanted.nonzero()[:, 0]
    if not len(index):
        return images
    there = index.to(images.device, non_blocking=True)
    return images.index_copy(0, there, jpeg(images.index_select(0, there), quality[index]))


def _erased(images: Tensor, erase: Erase, draw: Draw) -> Tensor:
    """Replace a rectangle by the image's mean, per channel."""
    height, width = images.shape[2:]
    side = height / width
    share = erase.area[0] + draw["area"] * (erase.area[1] - erase.area[0])
    # Log of height over width, in pixels, so that the rectangle fits; the paper draws until one does.
    lowest, highest = ((share * side).log(), (side / share).log())
    low, high = ((torch.full_like(share, end)).clamp(lowest, highest) for end in (-_ERASED_RATIO, _ERASED_RATIO))
    ratio = (low + draw["ratio"] * (high - low)).exp()
    high_px = (share * height * width * ratio).sqrt().round().clamp(1, height)
    wide_px = (share * height * width / ratio).sqrt().round().clamp(1, width)
    wanted = draw["erase"] < erase.probability
    rows = _between(draw["top"], high_px * wanted, height, images.device)
    columns = _between(draw["left"], wide_px, width, images.device)
    mean = images.mean((2, 3), keepdim=True)
    return torch.where(rows[:, None, :, None] & columns[:, None, None, :], mean, images)


def _between(draw: Tensor, length: Tensor, size: int, device: torch.device) -> Tensor:
    """Return whether each of `size` places lies in a stretch of `length` [N] that starts at random, bool [N, size]."""
    start = (draw * (size - length + 1)).floor()[:, None]
    place = torch.arange(size)
    return ((place >= start) & (place < start + length[:, None])).to(device, non_blocking=True)
