"""Any valid combination of what a TIFF or DICOM file may say gives the picture that follows from it."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.imaging.decoding import decode
from tests.imaging.made import drawn
from tests.imaging.made.dicom_file import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    RLE,
    header,
    jpeg_syntax,
    rle_frame,
    stretched,
    windowed,
    written,
)
from tests.imaging.made.tiff import BLACK_IS_ZERO, PALETTE, RGB, SEPARATED, WHITE_IS_ZERO, image

TOLERANCE = 2
_SHORT = 3


def check(data: bytes, truth: np.ndarray) -> None:
    found = decode(data, 3 if truth.ndim == 3 else 1).pixels
    assert found.shape == truth.shape
    assert np.abs(found.astype(int) - truth).max() <= TOLERANCE


@st.composite
def tiffs(draw: st.DrawFn) -> tuple[bytes, np.ndarray, str]:
    """Return a file, what it shows, and what it is."""
    photometric = draw(st.sampled_from([WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED]))
    depths = {PALETTE: [1, 2, 4, 8], RGB: [8, 10, 12, 14, 16], SEPARATED: [8, 16]}
    bits = draw(st.sampled_from(depths.get(photometric, [1, 2, 4, 8, 10, 12, 14, 16])))
    whole_words = bits in (8, 16)
    extra: dict[int, Any] = {}
    if photometric == PALETTE:
        values, palette = drawn.indices(bits)
        extra[320] = (_SHORT, (palette.astype(np.int64) * 257).T.ravel().tolist())
        truth = palette[values]
    elif photometric == RGB:
        values = drawn.colour(bits)
        truth = drawn.to_8_bits(values, bits)
    elif photometric == SEPARATED:
        values = np.dstack([drawn.colour(bits), drawn.alpha(bits) // 2])
        shares = values / (2**bits - 1)
        truth = np.rint((1 - shares[..., :3]) * (1 - shares[..., 3:]) * 255).astype(np.uint8)
    else:
        values = drawn.grey(bits)
        truth = drawn.to_8_bits(values, bits)
        truth = 255 - truth if photometric == WHITE_IS_ZERO else truth
    extra_samples = None
    if photometric in (RGB, BLACK_IS_ZERO) and whole_words and draw(st.booleans()):
        extra_samples = [draw(st.sampled_from([0, 1, 2]))]
        values = np.dstack([values, drawn.alpha(bits)])
    orientation = draw(st.integers(1, 8))
    if orientation > 1:
        extra[274] = (_SHORT, [orientation])
    compressions = ["raw", "lzw", "deflate", "oldflate", "packbits", "lzma", "zstd"]
    samples = 1 if values.ndim == 2 else values.shape[2]
    planar = samples > 1 and draw(st.booleans())
    if whole_words and (planar or samples in (1, 3)) and photometric != PALETTE:
        compressions += ["jpeg2000", "png"]
    compression = draw(st.sampled_from(compressions))
    options = {
        "compression": compression,
        "tiled": draw(st.booleans()),
        "planar": planar,
        "big_endian": draw(st.booleans()),
        "bigtiff": draw(st.booleans()),
        "predictor": whole_words and compression in ("lzw", "deflate", "zstd") and draw(st.booleans()),
        "fill_order": draw(st.sampled_from([1, 2])) if compression == "raw" and bits < 8 else 1,
    }
    data = image(values, photometric, bits, extra=extra, extra_samples=extra_samples, **options)
    return data, drawn.turned(truth, orientation), f"{photometric=} {bits=} {extra_samples=} {orientation=} {options}"


@given(tiffs())
@settings(max_examples=60)
def test_tiff(made: tuple[bytes, np.ndarray, str]) -> None:
    check(made[0], made[1])


@st.composite
def dicoms(draw: st.DrawFn) -> tuple[bytes, np.ndarray, str]:
    """Return a grey file, what it shows, and what it is."""
    allocated = draw(st.sampled_from([8, 16, 16, 16, 32]))
    stored = draw(st.integers(6, 8) if allocated == 8 else st.integers(9, 16))
    signed = draw(st.booleans())
    syntaxes = [IMPLICIT, EXPLICIT, BIG, DEFLATED]
    if allocated <= 16:
        syntaxes += [RLE, jpeg_syntax(70), jpeg_syntax(80), jpeg_syntax(90)]
    syntax = draw(st.sampled_from(syntaxes))
    encoded = syntax.startswith("1.2.840.10008.1.2.4")
    high = stored - 1 if encoded else draw(st.sampled_from([stored - 1, stored - 1, allocated - 1]))
    values = drawn.grey(stored).astype(np.int64) - (2 ** (stored - 1) if signed else 0)
    border = np.zeros(values.shape, bool)
    elements: dict[str, Any] = {"BitsStored": stored, "HighBit": high, "PixelRepresentation": int(signed)}
    if draw(st.booleans()) and stored > 8:
        border[:, :5] = True
        values = np.clip(values, *((-(2 ** (stored - 1)) + 8, 2**15) if signed else (0, 2**stored - 9)))
        values[border] = -(2 ** (stored - 1)) if signed else 2**stored - 1
        elements["PixelPaddingValue"] = int(values[0, 0])
    slope, intercept = draw(st.sampled_from([(1, 0), (1, -1024), (0.5, 20), (2.25, -7)]))
    if (slope, intercept) != (1, 0):
        elements |= {"RescaleSlope": str(slope), "RescaleIntercept": str(intercept)}
    units = values * slope + intercept
    function = draw(st.sampled_from(["", "LINEAR", "LINEAR_EXACT", "SIGMOID"]))
    if draw(st.booleans()):
        centre = float(np.rint(np.median(units[~border])))
        width = float(max(2, np.rint((units[~border].max() - units[~border].min()) * draw(st.sampled_from([0.5, 1])))))
        elements |= {"WindowCenter": str(centre), "WindowWidth": str(width)}
        elements |= {"VOILUTFunction": function} if function else {}
        truth = windowed(units, centre, width, function or "LINEAR")
    else:
        truth = stretched(units, units[~border])
    photometric = draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
    shape = draw(st.sampled_from(["", "", "usual"]))
    if shape:
        elements["PresentationLUTShape"] = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    truth = 255 - truth if photometric == "MONOCHROME1" else truth
    truth[border] = 0
    word = (values & (2**stored - 1)) << (high + 1 - stored)
    unused = (2**allocated - 1) ^ ((2**stored - 1) << (high + 1 - stored))
    rubbish = draw(st.sampled_from([0, 0xA5A5A5A5])) if not encoded else 0
    word |= unused & rubbish
    pixels = word.astype(f"u{allocated // 8}")
    if "PixelPaddingValue" in elements and (rubbish or high != stored - 1):
        # Padding is compared with stored values; where they sit higher in the word, files disagree about what it is.
        del elements["PixelPaddingValue"]
        truth_of_all = (
            windowed(units, centre, width, function or "LINEAR") if "WindowCenter" in elements else stretched(units)
        )
        truth = 255 - truth_of_all if photometric == "MONOCHROME1" else truth_of_all
    file = header(pixels, photometric, **elements)
    narrow = pixels.astype(np.uint8 if stored <= 8 else np.uint16)
    if syntax == RLE:
        raw: Any = [rle_frame(pixels)]
    elif syntax == jpeg_syntax(70):
        raw = [imagecodecs.jpeg8_encode(narrow, lossless=True, predictor=1, bitspersample=stored)]
    elif syntax == jpeg_syntax(80):
        raw = [imagecodecs.jpegls_encode(narrow)]
    elif syntax == jpeg_syntax(90):
        of_sign = values.astype(np.int8 if stored <= 8 else np.int16) if signed else narrow
        raw = [imagecodecs.jpeg2k_encode(of_sign, level=0, reversible=True, codecformat="j2k", bitspersample=stored)]
    else:
        raw = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes()
    if isinstance(raw, list):
        raw = [frame + bytes(len(frame) % 2) for frame in raw]
    what = f"{allocated=} {stored=} {high=} {signed=} {photometric=} {syntax=} {rubbish=:x} {elements}"
    return written(file, raw, syntax), truth, what


@given(dicoms())
@settings(max_examples=60)
def test_dicom(made: tuple[bytes, np.ndarray, str]) -> None:
    check(made[0], made[1])
