"""Encoded image files to uint8 pixels, with a reason for every file that cannot be used."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps

from pipeline.imaging.decoding.errors import UnreadableImage

Channels = Literal[1, 3]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_KNOWN = (_PNG, _JPEG, b"BM", b"II*\x00", b"MM\x00*", b"GIF8", b"RIFF")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CMYK = 4
"""Components of a CMYK (or YCCK) JPEG."""
_LOWEST_FULL_RANGE = 4096
"""A 16-bit file whose brightest pixel is below holds 12 bits or fewer; at /257 it would come out all but black."""

# Bad files are reported in excluded.csv; OpenCV's own warnings would only tear the progress bar.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(data: bytes, channels: Channels) -> NDArray[np.uint8]:
    """Decode an image file: PNG, JPEG, BMP, TIFF, GIF, WebP (OpenCV) or DICOM (pydicom).

    Grey from colour is the luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), so a grey picture stored as RGB keeps its
    values. An alpha channel is dropped, not blended: nothing lies behind a radiograph. 16-bit values are taken to span
    0..65535 and are divided by 257, the same for every image: stretching each image to its own range would hide
    under- and over-exposure. An orientation in EXIF data or TIFF tags is applied. CMYK becomes RGB by
    R = (1 - C)(1 - K), without a colour profile; the values of an Adobe JPEG are inverted first, as Adobe stores them.
    Of files with several frames the first is read. For DICOM see `_decode_dicom`.

    Parameters
    ----------
    data : bytes
        The whole file.
    channels : {1, 3}
        Grey or RGB.

    Returns
    -------
    uint8 [H, W] or [H, W, 3]
        RGB order.

    Raises
    ------
    UnreadableImage
        "empty file", "not an image", "truncated", "damaged", "unsupported pixel type <dtype>", "16-bit file using 12
        bits or fewer" (its scale is unknown; convert such files to 8 bits first), or a reason that starts with
        "DICOM".
    """
    if not data:
        raise UnreadableImage("empty file")
    if data[128:132] == b"DICM":
        return _decode_dicom(data, channels)
    components = 0
    if data.startswith(_PNG):
        _check_png(data)
    elif data.startswith(_JPEG):
        components = _check_jpeg(data)
    if components == _CMYK:
        return _decode_cmyk(data, channels)
    try:
        # Not IMREAD_UNCHANGED: that one ignores the orientation.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    except cv2.error:  # raised for impossible sizes in a header
        image = None
    if image is None:
        raise UnreadableImage("damaged" if data.startswith(_KNOWN) else "not an image")
    return _to_channels(_to_8_bits(image), channels)


def _check_png(data: bytes) -> None:
    """Follow the chunks to IEND and verify their checksums, which some decoders skip (PNG specification, section 5)."""
    position = len(_PNG)
    while True:
        if position + 12 > len(data):
            raise UnreadableImage("truncated")
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if not (kind.isascii() and kind.isalpha()):
            raise UnreadableImage("damaged")
        if end > len(data):
            raise UnreadableImage("truncated")
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
            raise UnreadableImage("damaged")
        if kind == b"IEND":
            return
        position = end


def _check_jpeg(data: bytes) -> int:
    """Look for the end-of-image marker after the first scan (ITU-T T.81, annex B); return the number of components.

    Inside a scan the byte FF is always followed by 00 or a restart marker, so FF D9 there is the end of the image. The
    segments before the scan are stepped over because an embedded thumbnail has an end marker of its own.
    """
    position, components = 2, 0
    while position + 4 <= len(data):
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4])
        if data[position] != 0xFF:
            raise UnreadableImage("damaged")
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker == 0xDA:  # start of scan
            if data.find(b"\xff\xd9", position) < 0:
                break
            return components
        else:
            if marker in _START_OF_FRAME and position + 10 <= len(data):
                components = data[position + 9]
            position += 2 + length
    raise UnreadableImage("truncated")


def _decode_cmyk(data: bytes, channels: Channels) -> NDArray[np.uint8]:
    """Decode a CMYK JPEG. OpenCV and Pillow take every one for Adobe's, which are inverted; Pillow tells its marker."""
    try:
        with Image.open(io.BytesIO(data)) as file:
            image = ImageOps.exif_transpose(file)
            if "adobe" not in file.info:
                image = ImageChops.invert(image)
            image = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UnreadableImage("damaged") from None
    return _from_rgb(np.array(image), channels)


