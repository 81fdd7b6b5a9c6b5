"""PNG files of every kind, written chunk by chunk (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from tests.imaging.made import drawn
from tests.imaging.made.drawn import Made

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return one chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _rows(values: np.ndarray, bits: int) -> bytes:
    """Return filtered rows; the filters none and sub take turns where a byte holds whole samples."""
    raw = np.frombuffer(drawn.packed(values, bits), np.uint8).reshape(len(values), -1)
    step = max(1, bits * (values.shape[2] if values.ndim == 3 else 1) // 8)
    lines = []
    for y, row in enumerate(raw):
        if y % 2:
            before = np.concatenate([np.zeros(step, np.uint8), row[:-step]])
            lines.append(b"\x01" + (row - before).astype(np.uint8).tobytes())
        else:
            lines.append(b"\x00" + row.tobytes())
    return b"".join(lines)


def png(values: np.ndarray, bits: int, kind: int, extra: bytes = b"", interlaced: bool = False, after: bytes = b""):
    """Return a PNG file of integer `values` [H, W] or [H, W, C]; `extra` stands before the pixels, `after` behind."""
    if interlaced:
        parts = (values[y::dy, x::dx] for y, x, dy, dx in _ADAM7)
        rows = b"".join(_rows(part, bits) for part in parts if part.size)
    else:
        rows = _rows(values, bits)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, kind, 0, 0, interlaced)
    packed = zlib.compress(rows, 9)
    half = len(packed) // 2
    pixels = chunk(b"IDAT", packed[:half]) + chunk(b"IDAT", packed[half:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + after + chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    """Return EXIF data that hold an orientation alone."""
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def _kinds() -> Iterator[tuple[str, int, int, np.ndarray, np.ndarray, bytes]]:
    """Yield name, bits, colour type, stored values, what they show and further chunks."""
    for bits in (1, 2, 4, 8, 16):
        values = drawn.grey(bits)
        yield f"grey{bits}", bits, GREY, values, drawn.to_8_bits(values, bits), b""
    for bits in (1, 2, 4, 8):
        index, palette = drawn.indices(bits)
        yield f"palette{bits}", bits, PALETTE, index, palette[index], chunk(b"PLTE", palette.tobytes())
    for bits in (8, 16):
        rgb, see_through = drawn.colour(bits), drawn.alpha(bits)
        grey = drawn.grey(bits)
        shown = drawn.to_8_bits(rgb, bits)
        yield f"rgb{bits}", bits, RGB, rgb, shown, b""
        yield f"rgba{bits}", bits, RGBA, np.dstack([rgb, see_through]), shown, b""
        yield f"greyalpha{bits}", bits, GREY_ALPHA, np.dstack([grey, see_through]), drawn.to_8_bits(grey, bits), b""


def _with(name: str, extra: bytes, after: bytes = b"") -> Made:
    """Return one of the kinds with further chunks."""
    for other, bits, kind, values, shown, needed in _kinds():
        if other == name:
            return Made(png(values, bits, kind, needed + extra, after=after), shown)
    raise KeyError(name)


def _animated() -> Made:
    """APNG: the first of two frames is the picture itself; the second comes behind it."""
    other = zlib.compress(_rows(drawn.grey(8)[::-1], 8), 9)
    about = struct.pack(">IIIIHHBB", drawn.WIDTH, drawn.HEIGHT, 0, 0, 1, 10, 0, 0)
    first = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", struct.pack(">I", 0) + about)
    second = chunk(b"fcTL", struct.pack(">I", 1) + about) + chunk(b"fdAT", struct.pack(">I", 2) + other)
    made = _with("grey8", first, second)
    return made._replace(options={"frame": "first"})


def _orientation(value: int) -> Made:
    rgb = drawn.colour(8)
    return Made(png(rgb, 8, RGB, chunk(b"eXIf", exif(value))), drawn.turned(rgb, value))


def _dark(bits: int) -> Made:
    """16-bit samples of which the lower `bits` are used."""
    values = drawn.grey(bits, np.uint16)
    return Made(png(values, 16, GREY), drawn.to_8_bits(values, bits), options={"bits": bits})


def files() -> dict[str, Callable[[], Made]]:
    """Return the makers by file name."""
    made: dict[str, Callable[[], Made]] = {}
    for name, bits, kind, values, shown, extra in _kinds():
        for interlaced in (False, True):
            made[f"{name}{'-adam7' * interlaced}.png"] = (
                lambda v=values, b=bits, k=kind, s=shown, e=extra, i=interlaced: Made(png(v, b, k, e, i), s)
            )
    hidden = struct.pack(">H", int(drawn.grey(16)[0, 0]))
    of_three = struct.pack(">3H", *(int(v) for v in drawn.colour(16)[0, 0]))
    made |= {
        "grey8-trns.png": lambda: _with("grey8", chunk(b"tRNS", struct.pack(">H", int(drawn.grey(8)[0, 0])))),
        "grey16-trns.png": lambda: _with("grey16", chunk(b"tRNS", hidden)),
        "grey1-trns.png": lambda: _with("grey1", chunk(b"tRNS", b"\0\0")),
        "rgb8-trns.png": lambda: _with(
            "rgb8", chunk(b"tRNS", struct.pack(">3H", *(int(v) for v in drawn.colour(8)[0, 0])))
        ),
        "rgb16-trns.png": lambda: _with("rgb16", chunk(b"tRNS", of_three)),
        "palette8-trns.png": lambda: _with("palette8", chunk(b"tRNS", bytes(range(0, 256, 2)))),
        "palette2-trns.png": lambda: _with("palette2", chunk(b"tRNS", bytes([0, 128, 255]))),
        "grey8-gama.png": lambda: _with("grey8", chunk(b"gAMA", struct.pack(">I", 100000))),
        "rgb8-srgb-chrm.png": lambda: _with(
            "rgb8",
            chunk(b"sRGB", b"\0")
            + chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        ),
        "grey16-sbit12.png": lambda: _with("grey16", chunk(b"sBIT", b"\x0c")),
        "rgb8-sbit5.png": lambda: _with("rgb8", chunk(b"sBIT", b"\5\5\5")),
        "grey8-bkgd-time.png": lambda: _with(
            "grey8", chunk(b"bKGD", b"\0\xff") + chunk(b"tIME", struct.pack(">HBBBBB", 2026, 1, 2, 3, 4, 5))
        ),
        "grey8-animated.png": _animated,
        "grey16-uses-10.png": lambda: _dark(10),
        "grey16-uses-12.png": lambda: _dark(12),
        "grey16-uses-14.png": lambda: _dark(14),
        "grey16-uses-15.png": lambda: _dark(15),
    }
    for value in range(2, 9):
        made[f"rgb8-orientation{value}.png"] = lambda v=value: _orientation(v)
    return made
