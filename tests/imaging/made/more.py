"""Files beside the common ones: what cameras, microscopes, slide scanners and older programs write."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from pydicom.sequence import Sequence

from tests.imaging.made import drawn
from tests.imaging.made.common import saved
from tests.imaging.made.dicom_file import (
    RLE,
    full,
    header,
    jpeg_syntax,
    looked_up,
    lut,
    rle_frame,
    windowed,
    written,
)
from tests.imaging.made.drawn import HEIGHT, WIDTH, Made
from tests.imaging.made.png import RGB as PNG_RGB
from tests.imaging.made.png import chunk, exif, png
from tests.imaging.made.tiff import BLACK_IS_ZERO, RGB, image, tiff

_SHORT, _LONG = 3, 4
ARITHMETIC = (
    "|JeWF01!$>Nk#wx0RR9200961|JwjV009930RaI40RaI40RaI40s;X60RaO70s;a90|W#E0|NsD1O^2J1O)^G0|f^K1qKEN1_lHL2L}fR2L=WP"
    "2LH(b3kU!h03ZPY5di<p00saM5C#9*00;pA002J#{{Z)EMM9dnjcp&U%;IVrl;iMC{FB{~qAf{?<D$e4=i|YuJz;Al)M>_Y)(A%A@fM&M)Wz=P"
    "joet?xrbfsy_tq_g7GX4J0+yL$)%kUB}23&GHFRCQ_tBkH+!NOBk<S?{79{w0sG|8Xe|HP"
)
"""grey.jpg of common.py after ``jpegtran -arithmetic``: no encoder for Python writes it."""


def _entries(values: np.ndarray, photometric: int, **more: Any) -> dict[int, tuple[int, list[Any]]]:
    samples = 1 if values.ndim == 2 else values.shape[2]
    return {
        256: (_LONG, [values.shape[1]]),
        257: (_LONG, [values.shape[0]]),
        258: (_SHORT, [values.dtype.itemsize * 8] * samples),
        259: (_SHORT, [1]),
        262: (_SHORT, [photometric]),
        277: (_SHORT, [samples]),
        278: (_LONG, [values.shape[0]]),
        **more.get("extra", {}),
    }


def thumbnail_first() -> Made:
    """A reduced image (NewSubfileType 1) stands before the image itself."""
    rgb = drawn.colour(8)
    small = np.ascontiguousarray(rgb[::4, ::4][::-1])
    first = _entries(small, RGB, extra={254: (_LONG, [1])})
    second = _entries(rgb, RGB, extra={254: (_LONG, [0])})
    return Made(tiff([small.tobytes()], first, pages=[([rgb.tobytes()], second)]), rgb)


def stack_of_imagej() -> Made:
    """ImageJ: one directory, three planes behind each other, said in the description alone."""
    planes = np.stack([drawn.grey(8), drawn.grey(8)[::-1], 255 - drawn.grey(8)])
    out = io.BytesIO()
    tifffile.imwrite(out, planes, imagej=True, metadata={"axes": "ZYX"}, contiguous=True)
    return Made(out.getvalue(), planes[0], options={"frame": "first"})


def ome() -> Made:
    """OME-TIFF of 16 bits, one plane."""
    out = io.BytesIO()
    tifffile.imwrite(out, drawn.grey(16), ome=True, metadata={"axes": "YX", "UUID": "0"}, datetime=False)
    return Made(out.getvalue(), drawn.to_8_bits(drawn.grey(16), 16), stable=False)


def jpeg_with_tables(grey: bool) -> Made:
    """JPEG whose tables stand once in tag 347, as libtiff writes it."""
    pixels = drawn.smooth_grey() if grey else drawn.smooth()
    data = saved(Image.fromarray(pixels), "TIFF", compression="jpeg", quality=96)
    return Made(data, pixels, exact=False)


def old_jpeg() -> Made:
    """Compression 6, retired: the stream is named by tags 513 and 514."""
    grey = drawn.smooth_grey()
    stream = saved(Image.fromarray(grey), "JPEG", quality=97)
    tags = _entries(grey, BLACK_IS_ZERO, extra={259: (_SHORT, [6]), 512: (_SHORT, [1]), 514: (_LONG, [len(stream)])})
    # The block is the first thing behind the header of 8 bytes.
    return Made(tiff([stream], tags | {513: (_LONG, [8])}), grey, exact=False)


def several_greys(count: int) -> Made:
    """`count` channels of a microscope, photometric "black is zero": no colours; the first is what viewers show."""
    channels = np.dstack([drawn.grey(8), drawn.grey(8)[::-1], 255 - drawn.grey(8), drawn.alpha(8)][:count])
    return Made(image(channels, BLACK_IS_ZERO, extra_samples=[0] * (count - 1)), drawn.grey(8))


def camera_raw() -> bytes:
    """As DNG: a reduced picture first, the sensor's mosaic (photometric 32803) in a SubIFD."""
    small = drawn.colour(8)[::4, ::4].copy()
    mosaic = drawn.grey(16)
    return tiff(
        [small.tobytes()],
        _entries(small, RGB, extra={254: (_LONG, [1])}),
        pages=[([mosaic.tobytes()], _entries(mosaic, 32803, extra={254: (_LONG, [0])}))],
    )


