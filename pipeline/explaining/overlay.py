"""Heat maps as pictures, and back on the image that a file holds; needs no torch."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.imaging.enhance import KeepAspect, placement, resize
from pipeline.study.prepared import in_8_bits

STRENGTH = 0.6
"""Share of colour where a map is 1; where it is 0 the image is as it was."""


def colours() -> NDArray[np.uint8]:
    """Return the 256 colours of maps from 0 to 1, uint8 [256, 3], RGB: Inferno, whose brightness rises evenly."""
    steps = np.arange(256, dtype=np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[:, 0, ::-1], np.uint8)


def overlay(image: NDArray[Any], heat: NDArray[np.float32], strength: float = STRENGTH) -> NDArray[np.uint8]:
    """Lay a heat map over an image.

    Parameters
    ----------
    image : uint8 or uint16 [H, W] or [H, W, 3]
        Grey or RGB.
    heat : float32 [H, W]
        In [0, 1].
    strength : float
        Share of colour where the map is 1, in [0, 1].

    Returns
    -------
    uint8 [H, W, 3]
        RGB. The colour's share at a place is `strength` times the map: where it is 0, the image is as it was.

    Raises
    ------
    ValueError
        If the sizes differ.
    """
    if image.shape[:2] != heat.shape:
        raise ValueError(f"the image is {image.shape[:2]}, and the map {heat.shape}; must be equal")
    below = in_8_bits(image).astype(np.float32)
    if below.ndim == 2:
        below = np.repeat(below[:, :, None], 3, axis=2)
    share = strength * heat.astype(np.float32)[:, :, None]
    above = colours()[np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)].astype(np.float32)
    return np.asarray(np.rint((1 - share) * below + share * above), np.uint8)


def on_original(heat: NDArray[np.float32], width: int, height: int, keep_aspect: KeepAspect) -> NDArray[np.float32]:
    """Bring a map of a prepared image to the size and aspect of the image it was prepared from.

    Parameters
    ----------
    heat : float32 [size, size]
        Of a prepared image.
    width, height : int
        Pixels of the image before it was prepared.
    keep_aspect : {"stretch", "pad", "crop"}
        Setting ``preprocess.keep_aspect`` by which it was prepared.

    Returns
    -------
    float32 [height, width]
        What "pad" added is gone; what "crop" cut off, which the network has not seen, is 0.
    """
    size = heat.shape[0]
    if keep_aspect == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        whole = np.zeros((height, width), np.float32)
        whole[top : top + side, left : left + side] = resize(heat, side)
        return whole
    place = placement(width, height, size, keep_aspect)
    x, y, w, h = (int(value) for value in place)
    return np.asarray(resize(np.ascontiguousarray(heat[y : y + h, x : x + w]), width, height), np.float32)
