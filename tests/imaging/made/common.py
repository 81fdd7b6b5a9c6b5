"""JPEG, BMP, GIF, WebP, Netpbm, JPEG 2000, JPEG-LS and JPEG XL files of every kind, and formats beside them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from tests.imaging.made import drawn
from tests.imaging.made.drawn import HEIGHT, WIDTH, Made
from tests.imaging.made.png import exif


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the file that Pillow writes."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    """Return one segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def without(data: bytes, marker: int) -> bytes:
    """Return a JPEG file without its first segment of that kind."""
    place = data.index(bytes([0xFF, marker]))
    return data[:place] + data[place + 2 + int.from_bytes(data[place + 2 : place + 4]) :]


def _after_start(data: bytes, extra: bytes) -> bytes:
    return data[:2] + extra + data[2:]


def _adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def _jpeg(subsampling: str, **options: Any) -> Made:
    rgb = drawn.smooth()
    return Made(saved(Image.fromarray(rgb), "JPEG", quality=97, subsampling=subsampling, **options), rgb, exact=False)


def _jpeg_grey(**options: Any) -> Made:
    grey = drawn.smooth_grey()
    return Made(saved(Image.fromarray(grey), "JPEG", quality=97, **options), grey, exact=False)


def _jpeg8(values: np.ndarray, truth: np.ndarray, exact: bool = False, **options: Any) -> Made:
    return Made(imagecodecs.jpeg8_encode(values, **options), truth, exact=exact)


def rgb_jpeg(adobe: bool, letters: bool = True) -> Made:
    """Components that are red, green and blue, said by Adobe's marker (transform 0) or by their ids 'R', 'G', 'B'."""
    rgb = drawn.smooth()
    data = imagecodecs.jpeg8_encode(rgb, level=97, colorspace="RGB", outcolorspace="RGB", subsampling="444")
    while b"\xff\xee" in data[: data.index(b"\xff\xda")]:
        data = without(data, 0xEE)
    while b"\xff\xe0" in data[: data.index(b"\xff\xda")]:
        data = without(data, 0xE0)
    data = bytearray(data)
    names = b"RGB" if letters else bytes([1, 2, 3])
    frame = next(data.index(bytes([0xFF, m])) for m in (0xC0, 0xC1, 0xC2) if bytes([0xFF, m]) in data)
    scan = data.index(b"\xff\xda")
    for i in range(3):
        data[frame + 10 + 3 * i] = names[i]
        data[scan + 5 + 2 * i] = names[i]
    return Made(_after_start(bytes(data), _adobe(0)) if adobe else bytes(data), rgb, exact=False)


def _jpeg_cmyk(ycck: bool, adobe: bool = True) -> Made:
    rgb = drawn.smooth()
    inks = np.dstack([255 - rgb, np.full(rgb.shape[:2], 40, np.uint8)])
    shown = np.rint(rgb / 255 * (1 - 40 / 255) * 255).astype(np.uint8)
    if ycck:
        # Adobe stores inverted inks; the first three as YCbCr of them (Adobe Technical Note 5116).
        data = imagecodecs.jpeg8_encode(
            np.ascontiguousarray(255 - inks), level=97, colorspace="CMYK", outcolorspace="YCCK", subsampling="444"
        )
        return Made(data, shown, exact=False)
    data = saved(Image.fromarray(inks if adobe else 255 - inks, "CMYK"), "JPEG", quality=97)
    return Made(data if adobe else without(data, 0xEE), shown, exact=False)


def _jpeg_turned(value: int) -> Made:
    rgb = drawn.smooth()
    about = Image.Exif()
    about[0x0112] = value
    return Made(
        saved(Image.fromarray(rgb), "JPEG", quality=97, subsampling="4:4:4", exif=about),
        drawn.turned(rgb, value),
        exact=False,
    )