def mixed_bits() -> bytes:
    """5, 6 and 5 bits: allowed by TIFF, read by few."""
    values = drawn.colour(8)
    tags = _entries(values, RGB, extra={258: (_SHORT, [5, 6, 5])})
    return tiff([bytes(HEIGHT * WIDTH * 2)], tags)


def raw_profile() -> Made:
    """PNG whose EXIF data stand as text in hexadecimal, as ImageMagick wrote them before eXIf."""
    body = b"Exif\0\0" + exif(6)
    text = b"\nexif\n%8d\n" % len(body) + body.hex().encode() + b"\n"
    extra = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    return Made(png(drawn.colour(8), 8, PNG_RGB, extra), drawn.turned(drawn.colour(8), 6))


def two_pictures() -> Made:
    """MPO of a camera: the second picture, as a preview, follows the first in the same file."""
    first = Image.fromarray(drawn.smooth())
    second = Image.fromarray(np.ascontiguousarray(drawn.smooth()[::-1]))
    data = saved(first, "MPO", save_all=True, append_images=[second], quality=97, subsampling="4:4:4")
    return Made(data, drawn.smooth(), exact=False, options={"frame": "first"})


def exif_as_long() -> Made:
    """Orientation 8 in little-endian EXIF, as a LONG."""
    about = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, _LONG, 1, 8, 0)
    data = saved(Image.fromarray(drawn.smooth()), "JPEG", quality=97, subsampling="4:4:4")
    segment = b"Exif\0\0" + about
    marker = struct.pack(">HH", 0xFFE1, len(segment) + 2) + segment
    return Made(data[:2] + marker + data[2:], drawn.turned(drawn.smooth(), 8), exact=False)


def avif_turned() -> Made:
    """AVIF says its orientation by the boxes irot and imir."""
    about = Image.Exif()
    about[0x0112] = 6
    data = saved(Image.fromarray(drawn.smooth()), "AVIF", quality=96, exif=about)
    return Made(data, drawn.turned(drawn.smooth(), 6), exact=False, stable=False)


def bmp_masks(order: str) -> Made:
    """32 bits in an order that the masks say, with a V4 header and an alpha mask."""
    rgb = drawn.colour(8)
    places = {"rgba": (0, 1, 2, 3), "abgr": (3, 2, 1, 0), "bgra": (2, 1, 0, 3)}[order]
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    for source, place in enumerate(places):
        pixels[..., place] = drawn.alpha(8) if source == 3 else rgb[..., source]
    masks = [0xFF << (8 * place) for place in places]
    body = np.ascontiguousarray(pixels[::-1]).tobytes()
    head = struct.pack("<IiiHHIIiiII4I", 108, WIDTH, HEIGHT, 1, 32, 3, len(body), 2835, 2835, 0, 0, *masks)
    head += b"BGRs" + bytes(48)
    start = 14 + len(head)
    return Made(b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + body, rgb)


def uncommon_bits() -> bytes:
    """BMP with four bits a colour, as its masks say: few decoders know it."""
    body = (drawn.colour(8).astype(np.uint16)[..., 0] >> 4 << 8).astype("<u2").tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 16, 3, len(body), 2835, 2835, 0, 0)
    masks = struct.pack("<III", 0xF00, 0xF0, 0xF)
    return b"BM" + struct.pack("<IHHI", 66 + len(body), 0, 0, 66) + head + masks + body


