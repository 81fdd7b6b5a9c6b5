"""What is known of an image file, and what decoding gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

Channels = Literal[1, 3]
Depth = Literal["uint8", "uint16"]
Frame = Literal["error", "first", "middle"] | int
Scale = Literal["header", "data set"]


@dataclass(frozen=True)
class Facts:
    """How a file was made and read. Nothing in it tells who the patient is.

    Parameters
    ----------
    format : str
        "PNG", "JPEG", "TIFF", ... or "DICOM" with the modality, as "DICOM CR"; "pixels" of arrays.
    compression : str
        "none", "deflate", "JPEG", "JPEG 2000", ...; of compressed DICOM the name of the transfer syntax.
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
    scale : {"header", "data set"}
        Who says which value is white: the file itself, or the data set (16-bit PNG and TIFF say only how wide a number
        is).
    window : str
        How values became grey levels: "none" (the full scale), "header", "LUT", "percentiles"; of DICOM, after
        decoding.
    full_scale : int
        Stored value that became white: 255, 65535, or 2**bits - 1 with `bits` of the data set; 0 where a window or a
        look-up table decides. After decoding.
    brightest : int
        Highest stored value where the data set decides the scale, after decoding; -1 everywhere else.
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
    scale: Scale = "header"
    window: str = "none"
    full_scale: int = 0
    brightest: int = -1

    @property
    def colours(self) -> int:
        """Values a pixel as decoded: 1 of grey, 4 of CMYK, 3 of all else; an alpha channel is one more."""
        return (1 if self.photometric in _GREY else 4 if self.photometric == "CMYK" else 3) + self.alpha


_GREY = ("grey", "white is zero", "MONOCHROME1", "MONOCHROME2")


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


class Stored(NamedTuple):
    """Pixels as a reader gives them.

    Parameters
    ----------
    values : unsigned integers or floating point [H, W] or [H, W, 3]
        Grey or RGB, not yet upright. Floating point is display values, 0 (black) to 1 (white).
    full_scale : int
        Value that is white; 0 if the data set decides. Not used for floating point.
    inverted : bool
        Whether 0 is white.
    window : str
        As in `Facts`.
    reader : str
        Where another library than the header leads to had to step in.
    """

    values: NDArray[Any]
    full_scale: int = 255
    inverted: bool = False
    window: str = "none"
    reader: str = ""


class Opened(NamedTuple):
    """A file whose header is read.

    Parameters
    ----------
    facts : Facts
        What the header says, and which reader it leads to.
    read : callable
        Decodes the pixels of a frame, counted from 0.
    """

    facts: Facts
    read: Callable[[int], Stored]
