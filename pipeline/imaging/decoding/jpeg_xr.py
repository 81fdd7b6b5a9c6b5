"""JPEG XR code streams in TIFF files: what must hold before jxrlib, which trusts its input, may see one."""

from __future__ import annotations

import struct
from typing import Final

from pipeline.imaging.decoding.errors import UnreadableImage

_GUID: Final = bytes.fromhex("24c3dd6f034efe4bb1853d77768dc9")
"""Pixel formats (ITU-T T.832, table A.6) differ in the last of 16 bytes."""
_FORMATS: Final = {
    0x05: 0x00,  # black and white
    0x08: 0x01,  # grey of 8 bits
    0x0B: 0x02,  # grey of 16 bits
    0x0C: 0x71,  # BGR
    0x0D: 0x71,  # RGB
    0x0E: 0x71,  # BGR and a byte without meaning
    0x0F: 0x71,  # BGR and alpha
    0x15: 0x72,  # RGB of 16 bits
    0x16: 0x72,  # RGB and alpha of 16 bits
}
"""Last byte of a pixel format to colour format and bit depth of the code stream (tables 23 and 24)."""
_SHORT, _WINDOWING, _TILING = 0x80, 0x20, 0x80
"""Flags of the code stream's header."""
_GREY_PLANES, _COLOUR_PLANES = (0,), (1, 2, 3)
"""Colour formats inside it: luminance; YUV 4:2:0, 4:2:2 and 4:4:4."""
_PIXEL_FORMAT, _WIDTH, _HEIGHT, _OFFSET = 0xBC01, 0xBC80, 0xBC81, 0xBCC0


def check(stream: bytes, width: int, height: int) -> None:
    """Raise unless a stream's container, code stream and place in the file say the same.

    Parameters
    ----------
    stream : bytes
        A whole JPEG XR file, as TIFF files hold one per strip or tile.
    width, height : int
        Pixels that it must have.

    Raises
    ------
    UnreadableImage
        "damaged", or "no decoder" for pixel formats that are not checked.
    """
    try:
        tags = _tags(stream)
        kind = stream[tags[_PIXEL_FORMAT] : tags[_PIXEL_FORMAT] + 16]
        start = tags[_OFFSET]
        size = tags[_WIDTH], tags[_HEIGHT]
        tiling, flags, layout = stream[start + 9], stream[start + 10], stream[start + 11]
        coded = struct.unpack_from(">HH" if flags & _SHORT else ">II", stream, start + 12)
        plane = stream[start + (16 if flags & _SHORT else 20)] >> 5
    except (KeyError, IndexError, struct.error):
        raise UnreadableImage("damaged", "JPEG XR") from None
    if kind[:15] != _GUID or kind[15] not in _FORMATS or tiling & _TILING or flags & _WINDOWING:
        raise UnreadableImage("no decoder", "JPEG XR of unusual pixels; convert the files")
    planes = _COLOUR_PLANES if layout >> 4 else _GREY_PLANES
    sizes = {size, (coded[0] + 1, coded[1] + 1), (width, height)}
    if (
        stream[start : start + 8] != b"WMPHOTO\0"
        or layout != _FORMATS[kind[15]]
        or plane not in planes
        or len(sizes) > 1
    ):
        raise UnreadableImage("damaged", "JPEG XR")


def _tags(stream: bytes) -> dict[int, int]:
    if stream[:3] != b"II\xbc":
        raise KeyError
    (start,) = struct.unpack_from("<I", stream, 4)
    (count,) = struct.unpack_from("<H", stream, start)
    found = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, _, value = struct.unpack_from("<HHII", stream, place)
        found[tag] = value & 0xFFFF if kind == 3 else value
    return found
