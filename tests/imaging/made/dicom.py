"""DICOM files of every kind: bits, photometric interpretations, look-up tables, windows, padding, frames."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.imaging.made import drawn
from tests.imaging.made.dicom_file import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    frames3,
    full,
    group,
    header,
    looked_up,
    lut,
    stretched,
    windowed,
    written,
)
from tests.imaging.made.drawn import HEIGHT, WIDTH, Made
from tests.imaging.made.tiff import from_ycbcr, to_ycbcr


def _grey(
    allocated: int,
    stored: int,
    high: int | None = None,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    rubbish: int = 0,
    syntax: str = EXPLICIT,
    **elements: Any,
) -> Made:
    """Grey values in any position of their words, with `rubbish` in the bits that are not used."""
    high = stored - 1 if high is None else high
    values = drawn.grey(stored).astype(np.int64) - (2 ** (stored - 1) if signed else 0)
    word = (values & (2**stored - 1)) << (high + 1 - stored)
    unused = (2**allocated - 1) ^ ((2**stored - 1) << (high + 1 - stored))
    word |= unused & rubbish
    if signed and not rubbish and high == stored - 1:  # the sign goes on to the top, as most writers do
        word |= np.where(values < 0, unused, 0)
    pixels = word.astype(f"u{allocated // 8}")
    about = full(stored, signed) | elements
    file = header(pixels, photometric, BitsStored=stored, HighBit=high, PixelRepresentation=int(signed), **about)
    shown = windowed(values, float(about["WindowCenter"]), float(about["WindowWidth"]))
    raw = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes() if syntax == BIG else pixels.tobytes()
    return Made(written(file, raw, syntax), 255 - shown if photometric == "MONOCHROME1" else shown)


def _modality_lut(window: bool) -> Made:
    values = drawn.grey(12)
    table = np.rint(65535 * (1 - np.arange(4096) / 4095) ** 2).astype(np.uint16)
    item = lut(table, 0, 16)
    item.ModalityLUTType = "OD"
    about = {"WindowCenter": "32768", "WindowWidth": "65536"} if window else {}
    file = header(values, BitsStored=12, ModalityLUTSequence=Sequence([item]), **about)
    output = looked_up(values, table, 0)
    shown = windowed(output, 32768, 65536) if window else stretched(output)
    return Made(written(file, values.tobytes()), shown)


def _voi_lut(first: int = 0, bits: int = 16, entries: int = 4096, down: bool = True, photometric: str = "MONOCHROME2"):
    values = drawn.grey(12)
    ramp = np.arange(entries) / (entries - 1)
    table = np.rint((2**bits - 1) * ((1 - ramp) if down else ramp) ** 1.5).astype(np.uint16)
    signed = first < 0
    stored = values.astype(np.int64) + (first if signed else 0)
    pixels = stored.astype(np.int16 if signed else np.uint16)
    file = header(pixels, photometric, BitsStored=12, VOILUTSequence=Sequence([lut(table, first, bits)]))
    shown = drawn.to_8_bits(looked_up(stored, table, first), bits)
    return Made(written(file, pixels.tobytes()), 255 - shown if photometric == "MONOCHROME1" else shown)


def _window(function: str | None, centre: Any, width: Any, **elements: Any) -> Made:
    values = drawn.grey(12)
    about = {"WindowCenter": centre, "WindowWidth": width, **({"VOILUTFunction": function} if function else {})}
    file = header(values, BitsStored=12, **about, **elements)
    first = [float(v[0] if isinstance(v, list) else v) for v in (centre, width)]
    slope, intercept = float(elements.get("RescaleSlope", 1)), float(elements.get("RescaleIntercept", 0))
    return Made(written(file, values.tobytes()), windowed(values * slope + intercept, *first, function or "LINEAR"))


def _percentiles(photometric: str = "MONOCHROME2", signed: bool = False, **elements: Any) -> Made:
    values = drawn.grey(12).astype(np.int16) - (2048 if signed else 0)
    pixels = values.astype(np.int16 if signed else np.uint16)
    shown = stretched(values)
    file = header(pixels, photometric, BitsStored=12, **elements)
    return Made(written(file, pixels.tobytes()), 255 - shown if photometric == "MONOCHROME1" else shown)


def _padded(photometric: str, window: bool, last: int | None = None, signed: bool = False) -> Made:
    """A border of padding, above all anatomy; with `last`, all values of a range. It is background: black."""
    values = drawn.grey(11).astype(np.int64) + (0 if not signed else -1000)
    border = np.zeros(values.shape, bool)
    border[:3] = border[:, :4] = True
    # The lowest value of signed data, the highest of unsigned data; both are usual.
    pad = -2000 if signed else 4000
    pixels = np.where(border, pad, values)
    if last is not None:
        pixels[1, :] = (pad + last) // 2
        pixels[2, :] = last
    pixels = pixels.astype(np.int16 if signed else np.uint16)
    about: dict[str, Any] = {"BitsStored": 12 if not signed else 16}
    if window:
        about |= {"WindowCenter": "24" if signed else "1024", "WindowWidth": "2048"}
    file = header(pixels, photometric, **about)
    kind = "SS" if signed else "US"
    file.add_new("PixelPaddingValue", kind, pad)
    if last is not None:
        file.add_new("PixelPaddingRangeLimit", kind, last)
    anatomy = pixels[~border]
    shown = windowed(pixels, 24 if signed else 1024, 2048) if window else stretched(pixels, anatomy)
    shown = 255 - shown if photometric == "MONOCHROME1" else shown
    shown[border] = 0
    return Made(written(file, pixels.tobytes()), shown)


def _rgb(bits: int, planar: bool = False, allocated: int | None = None, syntax: str = EXPLICIT) -> Made:
    rgb = drawn.colour(bits, {8: np.uint8, 16: np.uint16}[allocated or bits])
    file = header(rgb, "RGB", BitsStored=bits, PlanarConfiguration=int(planar))
    stored = rgb.transpose(2, 0, 1) if planar else rgb
    raw = stored.astype(stored.dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes()
    return Made(written(file, raw, syntax), drawn.to_8_bits(rgb, bits))


def _ybr(kind: str, planar: bool = False) -> Made:
    ybr = to_ycbcr(drawn.smooth())
    if kind == "YBR_FULL":
        file = header(ybr, kind, PlanarConfiguration=int(planar))
        raw = np.ascontiguousarray(ybr.transpose(2, 0, 1) if planar else ybr).tobytes()
        return Made(written(file, raw), from_ycbcr(ybr))
    pairs = ybr.reshape(HEIGHT, WIDTH // 2, 2, 3)
    chroma = np.rint(pairs[..., 1:].mean(axis=2)).astype(np.uint8)
    stored = np.concatenate([pairs[..., 0], chroma], axis=-1)
    whole = np.concatenate([pairs[..., :1], np.repeat(chroma[:, :, None], 2, axis=2)], axis=-1).reshape(ybr.shape)
    file = header(ybr, kind)
    return Made(written(file, stored.tobytes()), from_ycbcr(whole))


def _partial() -> Made:
    """YBR_PARTIAL_422 (retired): Y 16..235, Cb and Cr 16..240."""
    ybr = to_ycbcr(drawn.smooth()).astype(float)
    part = np.dstack([16 + ybr[..., 0] * 219 / 255, 128 + (ybr[..., 1:] - 128) * 224 / 255])
    pairs = np.rint(part).astype(np.uint8).reshape(HEIGHT, WIDTH // 2, 2, 3)
    chroma = np.rint(pairs[..., 1:].mean(axis=2)).astype(np.uint8)
    stored = np.concatenate([pairs[..., 0], chroma], axis=-1)
    back = np.concatenate([pairs[..., :1], np.repeat(chroma[:, :, None], 2, axis=2)], axis=-1).reshape(ybr.shape)
    whole = np.dstack([(back[..., 0] - 16.0) * 255 / 219, 128 + (back[..., 1:] - 128.0) * 255 / 224])
    file = header(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "YBR_PARTIAL_422")
    return Made(written(file, stored.tobytes()), from_ycbcr(whole))


def _palette(
    bits: int, entry_bits: int, first: int = 0, dark: bool = False, segmented: bool = False, zero: bool = False
):
    """PALETTE COLOR of 8- or 16-bit indices and 8- or 16-bit entries; `dark` entries use the lower half alone."""
    index, palette = drawn.indices(8)
    pixels = (index.astype(np.int64) + first).astype(np.uint8 if bits == 8 else np.uint16)
    file = header(pixels, "PALETTE COLOR")
    scale = 257 if entry_bits == 16 else 1
    table = palette.astype(np.uint16) * scale
    if dark:
        table = (table // 32).astype(np.uint16)
    count = 65536 if zero else 256
    for channel, name in enumerate(("Red", "Green", "Blue")):
        values = np.resize(table[:, channel], count)
        file.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [count % 65536, first, entry_bits])
        if segmented:
            # Discrete segments of 128 entries: opcode 0, length, values (PS3.3 C.7.9.2).
            words = b"".join(
                np.concatenate([[0, 128], values[i : i + 128]]).astype("<u2").tobytes() for i in range(0, 256, 128)
            )
            file.add_new(f"Segmented{name}PaletteColorLookupTableData", "OW", words)
        else:
            raw = values.astype("<u2" if entry_bits == 16 else "u1").tobytes()
            file.add_new(f"{name}PaletteColorLookupTableData", "OW", raw)
    shown = drawn.to_8_bits(table[index], entry_bits)
    return Made(written(file, pixels.tobytes()), shown)


def _groups(shared: bool, frame: int) -> Made:
    """Enhanced multi-frame: window and rescale in the shared groups, or a different one for each frame."""
    pixels = frames3()
    settings = [(500, 1000, 1, -1024), (1000, 3000, 2, -1000), (3000, 2500, 1.5, 100)]
    file = header(pixels, BitsStored=12, NumberOfFrames=3)
    if shared:
        file.SharedFunctionalGroupsSequence = Sequence([group(*settings[0])])
        file.PerFrameFunctionalGroupsSequence = Sequence([Dataset() for _ in settings])
    else:
        file.SharedFunctionalGroupsSequence = Sequence([Dataset()])
        file.PerFrameFunctionalGroupsSequence = Sequence([group(*s) for s in settings])
    centre, width, slope, intercept = settings[0 if shared else frame]
    shown = windowed(pixels[frame].astype(float) * slope + intercept, centre, width)
    return Made(written(file, pixels.tobytes()), shown, options={"frame": frame})


def _segmentation() -> Made:
    """BitsAllocated 1: eight pixels a byte, the first in the lowest bit (PS3.5, annex D)."""
    bit = drawn.grey(1)
    file = header(bit, BitsAllocated=1, BitsStored=1, HighBit=0)
    raw = np.packbits(bit.ravel(), bitorder="little").tobytes()
    return Made(written(file, raw), bit * 255)


def _float(double: bool) -> Made:
    values = (drawn.shape() * 300 - 100).astype(np.float64 if double else np.float32)
    file = header(np.zeros((HEIGHT, WIDTH), np.uint32), WindowCenter="50", WindowWidth="300")
    file.BitsAllocated = 64 if double else 32
    for name in ("BitsStored", "HighBit", "PixelRepresentation"):
        del file[name]
    if double:
        file.add_new("DoubleFloatPixelData", "OD", values.tobytes())
    else:
        file.add_new("FloatPixelData", "OF", values.tobytes())
    out = io.BytesIO()
    pydicom.dcmwrite(out, file, enforce_file_format=True)
    return Made(out.getvalue(), windowed(values, 50, 300), exact=False)


def _without_preamble() -> Made:
    made = _grey(16, 12)
    return made._replace(data=made.data[132:])


def _without_meta() -> Made:
    """A bare data set, implicit VR, as old archives keep them."""
    values = drawn.grey(12)
    file = header(values, BitsStored=12, **full(12))
    del file.file_meta
    file.PixelData = values.tobytes()
    file["PixelData"].VR = "OW"
    out = io.BytesIO()
    pydicom.dcmwrite(out, file, implicit_vr=True, little_endian=True, enforce_file_format=False)
    return Made(out.getvalue(), windowed(values, 2048, 4096))


def _shape_of_presentation(photometric: str, shape: str) -> Made:
    """PresentationLUTShape: with MONOCHROME1 it is INVERSE, with MONOCHROME2 IDENTITY (PS3.3 C.8.11.3).

    Where a header contradicts itself, the shape decides, which is about the output (PS3.3 C.7.6.3.1.1, C.11.6).
    """
    made = _grey(16, 12, photometric=photometric, PresentationLUTShape=shape)
    straight = _grey(16, 12).truth
    return made._replace(truth=255 - straight if shape == "INVERSE" else straight)


def _overlay_in_bits() -> Made:
    """12 bits with an overlay plane in bit 12 (retired, on old CT): it is no part of the picture."""
    made = _grey(16, 12, rubbish=0)
    file = pydicom.dcmread(io.BytesIO(made.data))
    pixels = np.frombuffer(file.PixelData, np.uint16) | (np.arange(HEIGHT * WIDTH) % 3 == 0).astype(np.uint16) << 12
    file.add_new(0x60000010, "US", HEIGHT)
    file.add_new(0x60000011, "US", WIDTH)
    file.add_new(0x60000040, "CS", "G")
    file.add_new(0x60000050, "SS", [1, 1])
    file.add_new(0x60000100, "US", 16)
    file.add_new(0x60000102, "US", 12)
    return made._replace(data=written(file, pixels.astype(np.uint16).tobytes()))


def _icc_and_optional() -> Made:
    """Elements that are present but empty, as many exports write them."""
    return _percentiles(
        WindowCenter="",
        WindowWidth="",
        RescaleSlope="",
        RescaleIntercept="",
        VOILUTFunction="",
        PresentationLUTShape="",
    )


def _plain() -> dict[str, Callable[[], Made]]:
    made: dict[str, Callable[[], Made]] = {}
    for allocated, stored, high in (
        (8, 8, 7),
        (8, 6, 5),
        (16, 8, 7),
        (16, 10, 9),
        (16, 12, 11),
        (16, 12, 15),
        (16, 12, 13),
        (16, 13, 12),
        (16, 14, 13),
        (16, 16, 15),
        (32, 16, 15),
        (32, 24, 23),
        (32, 32, 31),
    ):
        for signed in (False, True):
            name = f"grey-{allocated}-{stored}-{high}{'-signed' * signed}"
            made[name] = lambda a=allocated, s=stored, h=high, g=signed: _grey(a, s, h, g)
    made |= {
        "grey-8-8-7-monochrome1": lambda: _grey(8, 8, photometric="MONOCHROME1"),
        "grey-16-12-11-monochrome1": lambda: _grey(16, 12, photometric="MONOCHROME1"),
        "grey-16-16-15-signed-monochrome1": lambda: _grey(16, 16, None, True, photometric="MONOCHROME1"),
        "grey-16-12-15-monochrome1": lambda: _grey(16, 12, 15, photometric="MONOCHROME1"),
        "grey-16-12-11-rubbish": lambda: _grey(16, 12, rubbish=0xA000),
        "grey-16-12-11-signed-rubbish": lambda: _grey(16, 12, None, True, rubbish=0x5000),
        "grey-16-12-15-rubbish": lambda: _grey(16, 12, 15, rubbish=0x000B),
        "grey-overlay-in-bits": _overlay_in_bits,
        "grey-implicit": lambda: _grey(16, 12, syntax=IMPLICIT),
        "grey-big-endian": lambda: _grey(16, 12, syntax=BIG),
        "grey-big-endian-signed": lambda: _grey(16, 16, None, True, syntax=BIG),
        "grey8-big-endian": lambda: _grey(8, 8, syntax=BIG),
        "grey-deflated": lambda: _grey(16, 12, syntax=DEFLATED),
        "grey-without-preamble": _without_preamble,
        "grey-without-meta": _without_meta,
        "segmentation-1bit": _segmentation,
        "float32": lambda: _float(False),
        "float64": lambda: _float(True),
        "window-linear": lambda: _window(None, "1500", "1000"),
        "window-linear-named": lambda: _window("LINEAR", "1500", "1000"),
        "window-exact": lambda: _window("LINEAR_EXACT", "1500.5", "900.5"),
        "window-sigmoid": lambda: _window("SIGMOID", "1500", "1000"),
        "window-width1": lambda: _window(None, "1800", "1"),
        "window-several": lambda: _window(None, ["1500", "300"], ["1000", "50"]),
        "window-rescaled": lambda: _window(None, "40", "400", RescaleSlope="1", RescaleIntercept="-1024"),
        "window-rescaled-slope": lambda: _window(None, "500", "3000", RescaleSlope="0.75", RescaleIntercept="-300.5"),
        "window-negative-slope": lambda: _window(None, "-1000", "2000", RescaleSlope="-1", RescaleIntercept="0"),
        "window-exponent": lambda: _window(None, "1.5E+03", "1E3"),
        "modality-lut": lambda: _modality_lut(True),
        "modality-lut-no-window": lambda: _modality_lut(False),
        "voi-lut-down": lambda: _voi_lut(),
        "voi-lut-up": lambda: _voi_lut(down=False),
        "voi-lut-short": lambda: _voi_lut(first=500, entries=2000, down=False),
        "voi-lut-8bit": lambda: _voi_lut(bits=8, down=False),
        "voi-lut-12bit": lambda: _voi_lut(bits=12, down=False),
        "voi-lut-signed": lambda: _voi_lut(first=-2048, down=False),
        "voi-lut-monochrome1": lambda: _voi_lut(photometric="MONOCHROME1", down=False),
        "percentiles": _percentiles,
        "percentiles-monochrome1": lambda: _percentiles("MONOCHROME1"),
        "percentiles-signed": lambda: _percentiles(signed=True),
        "percentiles-rescaled": lambda: _percentiles(RescaleSlope="2", RescaleIntercept="-1024"),
        "percentiles-empty-elements": _icc_and_optional,
        "presentation-inverse-1": lambda: _shape_of_presentation("MONOCHROME1", "INVERSE"),
        "presentation-identity-2": lambda: _shape_of_presentation("MONOCHROME2", "IDENTITY"),
        "presentation-inverse-2": lambda: _shape_of_presentation("MONOCHROME2", "INVERSE"),
        "presentation-identity-1": lambda: _shape_of_presentation("MONOCHROME1", "IDENTITY"),
    }
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        for window in (False, True):
            name = f"padding-{photometric[-1]}{'-window' * window}"
            made[name] = lambda p=photometric, w=window: _padded(p, w)
            made[f"{name}-range"] = lambda p=photometric, w=window: _padded(p, w, 3900)
            made[f"{name}-signed"] = lambda p=photometric, w=window: _padded(p, w, None, True)
            made[f"{name}-signed-range"] = lambda p=photometric, w=window: _padded(p, w, -1900, True)
    return made


def _colours() -> dict[str, Callable[[], Made]]:
    made: dict[str, Callable[[], Made]] = {
        "ybr-full": lambda: _ybr("YBR_FULL"),
        "ybr-full-planar": lambda: _ybr("YBR_FULL", True),
        "ybr-full-422": lambda: _ybr("YBR_FULL_422"),
        "ybr-partial-422": _partial,
        "rgb-big-endian": lambda: _rgb(8, syntax=BIG),
        "rgb16-big-endian": lambda: _rgb(16, syntax=BIG),
        "palette-8-16": lambda: _palette(8, 16),
        "palette-8-8": lambda: _palette(8, 8),
        "palette-16-16": lambda: _palette(16, 16),
        "palette-16-16-first100": lambda: _palette(16, 16, 100),
        "palette-8-16-dark": lambda: _palette(8, 16, dark=True),
        "palette-8-16-segmented": lambda: _palette(8, 16, segmented=True),
        "palette-16-16-full": lambda: _palette(16, 16, zero=True),
        "groups-shared-0": lambda: _groups(True, 0),
        "groups-shared-2": lambda: _groups(True, 2),
        "groups-frame-0": lambda: _groups(False, 0),
        "groups-frame-1": lambda: _groups(False, 1),
        "groups-frame-2": lambda: _groups(False, 2),
    }
    for bits, allocated in ((8, 8), (16, 16), (14, 16), (12, 16), (10, 16)):
        for planar in (False, True):
            made[f"rgb{bits}{'-planar' * planar}"] = lambda b=bits, a=allocated, p=planar: _rgb(b, p, a)
    return made


def files() -> dict[str, Callable[[], Made]]:
    """Return the makers by file name."""
    return {f"{name}.dcm": make for name, make in (_plain() | _colours()).items()}
