"""TIFF files: the tags decide who reads them; every strip or tile must decode in full."""

from __future__ import annotations

import dataclasses
import io
import logging
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.imaging.decoding import jpeg, jpeg_xr, libraries
from pipeline.imaging.decoding.errors import UnreadableImage
from pipeline.imaging.decoding.facts import Facts, Opened, Stored

SIGNATURES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""TIFF and BigTIFF, both byte orders."""

# Bad files are reported in excluded.csv.
logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS: Final = {
    _WHITE_IS_ZERO: ("white is zero", 1),
    _BLACK_IS_ZERO: ("grey", 1),
    _RGB: ("RGB", 3),
    _PALETTE: ("palette", 1),
    _CMYK: ("CMYK", 4),
    _YCBCR: ("YCbCr", 3),
}
"""Photometric interpretations (TIFF 6.0) with their samples a pixel."""
_COMPRESSIONS: Final = {
    1: "none",
    2: "CCITT RLE",
    3: "CCITT T.4",
    4: "CCITT T.6",
    5: "LZW",
    6: "old JPEG",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    33007: "JPEG",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "JPEG",
    34925: "LZMA",
    34926: "Zstandard",
    34927: "WebP",
    34933: "PNG",
    34934: "JPEG XR",
    22610: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_STREAMS: Final = (1, 5, 8, 32773, 32946, 34925, 34926, 50000)
"""Compressions of bytes, not of pictures: how many must come out of each strip or tile is known."""
_JPEG: Final = (7, 33007, 34892)
_JPEG_XR: Final = (22610, 34934)
_REDUCED_OR_MASK: Final = 1 | 4
"""Bits of NewSubfileType."""
_OLD_REDUCED: Final = 2
"""Of SubfileType, the tag before it."""
_UNSIGNED: Final = (1, 4)
"""Sample formats: unsigned integers, and undefined, which is read as that."""
_KINDS: Final = {2: "signed integers", 3: "floating point", 5: "complex integers", 6: "complex floating point"}


def open_tiff(data: bytes) -> Opened:
    """Read the tags of a TIFF or BigTIFF file.

    tifffile and imagecodecs decode it; libtiff, in OpenCV, what they do not: YCbCr that is not JPEG.
    Floating-point and signed samples are refused, for nothing in a TIFF says which value is black; CIELab too, whose
    colours libtiff and ImageMagick show unlike each other.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    UnreadableImage
        "truncated", "damaged", "no decoder", "unsupported pixel type", "unsupported colours".
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = _frames(file)
        page = pages[0]
        facts = _facts(page, len(pages))
        if page.is_imagej and len(pages) == 1:
            facts = _of_imagej(file, facts)
    by_libtiff = facts.reader == "OpenCV"

    def read(index: int) -> Stored:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            pages = _frames(file)
            if len(pages) == 1 and facts.frames > 1:
                return _imagej_frame(pages[0], data, facts, index)
            page = pages[index]
            of_page = facts if index == 0 else _facts(page, len(pages))
            _check_segments(page, data)
            if by_libtiff:
                if index:
                    raise UnreadableImage("no decoder", f"page {index + 1} of a TIFF in {of_page.photometric}")
                return libraries.decode_opencv(data)
            return _stored(page, of_page)

    return Opened(facts, read)


def _frames(file: Any) -> list[Any]:
    """Return the pages that are images of their own: no thumbnails, masks and levels of a pyramid."""
    first = file.pages[0]
    if first.is_svs or first.is_ndpi or first.is_bif or first.is_philips:  # slides, not all of whose levels say so
        return [first]
    pages = [page for page in file.pages if not _reduced(page)]
    return pages or [first]


def _reduced(page: Any) -> bool:
    return bool(int(page.tags.valueof(254, 0)) & _REDUCED_OR_MASK) or page.tags.valueof(255, 0) == _OLD_REDUCED


