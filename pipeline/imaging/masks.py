"""Masks of structures, prepared beside their images: the same geometry, nearest neighbour, nothing else."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import MaskSource
from pipeline.imaging.decoding import UnreadableImage, decode
from pipeline.imaging.enhance import KeepAspect, placement
from pipeline.imaging.settings import Preprocess

Mask = NDArray[np.bool_]
INSIDE = 255
"""Value of a pixel of the structure in masks.npy."""


class MaskError(Exception):
    """A mask that cannot be used; the message is the reason in excluded.csv."""


def prepared_masks(
    read: Callable[[], tuple[MaskSource, ...]], height: int, width: int, settings: Preprocess
) -> NDArray[np.uint8]:
    """Read the masks of an image and prepare them as its pixels were.

    Parameters
    ----------
    read : callable
        Of `Sample.masks`.
    height, width : int
        Pixels of the image as published.
    settings : Preprocess
        Its `size` and `keep_aspect`.

    Returns
    -------
    uint8 [size, size, K]
        0 and `INSIDE`.

    Raises
    ------
    MaskError
        If a mask is missing, unreadable, of another size than the image, or has other values than two.
    """
    try:
        sources = read()
    except FileNotFoundError:
        raise MaskError("mask missing") from None
    except OSError as error:
        raise MaskError(f"mask not readable: {error.strerror or type(error).__name__}") from None
    masks = np.zeros((settings.size, settings.size, len(sources)), np.uint8)
    for k, source in enumerate(sources):
        if (mask := published_mask(source, height, width)) is not None:
            masks[..., k] = INSIDE * place(mask, settings.size, settings.keep_aspect).astype(np.uint8)
    return masks


def published_mask(source: MaskSource, height: int, width: int) -> Mask | None:
    """Read a mask at the size of its image, bool [height, width]; None where the structure is not in the image.

    Raises
    ------
    MaskError
        See `prepared_masks`.
    """
    return None if source.content is None else _fitting(_decoded(source), height, width, source.rescaled)


def place(mask: Mask, size: int, keep_aspect: KeepAspect) -> Mask:
    """Bring a mask to the prepared square, as `pipeline.imaging.enhance.fit` brings the image.

    Parameters
    ----------
    mask : bool [H, W]
        Of the image as published.
    size, keep_aspect
        See `pipeline.imaging.enhance.placement`.

    Returns
    -------
    bool [size, size]
        The value at the centre of each new pixel; outside of the image there is none of the structure.
    """
    height, width = mask.shape
    where = placement(width, height, size, keep_aspect)
    y, inside_y = _source(float(where.y), float(where.height), height, size)
    x, inside_x = _source(float(where.x), float(where.width), width, size)
    return mask[y][:, x] & inside_y[:, None] & inside_x


def unplace(prepared: Mask, height: int, width: int, keep_aspect: KeepAspect) -> Mask:
    """Bring a mask of the prepared square back to the image as published: what `place` undoes, as far as it can be.

    Parameters
    ----------
    prepared : bool [size, size]
        On the prepared image.
    height, width : int
        Of the image as published.
    keep_aspect : {"stretch", "pad", "crop"}
        How it became square.

    Returns
    -------
    bool [height, width]
        What was cropped away has none of the structure.
    """
    size = prepared.shape[0]
    where = placement(width, height, size, keep_aspect)
    y = np.floor(float(where.y) + (np.arange(height) + 0.5) * float(where.height) / height).astype(np.int64)
    x = np.floor(float(where.x) + (np.arange(width) + 0.5) * float(where.width) / width).astype(np.int64)
    inside = ((y >= 0) & (y < size))[:, None] & ((x >= 0) & (x < size))
    return prepared[np.clip(y, 0, size - 1)][:, np.clip(x, 0, size - 1)] & inside


def _source(start: float, length: float, published: int, size: int) -> tuple[NDArray[np.int64], Mask]:
    """Return which published pixel lies at the centre of each prepared one along an axis, and whether there is one."""
    at = np.floor((np.arange(size) + 0.5 - start) * published / length).astype(np.int64)
    return np.clip(at, 0, published - 1), (at >= 0) & (at < published)


def _decoded(source: MaskSource) -> Mask:
    """Return the mask, bool [H, W]."""
    if isinstance(source.content, np.ndarray):
        return source.content.astype(bool)
    assert source.content is not None  # there is none of the structure
    try:
        # To 16 bits, and of all of them: a mask of 0 and 1 in a file of 16 bits must not round to nothing.
        grey = decode(source.content, 1, bits=16, depth="uint16").pixels
    except UnreadableImage as error:
        raise MaskError(f"mask not readable: {error}") from None
    if source.above is not None:
        return grey > source.above * 257
    if source.levels is not None:
        low, high = source.levels
        return (grey >= low * 257) & (grey <= high * 257)
    levels = np.unique(grey)
    if len(levels) > 2 or (len(levels) == 2 and levels[0] != 0):
        shown = ", ".join(f"{level / 257:.4g}" for level in levels[:4].tolist()) + (", ..." if len(levels) > 4 else "")
        raise MaskError(f"mask values are not two, one of them 0: {shown}")
    return grey > 0


def _fitting(mask: Mask, height: int, width: int, rescaled: bool) -> Mask:
    """Return the mask in the image's size, and refuse another size unless it may be rescaled."""
    if mask.shape == (height, width):
        return mask
    high, wide = mask.shape
    same = abs(high * width - wide * height) <= max(high, wide, height, width)  # but for the rounding of a side
    if not (rescaled and same):
        raise MaskError(f"mask size is not that of the image: {wide} x {high}, not {width} x {height} pixels")
    grown = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(grown).astype(bool)