def rle_with_jumps() -> Made:
    """BMP run-length code that jumps over pixels and ends rows early: they keep the colour 0."""
    index, palette = drawn.indices(8)
    shown = np.zeros_like(index)
    out = bytearray()
    for y, row in enumerate(index[::-1]):
        if y % 4 == 3:  # two pixels, a jump of ten to the right, two more
            out += bytes([1, row[0], 1, row[1], 0, 2, 10, 0, 1, row[12], 1, row[13], 0, 0])
            shown[y, [0, 1, 12, 13]] = row[[0, 1, 12, 13]]
        else:
            for value in row:
                out += bytes([1, value])
            out += b"\0\0"
            shown[y] = row
    out += b"\0\1"
    table = np.pad(palette[:, ::-1], ((0, 0), (0, 1))).tobytes()
    start = 54 + len(table)
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(out), 2835, 2835, 256, 0)
    return Made(b"BM" + struct.pack("<IHHI", start + len(out), 0, 0, start) + head + table + out, palette[shown[::-1]])


def gif_with_own_palette() -> Made:
    """The palette of the frame counts, not that of the file."""
    index, palette = drawn.indices(4)
    frame = Image.fromarray(index, "P")
    frame.putpalette(palette.tobytes())
    data = bytearray(saved(frame, "GIF", optimize=False))
    size = 3 * 2 ** ((data[10] & 7) + 1)
    own = bytes(data[13 : 13 + size])
    place = data.index(b"\x2c", 13 + size)
    flags = data[place + 9] | 0x80 | (data[10] & 7)
    wrong = bytes(255 - v for v in own)
    return Made(
        bytes(data[:13] + wrong + data[13 + size : place + 9] + bytes([flags]) + own + data[place + 10 :]),
        palette[index],
    )


def jpegxl_12() -> Made:
    """JPEG XL that says 12 bits."""
    return Made(
        imagecodecs.jpegxl_encode(drawn.grey(12), lossless=True, bitspersample=12), drawn.to_8_bits(drawn.grey(12), 12)
    )


# --- DICOM


def precision(code: str) -> Made:
    """A code stream of 16 bits for values of which the header says 12."""
    values = drawn.grey(12)
    if code == "j2k":
        stream = imagecodecs.jpeg2k_encode(values, level=0, reversible=True, codecformat="j2k", bitspersample=16)
        syntax = jpeg_syntax(90)
    else:
        stream = imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=16)
        syntax = jpeg_syntax(70)
    file = header(values, BitsStored=12, **full(12))
    return Made(written(file, [stream + bytes(len(stream) % 2)], syntax), windowed(values, 2048, 4096))


def fragments() -> Made:
    """One frame in four pieces, no offsets."""
    values = drawn.grey(12)
    stream = imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=12)
    file = header(values, BitsStored=12, **full(12))
    pieces = [stream + bytes(len(stream) % 2)]
    return Made(
        written(file, pieces, jpeg_syntax(70), fragments_per_frame=4, has_bot=False), windowed(values, 2048, 4096)
    )


def extended_offsets() -> Made:
    """Extended Offset Table in place of the basic one, three frames."""
    values = drawn.grey(12)
    frames = [rle_frame(values), rle_frame(values[::-1].copy()), rle_frame(4095 - values)]
    file = header(np.stack([values] * 3), BitsStored=12, NumberOfFrames=3, **full(12))
    places = np.cumsum([0] + [8 + len(f) for f in frames[:-1]]).astype("<u8")
    file.ExtendedOffsetTable = places.tobytes()
    file.ExtendedOffsetTableLengths = np.array([len(f) for f in frames], "<u8").tobytes()
    return Made(written(file, frames, RLE, has_bot=False), windowed(values[::-1], 2048, 4096), options={"frame": 1})