def _facts(page: Any, frames: int) -> Facts:
    compression, photometric = int(page.compression), int(page.photometric)
    bits = page.bitspersample
    if compression not in _COMPRESSIONS:
        raise UnreadableImage("no decoder", f"TIFF of compression {compression}; convert the files")
    if isinstance(bits, tuple):
        raise UnreadableImage("unsupported pixel type", f"samples of {', '.join(map(str, bits))} bits")
    formats = page.tags.valueof(339, 1)
    kind = formats[0] if isinstance(formats, tuple) else formats
    if kind not in _UNSIGNED:
        name = f"{_KINDS.get(kind, 'unknown')} of {bits} bits"
        raise UnreadableImage("unsupported pixel type", f"{name}; convert to 8 or 16 bits with the right scale")
    if not 1 <= bits <= 32:
        raise UnreadableImage("unsupported pixel type", f"integers of {bits} bits")
    if photometric not in _COLOURS:
        raise UnreadableImage("unsupported colours", f"photometric interpretation {photometric} of TIFF")
    name, samples = _COLOURS[photometric]
    if page.samplesperpixel < samples or page.samplesperpixel - samples > max(1, len(page.extrasamples)):
        raise UnreadableImage("unsupported colours", f"{name} of {page.samplesperpixel} samples a pixel")
    if page.samplesperpixel > samples + 1:
        raise UnreadableImage("unsupported colours", f"{page.samplesperpixel} samples a pixel")
    if page.imagedepth != 1:
        raise UnreadableImage("unsupported shape", "TIFF of more than one plane (ImageDepth)")
    subsampled = photometric == _YCBCR and compression not in (6, 7, 33003, 33005, 33007, 34892)
    by_libtiff = subsampled and bits == 8
    if subsampled and not by_libtiff:
        raise UnreadableImage("unsupported colours", f"{name} of {bits} bits")
    if photometric == _CMYK and page.tags.valueof(332, 1) != 1:
        raise UnreadableImage("unsupported colours", "inks other than CMYK")
    return Facts(
        "TIFF",
        compression=_COMPRESSIONS[compression],
        bits=bits,
        photometric=name,
        frames=frames,
        width=page.imagewidth,
        height=page.imagelength,
        # OpenCV turns a TIFF upright itself.
        orientation=1 if by_libtiff else _orientation(page),
        alpha=page.samplesperpixel > samples,
        reader="OpenCV" if by_libtiff else "tifffile",
        scale="data set" if bits in (16, 32) and photometric != _PALETTE else "header",
    )


def _orientation(page: Any) -> int:
    value = page.tags.valueof(274, 1)
    return int(value) if isinstance(value, int) and value in range(1, 9) else 1


def _of_imagej(file: Any, facts: Facts) -> Facts:
    """Count the images that ImageJ writes behind the first one without pages of their own."""
    images = (file.imagej_metadata or {}).get("images", 1)
    return dataclasses.replace(facts, frames=int(images)) if isinstance(images, int) and images > 1 else facts


def _imagej_frame(page: Any, data: bytes, facts: Facts, index: int) -> Stored:
    if facts.compression != "none" or facts.bits % 8 or page.samplesperpixel != 1:
        raise UnreadableImage("no decoder", "stack of ImageJ without pages; save it as separate images")
    dtype = np.dtype(f"{page.parent.byteorder}u{facts.bits // 8}")
    count = facts.width * facts.height
    start = page.dataoffsets[0] + index * count * dtype.itemsize
    if start + count * dtype.itemsize > len(data):
        raise UnreadableImage("truncated")
    values = np.frombuffer(data, dtype, count, start).reshape(facts.height, facts.width)
    return _finished(values.astype(dtype.newbyteorder("=")), facts)


