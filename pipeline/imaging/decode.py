"""Encoded image files to uint8 pixels, with a reason for every file that cannot be used."""

from __future__ import annotations

import struct
import zlib
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Channels = Literal[1, 3]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_KNOWN = (_PNG, _JPEG, b"BM", b"II*\x00", b"MM\x00*", b"GIF8", b"RIFF")
_LOWEST_FULL_RANGE = 4096
"""A 16-bit file whose brightest pixel is below holds 12 bits or fewer; at /257 it would come out all but black."""

# Bad files are reported in excluded.csv; OpenCV's own warnings would only tear the progress bar.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class UnreadableImage(Exception):
    """A file is no usable image. The argument is a short reason, the same for every file with the same fault."""


def decode(data: bytes, channels: Channels) -> NDArray[np.uint8]:
    """Decode an image file of any format that OpenCV reads (PNG, JPEG, BMP, TIFF, GIF, WebP).

    Grey from colour is the luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), so a grey picture stored as RGB keeps its
    values. An alpha channel is dropped, not blended: nothing lies behind a radiograph. 16-bit values are taken to span
    0..65535 and are divided by 257, the same for every image: stretching each image to its own range would hide
    under- and over-exposure. Pixels are returned as stored; an orientation in EXIF data is not applied. Of files with
    several frames the first is read.

    Parameters
    ----------
    data : bytes
        The whole file.
    channels : {1, 3}
        Grey or RGB.

    Returns
    -------
    uint8 [H, W] or [H, W, 3]
        RGB order.

    Raises
    ------
    UnreadableImage
        "empty file", "not an image", "DICOM file, not supported", "truncated", "damaged", "unsupported pixel type
        <dtype>", or "16-bit file using 12 bits or fewer" (its scale is unknown; convert such files to 8 bits first).
    """
    if not data:
        raise UnreadableImage("empty file")
    if data.startswith(_PNG):
        _check_png(data)
    elif data.startswith(_JPEG):
        _check_jpeg(data)
    elif data[128:132] == b"DICM":
        raise UnreadableImage("DICOM file, not supported")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # raised for impossible sizes in a header
        image = None
    if image is None:
        raise UnreadableImage("damaged" if data.startswith(_KNOWN) else "not an image")
    return _to_channels(_to_8_bits(image), channels)


def _check_png(data: bytes) -> None:
    """Follow the chunks to IEND and verify their checksums, which some decoders skip (PNG specification, section 5)."""
    position = len(_PNG)
    while True:
        if position + 12 > len(data):
            raise UnreadableImage("truncated")
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if not (kind.isascii() and kind.isalpha()):
            raise UnreadableImage("damaged")
        if end > len(data):
            raise UnreadableImage("truncated")
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
            raise UnreadableImage("damaged")
        if kind == b"IEND":
            return
        position = end


def _check_jpeg(data: bytes) -> None:
    """Look for the end-of-image marker after the first scan (ITU-T T.81, annex B).

    Inside a scan the byte FF is always followed by 00 or a restart marker, so FF D9 there is the end of the image. The
    segments before the scan are stepped over because an embedded thumbnail has an end marker of its own.
    """
    position = 2
    while position + 4 <= len(data):
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4])
        if data[position] != 0xFF:
            raise UnreadableImage("damaged")
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker == 0xDA:  # start of scan
            if data.find(b"\xff\xd9", position) < 0:
                break
            return
        else:
            position += 2 + length
    raise UnreadableImage("truncated")


def _to_8_bits(image: np.ndarray) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise UnreadableImage(f"unsupported pixel type {image.dtype}")
    colours = image[..., :3] if image.ndim == 3 else image
    if colours.max() < _LOWEST_FULL_RANGE:
        raise UnreadableImage("16-bit file using 12 bits or fewer")
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _to_channels(image: NDArray[np.uint8], channels: Channels) -> NDArray[np.uint8]:
    """Convert OpenCV's grey, BGR or BGRA to grey or RGB."""
    given = 1 if image.ndim == 2 else image.shape[2]
    if given == channels == 1:
        return image.reshape(image.shape[:2])
    codes = {
        (1, 3): cv2.COLOR_GRAY2RGB,
        (3, 1): cv2.COLOR_BGR2GRAY,
        (3, 3): cv2.COLOR_BGR2RGB,
        (4, 1): cv2.COLOR_BGRA2GRAY,
        (4, 3): cv2.COLOR_BGRA2RGB,
    }
    if (given, channels) not in codes:
        raise UnreadableImage(f"unsupported number of channels {given}")
    return cv2.cvtColor(image, codes[given, channels])
