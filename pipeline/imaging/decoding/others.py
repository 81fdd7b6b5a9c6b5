"""Files of the smaller formats: BMP, GIF, WebP, PNM, JPEG 2000, AVIF."""

from __future__ import annotations

import io
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.imaging.decoding import exif, libraries
from pipeline.imaging.decoding.errors import UnreadableImage
from pipeline.imaging.decoding.facts import Facts, Opened, Stored

_BMP = {0: "none", 1: "RLE", 2: "RLE", 3: "bit fields", 6: "bit fields"}
_PNM_TOKEN = re.compile(rb"(?:\s+|#[^\r\n]*[\r\n])*([0-9]+)")
_PNM_COMMENT = re.compile(rb"#[^\r\n]*")
_OS2 = 12
"""Bytes of the second header of OS/2 1.x."""
_WEBP_ANIMATION, _WEBP_ALPHA = 0x02, 0x10


def open_bmp(data: bytes) -> Opened:
    """Read the header of a Windows or OS/2 bitmap. What OpenCV shrinks to fewer bits or lays out otherwise is Pillow's.

    Raises
    ------
    UnreadableImage
        "truncated", "damaged", "no decoder".
    """
    if len(data) < 26:
        raise UnreadableImage("truncated")
    offset, size = struct.unpack_from("<II", data, 10)
    kind = 0
    if size == _OS2:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    elif len(data) < 34:
        raise UnreadableImage("truncated")
    else:
        width, height, _, bits, kind = struct.unpack_from("<iiHHI", data, 18)
    if kind not in _BMP:
        raise UnreadableImage("no decoder", f"BMP of compression {kind}; convert the files")
    if bits not in (1, 4, 8, 16, 24, 32) or width <= 0:
        raise UnreadableImage("damaged", "BMP header")
    height = abs(height)
    if kind in (0, 3, 6) and offset + (width * bits + 31) // 32 * 4 * height > len(data):
        raise UnreadableImage("truncated")
    facts = Facts(
        "BMP",
        compression=_BMP[kind],
        bits=8 if bits > 8 else bits,
        photometric="palette" if bits <= 8 else "RGB",
        width=width,
        height=height,
        alpha=kind in (3, 6) and bits == 32,
        reader="OpenCV",
    )
    if kind == 0 and bits in (8, 24) and size != _OS2:  # of those OpenCV reads palettes and rows wrong
        return libraries.open_opencv(data, facts)
    return Opened(libraries.by(facts, "Pillow"), lambda index: _bmp_by_pillow(data))


def _bmp_by_pillow(data: bytes) -> Stored:
    try:
        return libraries.decode_pillow(data)
    except OSError as error:
        # Pillow knows some layouts of bits alone; a file with another is sound.
        if "Unsupported BMP" in str(error):
            raise UnreadableImage("no decoder", "BMP with an uncommon layout of bits; convert the files") from None
        raise


def open_gif(data: bytes) -> Opened:
    """Read the header of a GIF and count its images.

    Raises
    ------
    UnreadableImage
        "damaged".
    """
    with Image.open(io.BytesIO(data)) as file:
        facts = Facts(
            "GIF",
            compression="LZW",
            photometric="palette",
            frames=getattr(file, "n_frames", 1),
            width=file.width,
            height=file.height,
            alpha="transparency" in file.info,
            reader="Pillow",
        )
    return Opened(facts, lambda index: libraries.decode_pillow(data, index))


