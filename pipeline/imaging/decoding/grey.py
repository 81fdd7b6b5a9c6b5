"""Stored values to grey levels or colours of the asked depth: scale, polarity, colours, orientation."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.imaging.decoding.errors import UnreadableImage
from pipeline.imaging.decoding.facts import Channels, Depth, Stored

FULL: Final[dict[Depth, int]] = {"uint8": 255, "uint16": 65535}
"""White of each depth."""
_LOWEST_FULL_RANGE = 4096
"""A 16-bit file whose brightest pixel is below uses 12 bits or fewer; at /257 it would come out all but black."""


def white_of(stored: Stored, bits: int | None) -> tuple[int, int]:
    """Return the value that is white, and the brightest one where the data set decides (else -1).

    Parameters
    ----------
    stored : Stored
        Of a file.
    bits : int, optional
        Of the data set.

    Raises
    ------
    UnreadableImage
        "scale unknown", "brighter than preprocess.bits".
    """
    if stored.values.dtype.kind == "f":
        return 0, -1
    if stored.full_scale:
        return stored.full_scale, -1
    container = int(np.iinfo(stored.values.dtype).max)
    brightest = int(stored.values.max())
    if bits is None:
        if brightest < min(_LOWEST_FULL_RANGE, container):
            raise UnreadableImage("scale unknown", "16-bit file using 12 bits or fewer; set preprocess.bits")
        return container, brightest
    white = (1 << bits) - 1
    if brightest > white:
        raise UnreadableImage("brighter than preprocess.bits", f"{brightest}, and {bits} bits end at {white}")
    return white, brightest


def shown(stored: Stored, white: int, channels: Channels, depth: Depth) -> NDArray[Any]:
    """Return grey levels or colours of the asked depth, rounded once.

    Parameters
    ----------
    stored : Stored
        Of a file.
    white : int
        From `white_of`.
    channels : {1, 3}
        Grey or RGB. Grey from colour is the luma 0.299 R + 0.587 G + 0.114 B.
    depth : {"uint8", "uint16"}
        Of the result.

    Returns
    -------
    uint8 or uint16 [H, W] or [H, W, 3]
    """
    values = stored.values
    to_grey = channels == 1 and values.ndim == 3
    if to_grey and not (values.dtype == np.uint8 and white == FULL["uint8"] and depth == "uint8"):
        # The luma of the values as they are stored, so that only its result is rounded to 8 bits.
        values = _scaled(values, white, "uint16")
        white, to_grey = FULL["uint16"], False
        values = np.asarray(cv2.cvtColor(values, cv2.COLOR_RGB2GRAY))
    image = _scaled(values, white, depth)
    if stored.inverted:
        image = FULL[depth] - image
    if to_grey:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    if channels == 3 and image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
    return image


def _scaled(values: NDArray[Any], white: int, depth: Depth) -> NDArray[Any]:
    """Return `values` with `white` mapped to the white of `depth`."""
    full, dtype = FULL[depth], np.dtype(depth)
    if values.dtype.kind == "f":
        return np.rint(values * full).astype(dtype)
    if white == full and values.dtype == dtype:
        return values
    if values.dtype.itemsize > 2:
        return np.rint(values * (full / white)).astype(dtype)
    if values.dtype == np.uint8 and white == FULL["uint8"]:
        return np.asarray(values.astype(np.uint16) * np.uint16(257))
    if white == FULL["uint16"]:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    table = np.rint(np.arange(white + 1) * (full / white)).astype(dtype)
    return np.asarray(table[np.minimum(values, white)])


def upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return the image as it is to be seen.

    Parameters
    ----------
    image : [H, W] or [H, W, 3]
        As stored.
    orientation : int
        1 to 8, EXIF tag 274: where the first row and the first column of the file belong.
    """
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
