"""One drawn file of each kind that the devices of a hospital send, as their makers write them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from pydicom.sequence import Sequence

from pipeline.datasets.phantom.cohort import Case
from pipeline.datasets.phantom.drawing import draw
from tests.imaging.made.dicom_file import (
    BIG,
    DEFLATED,
    DEFLATED_FRAMES,
    EXPLICIT,
    IMPLICIT,
    RLE,
    group,
    header,
    jpeg_baseline,
    jpeg_syntax,
    looked_up,
    lut,
    rle_frame,
    stretched,
    windowed,
    written,
)
from tests.imaging.made.drawn import Made
from tests.imaging.made.tiff import from_ycbcr, to_ycbcr

SIDE = 96
"""Width and height in pixels."""


@functools.cache
def film(patient: int) -> np.ndarray:
    """Return a drawn radiograph of one patient as float64 [SIDE, SIDE] in 0..1; air is dark."""
    seeds = np.random.SeedSequence([2026, patient]).spawn(2)
    case = Case(patient, 0, 30 + patient, "FM"[patient % 2], "PA", (), seeds[0], seeds[1])
    # Half a grey level more from left to right: the files use values between those of 8 bits.
    return np.clip(draw(case, SIDE)[0] / 255 + np.linspace(-0.002, 0.002, SIDE), 0, 1)


def values(patient: int, bits: int) -> np.ndarray:
    """Return a radiograph as unsigned integers of `bits`, in 16-bit words above 8 bits."""
    return np.rint(film(patient) * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def tinted(patient: int) -> np.ndarray:
    """Return a colour picture, uint8 [SIDE, SIDE, 3]: grey as of ultrasound, with a coloured field and a bar."""
    shown = np.rint(film(patient) * 200).astype(np.uint8)
    rgb = np.dstack([shown] * 3)
    y, x = np.mgrid[:SIDE, :SIDE]
    field = (abs(x - 30) < 16) & (abs(y - 40) < 12)
    rgb[field] = np.stack([40 + 5 * abs(x - 30), 30 + 0 * x, 40 + 8 * abs(y - 40)], -1)[field]
    rgb[8:60, -8:-4, 0] = np.linspace(250, 20, 52)[:, None]
    rgb[8:60, -8:-4, 2] = np.linspace(20, 250, 52)[:, None]
    return rgb


def frames(patient: int, bits: int, count: int = 3) -> np.ndarray:
    """Return frames of one patient that differ: exposed less and less."""
    one = values(patient, bits).astype(float)
    return np.stack([np.rint(one * (1 - 0.15 * i)) for i in range(count)]).astype(np.uint8 if bits <= 8 else np.uint16)


def _file(kind: str, pixels: np.ndarray, syntax: str, photometric: str = "MONOCHROME2", raw: Any = None, **more: Any):
    modality = kind.split("-")[0].upper()
    file = header(pixels, photometric, **({"Modality": modality} | more))
    return written(file, pixels.tobytes() if raw is None else raw, syntax)


def _even(stream: bytes) -> bytes:
    return stream + bytes(len(stream) % 2)


def _sv1(pixels: np.ndarray, bits: int) -> bytes:
    return _even(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=bits))


def _j2k(pixels: np.ndarray, bits: int, **options: Any) -> bytes:
    return _even(
        imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k", bitspersample=bits, **options)
    )


def _window(centre: float, width: float, **more: Any) -> dict[str, Any]:
    return {"WindowCenter": str(centre), "WindowWidth": str(width), **more}


def cr_lossless() -> Made:
    """Computed radiography, 10 bits, MONOCHROME1, JPEG lossless SV1: what most archives hold."""
    pixels = 1023 - values(1, 10)
    data = _file("cr", pixels, jpeg_syntax(70), "MONOCHROME1", [_sv1(pixels, 10)], BitsStored=10, **_window(512, 1024))
    return Made(data, 255 - windowed(pixels, 512, 1024))


def cr_left_justified() -> Made:
    """An old one: 12 bits at the top of 16, uncompressed."""
    pixels = values(2, 12)
    data = _file("cr", pixels << 4, IMPLICIT, BitsStored=12, HighBit=15, **_window(2048, 4096))
    return Made(data, windowed(pixels, 2048, 4096))


def dx_lut() -> Made:
    """Digital radiography, 14 bits, VOI LUT of the maker, JPEG 2000."""
    pixels = values(3, 14)
    x = np.arange(16384) / 16383
    table = np.rint(4095 * (0.5 - 0.5 * np.cos(np.pi * x))).astype(np.uint16)
    data = _file(
        "dx", pixels, jpeg_syntax(90), raw=[_j2k(pixels, 14)], BitsStored=14, PresentationLUTShape="IDENTITY",
        VOILUTSequence=Sequence([lut(table, 0, 12)]),
    )  # fmt: skip
    return Made(data, np.rint(looked_up(pixels, table, 0) * 255.0 / 4095).astype(np.uint8))


def dx_extended() -> Made:
    """12 bits, JPEG extended: lossy."""
    pixels = values(4, 12)
    stream = _even(imagecodecs.jpeg8_encode(pixels, level=98, bitspersample=12))
    data = _file("dx", pixels, jpeg_syntax(51), raw=[stream], BitsStored=12, **_window(2048, 4096))
    return Made(data, windowed(pixels, 2048, 4096), exact=False)


def mg_padded() -> Made:
    """Mammography, MONOCHROME1 with INVERSE, a range of padding beside the breast, JPEG-LS."""
    pixels = 3500 - np.rint(film(5) * 3000).astype(np.uint16)
    beside = np.zeros(pixels.shape, bool)
    beside[:, -20:] = True
    pixels[beside] = 4000
    pixels[:30, -20:] = 4095
    data = _file(
        "mg", pixels, jpeg_syntax(80), "MONOCHROME1", [_even(imagecodecs.jpegls_encode(pixels))], BitsStored=12,
        PresentationLUTShape="INVERSE", PixelPaddingValue=4000, PixelPaddingRangeLimit=4095, **_window(2000, 3200),
    )  # fmt: skip
    shown = 255 - windowed(pixels, 2000, 3200)
    shown[beside] = 0
    return Made(data, shown)


def mg_sigmoid() -> Made:
    """MONOCHROME2 with a sigmoid window, JPEG 2000."""
    pixels = values(6, 12)
    data = _file(
        "mg", pixels, jpeg_syntax(90), raw=[_j2k(pixels, 12)], BitsStored=12,
        **_window(2100, 1800, VOILUTFunction="SIGMOID"),
    )  # fmt: skip
    return Made(data, windowed(pixels, 2100, 1800, "SIGMOID"))


def ct_signed() -> Made:
    """Computed tomography, signed, two windows, padding outside the circle, deflated."""
    hounsfield = np.rint(film(7) * 1600 - 1000).astype(np.int16)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    outside = np.hypot(x, y) > SIDE / 2
    pixels = np.where(outside, -2000, hounsfield).astype(np.int16)
    data = _file(
        "ct", pixels, DEFLATED, RescaleSlope="1", RescaleIntercept="0", PixelPaddingValue=-2000,
        WindowCenter=["40", "-600"], WindowWidth=["1200", "1500"],
    )  # fmt: skip
    shown = windowed(pixels, 40, 1200)
    shown[outside] = 0
    return Made(data, shown)


def ct_unsigned() -> Made:
    """Unsigned 12 bits with an intercept, implicit VR."""
    pixels = values(8, 12)
    data = _file(
        "ct", pixels, IMPLICIT, BitsStored=12, RescaleSlope="1", RescaleIntercept="-1024", **_window(600, 2500)
    )
    return Made(data, windowed(pixels.astype(int) - 1024, 600, 2500))


def ct_enhanced() -> Made:
    """Enhanced CT: window and rescale in the functional groups of each frame."""
    pixels = frames(9, 12)
    settings = [(600, 2500, 1, -1024), (500, 2000, 1, -1024), (1500, 4000, 2, -2048)]
    data = _file(
        "ct", pixels, EXPLICIT, BitsStored=12, NumberOfFrames=3, SharedFunctionalGroupsSequence=Sequence([]),
        PerFrameFunctionalGroupsSequence=Sequence([group(*s) for s in settings]),
    )  # fmt: skip
    return Made(data, windowed(pixels[0].astype(int) - 1024, 600, 2500), options={"frame": "first"})


def mr_rle() -> Made:
    """Magnetic resonance without a window, RLE."""
    pixels = values(10, 12)
    return Made(_file("mr", pixels, RLE, raw=[rle_frame(pixels)], BitsStored=12), stretched(pixels))


def mr_big_endian() -> Made:
    """Big endian, 12 of 16 bits."""
    pixels = values(11, 12)
    raw = pixels.astype(">u2").tobytes()
    data = _file("mr", pixels, BIG, raw=raw, BitsStored=12, **_window(2000, 4000))
    return Made(data, windowed(pixels, 2000, 4000))


def mr_enhanced() -> Made:
    """Enhanced MR: one window for all frames, JPEG lossless in several fragments."""
    pixels = frames(12, 12)
    file = header(
        pixels, Modality="MR", BitsStored=12, NumberOfFrames=3,
        SharedFunctionalGroupsSequence=Sequence([group(1900, 3600, 1, 0)]),
    )  # fmt: skip
    data = written(file, [_sv1(p, 12) for p in pixels], jpeg_syntax(70), fragments_per_frame=2)
    return Made(data, windowed(pixels[0], 1900, 3600), options={"frame": "first"})


def us_422() -> Made:
    """Ultrasound, colour, YBR_FULL_422 uncompressed."""
    ybr = to_ycbcr(tinted(13))
    pairs = ybr.reshape(SIDE, SIDE // 2, 2, 3)
    chroma = np.rint(pairs[..., 1:].mean(axis=2)).astype(np.uint8)
    raw = np.concatenate([pairs[..., 0], chroma], axis=-1).tobytes()
    whole = np.concatenate([pairs[..., :1], np.repeat(chroma[:, :, None], 2, axis=2)], axis=-1).reshape(ybr.shape)
    return Made(_file("us", ybr, EXPLICIT, "YBR_FULL_422", raw), from_ycbcr(whole))


def us_cine() -> Made:
    """A loop of three frames, JPEG baseline."""
    pixels = np.stack([tinted(14), tinted(14) // 2, tinted(14) // 3])
    raw = [_even(jpeg_baseline(p)) for p in pixels]
    data = _file("us", pixels, jpeg_syntax(50), "YBR_FULL_422", raw, NumberOfFrames=3)
    return Made(data, pixels[0], exact=False, options={"frame": "first"})


def _palette(kind: str, pixels: np.ndarray) -> Made:
    """Return a file whose colours go from black over red to white, in tables of 16 bits."""
    i = np.arange(256)
    colours = np.stack([np.minimum(2 * i, 255), i, np.maximum(2 * i - 255, 0)], axis=1).astype(np.uint16) * 257
    file = header(pixels, "PALETTE COLOR", Modality=kind.upper())
    for channel, name in enumerate(("Red", "Green", "Blue")):
        file.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        file.add_new(f"{name}PaletteColorLookupTableData", "OW", colours[:, channel].astype("<u2").tobytes())
    return Made(written(file, pixels.tobytes(), EXPLICIT), (colours[pixels] // 257).astype(np.uint8))


def us_palette() -> Made:
    """Ultrasound, PALETTE COLOR."""
    return _palette("us", values(15, 8))


def us_planar() -> Made:
    """RGB, one plane a colour."""
    rgb = tinted(16)
    raw = np.ascontiguousarray(rgb.transpose(2, 0, 1)).tobytes()
    return Made(_file("us", rgb, EXPLICIT, "RGB", raw, PlanarConfiguration=1), rgb)


def xa_cine() -> Made:
    """Angiography, 8 bits, three frames, JPEG lossless SV1."""
    pixels = frames(17, 8)
    data = _file("xa", pixels, jpeg_syntax(70), raw=[_sv1(p, 8) for p in pixels], NumberOfFrames=3, **_window(128, 256))
    return Made(data, windowed(pixels[0], 128, 256), options={"frame": "first"})


def xa_log() -> Made:
    """10 bits with a Modality LUT to optical density, and a window in its units."""
    pixels = values(18, 10)
    table = np.rint(65535 * np.log1p(np.arange(1024)) / np.log(1024)).astype(np.uint16)
    item = lut(table, 0, 16)
    item.ModalityLUTType = "OD"
    data = _file("xa", pixels, EXPLICIT, BitsStored=10, ModalityLUTSequence=Sequence([item]), **_window(52000, 26000))
    return Made(data, windowed(looked_up(pixels, table, 0), 52000, 26000))


def nm_frames() -> Made:
    """Nuclear medicine: counts of several frames, no window."""
    pixels = (frames(19, 8).astype(np.uint16) * 3).astype(np.uint16)
    data = _file("nm", pixels, EXPLICIT, NumberOfFrames=3)
    return Made(data, stretched(pixels[0]), options={"frame": "first"})


def nm_palette() -> Made:
    """PALETTE COLOR with 16-bit indices."""
    return _palette("nm", values(20, 8).astype(np.uint16))


def pt_rescaled() -> Made:
    """Positron emission, a slope of its own, signed words."""
    pixels = np.rint(film(21) * 30000).astype(np.int16)
    data = _file("pt", pixels, EXPLICIT, RescaleSlope="0.37", RescaleIntercept="0", **_window(5500, 11000))
    return Made(data, windowed(pixels * 0.37, 5500, 11000))


def opt_frames() -> Made:
    """Tomography of the eye, 8 bits, three frames, JPEG 2000."""
    pixels = frames(22, 8)
    data = _file(
        "opt", pixels, jpeg_syntax(90), raw=[_j2k(p, 8) for p in pixels], NumberOfFrames=3, **_window(128, 256)
    )
    return Made(data, windowed(pixels[0], 128, 256), options={"frame": "first"})


def op_fundus() -> Made:
    """Photograph of the eye, JPEG 2000 with the reversible colour transform."""
    rgb = tinted(23)
    return Made(_file("op", rgb, jpeg_syntax(90), "YBR_RCT", [_j2k(rgb, 8)]), rgb)


def vl_photo() -> Made:
    """Photograph, JPEG baseline."""
    rgb = tinted(24)
    return Made(_file("xc", rgb, jpeg_syntax(50), "YBR_FULL_422", [_even(jpeg_baseline(rgb))]), rgb, exact=False)


def sm_tiles() -> Made:
    """Slide: two tiles, RGB."""
    tiles = np.stack([tinted(25), 255 - tinted(25)])
    return Made(_file("sm", tiles, EXPLICIT, "RGB", NumberOfFrames=2), tiles[0], options={"frame": "first"})


def sc_colour() -> Made:
    """Secondary capture, RGB, RLE."""
    rgb = tinted(26)
    return Made(_file("sc", rgb, RLE, "RGB", [rle_frame(rgb)], Modality="OT", PlanarConfiguration=1), rgb)


def sc_deflated() -> Made:
    """Grey, each frame deflated."""
    pixels = values(27, 8)
    code = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = _even(code.compress(pixels.tobytes()) + code.flush())
    data = _file("sc", pixels, DEFLATED_FRAMES, raw=[stream], Modality="OT", **_window(128, 256))
    return Made(data, windowed(pixels, 128, 256))


def io_dental() -> Made:
    """Dental radiograph, 8 bits, JPEG-LS."""
    pixels = values(28, 8)
    data = _file("io", pixels, jpeg_syntax(80), raw=[_even(imagecodecs.jpegls_encode(pixels))], **_window(128, 256))
    return Made(data, windowed(pixels, 128, 256))


def files() -> dict[str, Callable[[], Made]]:
    """Return the makers by file name; the first letters are the modality."""
    return {
        "cr-lossless.dcm": cr_lossless,
        "cr-left-justified.dcm": cr_left_justified,
        "dx-lut.dcm": dx_lut,
        "dx-extended.dcm": dx_extended,
        "mg-padded.dcm": mg_padded,
        "mg-sigmoid.dcm": mg_sigmoid,
        "ct-signed.dcm": ct_signed,
        "ct-unsigned.dcm": ct_unsigned,
        "ct-enhanced.dcm": ct_enhanced,
        "mr-rle.dcm": mr_rle,
        "mr-big-endian.dcm": mr_big_endian,
        "mr-enhanced.dcm": mr_enhanced,
        "us-422.dcm": us_422,
        "us-cine.dcm": us_cine,
        "us-palette.dcm": us_palette,
        "us-planar.dcm": us_planar,
        "xa-cine.dcm": xa_cine,
        "xa-log.dcm": xa_log,
        "nm-frames.dcm": nm_frames,
        "nm-palette.dcm": nm_palette,
        "pt-rescaled.dcm": pt_rescaled,
        "opt-frames.dcm": opt_frames,
        "op-fundus.dcm": op_fundus,
        "vl-photo.dcm": vl_photo,
        "sm-tiles.dcm": sm_tiles,
        "sc-colour.dcm": sc_colour,
        "sc-deflated.dcm": sc_deflated,
        "io-dental.dcm": io_dental,
    }


def sheet(path: str) -> None:
    """Write a picture of all kinds as they come out of the preparation of a study, without and with CLAHE."""
    import cv2

    from pipeline.imaging.decoding import decode
    from pipeline.imaging.enhance import clahe

    cells = []
    for name, make in files().items():
        made = make()
        pixels = np.asarray(decode(made.data, 3, **made.options).pixels)
        cell = cv2.copyMakeBorder(np.hstack([pixels, clahe(pixels, 2.0, 8)]), 14, 4, 2, 6, cv2.BORDER_CONSTANT)
        cv2.putText(cell, name.removesuffix(".dcm"), (3, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 0), 1)
        cells.append(cell)
    across = 5
    cells += [np.zeros_like(cells[0])] * (-len(cells) % across)
    rows = [np.hstack(cells[i : i + across]) for i in range(0, len(cells), across)]
    cv2.imwrite(path, np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    import sys

    sheet(sys.argv[1])