def _jpegs() -> dict[str, Callable[[], Made]]:
    made: dict[str, Callable[[], Made]] = {
        "grey.jpg": _jpeg_grey,
        "grey-progressive.jpg": lambda: _jpeg_grey(progressive=True),
        "grey-restarts.jpg": lambda: _jpeg_grey(restart_marker_blocks=2),
        "grey-thumbnail.jpg": lambda: _jpeg_grey()._replace(
            data=_after_start(_jpeg_grey().data, segment(0xE2, saved(Image.new("L", (8, 8), 9), "JPEG")))
        ),
        "progressive-420.jpg": lambda: _jpeg("4:2:0", progressive=True),
        "optimised-444.jpg": lambda: _jpeg("4:4:4", optimize=True),
        "rgb-adobe.jpg": lambda: rgb_jpeg(True),
        "rgb-letters.jpg": lambda: rgb_jpeg(False),
        "rgb-adobe-numbers.jpg": lambda: rgb_jpeg(True, False),
        "cmyk-adobe.jpg": lambda: _jpeg_cmyk(False),
        "cmyk-plain.jpg": lambda: _jpeg_cmyk(False, False),
        "ycck-adobe.jpg": lambda: _jpeg_cmyk(True),
        "grey12.jpg": lambda: _jpeg8(
            drawn.smooth_grey(12), drawn.to_8_bits(drawn.smooth_grey(12), 12), level=97, bitspersample=12
        ),
        "rgb12.jpg": lambda: _jpeg8(
            drawn.smooth(12), drawn.to_8_bits(drawn.smooth(12), 12), level=97, bitspersample=12, subsampling="444"
        ),
        "grey8-lossless.jpg": lambda: _jpeg8(drawn.grey(8), drawn.grey(8), True, lossless=True),
        "grey12-lossless.jpg": lambda: _jpeg8(
            drawn.grey(12), drawn.to_8_bits(drawn.grey(12), 12), True, lossless=True, bitspersample=12
        ),
        "grey16-lossless.jpg": lambda: _jpeg8(
            drawn.grey(16), drawn.to_8_bits(drawn.grey(16), 16), True, lossless=True, bitspersample=16
        ),
        "rgb8-lossless.jpg": lambda: _jpeg8(
            drawn.colour(8), drawn.colour(8), True, lossless=True, colorspace="RGB", outcolorspace="RGB"
        ),
    }
    for name in ("4:4:4", "4:2:2", "4:2:0"):
        made[f"ycbcr-{name.replace(':', '')}.jpg"] = lambda n=name: _jpeg(n)
    for name in ("440", "411"):
        made[f"ycbcr-{name}.jpg"] = lambda n=name: _jpeg8(drawn.smooth(), drawn.smooth(), level=97, subsampling=n)
    for value in range(2, 9):
        made[f"orientation{value}.jpg"] = lambda v=value: _jpeg_turned(v)
    return made


def bmp(
    body: bytes,
    bits: int,
    compression: int = 0,
    palette: bytes = b"",
    masks: bytes = b"",
    top_down: bool = False,
    core: bool = False,
) -> bytes:
    if core:
        header = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
    else:
        height = -HEIGHT if top_down else HEIGHT
        header = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, compression, len(body), 2835, 2835, 0, 0)
    start = 14 + len(header) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + masks + palette + body


def bmp_lines(values: np.ndarray, bits: int, top_down: bool = False) -> bytes:
    """Return the rows from the bottom up, each filled to four bytes."""
    rows = values if top_down else values[::-1]
    raw = np.frombuffer(drawn.packed(rows, bits), np.uint8).reshape(len(rows), -1)
    return np.pad(raw, ((0, 0), (0, -raw.shape[1] % 4))).tobytes()


def _bmp_palette(bits: int, core: bool = False, top_down: bool = False) -> Made:
    index, palette = drawn.indices(bits)
    bgr = palette[:, ::-1]
    table = bgr if core else np.pad(bgr, ((0, 0), (0, 1)))
    body = bmp_lines(index, bits, top_down)
    return Made(bmp(body, bits, palette=table.tobytes(), core=core, top_down=top_down), palette[index])


def _bmp_rle(bits: int) -> Made:
    """Run-length code: runs, and a literal passage in every row."""
    index, palette = drawn.indices(bits)
    out = bytearray()
    for row in index[::-1]:
        x = 0
        while x < WIDTH:
            run = 1
            while x + run < WIDTH and row[x + run] == row[x]:
                run += 1
            if run > 1 or x + 4 > WIDTH:
                value = int(row[x]) if bits == 8 else int(row[x]) * 17
                out += bytes([run, value])
                x += run
            else:
                part = row[x : x + 4]
                out += bytes([0, 4])
                out += part.tobytes() if bits == 8 else bytes([part[0] * 16 + part[1], part[2] * 16 + part[3]])
                x += 4
        out += b"\0\0"
    out += b"\0\1"
    table = np.pad(palette[:, ::-1], ((0, 0), (0, 1)))
    return Made(bmp(bytes(out), bits, 1 if bits == 8 else 2, table.tobytes()), palette[index])


