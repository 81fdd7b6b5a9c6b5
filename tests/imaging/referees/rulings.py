"""Where decoders differ: who is right by the standard, and why."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class Ruling(NamedTuple):
    """Who is right about some files, and why.

    Parameters
    ----------
    files : str
        A pattern of names.
    right : str
        A decoder, "drawn" (the values that were stored), "twin" and the name of a file with the same picture, or ""
        where the first decoder that gives back what was drawn is right.
    why : str
        The reason.
    """

    files: str
    right: str
    why: str


RULINGS = (
    Ruling(
        "*-gama.png", "", "gAMA 1.0 says how samples were meant for a display; the stored samples are wanted, not light"
    ),
    Ruling("*orientation*.png", "", "eXIf of the PNG specification, third edition; ImageMagick 6 does not look"),
    Ruling("orientation*.webp", "", "EXIF chunk of the WebP container; ImageMagick 6 does not look"),
    Ruling("*-white0.tif", "", "TIFF 6.0, section 8: 0 is white at every depth; others invert 1 and 8 bits alone"),
    Ruling("grey12*.tif", "", "TIFF 6.0, BitsPerSample 12: white is 4095"),
    Ruling("*-zstd.tif", "", "libvips from PyPI has no Zstandard and gives zeros without an error"),
    Ruling("*-lzma.tif", "", "libvips from PyPI has no LZMA and gives zeros without an error"),
    Ruling("*-lerc.tif", "", "libvips from PyPI has no LERC and gives zeros without an error"),
    Ruling("*-jpeg2000.tif", "", "libtiff knows no 34712; OpenCV (8 bits) and libvips give zeros without an error"),
    Ruling("*-jpegxl.tif", "", "libtiff knows no 50002; OpenCV (8 bits) and libvips give zeros without an error"),
    Ruling("*-jpegxr.tif", "", "libtiff knows no 34934; OpenCV (8 bits) and libvips give zeros without an error"),
    Ruling("*-png.tif", "", "libtiff knows no 34933; OpenCV (8 bits) and libvips give zeros without an error"),
    Ruling("*-ljpeg.tif", "", "16-bit lossless JPEG is beyond libtiff's JPEG; libvips gives zeros without an error"),
    Ruling("*-aperio*.tif", "", "libtiff knows no 33003 and 33005; OpenCV and libvips give zeros without an error"),
    Ruling("*-associated.tif", "", "alpha is dropped: the samples as stored; others divide by alpha or mix with white"),
    Ruling("rgba*-unassociated.tif", "", "alpha is dropped; OpenCV multiplies by it; Pillow reads no 16-bit planes"),
    Ruling(
        "rgba*-planar-unassociated.tif", "", "alpha is dropped; OpenCV multiplies by it; Pillow reads no 16-bit planes"
    ),
    Ruling("cmyk*.tif", "", "R = (1 - C)(1 - K) as in DeviceCMYK; libvips goes through an ICC profile of its own"),
    Ruling(
        "rgb16-planar*.tif",
        "",
        "TIFF 6.0, PlanarConfiguration 2: a plane a strip; Pillow and OpenCV take them for pixels",
    ),
    Ruling("palette1.tif", "", "TIFF 6.0, ColorMap at 1 bit; OpenCV shows black and white"),
    Ruling(
        "ycbcr8-raw-*.tif", "", "TIFF 6.0, section 21 and its defaults; others leave YCbCr or mistake the data units"
    ),
    Ruling("grey-*.tif", "tifffile", "no standard says how such values are shown; lowest black and highest white here"),
    Ruling("cielab8-neutral.tif", "", "a neutral colour; OpenCV shows L as the grey level"),
    Ruling("cmyk-*.jpg", "", "R = (1 - C)(1 - K) as in DeviceCMYK; libvips goes through an ICC profile of its own"),
    Ruling("ycck-adobe.jpg", "", "R = (1 - C)(1 - K) as in DeviceCMYK; libvips goes through an ICC profile of its own"),
    Ruling(
        "cmyk-plain.jpg",
        "drawn",
        "without Adobe's marker 0 is no ink (libjpeg.txt: the inversion is Adobe's own); viewers invert all the same",
    ),
    Ruling("*-os2.bmp", "", "BITMAPCOREHEADER: 16-bit sizes, palette of three bytes an entry; OpenCV 5 misreads both"),
    Ruling("white0-uses-12.tif", "", "0 is white and 4095 black, as the data set says; others know 16 bits alone"),
    Ruling(
        "white0-alpha.tif", "", "TIFF 6.0: alpha is dropped, the grey channel inverted; ImageMagick inverts nothing"
    ),
    Ruling("uint32-uses-12.tif", "", "12 bits, as the data set says; ImageMagick gives the upper 16 of 32"),
    Ruling("*-top*.pgm", "", "Netpbm: maxval is white; OpenCV does not scale"),
    Ruling("p7-*.pam", "", "Netpbm: red comes first, alpha is dropped; OpenCV swaps or multiplies"),
    Ruling("grey12.j*", "", "12 bits by the code stream's SIZ; OpenCV does not scale"),
    Ruling("grey12.jxl", "drawn", "12 bits by its header; imagecodecs gives the values as they are"),
    Ruling(
        "thumbnail-first-page.tif",
        "drawn",
        "TIFF 6.0, NewSubfileType 1: a reduced version of another image in the file",
    ),
    Ruling(
        "channels*.tif", "", "TIFF 6.0: black is zero, so the further samples are no colours; others mix them as RGB"
    ),
    Ruling("raw-profile-*.png", "", "the text that ImageMagick writes for EXIF data; others do not look"),
    Ruling("irot-*.avif", "", "ISO/IEC 23008-12, irot and imir; OpenCV and the bare codec do not turn"),
    Ruling("rgb16.jp2", "", "16 bits by the code stream's SIZ; Pillow's 8-bit RGB is no voice here"),
    Ruling("float.hdr", "", "linear light: no grey level without a tone curve; as stored, times 255"),
    Ruling(
        "palette8-transparent.gif", "", "transparency is dropped: the palette's colour; others put black or white there"
    ),
    Ruling("small-frame.gif", "", "GIF89a: the logical screen, background around the frame"),
    Ruling(
        "padding-*.dcm", "", "PS3.3 C.7.5.1.1.2: padding is no part of the image: background; dcmtk shows it as values"
    ),
    Ruling(
        "float*.dcm", "drawn", "Float Pixel Data (PS3.3 C.7.6.24), of which dcmtk knows nothing; window by C.11.2.1.2"
    ),
    Ruling(
        "window-below-1.dcm",
        "drawn",
        "PS3.3 C.11.2.1.2.1: a linear width is at least 1, so LINEAR_EXACT is meant; dcmtk shows black",
    ),
    Ruling("palette-8-16-segmented.dcm", "drawn", "PS3.3 C.7.9.2: discrete segments; dcmtk refuses them"),
    Ruling(
        "jpeg-called-rgb.dcm", "", "JFIF says YCbCr (PS3.5 8.2.1 wants the header to agree); dcmtk believes the header"
    ),
    Ruling("jpeg-rgb-adobe-called-ybr.dcm", "", "Adobe's marker says RGB; dcmtk believes the header"),
    Ruling(
        "pydicom/test_files/SC_jpeg_no_color_transform.dcm",
        "dcmtk",
        "the stream says nothing, the header says RGB: PS3.5 8.2.1; libjpeg guesses YCbCr",
    ),
    Ruling(
        "pydicom/test_files/rtdose_expb*.dcm",
        "twin pydicom/test_files/rtdose*.dcm",
        "32 bits, big endian: its little-endian twin has the same values; dcmtk turns the bytes two by two",
    ),
    Ruling(
        "pydicom/test_files/SC_rgb_jpeg.dcm",
        "twin pydicom/test_files/SC_jpeg_no_color_transform.dcm",
        "the same stream behind an Adobe marker that is two bytes short, at which dcmtk stops",
    ),
)


def ruling(name: str) -> Ruling | None:
    """Return the last ruling that fits a file."""
    return next((r for r in reversed(RULINGS) if fnmatchcase(name, r.files)), None)