def lut_after_rescale(signed_first: bool) -> Made:
    """A VOI LUT whose first value is a Hounsfield unit below 0, of unsigned pixels: written as SS or as US."""
    values = drawn.grey(12)
    table = np.rint(np.linspace(0, 1, 3000) ** 0.7 * 65535).astype(np.uint16)
    item = lut(table, -1000, 16)
    if not signed_first:
        del item.LUTDescriptor
        item.add_new("LUTDescriptor", "US", [3000, 65536 - 1000, 16])
    file = header(values, BitsStored=12, RescaleSlope="1", RescaleIntercept="-1024", VOILUTSequence=Sequence([item]))
    shown = drawn.to_8_bits(looked_up(values.astype(int) - 1024, table, -1000), 16)
    return Made(written(file, values.tobytes()), shown)


def window_and_lut() -> Made:
    """Both a window and a VOI LUT: alternatives (PS3.3 C.11.2); the window is taken."""
    values = drawn.grey(12)
    table = np.linspace(65535, 0, 4096).astype(np.uint16)
    file = header(
        values, BitsStored=12, VOILUTSequence=Sequence([lut(table, 0, 16)]), WindowCenter="2000", WindowWidth="3000"
    )
    return Made(written(file, values.tobytes()), windowed(values, 2000, 3000))


def odd_size() -> Made:
    """An odd number of bytes, and one more to make it even."""
    values = drawn.grey(8)[:23, :31].copy()
    return Made(written(header(values, **full(8)), values.tobytes()), windowed(values, 128, 256))


def longer_than_said() -> Made:
    """Bytes behind the pixels."""
    values = drawn.grey(12)
    file = header(values, BitsStored=12, **full(12))
    return Made(written(file, values.tobytes() + bytes(64)), windowed(values, 2048, 4096))


def no_frames() -> Made:
    """NumberOfFrames 0, of a single image."""
    values = drawn.grey(12)
    file = header(values, BitsStored=12, **full(12))
    file.NumberOfFrames = 0
    return Made(written(file, values.tobytes()), windowed(values, 2048, 4096))


def supplemental() -> Made:
    """MONOCHROME2 with a colour table for values above the grey ones: the picture is grey."""
    values = drawn.grey(12)
    file = header(values, BitsStored=12, **full(12))
    for name in ("Red", "Green", "Blue"):
        file.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 4096, 16])
        file.add_new(f"{name}PaletteColorLookupTableData", "OW", bytes(512))
    return Made(written(file, values.tobytes()), windowed(values, 2048, 4096))


def icon_inside() -> Made:
    """A thumbnail of other values in a sequence before the pixels."""
    values = drawn.grey(12)
    file = header(values, BitsStored=12, **full(12))
    icon = header(np.zeros((4, 4), np.uint8))
    del icon.file_meta
    icon.PixelData = bytes(range(16))
    icon["PixelData"].VR = "OB"
    file.IconImageSequence = Sequence([icon])
    return Made(written(file, values.tobytes()), windowed(values, 2048, 4096))


def files() -> dict[str, Callable[[], Made]]:
    """Return the makers by file name."""
    return {
        "thumbnail-first-page.tif": thumbnail_first,
        "imagej-stack.tif": stack_of_imagej,
        "ome-grey16.tif": ome,
        "jpeg-tables-grey.tif": lambda: jpeg_with_tables(True),
        "jpeg-tables-rgb.tif": lambda: jpeg_with_tables(False),
        "old-jpeg.tif": old_jpeg,
        "channels2.tif": lambda: several_greys(2),
        "channels3.tif": lambda: several_greys(3),
        "channels4.tif": lambda: several_greys(4),
        "raw-profile-orientation6.png": raw_profile,
        "two-pictures.mpo": two_pictures,
        "exif-long-orientation8.jpg": exif_as_long,
        "irot-orientation6.avif": avif_turned,
        "bits-rgba.bmp": lambda: bmp_masks("rgba"),
        "bits-abgr.bmp": lambda: bmp_masks("abgr"),
        "bits-bgra.bmp": lambda: bmp_masks("bgra"),
        "rle8-jumps.bmp": rle_with_jumps,
        "own-palette.gif": gif_with_own_palette,
        "grey12.jxl": jpegxl_12,
        "precision16-j2k.dcm": lambda: precision("j2k"),
        "precision16-lossless.dcm": lambda: precision("lossless"),
        "fragments-no-offsets.dcm": fragments,
        "extended-offsets.dcm": extended_offsets,
        "voi-lut-after-rescale-ss.dcm": lambda: lut_after_rescale(True),
        "voi-lut-after-rescale-us.dcm": lambda: lut_after_rescale(False),
        "window-and-voi-lut.dcm": window_and_lut,
        "odd-size.dcm": odd_size,
        "longer-than-said.dcm": longer_than_said,
        "frames-0.dcm": no_frames,
        "supplemental-palette.dcm": supplemental,
        "icon-inside.dcm": icon_inside,
        "arithmetic.jpg": lambda: Made(base64.b85decode(ARITHMETIC), drawn.smooth_grey(), exact=False),
    }