def _decode_dicom(data: bytes, channels: Channels) -> NDArray[np.uint8]:
    """Decode the first frame of a DICOM file to display values.

    Grey values are rescaled (RescaleSlope, RescaleIntercept), then mapped to 0..255 through the first window of the
    file (WindowCenter, WindowWidth, VOILUTFunction; PS3.3 C.11.2.1.2) or, without one, linearly from their 0.5th to
    their 99.5th percentile, padding (PixelPaddingValue) apart; MONOCHROME1 is inverted, so that air is black in both.
    Look-up tables (Modality and VOI LUT sequences) are not applied. Colours are converted to RGB.

    References
    ----------
    DICOM PS3.3 (2024), C.7.6.3 and C.11.2, https://dicom.nema.org/medical/dicom/current/output/chtml/part03/
    """
    try:
        import pydicom
        from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
    except ModuleNotFoundError:
        raise UnreadableImage("no decoder", "DICOM; pip install pydicom") from None
    # What a header says about the patient need not be valid to decode the pixels, and thousands of warnings help none.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        header = pydicom.dcmread(io.BytesIO(data))
        kind = str(header.get("PhotometricInterpretation", ""))
        syntax = header.file_meta.TransferSyntaxUID
    except Exception:  # pydicom raises whatever a broken element leads to
        raise UnreadableImage("damaged") from None
    if "PixelData" not in header:
        raise UnreadableImage("no pixels", "DICOM file without an image")
    if syntax.is_compressed and not _can_decode(get_decoder, syntax):
        raise UnreadableImage("no decoder", f"DICOM with transfer syntax {syntax.name}")
    try:
        pixels = pixel_array(header, index=0)
        if kind == "PALETTE COLOR":
            pixels, kind = apply_color_lut(pixels, header), "RGB"
        if kind in ("MONOCHROME1", "MONOCHROME2"):
            return _to_channels(_dicom_grey(pixels, header), channels)
    except Exception:
        raise UnreadableImage("damaged") from None
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnreadableImage("unsupported colours", f"DICOM with photometric interpretation {kind}")
    return _from_rgb(_to_8_bits(pixels), channels)


def _can_decode(get_decoder: Any, syntax: str) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _dicom_grey(pixels: np.ndarray, header: Any) -> NDArray[np.uint8]:
    """Return display values of a monochrome frame."""
    slope, intercept = float(header.get("RescaleSlope", 1) or 1), float(header.get("RescaleIntercept", 0) or 0)
    values = pixels * slope + intercept
    centre, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        padding = header.get("PixelPaddingValue")
        anatomy = values[pixels != padding] if padding is not None else values
        low, high = np.percentile(anatomy, [0.5, 99.5]) if anatomy.size else (0.0, 0.0)
        shown = (values - low) / (high - low) if high > low else np.zeros_like(values)
    elif header.get("VOILUTFunction") == "SIGMOID":
        shown = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -50, 50)))
    elif header.get("VOILUTFunction") == "LINEAR_EXACT":
        shown = (values - centre) / width + 0.5
    else:
        # A width of 1 is a threshold.
        shown = (values - (centre - 0.5)) / (width - 1) + 0.5 if width > 1 else (values > centre - 0.5).astype(float)
    shown = np.clip(shown, 0, 1)
    if header.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return np.rint(shown * 255).astype(np.uint8)


def _first(value: Any) -> float | None:
    """Return the first of a possibly multi-valued element, None where nothing stands."""
    values = value if isinstance(value, (list, tuple)) or hasattr(value, "insert") else [value]
    return float(values[0]) if len(values) and values[0] is not None else None


def _to_8_bits(image: np.ndarray) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise UnreadableImage("unsupported pixel type", str(image.dtype))
    if image.max() < _LOWEST_FULL_RANGE:
        raise UnreadableImage("scale unknown", "16-bit file using 12 bits or fewer; set preprocess.bits")
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _to_channels(image: NDArray[np.uint8], channels: Channels) -> NDArray[np.uint8]:
    """Convert OpenCV's grey or BGR to grey or RGB."""
    given = 1 if image.ndim == 2 else image.shape[2]
    if given == channels == 1:
        return image.reshape(image.shape[:2])
    codes = {
        (1, 3): cv2.COLOR_GRAY2RGB,
        (3, 1): cv2.COLOR_BGR2GRAY,
        (3, 3): cv2.COLOR_BGR2RGB,
    }
    if (given, channels) not in codes:
        raise UnreadableImage("unsupported colours", f"{given} channels")
    return np.asarray(cv2.cvtColor(image, codes[given, channels]), np.uint8)


def _from_rgb(image: NDArray[np.uint8], channels: Channels) -> NDArray[np.uint8]:
    """Convert grey or RGB to grey or RGB."""
    given = 1 if image.ndim == 2 else image.shape[2]
    if given == 3:
        return image if channels == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    return _to_channels(image, channels)
