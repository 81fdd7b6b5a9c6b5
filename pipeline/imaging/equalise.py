"""Contrast-limited adaptive histogram equalisation, of 8 bits and of 16.

OpenCV equalises 8 bits, and 16 bits with as many bins as they have levels. A tile then has fewer pixels than bins, a
bin holds one pixel or none, and the clip limit, which counts pixels, says nothing. Here 16 bits have the 256 bins of 8
bits, and the curves through them are joined by straight lines, so that no level is lost.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.imaging.depth import STEP, to_8_bits

_BINS = 256
_TABLE = 2**20
"""Numbers in the table of curves that is made at once: it stays in the cache."""
_MOST_LINES = 2**14
"""Lines of that table: OpenCV's maps are made for pictures of fewer than 2**15."""


def clahe(image: NDArray[Any], clip: float, tiles: int) -> NDArray[Any]:
    """Contrast-limited adaptive histogram equalisation.

    Of a colour image only the lightness L of CIELAB is equalised, so that hue, the meaning of a stain, stays.

    Parameters
    ----------
    image : uint8 or uint16 [H, W] or [H, W, 3]
        Grey or RGB.
    clip : float
        A histogram bin (of 256) holds at most `clip` times the mean count of a bin of its tile; above, the slope of the
        grey curve is limited.
    tiles : int
        Tiles along each axis.

    Returns
    -------
    dtype and shape of `image`

    References
    ----------
    K. Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV (1994), 474-485.
    """
    if image.dtype == np.uint16:
        return _deep_colour(image, clip, tiles) if image.ndim == 3 else _deep(image, clip, tiles)
    # One object per call: OpenCV's keeps buffers and is not safe to share between threads. It is made in microseconds.
    equaliser = cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles))
    if image.ndim == 2:
        return np.asarray(equaliser.apply(image), np.uint8)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = equaliser.apply(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def _deep_colour(image: NDArray[np.uint16], clip: float, tiles: int) -> NDArray[np.uint16]:
    # OpenCV converts 8 bits and floating point; the lightness is 0 to 100 in the latter.
    lab = cv2.cvtColor(image.astype(np.float32) / 65535, cv2.COLOR_RGB2LAB)
    lightness = np.rint(np.clip(lab[..., 0], 0, 100) * 655.35).astype(np.uint16)
    lab[..., 0] = _deep(lightness, clip, tiles) / np.float32(655.35)
    return np.rint(np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 65535).astype(np.uint16)


def _deep(image: NDArray[np.uint16], clip: float, tiles: int) -> NDArray[np.uint16]:
    """Equalise a grey image of 16 bits."""
    height, width = image.shape
    # OpenCV mirrors as much as makes both sides multiples of the number of tiles, a whole number more if one is.
    down, across = (0, 0) if height % tiles == width % tiles == 0 else (tiles - height % tiles, tiles - width % tiles)
    whole = np.asarray(cv2.copyMakeBorder(to_8_bits(image), 0, down, 0, across, cv2.BORDER_REFLECT_101), np.uint8)
    tall, wide = whole.shape[0] // tiles, whole.shape[1] // tiles
    blocks = whole.reshape(tiles, tall, tiles, wide).swapaxes(1, 2).reshape(tiles * tiles, tall * wide)
    curves = _curves(blocks, clip).reshape(tiles, tiles, _BINS)
    # Curves are those of the tiles' centres; between them they are interpolated along both sides.
    above, weight = _between(height, tall, tiles)
    column = np.clip((np.arange(width) / wide) - 0.5, 0, tiles - 1).astype(np.float32)
    result = np.empty_like(image)
    rows = max(1, min(_TABLE // (tiles * _BINS), _MOST_LINES // tiles))
    for start in range(0, height, rows):
        part = slice(start, min(start + rows, height))
        first, share = above[part], weight[part, None, None]
        table = curves[first] * (1 - share) + curves[np.minimum(first + 1, tiles - 1)] * share
        lines = table.reshape(-1, _BINS)  # of every row its tiles; a column never reaches the next row's
        level = image[part].astype(np.float32) * np.float32(1 / STEP)
        line = (np.arange(len(first), dtype=np.float32) * tiles)[:, None] + column
        result[part] = np.rint(cv2.remap(lines, level, line, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return result


def _between(length: int, tile: int, tiles: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return for every row the tile whose centre lies above it, and the weight of the next."""
    place = np.clip(np.arange(length) / tile - 0.5, 0, tiles - 1)
    above = np.floor(place).astype(np.intp)
    return above, (place - above).astype(np.float32)


def _curves(blocks: NDArray[np.uint8], clip: float) -> NDArray[np.float32]:
    """Return the grey curves of tiles: float32 [tiles, 256], the value in 0 to 65535 at each level of 8 bits.

    Counts are clipped and handed out again as OpenCV does it, in whole pixels.
    """
    pixels = blocks.shape[1]
    counts = np.stack([np.bincount(block, minlength=_BINS) for block in blocks])
    most = max(int(clip * pixels / _BINS), 1)
    surplus = np.maximum(counts - most, 0).sum(axis=1)
    counts = np.minimum(counts, most) + (surplus // _BINS)[:, None]
    for tile, rest in enumerate((surplus % _BINS).tolist()):
        if rest:
            counts[tile, : rest * max(_BINS // rest, 1) : max(_BINS // rest, 1)] += 1
    return (counts.cumsum(axis=1) * (65535 / pixels)).astype(np.float32)
