"""JPEG XL files: the first bits of their code stream (ISO/IEC 18181-1, annexes B and D), and the reader."""

from __future__ import annotations

from typing import Final

from pipeline.imaging.decoding import libraries
from pipeline.imaging.decoding.errors import UnreadableImage
from pipeline.imaging.decoding.facts import Facts, Opened, Stored

SIGNATURES: Final = (b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a")
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


class _Bits:
    """Numbers of given widths, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data, "little")
        self.left = len(data) * 8

    def take(self, width: int) -> int:
        self.left -= width
        if self.left < 0:
            raise UnreadableImage("truncated")
        found = self.value & ((1 << width) - 1)
        self.value >>= width
        return found

    def choose(self, *widths: int) -> int:
        return self.take(widths[self.take(2)])

    def size(self) -> tuple[int, int]:
        small = self.take(1)
        height = 8 * (self.take(5) + 1) if small else self.choose(9, 13, 18, 30) + 1
        if ratio := self.take(3):
            return height * _RATIOS[ratio][0] // _RATIOS[ratio][1], height
        return (8 * (self.take(5) + 1) if small else self.choose(9, 13, 18, 30) + 1), height


def open_jpeg_xl(data: bytes) -> Opened:
    """Read size and bit depth of a JPEG XL file.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    UnreadableImage
        "truncated", "damaged", "no decoder", "unsupported pixel type".
    """
    bits = _Bits(_start(data))
    width, height = bits.size()
    depth = 8
    if not bits.take(1):  # all_default
        if bits.take(1):  # extra_fields
            # The orientation is applied by libjxl.
            if bits.take(3) >= 4:
                width, height = height, width
            if bits.take(1):
                bits.size()
            if bits.take(2):
                raise UnreadableImage("no decoder", "JPEG XL with a preview or an animation; convert the files")
        if bits.take(1):
            raise UnreadableImage("unsupported pixel type", "JPEG XL of floating point, which has no white")
        depth = (8, 10, 12)[choice] if (choice := bits.take(2)) < 3 else 1 + bits.take(6)
    facts = Facts(
        "JPEG XL",
        compression="JPEG XL",
        bits=depth,
        photometric="grey or RGB",
        width=width,
        height=height,
        reader="imagecodecs",
        scale="data set" if depth == 16 else "header",
    )

    def read(index: int) -> Stored:
        stored = libraries.decode_codec("jpegxl", data, depth)
        return stored._replace(full_scale=0) if depth == 16 else stored

    return Opened(facts, read)


def _start(data: bytes) -> bytes:
    """Return the beginning of the code stream, behind its signature."""
    if data.startswith(SIGNATURES[1]):
        return data[2:66]
    position = 0
    while position + 8 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        body = position + 8
        if length == 1:
            length, body = int.from_bytes(data[position + 8 : position + 16]), position + 16
        if kind == b"jxlc":
            return data[body + 2 : body + 66]
        if kind == b"jxlp":
            return data[body + 6 : body + 70]
        if length == 0:
            break
        position += max(length, 8)
    raise UnreadableImage("damaged", "JPEG XL without a code stream")
