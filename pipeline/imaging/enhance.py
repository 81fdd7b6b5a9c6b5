"""Contrast enhancement and resizing of decoded images."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.imaging.depth import to_8_bits
from pipeline.imaging.equalise import clahe
from pipeline.imaging.settings import Preprocess

KeepAspect = Literal["stretch", "pad", "crop"]


class Placement(NamedTuple):
    """Where images lie in prepared squares: top left corner and size, pixels, float64 scalars or [N]."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]


def resize(image: NDArray[Any], width: int, height: int | None = None) -> NDArray[Any]:
    """Stretch an image, by default to a square.

    An axis that shrinks is averaged over the area of each new pixel, which leaves no aliasing; an axis that grows is
    interpolated linearly.

    Parameters
    ----------
    image : uint8 or uint16 [H, W] or [H, W, 3]
        Any size.
    width, height : int
        Pixels of the result; `height` is `width` if not given.

    Returns
    -------
    [height, width] or [height, width, 3], dtype of `image`
    """
    wanted = (width, width if height is None else height)
    given = (image.shape[1], image.shape[0])
    shrunk = (min(given[0], wanted[0]), min(given[1], wanted[1]))
    if shrunk != given:
        image = np.asarray(cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA))
    if shrunk != wanted:
        image = np.asarray(cv2.resize(image, wanted, interpolation=cv2.INTER_LINEAR))
    return image


def placement(width: ArrayLike, height: ArrayLike, size: int, keep_aspect: KeepAspect) -> Placement:
    """Say where an image comes to lie in the prepared square.

    Parameters
    ----------
    width, height : int or int [N]
        Pixels of the image, at least 1.
    size : int
        Width and height of the prepared image in pixels.
    keep_aspect : {"stretch", "pad", "crop"}
        "stretch" fills the square; "pad" fits the longer side, centred; "crop" fits the shorter side, centred.

    Returns
    -------
    Placement
        For "crop" the image extends beyond the square.
    """
    width, height = np.asarray(width, np.float64), np.asarray(height, np.float64)
    if keep_aspect == "stretch":
        full = np.full(width.shape, float(size))
        return Placement(np.zeros(width.shape), np.zeros(width.shape), full, full)
    if keep_aspect == "pad":
        longer = np.maximum(width, height)
        new_width = np.maximum(1, np.rint(width * size / longer))
        new_height = np.maximum(1, np.rint(height * size / longer))
        return Placement((size - new_width) // 2, (size - new_height) // 2, new_width, new_height)
    side = np.minimum(width, height)
    scale = size / side
    return Placement(-((width - side) // 2) * scale, -((height - side) // 2) * scale, width * scale, height * scale)


def map_boxes(
    boxes: ArrayLike, width: ArrayLike, height: ArrayLike, size: int, keep_aspect: KeepAspect
) -> NDArray[np.float64]:
    """Map boxes of an image to pixels of the prepared image.

    Parameters
    ----------
    boxes : float [N, 4]
        x, y, width, height as fractions of the image's width and height; x and y at the top left corner.
    width, height : int [N]
        Pixels of each box's image.
    size, keep_aspect
        As for `placement`.

    Returns
    -------
    float64 [N, 4]
        x, y, width, height in pixels, clipped to what is seen of the image; a box outside has width and height 0.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    x, y, w, h = placement(width, height, size, keep_aspect)
    left, right = (np.clip(x + edge * w, np.maximum(x, 0), np.minimum(x + w, size)) for edge in _edges(boxes, 0))
    top, bottom = (np.clip(y + edge * h, np.maximum(y, 0), np.minimum(y + h, size)) for edge in _edges(boxes, 1))
    mapped = np.stack([left, top, right - left, bottom - top], axis=1)
    mapped[(mapped[:, 2] <= 0) | (mapped[:, 3] <= 0), 2:] = 0
    return mapped


def _edges(boxes: NDArray[np.float64], axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return boxes[:, axis], boxes[:, axis] + boxes[:, axis + 2]


def fit(image: NDArray[Any], size: int, keep_aspect: KeepAspect) -> NDArray[Any]:
    """Resize an image to a square as `placement` says; what "pad" adds is black.

    Parameters
    ----------
    image : uint8 or uint16 [H, W] or [H, W, 3]
        Any size.
    size, keep_aspect
        As for `placement`.

    Returns
    -------
    [size, size] or [size, size, 3], dtype of `image`
    """
    if keep_aspect == "pad":
        return _pad(_shrink_to_fit(image, size), size)
    return resize(_seen(image, keep_aspect), size)


def prepare(image: NDArray[Any], settings: Preprocess) -> NDArray[Any]:
    """Enhance and resize a decoded image as section ``preprocess`` of params.yaml says.

    Contrast is enhanced in what is seen of the image: not in padding, and without what is cropped. 16 bits stay 16 bits
    until the end; then they are rounded to 8, once, unless `settings.store` keeps them.

    Parameters
    ----------
    image : uint8 or uint16 [H, W] or [H, W, 3]
        From `pipeline.imaging.decoding.as_image`.
    settings : Preprocess
        Its `clahe.order` decides whether contrast is enhanced at the full resolution or, faster, at the final one.

    Returns
    -------
    [size, size] or [size, size, 3], dtype `settings.store`
    """
    order = settings.clahe.order if settings.clahe.enabled else ""
    pad = settings.keep_aspect == "pad"
    image = _seen(image, settings.keep_aspect)
    if settings.store == "uint16" and image.dtype == np.uint8:
        image = image.astype(np.uint16) * np.uint16(257)  # the means of the areas are then kept to 16 bits
    if order == "before_resize":
        image = clahe(image, settings.clahe.clip, settings.clahe.tiles)
    image = _shrink_to_fit(image, settings.size) if pad else resize(image, settings.size)
    if order == "after_resize":
        image = clahe(image, settings.clahe.clip, settings.clahe.tiles)
    if settings.store == "uint8":
        image = to_8_bits(image)
    return _pad(image, settings.size) if pad else image


def _seen(image: NDArray[Any], keep_aspect: KeepAspect) -> NDArray[Any]:
    """Return the part of the image that is seen: all of it, or for "crop" the centre square."""
    if keep_aspect != "crop":
        return image
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _shrink_to_fit(image: NDArray[Any], size: int) -> NDArray[Any]:
    place = placement(image.shape[1], image.shape[0], size, "pad")
    return resize(image, int(place.width), int(place.height))


def _pad(image: NDArray[Any], size: int) -> NDArray[Any]:
    height, width = image.shape[:2]
    top, left = (size - height) // 2, (size - width) // 2
    square = np.zeros((size, size, *image.shape[2:]), image.dtype)
    square[top : top + height, left : left + width] = image
    return square
