"""What other decoders show of files that are not DICOM."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageOps

from tests.imaging.made import drawn
from tests.imaging.made.tiff import from_ycbcr

Shown = np.ndarray
Referee = Callable[[str, bytes, dict[str, Any]], Shown]


class Unable(Exception):
    """This decoder does not read the file."""


def run(*command: str, content: bytes | None = None) -> bytes:
    """Return the standard output of a command that must succeed."""
    result = subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)
    if result.returncode:
        raise Unable(result.stderr.decode(errors="replace").strip()[-200:])
    return result.stdout


def version(*command: str) -> str:
    """Return the first version number that a command prints."""
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"v?(\d+(\.\d+)+(-\d+)?)", out.stdout + out.stderr)
    return found[1] if found else "?"


def scaled(values: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Return integers of their whole range, or of the bits that the data set uses, with 8 bits."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype.kind != "u":
        low, high = float(values.real.min()), float(values.real.max())
        return np.rint((values.real.astype(float) - low) / (high - low) * 255).astype(np.uint8)
    return drawn.to_8_bits(values, options.get("bits", values.dtype.itemsize * 8))


def pnm(data: bytes) -> np.ndarray:
    """Return the samples of a PGM or PPM file with 8 or 16 bits, written as text or bytes."""
    kind = data[:2]
    words = []
    place = 2
    while len(words) < 3:
        match = re.match(rb"(\s|#[^\n]*\n)*(\d+)", data[place:])
        assert match
        words.append(int(match[2]))
        place += match.end()
    width, height, top = words
    samples = 3 if kind in (b"P3", b"P6") else 1
    if kind in (b"P2", b"P3"):
        values = np.array(data[place:].split(), np.uint16)
    else:
        values = np.frombuffer(data[place + 1 :], np.uint8 if top < 256 else ">u2").astype(np.uint16)
    values = values[: width * height * samples].reshape((height, width, samples) if samples == 3 else (height, width))
    return values.astype(np.uint8) if top < 256 else values


def by_pillow(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """Pillow: alpha dropped, EXIF orientation applied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as file:
            file.load()
            image = ImageOps.exif_transpose(file)
            mode = image.mode
            if file.format == "TIFF" and "bits" not in options:
                options = {**options, "bits": max(8, file.tag_v2.get(258, (16,))[0])}  # type: ignore[attr-defined]
            if mode in ("I;16", "I;16B", "I;16L", "I;16N"):
                return scaled(np.asarray(image).astype(np.uint16), options)
            if mode == "I":
                values = np.asarray(image)
                if values.min() < 0 or values.max() > 65535:
                    return scaled(values, options)
                return scaled(values.astype(np.uint16), options)
            if mode == "F":
                return scaled(np.asarray(image), options)
            if mode in ("1", "L", "LA", "La"):
                return np.asarray(image.convert("L") if mode == "1" else image.getchannel(0))
            if mode == "P":
                return np.asarray(image.convert("RGBA"))[..., :3]
            if mode in ("RGBA", "RGBa", "RGBX"):
                return np.asarray(image)[..., :3]
            return np.asarray(image.convert("RGB"))


def by_magick(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """ImageMagick: first image, upright, without alpha, as 16 bits."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{Path(name).suffix}"
        path.write_bytes(data)
        out = run(
            "/usr/bin/convert-im6.q16", f"{path}[0]", "-auto-orient", "-alpha", "off", "-colorspace", "sRGB",
            "-type", "TrueColor", "-depth", "16", "ppm:-",
        )  # fmt: skip
    values = pnm(out)
    if values.dtype == np.uint8:
        return values
    bits = options.get("bits", 16)
    # Narrower samples were widened to 16 bits; those of a data set that uses fewer stand as they are.
    return np.rint(np.minimum(values * 255.0 / (2**bits - 1), 255)).astype(np.uint8)


def by_vips(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """libvips: upright, alpha dropped, colour spaces other than grey and RGB converted by it."""
    import pyvips

    try:
        image = pyvips.Image.new_from_buffer(data, "").autorot()
        bands = image.numpy()
        kind = image.interpretation
        if kind not in ("b-w", "grey16", "multiband", "srgb", "rgb", "rgb16"):
            image = image.colourspace("srgb")
            kind = "srgb"
            bands = image.numpy()
    except pyvips.Error as error:
        raise Unable(str(error).strip()) from None
    if bands.ndim == 3:
        bands = bands[..., :3] if bands.shape[2] >= 3 else bands[..., 0]
    return scaled(bands, options)


def by_tifffile(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """tifffile and imagecodecs give the samples; what they mean is done here, by TIFF 6.0."""
    if not name.endswith(".tif"):
        raise Unable("no TIFF")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        values = page.asarray()
        tags = {tag.code: tag.value for tag in page.tags}
        photometric, bits = int(page.photometric), int(page.bitspersample)
        if page.planarconfig == 2 and values.ndim == 3:
            values = np.moveaxis(values, 0, -1)
        compression = int(page.compression)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    options = options if "bits" in options else {**options, "bits": bits}
    if photometric == 3:
        table = np.asarray(tags[320]).reshape(3, -1).T
        shown = drawn.to_8_bits(table[values], 16)
    elif photometric == 5:
        shares = values / (2**bits - 1)
        shown = np.rint((1 - shares[..., :3]) * (1 - shares[..., 3:4]) * 255).astype(np.uint8)
    elif photometric == 6 and compression == 1:
        shown = from_ycbcr(values)
    elif photometric == 8:
        raise Unable("colour space left to the caller")
    else:
        if values.ndim == 3:
            values = values[..., :3] if photometric in (2, 6) else values[..., 0]
        if bits < 8:
            values = drawn.to_8_bits(values, bits)
        elif values.dtype == np.uint8 and bits == 8:
            pass
        shown = scaled(values, options)
        if photometric == 0:
            shown = 255 - shown
    return drawn.turned(shown, int(tags.get(274, 1)))


def by_imagecodecs(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """imagecodecs, for formats of which it reads the stream itself."""
    reader = {
        ".j2k": imagecodecs.jpeg2k_decode,
        ".jp2": imagecodecs.jpeg2k_decode,
        ".jph": imagecodecs.jpeg2k_decode,
        ".jls": imagecodecs.jpegls_decode,
        ".jxl": imagecodecs.jpegxl_decode,
        ".jxr": imagecodecs.jpegxr_decode,
        ".jpg": imagecodecs.jpeg8_decode,
        ".avif": imagecodecs.avif_decode,
        ".qoi": imagecodecs.qoi_decode,
    }.get(Path(name).suffix)
    if reader is None:
        raise Unable("no stream of its own")
    values = reader(data)
    if b"Exif\0\0" in data or (values.ndim == 3 and values.shape[2] == 4 and name.endswith(".jpg")):
        raise Unable("orientation and inks are left to the caller")
    if values.ndim == 3:
        values = values[..., :3] if values.shape[2] >= 3 else values[..., 0]
    if Path(name).suffix in (".j2k", ".jp2") and values.dtype == np.uint16:
        options = {**options, "bits": data[data.index(b"\xff\x51") + 40] + 1}
    if Path(name).suffix == ".jpg" and values.dtype == np.uint16:
        frame = next(data.index(bytes([0xFF, m])) for m in (0xC0, 0xC1, 0xC3) if bytes([0xFF, m]) in data)
        options = {**options, "bits": data[frame + 4]}
    return scaled(values, options)


def by_opencv(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """OpenCV, as a further voice; it never decides alone, because the product uses it."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if values is None:
        raise Unable("OpenCV")
    return scaled(values[..., ::-1] if values.ndim == 3 else values, options)
