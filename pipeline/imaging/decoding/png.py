"""PNG files: their chunks, and the reader."""

from __future__ import annotations

import struct
import zlib
from typing import Final

from pipeline.imaging.decoding import exif, libraries
from pipeline.imaging.decoding.errors import UnreadableImage
from pipeline.imaging.decoding.facts import Facts, Opened

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEAD, _NUMBER = struct.Struct(">I4s"), struct.Struct(">I")
"""Length and kind of a chunk; its checksum. Large files have thousands of chunks."""
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey", 6: "RGB"}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_MOST_TEXT = 2**20
"""Bytes of a text chunk that may hold an orientation, unpacked."""


def open_png(data: bytes) -> Opened:
    """Follow the chunks to IEND and verify their checksums, which some decoders skip (PNG specification, section 5).

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    UnreadableImage
        "truncated", "damaged", "no decoder".
    """
    from imagecodecs import deflate_crc32 as crc32  # libdeflate's takes a fifth of the time of zlib's

    unpack_head, unpack_number = _HEAD.unpack_from, _NUMBER.unpack_from
    position, view, size = len(SIGNATURE), memoryview(data), len(data)
    header = exif_block = xmp = b""
    frames, transparent = 1, False
    while True:
        if position + 12 > size:
            raise UnreadableImage("truncated")
        length, kind = unpack_head(data, position)
        end = position + 12 + length
        if kind != b"IDAT" and not (kind.isascii() and kind.isalpha()):
            raise UnreadableImage("damaged", "PNG chunks")
        if end > size:
            raise UnreadableImage("truncated")
        (checksum,) = unpack_number(data, end - 4)
        if crc32(view[position + 4 : end - 4]) != checksum:  # type: ignore[arg-type]  # takes any buffer
            raise UnreadableImage("damaged", "checksum of a PNG chunk")
        if kind != b"IDAT":
            body = data[position + 8 : end - 4]
            if kind == b"IEND":
                break
            if kind == b"IHDR":
                header = body
            elif kind == b"CgBI":
                raise UnreadableImage("no decoder", "PNG as iOS stores it; convert the files")
            elif kind == b"acTL" and length >= 4:
                frames = max(1, int.from_bytes(body[:4]))
            elif kind == b"tRNS":
                transparent = True
            elif kind == b"eXIf":
                exif_block = body
            elif kind in (b"zTXt", b"tEXt") and not exif_block:
                exif_block = _raw_profile(kind, body)
            elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
                xmp = body
        position = end
    if len(header) != 13:
        raise UnreadableImage("damaged", "PNG header")
    width, height, bits, colour = struct.unpack_from(">IIBB", header)
    if bits not in _DEPTHS.get(colour, ()):
        raise UnreadableImage("damaged", "PNG header")
    facts = Facts(
        "PNG",
        compression="deflate",
        bits=bits,
        photometric=_COLOURS[colour],
        frames=frames,
        width=width,
        height=height,
        orientation=exif.orientation(exif_block, xmp) if exif_block or xmp else 1,
        alpha=transparent or colour in (4, 6),
        reader="OpenCV",
        scale="data set" if bits == 16 else "header",
    )
    return libraries.open_animated(data, facts) if frames > 1 else libraries.open_opencv(data, facts)


def _raw_profile(kind: bytes, body: bytes) -> bytes:
    """Return the EXIF block of a text chunk as ImageMagick writes it, else nothing."""
    keyword, _, text = body.partition(b"\0")
    if keyword not in (b"Raw profile type exif", b"Raw profile type APP1"):
        return b""
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MOST_TEXT)
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except (ValueError, zlib.error):  # no orientation then; the pixels are not concerned
        return b""
