"""Contrast enhancement and resizing of decoded images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.params import Preprocess


def clahe(image: NDArray[np.uint8], clip: float, tiles: int) -> NDArray[np.uint8]:
    """Contrast-limited adaptive histogram equalisation.

    Of a colour image only the lightness L of CIELAB is equalised, so that hue, the meaning of a stain, stays.

    Parameters
    ----------
    image : uint8 [H, W] or [H, W, 3]
        Grey or RGB.
    clip : float
        A histogram bin holds at most `clip` times the mean count of a bin of its tile; above, the slope of the grey
        curve is limited.
    tiles : int
        Tiles along each axis.

    Returns
    -------
    uint8, the shape of `image`

    References
    ----------
    K. Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV (1994), 474-485.
    """
    # One object a call: OpenCV's keeps buffers and is not safe to share between threads. Making it takes microseconds.
    equaliser = cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles))
    if image.ndim == 2:
        return equaliser.apply(image)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = equaliser.apply(np.ascontiguousarray(lab[..., 0]))
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Stretch an image to a square; the aspect ratio is not kept, so that nothing is cropped or padded.

    An axis that shrinks is averaged over the area of each new pixel, which leaves no aliasing; an axis that grows is
    interpolated linearly.

    Parameters
    ----------
    image : uint8 [H, W] or [H, W, 3]
        Any size.
    size : int
        Pixels a side of the result.

    Returns
    -------
    uint8 [size, size] or [size, size, 3]
    """
    height, width = image.shape[:2]
    shrunk = (min(width, size), min(height, size))
    if shrunk != (width, height):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return image


def prepare(image: NDArray[np.uint8], settings: Preprocess) -> NDArray[np.uint8]:
    """Enhance and resize a decoded image as section ``preprocess`` of params.yaml says.

    Parameters
    ----------
    image : uint8 [H, W] or [H, W, 3]
        From `pipeline.imaging.decode.decode`.
    settings : Preprocess
        Its `clahe.order` decides whether contrast is enhanced at the full resolution or, faster, at the final one.

    Returns
    -------
    uint8 [size, size] or [size, size, 3]
    """
    order = settings.clahe.order if settings.clahe.enabled else ""
    if order == "before_resize":
        image = clahe(image, settings.clahe.clip, settings.clahe.tiles)
    image = resize(image, settings.size)
    if order == "after_resize":
        image = clahe(image, settings.clahe.clip, settings.clahe.tiles)
    return image
