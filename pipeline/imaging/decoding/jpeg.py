"""JPEG, lossless JPEG and JPEG-LS files: their segments, and the reader."""

from __future__ import annotations

import io
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageChops

from pipeline.imaging.decoding import exif, libraries
from pipeline.imaging.decoding.errors import UnreadableImage
from pipeline.imaging.decoding.facts import Facts, Opened, Stored

SIGNATURE: Final = b"\xff\xd8\xff"
_PROCESSES: Final = {
    0xC0: "JPEG",
    0xC1: "JPEG extended",
    0xC2: "JPEG progressive",
    0xC3: "JPEG lossless",
    0xC5: "JPEG hierarchical",
    0xC6: "JPEG hierarchical",
    0xC7: "JPEG hierarchical",
    0xC9: "JPEG arithmetic",
    0xCA: "JPEG arithmetic",
    0xCB: "JPEG lossless arithmetic",
    0xCD: "JPEG hierarchical",
    0xCE: "JPEG hierarchical",
    0xCF: "JPEG hierarchical",
    0xF7: "JPEG-LS",
}
"""Start-of-frame markers (ITU-T T.81, table B.1; T.87)."""
_LOSSLESS = ("JPEG lossless", "JPEG lossless arithmetic", "JPEG-LS")
_UNREAD = ("JPEG hierarchical", "JPEG lossless arithmetic")
_CMYK = 4
"""Components of a CMYK (or YCCK) JPEG."""


class Segments(NamedTuple):
    """What stands before the first scan of a JPEG stream.

    Parameters
    ----------
    process : str
        As in `Facts.compression`; empty without a frame header, as in a stream of tables.
    frame : bytes
        Body of the frame header: bits, height, width, components, ...
    exif, xmp : bytes
        Bodies of the first such segments, empty where there are none.
    spectral : tuple of int
        First and last coefficient of the first scan.
    """

    process: str
    frame: bytes
    exif: bytes
    xmp: bytes
    spectral: tuple[int, int]


def segments(data: bytes) -> Segments:
    """Read the segments before the first scan, and look for the end-of-image marker after it (ITU-T T.81, annex B).

    Inside a scan the byte FF is always followed by 00 or a restart marker (in JPEG-LS by a byte below 80), so FF D9
    there is the end of the image. The segments before the scan are stepped over because an embedded thumbnail has an
    end marker of its own.

    Parameters
    ----------
    data : bytes
        A whole stream. Decoders fill what is missing at its end with grey, most of them without a word.

    Raises
    ------
    UnreadableImage
        "truncated", "damaged".
    """
    position = 2
    frame = exif_block = xmp = b""
    process = ""
    while True:
        if position + 4 > len(data):
            raise UnreadableImage("truncated")
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4])
        if data[position] != 0xFF:
            raise UnreadableImage("damaged", "JPEG segments")
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        body = data[position + 4 : position + 2 + length]
        if marker == 0xDA:  # start of scan
            if data.find(b"\xff\xd9", position) < 0:
                raise UnreadableImage("truncated")
            return Segments(process, frame, exif_block, xmp, (body[-3], body[-2]) if len(body) > 2 else (0, 0))
        if marker in _PROCESSES:
            process, frame = _PROCESSES[marker], body
        elif marker == 0xE1 and body.startswith(b"Exif\0\0") and not exif_block:
            exif_block = body
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = body
        position += 2 + length


def open_jpeg(data: bytes) -> Opened:
    """Read the header of a JPEG file.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    UnreadableImage
        "truncated", "damaged", "no decoder", "unsupported colours".
    """
    process, frame, exif_block, xmp, _ = segments(data)
    if len(frame) < 6:
        raise UnreadableImage("damaged", "JPEG without a frame header")
    bits, components = frame[0], frame[5]
    if bits not in ((8, 12) if process not in _LOSSLESS else range(2, 17)):
        raise UnreadableImage("damaged", "JPEG header")
    if process in _UNREAD:
        raise UnreadableImage("no decoder", f"{process}; convert the files")
    if frame[1:3] == b"\0\0":
        raise UnreadableImage("no decoder", "JPEG that states its height behind its scan (DNL); convert the files")
    if components not in (1, 3, _CMYK):
        raise UnreadableImage("unsupported colours", f"JPEG of {components} components")
    by_opencv = bits == 8 and process != "JPEG-LS"
    facts = Facts(
        "JPEG-LS" if process == "JPEG-LS" else "JPEG",
        compression=process,
        bits=bits,
        photometric={1: "grey", 3: "YCbCr", _CMYK: "CMYK"}[components],
        width=int.from_bytes(frame[3:5]),
        height=int.from_bytes(frame[1:3]),
        orientation=exif.orientation(exif_block, xmp) if exif_block or xmp else 1,
        reader="OpenCV" if by_opencv else "imagecodecs",
    )
    if components == _CMYK:
        return Opened(libraries.by(facts, "Pillow"), lambda index: _cmyk(data, bits))
    if by_opencv:
        return libraries.open_opencv(data, facts)
    codec = "jpegls" if process == "JPEG-LS" else "jpeg"
    return Opened(facts, lambda index: libraries.decode_codec(codec, data, bits))


def _cmyk(data: bytes, bits: int) -> Stored:
    """Decode a CMYK JPEG. OpenCV and Pillow take every one for Adobe's, which are inverted; Pillow tells its marker."""
    if bits != 8:
        raise UnreadableImage("unsupported colours", f"CMYK JPEG of {bits} bits")
    with Image.open(io.BytesIO(data)) as file:
        image: Image.Image = file
        if "adobe" not in file.info:
            image = ImageChops.invert(image)
        return Stored(np.array(image.convert("RGB")))