def _bmp_colour(bits: int, top_down: bool = False, alpha: bool = False, masks: bool = False) -> Made:
    rgb = drawn.colour(8)
    bgr = rgb[..., ::-1]
    if bits == 32:
        bgr = np.dstack([bgr, drawn.alpha(8) if alpha else np.zeros_like(bgr[..., 0])])
    body = np.ascontiguousarray(bgr if top_down else bgr[::-1]).tobytes()
    words = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF) if masks else b""
    return Made(bmp(body, bits, 3 if masks else 0, masks=words, top_down=top_down), rgb)


def _bmp16(green: int) -> Made:
    """5-5-5 or 5-6-5 bits."""
    rgb = drawn.colour(8).astype(np.uint16)
    r, g, b = rgb[..., 0] >> 3, rgb[..., 1] >> (8 - green), rgb[..., 2] >> 3
    word = ((r << (5 + green)) | (g << 5) | b).astype("<u2")
    shown = np.dstack([drawn.to_8_bits(r, 5), drawn.to_8_bits(g, green), drawn.to_8_bits(b, 5)])
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F) if green == 6 else b""
    return Made(bmp(word[::-1].tobytes(), 16, 3 if masks else 0, masks=masks), shown, exact=False)


def _bmps() -> dict[str, Callable[[], Made]]:
    return {
        "palette1.bmp": lambda: _bmp_palette(1),
        "palette4.bmp": lambda: _bmp_palette(4),
        "palette8.bmp": lambda: _bmp_palette(8),
        "palette8-os2.bmp": lambda: _bmp_palette(8, core=True),
        "palette8-topdown.bmp": lambda: _bmp_palette(8, top_down=True),
        "rle8.bmp": lambda: _bmp_rle(8),
        "rle4.bmp": lambda: _bmp_rle(4),
        "bits555.bmp": lambda: _bmp16(5),
        "bits565.bmp": lambda: _bmp16(6),
        "rgb24.bmp": lambda: _bmp_colour(24),
        "rgb24-topdown.bmp": lambda: _bmp_colour(24, top_down=True),
        "rgb32.bmp": lambda: _bmp_colour(32),
        "rgb32-alpha.bmp": lambda: _bmp_colour(32, alpha=True),
        "rgb32-bitfields.bmp": lambda: _bmp_colour(32, masks=True),
    }


def _gif(**options: Any) -> Made:
    index, palette = drawn.indices(8)
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    return Made(saved(image, "GIF", optimize=False, **options), palette[index])


def _gif_small_frame() -> Made:
    """The first frame covers part of the screen; what it leaves free shows the background."""
    index, palette = drawn.indices(8)
    whole = bytearray(_gif().data)
    struct.pack_into("<HH", whole, 6, WIDTH + 6, HEIGHT + 4)
    place = whole.index(b"\x2c" + struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT))
    struct.pack_into("<HH", whole, place + 1, 3, 2)
    shown = np.broadcast_to(palette[whole[11]], (HEIGHT + 4, WIDTH + 6, 3)).copy()
    shown[2 : 2 + HEIGHT, 3 : 3 + WIDTH] = palette[index]
    return Made(bytes(whole), shown)


def _gif_animated() -> Made:
    index, palette = drawn.indices(8)
    frames = []
    for part in (index, index[::-1]):
        image = Image.fromarray(np.ascontiguousarray(part), "P")
        image.putpalette(palette.tobytes())
        frames.append(image)
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], optimize=False)
    return Made(data, palette[index], options={"frame": "first"})


def _webp(lossless: bool, alpha: bool = False, orientation: int = 1) -> Made:
    rgb = drawn.colour(8) if lossless else drawn.smooth()
    pixels = np.dstack([rgb, drawn.alpha(8)]) if alpha else rgb
    about = {"exif": b"Exif\0\0" + exif(orientation)} if orientation != 1 else {}
    data = saved(Image.fromarray(pixels), "WEBP", lossless=lossless, quality=98, exact=True, **about)
    return Made(data, drawn.turned(rgb, orientation), exact=lossless)


