"""The picture that every made file shows, and the rules by which its values are shown with 8 bits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

HEIGHT, WIDTH = 24, 32


class Made(NamedTuple):
    """A file that a test makes.

    Parameters
    ----------
    data : bytes
        The whole file.
    truth : uint8 [H, W] or [H, W, 3]
        What it shows, from the values that were stored; of a lossy file the values before compression.
    exact : bool
        Whether a decoder gives back `truth` but for rounding.
    options : dict
        What a reader must be told: `bits` of a data set that does not use its 16, `frame`.
    stable : bool
        Whether `data` are the same bytes at every call; the table knows such files by their hash.
    """

    data: bytes
    truth: np.ndarray
    exact: bool = True
    options: dict = {}
    stable: bool = True


def shape(flip: bool = False) -> np.ndarray:
    """Return the picture as float64 [HEIGHT, WIDTH] in 0..1: a ramp, a white and a black block, a thin line.

    No turn or reflection of it equals another; the bottom row differs from the one above.
    """
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    picture = 0.1 + 0.8 * (x / (WIDTH - 1)) * (0.5 + 0.5 * y / (HEIGHT - 1))
    picture[4:10, 5:12] = 1
    picture[13:20, 18:29] = 0
    picture[:, 15] = 0.55
    picture[-1] = 0.35
    return picture[::-1, ::-1] if flip else picture


def grey(bits: int, dtype: type | None = None) -> np.ndarray:
    """Return the picture in unsigned values of 0..2**bits - 1."""
    dtype = dtype or (np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)
    return np.rint(shape() * (2**bits - 1)).astype(dtype)


def colour(bits: int, dtype: type | None = None) -> np.ndarray:
    """Return a picture whose red, green and blue differ everywhere, [HEIGHT, WIDTH, 3]."""
    dtype = dtype or (np.uint8 if bits <= 8 else np.uint16)
    blue = np.broadcast_to(np.linspace(0.9, 0.2, HEIGHT)[:, None], (HEIGHT, WIDTH))
    return np.rint(np.dstack([shape(), shape(flip=True), blue]) * (2**bits - 1)).astype(dtype)


def smooth(bits: int = 8) -> np.ndarray:
    """Return a colour picture that a lossy codec changes little, [HEIGHT, WIDTH, 3]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    u, v = x / (WIDTH - 1), y / (HEIGHT - 1)
    picture = np.dstack([0.15 + 0.7 * u, 0.85 - 0.6 * v, 0.2 + 0.6 * u * v])
    return np.rint(picture * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def smooth_grey(bits: int = 8) -> np.ndarray:
    """Return a grey picture that a lossy codec changes little."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    picture = 0.1 + 0.6 * x / (WIDTH - 1) + 0.25 * (y / (HEIGHT - 1)) ** 2
    return np.rint(picture * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def indices(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return palette indices [HEIGHT, WIDTH] and a palette uint8 [2**bits, 3] without order in brightness."""
    count = 2**bits
    i = np.arange(count)
    palette = np.stack([(37 * i + 10) % 256, (91 * i + 200) % 256, (151 * i + 90) % 256], axis=1).astype(np.uint8)
    return np.rint(shape() * (count - 1)).astype(np.uint8), palette


def alpha(bits: int) -> np.ndarray:
    """Return an alpha channel that hides one side and half-hides the middle."""
    x = np.broadcast_to(np.linspace(0, 1, WIDTH), (HEIGHT, WIDTH))
    return np.rint(x * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def to_8_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Return values of 0..2**bits - 1 as 0..255, rounded."""
    return np.rint(values.astype(np.float64) * 255 / (2**bits - 1)).astype(np.uint8)


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return what a file shows whose stored rows are `image` and whose orientation is 1 to 8 (TIFF 6.0, page 36)."""
    table = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a[::-1].swapaxes(0, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a[:, ::-1].swapaxes(0, 1),
    }
    return np.ascontiguousarray(table[orientation](image))


def packed(values: np.ndarray, bits: int) -> bytes:
    """Return integers as `bits` each, the highest bit first; each row starts with a new byte."""
    rows = values.reshape(len(values), -1).astype(np.uint64)
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint64)
    spread = ((rows[..., None] >> shifts) & np.uint64(1)).astype(np.uint8)
    return np.packbits(spread.reshape(len(rows), -1), axis=1).tobytes()