def _without_pixels(**elements: Any) -> bytes:
    import pydicom

    file = header(np.zeros((4, 4), np.uint8))
    for name, value in elements.items():
        setattr(file, name, value)
    out = io.BytesIO()
    pydicom.dcmwrite(out, file, enforce_file_format=True)
    return out.getvalue()


def _icon_only() -> bytes:
    icon = header(np.zeros((4, 4), np.uint8))
    del icon.file_meta
    icon.PixelData = bytes(range(16))
    icon["PixelData"].VR = "OB"
    return _without_pixels(IconImageSequence=Sequence([icon]))


def _dicom(**elements: Any) -> bytes:
    values = drawn.grey(8)
    return written(header(values, **elements), values.tobytes() * 8)


def _syntax(uid: str, known: str) -> bytes:
    values = drawn.grey(8)
    data = written(header(values), [values.tobytes()], known)
    assert len(uid) == len(known)
    return data.replace(known.encode(), uid.encode())


def refused() -> dict[str, tuple[bytes, str]]:
    """Return files that must be refused, and the reason."""
    made = {
        "bits4444.bmp": (uncommon_bits(), "no decoder"),
        "camera-raw.dng": (camera_raw(), "unsupported colours"),
        "mixed-bits.tif": (mixed_bits(), "unsupported pixel type"),
        "icon-only.dcm": (_icon_only(), "no pixels"),
        "no-pixels.dcm": (_without_pixels(), "no pixels"),
        "bits-allocated-64.dcm": (_dicom(BitsAllocated=64), "unsupported pixel type"),
        "bits-allocated-12.dcm": (_dicom(BitsAllocated=12), "unsupported pixel type"),
        "hsv.dcm": (written(header(drawn.colour(8), "HSV"), drawn.colour(8).tobytes()), "unsupported colours"),
        "cmyk.dcm": (
            written(header(np.dstack([drawn.colour(8), drawn.alpha(8)]), "CMYK"), bytes(HEIGHT * WIDTH * 4)),
            "unsupported colours",
        ),
        "no-rows.dcm": (_dicom(Rows=0), "empty image"),
        "mpeg4.dcm": (_syntax("1.2.840.10008.1.2.4.102", jpeg_syntax(201)), "no decoder"),
        "private.dcm": (_syntax("1.2.840.113619.5.2.9999", jpeg_syntax(201)), "no decoder"),
        "short.dcm": (written(header(drawn.grey(16)), drawn.grey(16).tobytes()[:-300]), "truncated"),
    }
    heads = {
        "heic": bytes.fromhex("00000018") + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(64),
        "psd": b"8BPS\0\1" + bytes(64),
        "exr": b"v/1\1" + bytes(64),
        "nii.gz": b"\x1f\x8b\x08\0" + bytes(64),
        "nii": struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(64),
        "mha": b"ObjectType = Image\nNDims = 2\n" + bytes(64),
        "nrrd": b"NRRD0004\n" + bytes(64),
        "pdf": b"%PDF-1.7\n" + bytes(64),
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "h5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "npy": b"\x93NUMPY\1\0" + bytes(64),
        "zip": b"PK\3\4" + bytes(64),
        "fits": b"SIMPLE  =                    T" + bytes(64),
        "xcf": b"gimp xcf v011\0" + bytes(64),
        "html": b"<!DOCTYPE html><html></html>",
        "mp4": bytes.fromhex("00000018") + b"ftypisom" + bytes(64),
    }
    made |= {f"head.{name}": (data, "") for name, data in heads.items()}
    return made