def _check_segments(page: Any, data: bytes) -> None:
    """Raise if a strip or tile lies beyond the file, is missing, or holds fewer bytes than its pixels need.

    tifffile fills incomplete tiles, and libtiff incomplete strips of 8 bits, with black.
    """
    import tifffile

    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != len(counts):
        raise UnreadableImage("damaged", "TIFF with unequal lists of strips")
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    samples = 1 if page.planarconfig == 2 else page.samplesperpixel
    if page.is_tiled:
        width, rows = page.tilewidth, page.tilelength
        down, across = math.ceil(page.imagelength / rows), math.ceil(page.imagewidth / width)
    else:
        width, rows = page.imagewidth, min(page.rowsperstrip, page.imagelength)
        down, across = math.ceil(page.imagelength / rows), 1
    if len(offsets) < down * across * planes:
        raise UnreadableImage("damaged", "TIFF without some of its strips or tiles")
    compression, subsampling = int(page.compression), _subsampling(page)
    for segment, (offset, count) in enumerate(zip(offsets, counts)):
        if count == 0 or offset == 0:
            raise UnreadableImage("damaged", "TIFF without some of its strips or tiles")
        if offset + count > len(data):
            raise UnreadableImage("truncated")
        last = not page.is_tiled and segment % down == down - 1
        height = page.imagelength - (down - 1) * rows if last else rows
        if compression in _JPEG_XR:
            jpeg_xr.check(data[offset : offset + count], width, height)
        if compression in _JPEG:
            try:
                jpeg.segments(data[offset : offset + count])
            except UnreadableImage:
                raise UnreadableImage("damaged", "strip or tile of a TIFF") from None
        if compression not in _STREAMS:
            continue
        needed = height * math.ceil(width * samples * page.bitspersample / 8)
        if subsampling:
            across_, down_ = subsampling
            needed = math.ceil(height / down_) * math.ceil(width / across_) * (across_ * down_ + 2)
        if compression == 1:
            found = count
        elif page.is_tiled or subsampling:  # of other strips tifffile finds out itself
            found = len(tifffile.TIFF.DECOMPRESSORS[compression](data[offset : offset + count]))
        else:
            continue
        if found < needed:
            raise UnreadableImage("damaged", "strip or tile of a TIFF")


def _subsampling(page: Any) -> tuple[int, int] | None:
    """Return how many pixels, across and down, share a colour of a YCbCr file; None for other files."""
    if int(page.photometric) != _YCBCR or page.planarconfig == 2:
        return None
    across, down = page.tags.valueof(530, (2, 2))
    return int(across), int(down)


def _stored(page: Any, facts: Facts) -> Stored:
    """Decode a page with tifffile and imagecodecs."""
    # One thread: the pool of preprocessing is the parallelism.
    values = np.asarray(page.asarray(maxworkers=1)).reshape(page.shaped)
    planes, _, _, _, samples = values.shape
    image = values[0, 0] if planes == 1 else np.moveaxis(values[:, 0, :, :, 0], 0, -1)
    if max(planes, samples) == 1:
        image = image.reshape(image.shape[:2])
    return _finished(np.ascontiguousarray(image).astype(image.dtype.newbyteorder("="), copy=False), facts, page)


def _finished(image: NDArray[Any], facts: Facts, page: Any = None) -> Stored:
    """Drop alpha and turn palettes and inks to RGB."""
    if image.dtype == np.bool_:
        image = image.astype(np.uint8)
    if image.dtype.kind != "u":
        raise UnreadableImage("unsupported pixel type", str(image.dtype))
    white = 0 if facts.scale == "data set" else (1 << facts.bits) - 1
    if facts.photometric == "palette":
        index = image if image.ndim == 2 else image[..., 0]
        return Stored(_coloured(index, page.colormap))
    if facts.photometric == "CMYK":
        return _from_inks(image[..., :4], white or int(np.iinfo(image.dtype).max))
    if image.ndim == 3:
        image = image[..., :3] if image.shape[2] > 2 else image[..., 0]
    return Stored(np.ascontiguousarray(image), white, inverted=facts.photometric == "white is zero")


def _coloured(index: NDArray[Any], colours: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Look colours up. Writers spread 8 bits to 16 by 256 or by 257, and old ones not at all: libtiff's rule."""
    table = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
    if index.max() >= table.shape[1]:
        raise UnreadableImage("damaged", "TIFF with colours beyond its palette")
    return np.ascontiguousarray(table[:, index].transpose(1, 2, 0))


def _from_inks(inks: NDArray[Any], full: int) -> Stored:
    """R = (1 - C)(1 - K), without a colour profile."""
    light = full - inks.astype(np.uint64)
    return Stored(((light[..., :3] * light[..., 3:] + full // 2) // full).astype(inks.dtype), full)