def _webp_animated() -> Made:
    rgb = drawn.colour(8)
    first, second = Image.fromarray(rgb), Image.fromarray(np.ascontiguousarray(rgb[::-1]))
    data = saved(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    return Made(data, rgb, options={"frame": "first"})


def _netpbm() -> dict[str, Callable[[], Made]]:
    def head(kind: str, top: int | None = None) -> bytes:
        return f"{kind}\n# drawn\n{WIDTH} {HEIGHT}\n{'' if top is None else f'{top}{chr(10)}'}".encode()

    def text(values: np.ndarray) -> bytes:
        return b"\n".join(b" ".join(b"%d" % v for v in row) for row in values.reshape(HEIGHT, -1))

    def scaled(top: int) -> np.ndarray:
        return np.rint(drawn.shape() * top).astype(np.uint16)

    def shown(top: int) -> np.ndarray:
        return np.rint(scaled(top) * 255.0 / top).astype(np.uint8)

    bit = drawn.grey(1)
    return {
        "p1.pbm": lambda: Made(head("P1") + text(1 - bit), bit * 255),
        "p2.pgm": lambda: Made(head("P2", 255) + text(drawn.grey(8)), drawn.grey(8)),
        "p2-top1000.pgm": lambda: Made(head("P2", 1000) + text(scaled(1000)), shown(1000)),
        "p3.ppm": lambda: Made(head("P3", 255) + text(drawn.colour(8)), drawn.colour(8)),
        "p4.pbm": lambda: Made(head("P4") + drawn.packed(1 - bit, 1), bit * 255),
        "p5.pgm": lambda: Made(head("P5", 255) + drawn.grey(8).tobytes(), drawn.grey(8)),
        "p5-top100.pgm": lambda: Made(head("P5", 100) + scaled(100).astype(np.uint8).tobytes(), shown(100)),
        "p5-top4095.pgm": lambda: Made(head("P5", 4095) + scaled(4095).astype(">u2").tobytes(), shown(4095)),
        "p5-top65535.pgm": lambda: Made(head("P5", 65535) + scaled(65535).astype(">u2").tobytes(), shown(65535)),
        "p6.ppm": lambda: Made(head("P6", 255) + drawn.colour(8).tobytes(), drawn.colour(8)),
        "p6-top65535.ppm": lambda: Made(
            head("P6", 65535) + drawn.colour(16).astype(">u2").tobytes(), drawn.to_8_bits(drawn.colour(16), 16)
        ),
        "p7-greyalpha.pam": lambda: Made(
            f"P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n".encode()
            + np.dstack([drawn.grey(8), drawn.alpha(8)]).tobytes(),
            drawn.grey(8),
        ),
        "p7-rgb.pam": lambda: Made(
            f"P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n".encode()
            + drawn.colour(8).tobytes(),
            drawn.colour(8),
        ),
        "float.pfm": lambda: Made(
            f"Pf\n{WIDTH} {HEIGHT}\n-1.0\n".encode() + drawn.shape()[::-1].astype("<f4").tobytes(), drawn.grey(8)
        ),
    }


def _jpeg2000() -> dict[str, Callable[[], Made]]:
    def lossless(values: np.ndarray, bits: int, codec: str = "jp2", **options: Any) -> Made:
        data = imagecodecs.jpeg2k_encode(
            values, level=0, reversible=True, codecformat=codec, bitspersample=bits, **options
        )
        return Made(data, drawn.to_8_bits(values, bits))

    def lossy() -> Made:
        return Made(imagecodecs.jpeg2k_encode(drawn.smooth(), level=50, codecformat="jp2"), drawn.smooth(), exact=False)

    return {
        "grey8.jp2": lambda: lossless(drawn.grey(8), 8),
        "grey12.jp2": lambda: lossless(drawn.grey(12), 12),
        "grey16.jp2": lambda: lossless(drawn.grey(16), 16),
        "grey8.j2k": lambda: lossless(drawn.grey(8), 8, "j2k"),
        "grey12.j2k": lambda: lossless(drawn.grey(12), 12, "j2k"),
        "rgb8.jp2": lambda: lossless(drawn.colour(8), 8),
        "rgb16.jp2": lambda: lossless(drawn.colour(16), 16),
        "rgb8-noct.j2k": lambda: lossless(drawn.colour(8), 8, "j2k", mct=False),
        "rgba8.jp2": lambda: lossless(np.dstack([drawn.colour(8), drawn.alpha(8)]), 8)._replace(truth=drawn.colour(8)),
        "rgb8-lossy.jp2": lossy,
        "grey8.jph": lambda: Made(imagecodecs.htj2k_encode(drawn.grey(8), level=None, reversible=True), drawn.grey(8)),
        "grey8.jls": lambda: Made(imagecodecs.jpegls_encode(drawn.grey(8)), drawn.grey(8)),
        "grey16.jls": lambda: Made(imagecodecs.jpegls_encode(drawn.grey(16)), drawn.to_8_bits(drawn.grey(16), 16)),
        "rgb8.jls": lambda: Made(imagecodecs.jpegls_encode(drawn.colour(8)), drawn.colour(8)),
        "grey8.jxl": lambda: Made(imagecodecs.jpegxl_encode(drawn.grey(8), lossless=True), drawn.grey(8)),
        "grey16.jxl": lambda: Made(
            imagecodecs.jpegxl_encode(drawn.grey(16), lossless=True), drawn.to_8_bits(drawn.grey(16), 16)
        ),
        "rgb8.jxl": lambda: Made(imagecodecs.jpegxl_encode(drawn.colour(8), lossless=True), drawn.colour(8)),
        "rgb8-box.jxl": lambda: Made(
            imagecodecs.jpegxl_encode(drawn.colour(8), lossless=True, usecontainer=True), drawn.colour(8)
        ),
        "grey8.jxr": lambda: Made(imagecodecs.jpegxr_encode(drawn.grey(8), level=1.0), drawn.grey(8)),
        "rgb8.avif": lambda: Made(saved(Image.fromarray(drawn.smooth()), "AVIF", quality=95), drawn.smooth(), False),
    }


def _others() -> dict[str, Callable[[], Made]]:
    rgb = drawn.colour(8)
    image = Image.fromarray(rgb)
    icon = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    return {
        "rgb8.tga": lambda: Made(saved(image, "TGA"), rgb),
        "rgb8.pcx": lambda: Made(saved(image, "PCX"), rgb),
        "rgb8.sgi": lambda: Made(saved(image, "SGI"), rgb),
        "rgb8.ico": lambda: Made(saved(Image.fromarray(icon), "ICO", sizes=[(WIDTH, HEIGHT)]), rgb),
        "rgb8.dds": lambda: Made(saved(image, "DDS"), rgb),
        "rgb8.im": lambda: Made(saved(image, "IM"), rgb),
        "rgb8.qoi": lambda: Made(imagecodecs.qoi_encode(rgb), rgb),
        "rgb8.ras": lambda: Made(
            struct.pack(">8I", 0x59A66A95, WIDTH, HEIGHT, 24, WIDTH * HEIGHT * 3, 1, 0, 0) + rgb[..., ::-1].tobytes(),
            rgb,
        ),
        "float.hdr": lambda: Made(imagecodecs.rgbe_encode((rgb / 255).astype(np.float32)), rgb, False),
    }


def files() -> dict[str, Callable[[], Made]]:
    """Return the makers by file name."""
    made = _jpegs() | _bmps() | _netpbm() | _jpeg2000() | _others()
    made |= {
        "palette8.gif": _gif,
        "palette8-plain.gif": lambda: _gif(interlace=0),
        "palette8-transparent.gif": lambda: _gif(transparency=int(drawn.indices(8)[0][0, 0])),
        "small-frame.gif": _gif_small_frame,
        "animated.gif": _gif_animated,
        "lossless.webp": lambda: _webp(True),
        "lossless-alpha.webp": lambda: _webp(True, True),
        "lossy.webp": lambda: _webp(False),
        "lossy-alpha.webp": lambda: _webp(False, True),
        "animated.webp": _webp_animated,
    }
    for value in range(2, 9):
        made[f"orientation{value}.webp"] = lambda v=value: _webp(True, False, v)
    return made
