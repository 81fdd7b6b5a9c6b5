"""Which format a file has by its content, whatever its name says, and the module that opens it."""

from __future__ import annotations

import struct
from typing import Final

from pipeline.imaging.decoding import dicom, jpeg, jpeg_xl, others, png, tiff
from pipeline.imaging.decoding.errors import UnreadableImage
from pipeline.imaging.decoding.facts import Opened

MOST_PIXELS: Final = 2**30
"""Of one frame; OpenCV decodes no more either."""

_NAMED = (
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"\x1f\x8b", "gzip, as of .nii.gz"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"NRRD0", "NRRD"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"\x93NUMPY", "NumPy array"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"P7\n", "PAM"),
    (b"PF\n", "floating-point PFM"),
    (b"Pf\n", "floating-point PFM"),
    (b"\0\0\1\0", "ICO"),
    (b"\x0a\x05\x01", "PCX"),
    (b"\x01\xda", "SGI"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"Image type:", "IM"),
)
"""Formats that hold pictures and are not read: their files are images, so that the reason says which."""
_TGA = b"TRUEVISION-XFILE.\0"
"""Footer."""
_NIFTI = (b"n+1\0", b"ni1\0")


def open_file(data: bytes) -> Opened:
    """Read the header of a file and choose its reader.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    Opened

    Raises
    ------
    UnreadableImage
        If no reader can be chosen, or the size is impossible.
    """
    opened = _opened(data)
    facts = opened.facts
    if facts.width <= 0 or facts.height <= 0:
        raise UnreadableImage("empty image")
    if facts.width * facts.height > MOST_PIXELS:
        raise UnreadableImage("too many pixels", f"{facts.width} x {facts.height}; cut or shrink the image")
    return opened


def _opened(data: bytes) -> Opened:
    if not data:
        raise UnreadableImage("empty file")
    # A slide may be DICOM and TIFF at once, with the TIFF header in the preamble (PS3.10, 7.1).
    if data[128:132] == b"DICM":
        return dicom.open_dicom(data)
    if data.startswith(png.SIGNATURE):
        return png.open_png(data)
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.open_jpeg(data)
    if data[:4] in tiff.SIGNATURES:
        return tiff.open_tiff(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return others.open_gif(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return others.open_webp(data)
    if data.startswith(b"BM") and _is_bmp(data):
        return others.open_bmp(data)
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3] in b" \t\r\n#" and len(data) > 2:
        return others.open_pnm(data)
    if data.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return others.open_jpeg_2000(data)
    if data.startswith(jpeg_xl.SIGNATURES):
        return jpeg_xl.open_jpeg_xl(data)
    if data[4:8] == b"ftyp":
        return _of_brand(data)
    if dicom.has_no_preamble(data):
        return dicom.open_dicom(data)
    for signature, name in _NAMED:
        if data.startswith(signature):
            raise UnreadableImage("no decoder", f"{name}; convert the files to PNG, TIFF or DICOM")
    if data.endswith(_TGA):
        raise UnreadableImage("no decoder", "TGA; convert the files to PNG, TIFF or DICOM")
    if data[344:348] in _NIFTI:
        raise UnreadableImage("no decoder", "NIfTI volume; convert the slices to PNG, TIFF or DICOM")
    raise UnreadableImage("not an image")


def _is_bmp(data: bytes) -> bool:
    """Tell a bitmap from text that starts with BM by the size of its second header."""
    return len(data) < 18 or struct.unpack_from("<I", data, 14)[0] in (12, 16, 40, 52, 56, 64, 108, 124)


def _of_brand(data: bytes) -> Opened:
    """Choose by the brand of an ISO base media file (ISO/IEC 14496-12)."""
    brand = data[8:12]
    if brand in (b"avif", b"avis"):
        return others.open_avif(data)
    if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        raise UnreadableImage("no decoder", "HEIC; convert the files to PNG or TIFF")
    raise UnreadableImage("no decoder", "MP4 or another container of videos; convert its frames to images")