def open_webp(data: bytes) -> Opened:
    """Read the chunks of a WebP file.

    Raises
    ------
    UnreadableImage
        "truncated", "damaged".
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise UnreadableImage("truncated")
    position, frames, flags, exif_block, xmp, kinds, size = 12, 0, 0, b"", b"", set(), (0, 0)
    while position + 8 <= end:
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        body = data[position + 8 : position + 8 + min(length, 32)]
        kinds.add(kind)
        if kind == b"VP8X" and len(body) >= 10:
            flags = body[0]
            size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
        elif kind == b"VP8 " and len(body) >= 10 and size == (0, 0):
            size = (int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF)
        elif kind == b"VP8L" and len(body) >= 5 and size == (0, 0):
            packed = int.from_bytes(body[1:5], "little")
            size = ((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
            flags |= _WEBP_ALPHA if packed >> 28 & 1 else 0
        elif kind == b"EXIF":
            exif_block = data[position + 8 : position + 8 + length]
        elif kind == b"XMP ":
            xmp = data[position + 8 : position + 8 + length]
        frames += kind == b"ANMF"
        position += 8 + length + length % 2
    animated = bool(flags & _WEBP_ANIMATION)
    facts = Facts(
        "WebP",
        compression="VP8L" if b"VP8L" in kinds else "VP8",
        photometric="RGB",
        frames=max(frames, 1) if animated else 1,
        width=size[0],
        height=size[1],
        orientation=exif.orientation(exif_block, xmp) if exif_block or xmp else 1,
        alpha=bool(flags & _WEBP_ALPHA),
        reader="OpenCV",
    )
    return libraries.open_animated(data, facts) if animated else libraries.open_opencv(data, facts)


def open_pnm(data: bytes) -> Opened:
    """Read the header of a PBM, PGM or PPM file, which names the value that is white.

    Raises
    ------
    UnreadableImage
        "truncated", "damaged".
    """
    kind, position = data[1] - ord("0"), 2
    numbers: list[int] = []
    while len(numbers) < (2 if kind in (1, 4) else 3):
        found = _PNM_TOKEN.match(data, position)
        if not found or len(found[1]) > 9:
            raise UnreadableImage("damaged", "PNM header")
        numbers.append(int(found[1]))
        position = found.end()
    width, height, white = *numbers[:2], numbers[2] if len(numbers) > 2 else 1
    if not 0 < white < 65536:
        raise UnreadableImage("damaged", "PNM header")
    facts = Facts(
        {1: "PBM", 2: "PGM", 3: "PPM"}[(kind - 1) % 3 + 1],
        compression="none" if kind > 3 else "text",
        bits=white.bit_length(),
        photometric="RGB" if kind in (3, 6) else "grey",
        width=width,
        height=height,
        reader="NumPy",
    )
    return Opened(facts, lambda index: _pnm(data, position, kind, (height, width), white))


def _pnm(data: bytes, position: int, kind: int, size: tuple[int, int], white: int) -> Stored:
    height, width = size
    colours = 3 if kind in (3, 6) else 1
    count = height * width * colours
    values: NDArray[Any]
    if kind <= 3:
        text = _PNM_COMMENT.sub(b" ", data[position:])
        # A bitmap's digits may stand side by side.
        numbers = [c - 48 for c in text if c in b"01"] if kind == 1 else [int(word) for word in text.split()[:count]]
        values = np.array(numbers[:count], np.uint16)
    elif kind == 4:
        rows = np.frombuffer(data, np.uint8, offset=position + 1)
        stride = (width + 7) // 8
        if rows.size < stride * height:
            raise UnreadableImage("truncated")
        values = np.unpackbits(rows[: stride * height].reshape(height, stride), axis=1)[:, :width].astype(np.uint16)
    else:
        raw = np.frombuffer(data, np.uint8, offset=position + 1)
        wide = 1 + (white > 255)
        if raw.size < count * wide:
            raise UnreadableImage("truncated")
        values = raw[: count * wide].view(">u2").astype(np.uint16) if wide == 2 else raw[:count]
    if values.size < count:
        raise UnreadableImage("truncated")
    if values.max(initial=0) > white:
        raise UnreadableImage("damaged", f"PNM brighter than its white, {white}")
    shape = (height, width, 3) if colours == 3 else (height, width)
    return Stored(np.ascontiguousarray(values.reshape(shape)), white, inverted=kind in (1, 4))


def open_jpeg_2000(data: bytes) -> Opened:
    """Read the SIZ segment of a JPEG 2000 code stream, in a JP2 file or bare.

    Raises
    ------
    UnreadableImage
        "damaged", "unsupported colours".
    """
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 44 > len(data):
        raise UnreadableImage("damaged", "JPEG 2000 code stream")
    x1, y1, x0, y0 = struct.unpack_from(">IIII", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    bits, signed = (data[start + 42] & 0x7F) + 1, data[start + 42] >> 7
    if signed:
        raise UnreadableImage("unsupported pixel type", f"JPEG 2000 of signed {bits} bits; its black is not known")
    if components not in (1, 2, 3, 4):
        raise UnreadableImage("unsupported colours", f"JPEG 2000 of {components} components")
    facts = Facts(
        "JPEG 2000",
        compression="JPEG 2000",
        bits=bits,
        photometric="grey" if components < 3 else "RGB",
        width=x1 - x0,
        height=y1 - y0,
        alpha=components in (2, 4),
        reader="imagecodecs",
    )
    return Opened(facts, lambda index: libraries.decode_codec("jpeg2k", data, bits))


def open_avif(data: bytes) -> Opened:
    """Read the header of an AVIF file with Pillow, which gives its pictures 8 bits and says which way up they are.

    Raises
    ------
    UnreadableImage
        As Pillow.
    """
    with Image.open(io.BytesIO(data)) as file:
        facts = Facts(
            "AVIF",
            compression="AV1",
            photometric="RGB",
            frames=getattr(file, "n_frames", 1),
            width=file.width,
            height=file.height,
            alpha=file.mode == "RGBA",
            orientation=exif.orientation(file.info.get("exif", b"")),
            reader="Pillow",
        )
    return Opened(facts, lambda index: libraries.decode_pillow(data, index))
