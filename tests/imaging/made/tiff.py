"""TIFF files of every kind, written entry by entry (TIFF 6.0; BigTIFF; Adobe technical notes)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np

from tests.imaging.made import drawn
from tests.imaging.made.drawn import Made

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, SEPARATED, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8
_SHORT, _LONG, _LONG8 = 3, 4, 16
_TYPES = {1: "B", 2: "B", _SHORT: "H", _LONG: "I", 6: "b", 8: "h", 11: "f", _LONG8: "Q"}
ROWS = 10
"""Rows a strip: the last strip of 24 rows is shorter."""
TILE = 16


def swapped(data: bytes) -> bytes:
    """Return every byte with its bits in reverse order (FillOrder 2)."""
    return np.packbits(np.unpackbits(np.frombuffer(data, np.uint8)), bitorder="little").tobytes()


def tiff(
    blocks: list[bytes], tags: dict[int, tuple[int, list[Any]]], big_endian=False, bigtiff=False, pages=()
) -> bytes:
    """Return a TIFF file.

    Parameters
    ----------
    blocks : list of bytes
        Strips or tiles, compressed.
    tags : dict
        Type and values by tag; those of places and sizes of the blocks are added.
    pages : sequence of (blocks, tags)
        Further images.
    """
    order = ">" if big_endian else "<"
    out = bytearray(b"MM" if big_endian else b"II")
    if bigtiff:
        out += struct.pack(order + "HHHQ", 43, 8, 0, 0)
    else:
        out += struct.pack(order + "HI", 42, 0)
    link = len(out) - (8 if bigtiff else 4)
    word = "Q" if bigtiff else "I"
    for one, entries in [(blocks, tags), *pages]:
        places = []
        for block in one:
            out += bytes(len(out) % 2)
            places.append(len(out))
            out += block
        tiled = 322 in entries
        full = dict(entries)
        full[324 if tiled else 273] = (_LONG8 if bigtiff else _LONG, places)
        full[325 if tiled else 279] = (_LONG8 if bigtiff else _LONG, [len(b) for b in one])
        rows = []
        for tag in sorted(full):
            kind, values = full[tag]
            body = struct.pack(order + _TYPES[kind] * len(values), *values)
            room = 8 if bigtiff else 4
            if len(body) > room:
                out += bytes(len(out) % 2)
                body, place = struct.pack(order + word, len(out)), body
                out += place
            rows.append(struct.pack(order + "HH" + word, tag, kind, len(values)) + body.ljust(room, b"\0"))
        out += bytes(len(out) % 2)
        struct.pack_into(order + word, out, link, len(out))
        out += struct.pack(order + ("Q" if bigtiff else "H"), len(rows)) + b"".join(rows)
        link = len(out)
        out += struct.pack(order + word, 0)
    return bytes(out)


def _none(block: np.ndarray, raw: bytes) -> bytes:
    return raw


COMPRESSIONS: dict[str, tuple[int, Callable[[np.ndarray, bytes], bytes]]] = {
    "raw": (1, _none),
    "lzw": (5, lambda block, raw: imagecodecs.lzw_encode(raw)),
    "deflate": (8, lambda block, raw: zlib.compress(raw)),
    "oldflate": (32946, lambda block, raw: zlib.compress(raw)),
    "packbits": (32773, lambda block, raw: imagecodecs.packbits_encode(raw)),
    "lzma": (34925, lambda block, raw: imagecodecs.lzma_encode(raw)),
    "zstd": (50000, lambda block, raw: imagecodecs.zstd_encode(raw)),
    "lerc": (34887, lambda block, raw: imagecodecs.lerc_encode(block)),
    "jpeg": (7, lambda block, raw: imagecodecs.jpeg8_encode(block, level=97)),
    "jpeg2000": (
        34712,
        lambda block, raw: imagecodecs.jpeg2k_encode(block, level=0, reversible=True, codecformat="j2k"),
    ),
    "aperio33003": (33003, lambda block, raw: imagecodecs.jpeg2k_encode(block, level=0, codecformat="j2k", mct=False)),
    "aperio33005": (33005, lambda block, raw: imagecodecs.jpeg2k_encode(block, level=0, codecformat="j2k", mct=False)),
    "jpegxl": (50002, lambda block, raw: imagecodecs.jpegxl_encode(block, lossless=True)),
    "jpegxr": (34934, lambda block, raw: imagecodecs.jpegxr_encode(block, level=1.0)),
    "png": (34933, lambda block, raw: imagecodecs.png_encode(block)),
    "webp": (50001, lambda block, raw: imagecodecs.webp_encode(block, lossless=True)),
    "ljpeg": (7, lambda block, raw: imagecodecs.jpeg8_encode(block, lossless=True)),
}


def _predicted(block: np.ndarray) -> np.ndarray:
    """Return horizontal differences (TIFF 6.0, section 14)."""
    out = block.copy()
    out[:, 1:] -= block[:, :-1]
    return out


def image(
    values: np.ndarray,
    photometric: int,
    bits: int | None = None,
    compression: str = "raw",
    tiled: bool = False,
    planar: bool = False,
    big_endian: bool = False,
    bigtiff: bool = False,
    predictor: bool = False,
    fill_order: int = 1,
    sample_format: int = 1,
    extra: dict[int, tuple[int, list[Any]]] | None = None,
    extra_samples: list[int] | None = None,
) -> bytes:
    """Return a TIFF file of `values` [H, W] or [H, W, C]."""
    bits = bits or values.dtype.itemsize * 8
    samples = 1 if values.ndim == 2 else values.shape[2]
    code, compress = COMPRESSIONS[compression]
    planes = [values[..., c] for c in range(samples)] if planar else [values]
    blocks = []
    for plane in planes:
        for block in blocks_of(plane, tiled):
            if predictor:
                block = _predicted(block)
            if bits < 8 * block.dtype.itemsize:
                raw = drawn.packed(block, bits)
            else:
                raw = block.astype(block.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
            raw = compress(np.ascontiguousarray(block), raw)
            blocks.append(swapped(raw) if fill_order == 2 else raw)
    tags: dict[int, tuple[int, list[Any]]] = {
        256: (_LONG, [values.shape[1]]),
        257: (_LONG, [values.shape[0]]),
        258: (_SHORT, [bits] * samples),
        259: (_SHORT, [code]),
        262: (_SHORT, [photometric]),
        277: (_SHORT, [samples]),
        284: (_SHORT, [2 if planar else 1]),
        **({322: (_LONG, [TILE]), 323: (_LONG, [TILE])} if tiled else {278: (_LONG, [ROWS])}),
        **({317: (_SHORT, [2])} if predictor else {}),
        **({266: (_SHORT, [fill_order])} if fill_order != 1 else {}),
        **({339: (_SHORT, [sample_format] * samples)} if sample_format != 1 else {}),
        **({338: (_SHORT, extra_samples)} if extra_samples else {}),
        **(extra or {}),
    }
    return tiff(blocks, tags, big_endian, bigtiff)


def blocks_of(plane: np.ndarray, tiled: bool) -> list[np.ndarray]:
    """Return strips, or tiles filled up with zeros, in the order of the file."""
    if not tiled:
        return [plane[y : y + ROWS] for y in range(0, len(plane), ROWS)]
    edges = [(0, -plane.shape[0] % TILE), (0, -plane.shape[1] % TILE)] + [(0, 0)] * (plane.ndim - 2)
    padded = np.pad(plane, edges)
    return [
        padded[y : y + TILE, x : x + TILE]
        for y in range(0, padded.shape[0], TILE)
        for x in range(0, padded.shape[1], TILE)
    ]


def _grey(bits: int, **options: Any) -> Made:
    values = drawn.grey(bits)
    shown = drawn.to_8_bits(values, bits)
    photometric = options.pop("photometric", BLACK_IS_ZERO)
    return Made(image(values, photometric, bits, **options), 255 - shown if photometric == WHITE_IS_ZERO else shown)


def _colour(bits: int, **options: Any) -> Made:
    values = drawn.colour(bits)
    return Made(image(values, RGB, bits, **options), drawn.to_8_bits(values, bits))


def _alpha(bits: int, kind: int, grey: bool = False, **options: Any) -> Made:
    values = drawn.grey(bits) if grey else drawn.colour(bits)
    data = image(
        np.dstack([values, drawn.alpha(bits)]), BLACK_IS_ZERO if grey else RGB, bits, extra_samples=[kind], **options
    )
    return Made(data, drawn.to_8_bits(values, bits))


def _palette(bits: int, **options: Any) -> Made:
    index, palette = drawn.indices(bits)
    table = (palette.astype(np.int64) * 257).T.ravel().tolist()
    return Made(image(index, PALETTE, bits, extra={320: (_SHORT, table)}, **options), palette[index])


def _orientation(value: int, bits: int = 8) -> Made:
    values = drawn.colour(bits)
    data = image(values, RGB, bits, extra={274: (_SHORT, [value])})
    return Made(data, drawn.turned(drawn.to_8_bits(values, bits), value))


def _inks(bits: int, planar: bool = False) -> Made:
    """CMYK: R = (1 - C)(1 - K)."""
    top = 2**bits - 1
    inks = np.dstack([drawn.colour(bits), drawn.alpha(bits) // 2])
    shares = inks / top
    shown = np.rint((1 - shares[..., :3]) * (1 - shares[..., 3:]) * 255).astype(np.uint8)
    return Made(image(inks, SEPARATED, bits, planar=planar), shown)


def from_ycbcr(values: np.ndarray) -> np.ndarray:
    """Return RGB of full-range YCbCr (ITU-R BT.601, as in JFIF and TIFF 6.0 section 21 with its defaults)."""
    y, cb, cr = (values[..., c].astype(float) for c in range(3))
    rgb = np.stack(
        [y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128)], axis=-1
    )
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def to_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Return full-range YCbCr of RGB, uint8."""
    r, g, b = (rgb[..., c].astype(float) for c in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    both = np.stack([y, 128 + 0.564334 * (b - y), 128 + 0.713267 * (r - y)], axis=-1)
    return np.clip(np.rint(both), 0, 255).astype(np.uint8)


def _ycbcr(across: int, down: int) -> Made:
    """Uncompressed YCbCr; chroma is shared by `across` x `down` pixels (TIFF 6.0, section 21)."""
    values = to_ycbcr(drawn.smooth())
    height, width = values.shape[:2]
    units = values.reshape(height // down, down, width // across, across, 3)
    mean = np.rint(units.mean(axis=(1, 3), keepdims=True))
    units = np.concatenate([units[..., :1], np.broadcast_to(mean[..., 1:], (*units.shape[:-1], 2))], axis=-1)
    shown = from_ycbcr(units.reshape(height, width, 3))
    luma = units[..., 0].transpose(0, 2, 1, 3).reshape(height // down, width // across, -1)
    chroma = units[:, 0, :, 0, 1:]
    stored = np.concatenate([luma, chroma], axis=-1).astype(np.uint8)
    tags = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [8, 8, 8]),
        259: (_SHORT, [1]),
        262: (_SHORT, [YCBCR]),
        277: (_SHORT, [3]),
        278: (_LONG, [height]),
        284: (_SHORT, [1]),
        530: (_SHORT, [across, down]),
    }
    return Made(tiff([stored.tobytes()], tags), shown, exact=across == down == 1)


def _jpeg(tiled: bool, ycbcr: bool) -> Made:
    """New-style JPEG in TIFF, whole streams in the blocks."""
    rgb = drawn.smooth() if ycbcr else drawn.smooth_grey()
    code = {"colorspace": "RGB", "outcolorspace": "YCBCR", "subsampling": "444"} if ycbcr else {}
    blocks = [imagecodecs.jpeg8_encode(np.ascontiguousarray(b), level=97, **code) for b in blocks_of(rgb, tiled)]
    samples = 3 if ycbcr else 1
    layout = {322: (_LONG, [TILE]), 323: (_LONG, [TILE])} if tiled else {278: (_LONG, [ROWS])}
    tags = {
        256: (_LONG, [rgb.shape[1]]),
        257: (_LONG, [rgb.shape[0]]),
        258: (_SHORT, [8] * samples),
        259: (_SHORT, [7]),
        262: (_SHORT, [YCBCR if ycbcr else BLACK_IS_ZERO]),
        277: (_SHORT, [samples]),
        284: (_SHORT, [1]),
        **({530: (_SHORT, [1, 1])} if ycbcr else {}),
        **layout,
    }
    return Made(tiff(blocks, tags), rgb, exact=False)


def _other_type(dtype: str, **options: Any) -> Made:
    """Signed integers, floats and complex numbers, which say nothing about how they are to be shown."""
    kind = np.dtype(dtype).kind
    values = drawn.shape() * 2 - 1 if kind in "ifc" else drawn.shape()
    if kind in "iu":
        values = np.rint(values * np.iinfo(dtype).max)
    code = {"u": 1, "i": 2, "f": 3, "c": 6}[kind]
    low, high = float(values.min()), float(values.max())
    shown = np.rint((values - low) / (high - low) * 255).astype(np.uint8)
    return Made(image(values.astype(dtype), BLACK_IS_ZERO, sample_format=code, **options), shown, exact=False)


def _several(sub: bool = False) -> Made:
    """Two pages, or a reduced image in SubIFDs-like second page (NewSubfileType 1)."""
    first, second = drawn.grey(8), drawn.grey(8)[::2, ::2][::-1].copy()
    entries = {
        256: (_LONG, [second.shape[1]]),
        257: (_LONG, [second.shape[0]]),
        258: (_SHORT, [8]),
        259: (_SHORT, [1]),
        262: (_SHORT, [1]),
        277: (_SHORT, [1]),
        278: (_LONG, [second.shape[0]]),
        **({254: (_LONG, [1])} if sub else {}),
    }
    tags = {
        256: (_LONG, [first.shape[1]]),
        257: (_LONG, [first.shape[0]]),
        258: (_SHORT, [8]),
        259: (_SHORT, [1]),
        262: (_SHORT, [1]),
        277: (_SHORT, [1]),
        278: (_LONG, [first.shape[0]]),
    }
    return Made(tiff([first.tobytes()], tags, pages=[([second.tobytes()], entries)]), first, options={"frame": "first"})


def _lab() -> Made:
    """CIELab, 8 bits: L 0..100 as 0..255, a and b signed; neutral, so that any illuminant gives the same grey."""
    level = drawn.grey(8)
    values = np.dstack([level, np.zeros_like(level), np.zeros_like(level)])
    lightness = level / 255 * 100
    linear = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    srgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    shown = np.rint(np.clip(srgb, 0, 1) * 255).astype(np.uint8)
    return Made(image(values, CIELAB), np.dstack([shown] * 3), exact=False)


def _fax(compression: int, photometric: int) -> Made:
    """CCITT group 4; its 0 is white."""
    from io import BytesIO

    from PIL import Image

    values = drawn.grey(1)
    out = BytesIO()
    name = {3: "group3", 4: "group4", 2: "tiff_ccitt"}[compression]
    info = {262: photometric}
    Image.fromarray(values * 255).convert("1", dither=0).save(out, "TIFF", compression=name, tiffinfo=info)
    return Made(out.getvalue(), values * 255)


def _damaged(compression: str, bits: int) -> bytes:
    """One strip of three replaced by noise."""
    whole = _grey(bits, compression=compression).data
    count = 24 // ROWS + 1
    noise = bytearray(whole)
    # The second strip: between the first and the third, whose starts the file itself tells.
    import io

    import tifffile

    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        starts, sizes = file.pages[0].dataoffsets, file.pages[0].databytecounts
    assert len(starts) == count
    noise[starts[1] : starts[1] + sizes[1]] = bytes([0x5A]) * sizes[1]
    return bytes(noise)


def damaged_files() -> dict[str, bytes]:
    """Return TIFF files of which one strip is not readable."""
    return {f"damaged-grey{b}-{c}.tif": _damaged(c, b) for b in (8, 16) for c in ("deflate", "lzw", "packbits", "zstd")}


def files() -> dict[str, Callable[[], Made]]:
    """Return the makers by file name."""
    made: dict[str, Callable[[], Made]] = {}

    def add(name: str, make: Callable[..., Made], *arguments: Any, **options: Any) -> None:
        made[f"{name}.tif"] = lambda: make(*arguments, **options)

    for bits in (1, 2, 4, 8, 10, 12, 14, 16):
        add(f"grey{bits}", _grey, bits)
        add(f"grey{bits}-white0", _grey, bits, photometric=WHITE_IS_ZERO)
    for bits in (8, 12, 16):
        for name in ("lzw", "deflate", "packbits", "zstd", "lzma"):
            add(f"grey{bits}-{name}", _grey, bits, compression=name)
    for bits in (8, 16):
        # The LERC encoder leaves bytes of its header as they lie in memory.
        made[f"grey{bits}-lerc.tif"] = lambda b=bits: _grey(b, compression="lerc")._replace(stable=False)
        for name in ("jpeg2000", "jpegxl", "png", "jpegxr", "ljpeg"):
            add(f"grey{bits}-{name}", _grey, bits, compression=name)
        for name in ("deflate", "lzw"):
            add(f"grey{bits}-{name}-predictor", _grey, bits, compression=name, predictor=True)
            add(f"rgb{bits}-{name}-predictor", _colour, bits, compression=name, predictor=True)
        add(f"grey{bits}-tiles", _grey, bits, tiled=True)
        add(
            f"grey{bits}-tiles-deflate-white0",
            _grey,
            bits,
            tiled=True,
            compression="deflate",
            photometric=WHITE_IS_ZERO,
        )
        add(f"grey{bits}-bigendian", _grey, bits, big_endian=True)
        add(f"grey{bits}-bigtiff", _grey, bits, bigtiff=True)
        add(f"grey{bits}-bigtiff-bigendian-tiles", _grey, bits, bigtiff=True, big_endian=True, tiled=True)
        add(f"rgb{bits}", _colour, bits)
        add(f"rgb{bits}-bigendian", _colour, bits, big_endian=True)
        add(f"rgb{bits}-planar", _colour, bits, planar=True)
        add(f"rgb{bits}-planar-tiles-deflate", _colour, bits, planar=True, tiled=True, compression="deflate")
        add(f"rgb{bits}-planar-bigendian", _colour, bits, planar=True, big_endian=True)
        add(f"rgb{bits}-tiles", _colour, bits, tiled=True)
        for name in ("jpeg2000", "jpegxl", "png", "zstd"):
            add(f"rgb{bits}-{name}", _colour, bits, compression=name)
        for kind, word in ((0, "unspecified"), (1, "associated"), (2, "unassociated")):
            add(f"rgba{bits}-{word}", _alpha, bits, kind)
            add(f"greyalpha{bits}-{word}", _alpha, bits, kind, grey=True)
        add(f"rgba{bits}-planar-unassociated", _alpha, bits, 2, planar=True)
        add(f"cmyk{bits}", _inks, bits)
        add(f"rgb{bits}-orientation6", _orientation, 6, bits)
    add("rgb8-webp", _colour, 8, compression="webp")
    add("rgb8-aperio33005", _colour, 8, compression="aperio33005")
    add("grey8-aperio33003", _grey, 8, compression="aperio33003")
    add("cmyk8-planar", _inks, 8, planar=True)
    for bits in (10, 12, 14):
        add(f"rgb{bits}", _colour, bits)
    for value in (2, 3, 4, 5, 7, 8):
        add(f"rgb8-orientation{value}", _orientation, value)
    for bits in (1, 2, 4, 8):
        add(f"palette{bits}", _palette, bits)
    add("palette8-tiles-lzw", _palette, 8, tiled=True, compression="lzw")
    add("grey1-fillorder2", _grey, 1, fill_order=2)
    add("grey12-fillorder2", _grey, 12, fill_order=2)
    add("grey12-bigendian", _grey, 12, big_endian=True)
    add("grey8-oldflate", _grey, 8, compression="oldflate")
    for across, down in ((1, 1), (2, 1), (2, 2)):
        add(f"ycbcr8-raw-{across}{down}", _ycbcr, across, down)
    for tiled in (False, True):
        add(f"grey8-jpeg{'-tiles' * tiled}", _jpeg, tiled, False)
        add(f"ycbcr8-jpeg{'-tiles' * tiled}", _jpeg, tiled, True)
    for dtype in ("int8", "int16", "uint32", "int32", "float16", "float32", "float64", "complex64"):
        add(f"grey-{dtype}", _other_type, dtype)
    add("two-pages", _several)
    add("reduced-second-page", _several, sub=True)
    add("cielab8-neutral", _lab)
    for number, photometric in ((2, 0), (3, 0), (4, 0), (4, 1)):
        add(f"fax{number}-photometric{photometric}", _fax, number, photometric)
    for bits in (10, 12, 14):
        made[f"grey16-uses-{bits}.tif"] = lambda b=bits: Made(
            image(drawn.grey(b, np.uint16), BLACK_IS_ZERO), drawn.to_8_bits(drawn.grey(b), b), options={"bits": b}
        )
    return made
