"""DICOM files of every transfer syntax."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np

from tests.imaging.made import drawn
from tests.imaging.made.common import rgb_jpeg
from tests.imaging.made.dicom_file import (
    DEFLATED_FRAMES,
    RLE,
    frames3,
    full,
    header,
    jpeg_baseline,
    jpeg_syntax,
    rle_frame,
    windowed,
    written,
)
from tests.imaging.made.drawn import Made
from tests.imaging.made.tiff import from_ycbcr, to_ycbcr


def _encoded(
    pixels: np.ndarray,
    code: Callable[[np.ndarray], bytes],
    syntax: str,
    bits: int,
    photometric: str = "MONOCHROME2",
    exact: bool = True,
    truth: np.ndarray | None = None,
    **elements: Any,
) -> Made:
    """One compressed frame."""
    signed = pixels.dtype.kind == "i"
    about = full(bits, signed) if pixels.ndim == 2 else {}
    file = header(pixels, photometric, BitsStored=bits, **(about | elements))
    frame = code(pixels)
    if truth is None:
        truth = windowed(pixels, 0 if signed else 2 ** (bits - 1), 2**bits) if pixels.ndim == 2 else pixels
        if photometric == "MONOCHROME1":
            truth = 255 - truth
    return Made(written(file, [frame + bytes(len(frame) % 2)], syntax), truth, exact)


def _signed(bits: int) -> np.ndarray:
    return (drawn.grey(bits).astype(np.int32) - 2 ** (bits - 1)).astype(np.int16 if bits > 8 else np.int8)


def _lossless(pixels: np.ndarray, bits: int, predictor: int = 1) -> bytes:
    """JPEG lossless (process 14); of signed values the bits, as the standard asks for."""
    words = (pixels.astype(np.int64) & (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    space = {"colorspace": "RGB", "outcolorspace": "RGB"} if pixels.ndim == 3 else {}
    return imagecodecs.jpeg8_encode(words, lossless=True, predictor=predictor, bitspersample=bits, **space)


def _j2k(pixels: np.ndarray, bits: int, lossless: bool = True, **options: Any) -> bytes:
    return imagecodecs.jpeg2k_encode(
        pixels, level=0 if lossless else 60, reversible=lossless, codecformat="j2k", bitspersample=bits, **options
    )


def _ls(pixels: np.ndarray, bits: int, near: int = 0) -> bytes:
    words = (pixels.astype(np.int64) & (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    return imagecodecs.jpegls_encode(words, level=near)


def _rle(pixels: np.ndarray, photometric: str, bits: int) -> Made:
    about = full(bits) if pixels.ndim == 2 else {"PlanarConfiguration": 1}
    file = header(pixels, photometric, BitsStored=bits, **about)
    frame = rle_frame(pixels)
    shown = windowed(pixels, 2 ** (bits - 1), 2**bits) if pixels.ndim == 2 else drawn.to_8_bits(pixels, bits)
    return Made(written(file, [frame], RLE), from_ycbcr(pixels) if photometric == "YBR_FULL" else shown)


def _multiframe(frame: Any, number: int, encoded: str = "") -> Made:
    pixels = frames3()
    file = header(pixels, BitsStored=12, NumberOfFrames=3, **full(12))
    shown = windowed(pixels[number], 2048, 4096)
    if encoded == "j2k":
        raw: bytes | list[bytes] = [f + bytes(len(f) % 2) for f in (_j2k(p, 12) for p in pixels)]
        data = written(file, raw, jpeg_syntax(90))
    elif encoded == "fragments":
        raw = [f + bytes(len(f) % 2) for f in (_lossless(p, 12) for p in pixels)]
        data = written(file, raw, jpeg_syntax(70), fragments_per_frame=2)
    elif encoded == "no-table":
        raw = [rle_frame(p) for p in pixels]
        data = written(file, raw, RLE, has_bot=False)
    else:
        data = written(file, pixels.tobytes())
    return Made(data, shown, options={"frame": frame})


def _deflated_frame() -> Made:
    values = drawn.grey(12)
    file = header(values, BitsStored=12, **full(12))
    code = zlib.compressobj(9, zlib.DEFLATED, -15)
    frame = code.compress(values.tobytes()) + code.flush()
    return Made(written(file, [frame + bytes(len(frame) % 2)], DEFLATED_FRAMES), windowed(values, 2048, 4096))


def _compressed() -> dict[str, Callable[[], Made]]:
    made: dict[str, Callable[[], Made]] = {}
    for bits in (8, 12, 16):
        made |= {
            f"lossless-sv1-{bits}": lambda b=bits: _encoded(
                drawn.grey(b), lambda p: _lossless(p, b), jpeg_syntax(70), b
            ),
            f"jpegls-{bits}": lambda b=bits: _encoded(drawn.grey(b), lambda p: _ls(p, b), jpeg_syntax(80), b),
            f"j2k-{bits}": lambda b=bits: _encoded(drawn.grey(b), lambda p: _j2k(p, b), jpeg_syntax(90), b),
            f"rle-{bits}": lambda b=bits: _rle(drawn.grey(b), "MONOCHROME2", b),
        }
    for bits in (12, 16):
        made |= {
            f"lossless-sv1-signed{bits}": lambda b=bits: _encoded(
                _signed(b), lambda p: _lossless(p, b), jpeg_syntax(70), b
            ),
            f"jpegls-signed{bits}": lambda b=bits: _encoded(_signed(b), lambda p: _ls(p, b), jpeg_syntax(80), b),
            f"j2k-signed{bits}": lambda b=bits: _encoded(_signed(b), lambda p: _j2k(p, b), jpeg_syntax(90), b),
        }
    smooth, smooth12, rgb = drawn.smooth_grey(), drawn.smooth_grey(12), drawn.colour(8)
    made |= {
        "lossless-14-predictor4": lambda: _encoded(drawn.grey(12), lambda p: _lossless(p, 12, 4), jpeg_syntax(57), 12),
        "lossless-sv1-monochrome1": lambda: _encoded(
            drawn.grey(12), lambda p: _lossless(p, 12), jpeg_syntax(70), 12, "MONOCHROME1"
        ),
        "lossless-sv1-rgb": lambda: _encoded(rgb, lambda p: _lossless(p, 8), jpeg_syntax(70), 8, "RGB"),
        "jpeg-baseline": lambda: _encoded(smooth, jpeg_baseline, jpeg_syntax(50), 8, exact=False),
        "jpeg-extended12": lambda: _encoded(
            smooth12,
            lambda p: imagecodecs.jpeg8_encode(p, level=97, bitspersample=12),
            jpeg_syntax(51),
            12,
            exact=False,
        ),
        "jpeg-ybr422": lambda: _encoded(drawn.smooth(), jpeg_baseline, jpeg_syntax(50), 8, "YBR_FULL_422", exact=False),
        "jpeg-called-rgb": lambda: _encoded(drawn.smooth(), jpeg_baseline, jpeg_syntax(50), 8, "RGB", exact=False),
        "jpeg-rgb-adobe": lambda: _encoded(
            drawn.smooth(), lambda p: rgb_jpeg(True).data, jpeg_syntax(50), 8, "RGB", exact=False
        ),
        "jpeg-rgb-adobe-called-ybr": lambda: _encoded(
            drawn.smooth(), lambda p: rgb_jpeg(True).data, jpeg_syntax(50), 8, "YBR_FULL_422", exact=False
        ),
        "jpeg-rgb-letters": lambda: _encoded(
            drawn.smooth(), lambda p: rgb_jpeg(False).data, jpeg_syntax(50), 8, "RGB", exact=False
        ),
        "jpegls-near": lambda: _encoded(smooth12, lambda p: _ls(p, 12, 3), jpeg_syntax(81), 12, exact=False),
        "jpegls-rgb": lambda: _encoded(rgb, lambda p: _ls(p, 8), jpeg_syntax(80), 8, "RGB"),
        "jpegls-monochrome1": lambda: _encoded(
            drawn.grey(12), lambda p: _ls(p, 12), jpeg_syntax(80), 12, "MONOCHROME1"
        ),
        "j2k-lossy12": lambda: _encoded(
            smooth12, lambda p: _j2k(p, 12, lossless=False), jpeg_syntax(91), 12, exact=False
        ),
        "j2k-rct": lambda: _encoded(rgb, lambda p: _j2k(p, 8), jpeg_syntax(90), 8, "YBR_RCT"),
        "j2k-rct-called-rgb": lambda: _encoded(rgb, lambda p: _j2k(p, 8), jpeg_syntax(90), 8, "RGB"),
        "j2k-rgb": lambda: _encoded(rgb, lambda p: _j2k(p, 8, mct=False), jpeg_syntax(90), 8, "RGB"),
        "j2k-ict": lambda: _encoded(
            drawn.smooth(), lambda p: _j2k(p, 8, lossless=False), jpeg_syntax(91), 8, "YBR_ICT", exact=False
        ),
        "j2k-ybrfull": lambda: _encoded(
            to_ycbcr(drawn.smooth()),
            lambda p: _j2k(p, 8, mct=False),
            jpeg_syntax(90),
            8,
            "YBR_FULL",
            truth=from_ycbcr(to_ycbcr(drawn.smooth())),
        ),
        "j2k-jp2-boxes": lambda: _encoded(
            drawn.grey(12),
            lambda p: imagecodecs.jpeg2k_encode(p, level=0, reversible=True, codecformat="jp2", bitspersample=12),
            jpeg_syntax(90),
            12,
        ),
        # The code stream says unsigned where the header says signed, as some writers do: the header's bits count.
        "j2k-unsigned-called-signed": lambda: _encoded(
            _signed(16), lambda p: _j2k((p.view(np.uint16)).copy(), 16), jpeg_syntax(90), 16
        ),
        "htj2k-16": lambda: _encoded(
            drawn.grey(16),
            lambda p: imagecodecs.htj2k_encode(p, level=None, reversible=True),
            jpeg_syntax(201),
            16,
        ),
        "jpegxl-16": lambda: _encoded(
            drawn.grey(16), lambda p: imagecodecs.jpegxl_encode(p, lossless=True), jpeg_syntax(110), 16
        ),
        "jpegxl-rgb": lambda: _encoded(
            rgb, lambda p: imagecodecs.jpegxl_encode(p, lossless=True), jpeg_syntax(110), 8, "RGB"
        ),
        "rle-rgb": lambda: _rle(rgb, "RGB", 8),
        "rle-rgb16": lambda: _rle(drawn.colour(16), "RGB", 16),
        "rle-ybr": lambda: _rle(to_ycbcr(drawn.smooth()), "YBR_FULL", 8),
        "deflated-frame": _deflated_frame,
        "frames-first": lambda: _multiframe("first", 0),
        "frames-middle": lambda: _multiframe("middle", 1),
        "frames-last": lambda: _multiframe(2, 2),
        "frames-j2k": lambda: _multiframe("middle", 1, "j2k"),
        "frames-fragments": lambda: _multiframe("middle", 1, "fragments"),
        "frames-no-table": lambda: _multiframe(2, 2, "no-table"),
    }
    return made


def files() -> dict[str, Callable[[], Made]]:
    """Return the makers by file name."""
    return {f"{name}.dcm": make for name, make in _compressed().items()}
