"""Which way up an image is: EXIF data, and XMP where they are silent."""

from __future__ import annotations

import re
from typing import Final

from PIL import Image

_ORIENTATION: Final = 0x0112
_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])")


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    r"""Return EXIF's orientation, 1 to 8; 1 if neither block tells a valid one.

    Parameters
    ----------
    exif : bytes
        A TIFF structure, with or without the six bytes ``Exif\0\0`` before it; may be empty.
    xmp : bytes
        An XMP packet, asked where `exif` has no orientation; may be empty.
    """
    value = _of_exif(exif) if exif else None
    if value is None and (found := _XMP.search(xmp)):
        value = int(found[1])
    return value if value is not None and 1 <= value <= 8 else 1


def _of_exif(block: bytes) -> int | None:
    try:
        exif = Image.Exif()
        exif.load(block)
        value = exif.get(_ORIENTATION)
    except Exception:  # a broken block says nothing, and the pixels do not depend on it
        return None
    return value if isinstance(value, int) else None
