"""What is known of an image file, and what decoding gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Channels = Literal[1, 3]
Depth = Literal["uint8", "uint16"]
Frame = Literal["error", "first", "middle"] | int


@dataclass(frozen=True)
class Facts:
    """How a file was made and read. Nothing in it tells who the patient is.

    Parameters
    ----------
    format : str
        "PNG", "JPEG", "TIFF", ... or "DICOM" with the modality, as "DICOM CR".
    compression : str
        "none", "deflate", "JPEG", "JPEG 2000", ...; of DICOM the name of the transfer syntax.
    bits : int
        Bits a sample as the header declares them (DICOM: BitsStored); 0 for floating point.
    photometric : str
        "grey", "white is zero", "RGB", "palette", "YCbCr", "CMYK"; of DICOM the PhotometricInterpretation.
    frames : int
        Images in the file; thumbnails and the reduced pages of a pyramid do not count.
    width, height : int
        Pixels, as stored (before an orientation is applied).
    orientation : int
        1 to 8 as in EXIF; 1 if the file says nothing.
    alpha : bool
        Whether the file has an alpha channel, which is dropped.
    maker : str
        Manufacturer of the device (DICOM), else "".
    reader : str
        Library that decodes the pixels.
    window : str
        How values became grey levels: "none" (the full scale), "header", "LUT", "percentiles"; DICOM only, after
        decoding.
    full_scale : int
        Stored value that became white: 255, 65535, or 2**bits - 1 with `bits` of the data set; 0 with a window. After
        decoding.
    brightest : int
        Highest stored value; -1 before decoding and where nobody needs it (8 bits, DICOM).
    """

    format: str
    compression: str = "none"
    bits: int = 8
    photometric: str = "grey"
    frames: int = 1
    width: int = 0
    height: int = 0
    orientation: int = 1
    alpha: bool = False
    maker: str = ""
    reader: str = ""
    window: str = "none"
    full_scale: int = 0
    brightest: int = -1


@dataclass(frozen=True)
class Decoded:
    """Display values, and how they were read.

    Parameters
    ----------
    pixels : uint8 or uint16 [H, W] or [H, W, 3]
        Grey or RGB; full scale is 255 or 65535; upright.
    facts : Facts
        How the file was made and read.
    """

    pixels: NDArray[Any]
    facts: Facts


def scaled(values: NDArray[Any], depth: Depth) -> NDArray[Any]:
    """Return floating-point values of 0 to 1 as integers of full scale, rounded once."""
    if depth == "uint8":
        return np.rint(values * 255).astype(np.uint8)
    return np.rint(values * 65535).astype(np.uint16)
