"""What stands for an image when it is compared with others: a hash of its pixels, a thumbnail, and a hash of that."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dct

from pipeline.imaging.depth import holds_8_bits, to_8_bits

THUMBNAIL = 32
"""Width and height in pixels of the thumbnails that confirm a near-duplicate."""
HASH_BITS = 64
_LARGE = 16
"""Images of less than this multiple of the thumbnail's side are left to the Lanczos filter as they are."""
_OVERSAMPLING = 2
"""Larger ones are shrunk first, to at least this multiple and less than its double."""
_THUMBNAILS_AT_ONCE = 2**9


def pixel_hash(image: NDArray[Any]) -> str:
    """128 bits over shape and pixels, as 32 hex digits: the same for a picture in two formats or under two names.

    XXH3 reads a radiograph in a twentieth of the time of SHA-256. It is no seal, but nothing is to be sealed: the odds
    that any two of 10 million different pictures have the same value are 1 in 10^25.

    Parameters
    ----------
    image : uint8 or uint16 [H, W] or [H, W, C]
        As decoded, before anything is changed. 16 bits that hold no more than 8 have the value of those 8.

    References
    ----------
    Y. Collet, xxHash, https://github.com/Cyan4973/xxHash
    """
    if image.dtype == np.uint16 and holds_8_bits(image):
        image = to_8_bits(image)
    digest = xxhash.xxh3_128(f"{image.shape} {image.dtype}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def for_thumbnail(image: NDArray[Any]) -> NDArray[Any]:
    """Return a small picture with the same `thumbnail`: a large image shrunk by halves, the thumbnail of any other.

    Beside the decoding of a radiograph, Pillow's code for its few last pixels has to be fetched into the cache each
    time. Many thumbnails one after another are made in a third of the time.
    """
    return _shrunk(image) if min(image.shape[:2]) >= _LARGE * THUMBNAIL else thumbnail(image)


def thumbnail(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Shrink an image to 32 x 32 grey pixels with Pillow's Lanczos filter.

    An image of at least 512 x 512 pixels is shrunk by halves first, to 64 to 127 pixels: Lanczos weights over a full
    radiograph take half as long as decoding it.

    Parameters
    ----------
    image : uint8 or uint16 [H, W] or [H, W, 3]
        Grey or RGB, as decoded.

    Returns
    -------
    uint8 [32, 32]
    """
    if min(image.shape[:2]) >= _LARGE * THUMBNAIL:
        image = _shrunk(image)
    grey = Image.fromarray(to_8_bits(image))
    if grey.mode != "L":
        grey = grey.convert("L")
    return np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS))


def perceptual_hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return hashes that are alike for images that look alike.

    They say, for the 8 x 8 lowest frequencies of a thumbnail's cosine transform, which are above their median (read row
    by row, the first the highest bit), as ``imagehash.phash`` does. Of images below 512 pixels they have the very bits
    of imagehash; of larger ones they may differ from it where a frequency lies at the median: in 0.5 bits of 64 on
    average, 2 at most, of 45 radiographs enlarged to 1024 pixels, with grain.

    Parameters
    ----------
    thumbnails : uint8 [N, 32, 32]
        From `thumbnail`.

    Returns
    -------
    uint64 [N]

    References
    ----------
    C. Zauner, "Implementation and benchmarking of perceptual image hash functions", Hagenberg (2010), section 3.2.1.
    """
    hashes = np.empty(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), _THUMBNAILS_AT_ONCE):
        part = slice(start, start + _THUMBNAILS_AT_ONCE)
        # Integers would be transformed in double precision too; imagehash compares the same doubles.
        low = dct(dct(thumbnails[part].astype(np.float64), axis=1), axis=2)[:, :8, :8].reshape(-1, HASH_BITS)
        hashes[part] = np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1).view(">u8")[:, 0]
    return hashes


def _shrunk(image: NDArray[Any]) -> NDArray[Any]:
    """Shrink a large image by halves, for which OpenCV has vector code."""
    while (side := min(image.shape[:2])) >= 2 * _OVERSAMPLING * THUMBNAIL:
        # Of 16 pixels the four middle ones make one of a quarter, which spares half of the reading; a half is exact.
        by, how = (4, cv2.INTER_LINEAR) if side >= 2 * _LARGE * THUMBNAIL else (2, cv2.INTER_AREA)
        image = np.asarray(cv2.resize(image, (image.shape[1] // by, image.shape[0] // by), interpolation=how))
    return image
