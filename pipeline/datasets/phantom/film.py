"""The image in the making: its fields, and the way from anatomical coordinates to its pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.phantom.anatomy import Points

Array = NDArray[np.float32]
Box = tuple[str, float, float, float, float]
"""Finding, x, y, width, height: fractions in [0, 1], x and y at the top left corner."""


class Film:
    """Fields of one image in the making, and the way from anatomical coordinates to its pixels.

    Parameters
    ----------
    size : int
        Width and height in pixels.
    matrix : ndarray of float64, shape (2, 3)
        Affine map from anatomical coordinates to fractions of the image.

    Attributes
    ----------
    x, y : ndarray of float32, shape (size, size)
        Anatomical coordinates of each pixel.
    air, clear, dense, vessels : ndarray of float32, shape (size, size)
        Darkness of the lungs, the share of it that lesions leave, what lesions add, and the vessels in it.
    lungs : dict
        Mask in [0, 1] of each lung: -1 image left, 1 image right.
    boxes : list of (finding, x, y, width, height)
        Fractions in [0, 1], x and y at the top left corner.
    masks : dict of str to bool array, shape (size, size)
        What the boxes of a finding are drawn around.
    """

    def __init__(self, size: int, matrix: NDArray[np.float64]) -> None:
        self.size = size
        self.matrix = matrix * size
        inverse = np.linalg.inv(np.vstack([self.matrix, [0, 0, 1]])).astype(np.float32)
        pixel = np.arange(size, dtype=np.float32) + np.float32(0.5)
        self.x: Array = inverse[0, 0] * pixel[None, :] + (inverse[0, 1] * pixel[:, None] + inverse[0, 2])
        self.y: Array = inverse[1, 0] * pixel[None, :] + (inverse[1, 1] * pixel[:, None] + inverse[1, 2])
        self.air: Array = np.zeros((size, size), np.float32)
        self.clear: Array = np.ones((size, size), np.float32)
        self.dense: Array = np.zeros((size, size), np.float32)
        self.vessels: Array = np.zeros((size, size), np.float32)
        self.lungs: dict[int, Array] = {}
        self.boxes: list[Box] = []
        self.masks: dict[str, NDArray[np.bool_]] = {}

    def _pixels(self, points: Points) -> NDArray[np.int32]:
        moved = points @ self.matrix[:, :2].T + self.matrix[:, 2] - 0.5
        return np.round(moved * 16).astype(np.int32)

    def blur(self, mask: Array, sigma: float) -> Array:
        """Gaussian blur with `sigma` in anatomical units; wide ones at a quarter of the size, which looks the same."""
        pixels = sigma * self.size
        if pixels > 6:
            small = cv2.resize(mask, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
            small = cv2.GaussianBlur(small, (0, 0), pixels / 4)
            return _float32(cv2.resize(small, (self.size, self.size), interpolation=cv2.INTER_LINEAR))
        return _float32(cv2.GaussianBlur(mask, (0, 0), max(pixels, 0.3)))

    def fill(self, points: Points, sigma: float = 0.0) -> Array:
        """Mask in [0, 1] of a polygon, blurred by `sigma`."""
        canvas = np.zeros((self.size, self.size), np.uint8)
        cv2.fillPoly(canvas, [self._pixels(points)], 255, cv2.LINE_AA, 4)
        mask = canvas.astype(np.float32)
        mask *= np.float32(1 / 255)
        return self.blur(mask, sigma) if sigma else mask

    def lines(self, curves: list[tuple[Points, float, float]], sigma: float = 0.0) -> Array:
        """Mask in [0, 1] of curves, each with its width (anatomical units) and its brightness."""
        canvas = np.zeros((self.size, self.size), np.uint8)
        pixels = np.split(
            self._pixels(np.concatenate([points for points, _, _ in curves])),
            np.cumsum([len(points) for points, _, _ in curves])[:-1],
        )
        for moved, (_, width, value) in zip(pixels, curves, strict=True):
            thick = width * self.size
            # Lines thinner than a pixel are drawn one pixel wide and fainter, which keeps small sizes alike.
            level = int(255 * min(value, 1.0) * min(thick, 1.0))
            cv2.polylines(canvas, [moved], False, level, max(1, round(thick)), cv2.LINE_AA, 4)
        mask = canvas.astype(np.float32)
        mask *= np.float32(1 / 255)
        return self.blur(mask, sigma) if sigma else mask

    def cloud(self, rng: np.random.Generator, cells: int) -> Array:
        """Smooth noise in about [-1, 1] with `cells` bumps across."""
        grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        return _float32(cv2.resize(grid, (self.size, self.size), interpolation=cv2.INTER_CUBIC))

    def fog(self, opacity: Array) -> None:
        """Take `opacity`, a share in [0, 1], of the lungs' darkness away."""
        self.clear *= 1 - np.clip(opacity, 0, 1)

    def box(self, finding: str, mask: Array, share: float = 0.2) -> None:
        """Note the rectangle around the part of `mask` that exceeds `share` of its maximum."""
        inside = mask > share * mask.max()
        x, y, w, h = cv2.boundingRect(inside.astype(np.uint8))
        if w and h and float(mask.max()) > 0.02:
            n = self.size
            self.boxes.append((finding, x / n, y / n, w / n, h / n))
            self.masks[finding] = inside | self.masks[finding] if finding in self.masks else inside


def _float32(image: cv2.typing.MatLike) -> Array:
    """Type of what OpenCV returns for float32, which its stubs leave open; nothing is copied."""
    return np.asarray(image, np.float32)


def plateau(z: Array) -> Array:
    """exp(-z⁴), in place: one in the middle, zero outside, without a power, which is slow on whole images."""
    z *= z
    z *= z
    np.negative(z, out=z)
    return np.exp(z, out=z)


def ramp(values: Array, start: float, width: float) -> Array:
    """Zero below `start`, one beyond `start` + `width`, linear between; falls where `width` is negative."""
    ramp = values - start
    ramp /= width
    return np.clip(ramp, 0, 1, out=ramp)


def add(onto: Array, mask: Array, weight: float) -> None:
    """``onto += weight * mask`` without an array between, whose allocation takes longer than the sum."""
    cv2.scaleAdd(mask, weight, onto, onto)
