"""Rarer TIFF, BMP and DICOM files: valid, and read wrongly by one or the other decoder."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.imaging.made import drawn
from tests.imaging.made.common import bmp, bmp_lines, saved
from tests.imaging.made.dicom_file import (
    BIG,
    RLE,
    full,
    group,
    header,
    jpeg_syntax,
    rle_frame,
    windowed,
    written,
)
from tests.imaging.made.drawn import HEIGHT, WIDTH, Made
from tests.imaging.made.tiff import (
    BLACK_IS_ZERO,
    RGB,
    SEPARATED,
    TILE,
    WHITE_IS_ZERO,
    YCBCR,
    blocks_of,
    from_ycbcr,
    image,
    tiff,
    to_ycbcr,
)

_SHORT, _LONG, _RATIONAL = 3, 4, 5


def _tags(values: np.ndarray, photometric: int, **more: tuple[int, list[Any]]) -> dict[int, tuple[int, list[Any]]]:
    samples = 1 if values.ndim == 2 else values.shape[2]
    tags = {
        256: (_LONG, [values.shape[1]]),
        257: (_LONG, [values.shape[0]]),
        258: (_SHORT, [values.dtype.itemsize * 8] * samples),
        259: (_SHORT, [1]),
        262: (_SHORT, [photometric]),
        277: (_SHORT, [samples]),
        278: (_LONG, [values.shape[0]]),
    }
    return tags | {int(name.removeprefix("tag")): value for name, value in more.items()}


def white_zero_of_12() -> Made:
    """16-bit words, 12 bits used by the data set, 0 is white: 4095 is black."""
    values = drawn.grey(12, np.uint16)
    return Made(image(values, WHITE_IS_ZERO), 255 - drawn.to_8_bits(values, 12), options={"bits": 12})


def white_zero_alpha() -> Made:
    """0 is white in the grey channel; alpha is no grey channel."""
    data = image(np.dstack([drawn.grey(8), drawn.alpha(8)]), WHITE_IS_ZERO, extra_samples=[2])
    return Made(data, 255 - drawn.grey(8))


def white_zero_jpeg() -> Made:
    """JPEG streams of inverted values."""
    grey = drawn.smooth_grey()
    stream = saved(Image.fromarray(grey), "JPEG", quality=97)
    return Made(tiff([stream], _tags(grey, WHITE_IS_ZERO, tag259=(_SHORT, [7]))), 255 - grey, exact=False)


def rgb_jpeg() -> Made:
    """JPEG of red, green and blue without a transform, photometric RGB."""
    rgb = drawn.smooth()
    stream = imagecodecs.jpeg8_encode(rgb, level=97, colorspace="RGB", outcolorspace="RGB", subsampling="444")
    return Made(tiff([stream], _tags(rgb, RGB, tag259=(_SHORT, [7]))), rgb, exact=False)


def ycbcr_jpeg_420() -> Made:
    """Tiles of JPEG with a quarter of the chroma: as slide scanners write."""
    rgb = drawn.smooth()
    blocks = [
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(b), level=97, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"
        )
        for b in blocks_of(rgb, True)
    ]
    tags = _tags(
        rgb, YCBCR, tag259=(_SHORT, [7]), tag530=(_SHORT, [2, 2]), tag322=(_LONG, [TILE]), tag323=(_LONG, [TILE])
    )
    del tags[278]
    return Made(tiff(blocks, tags), rgb, exact=False)


def five_inks() -> bytes:
    """CMYK and a fifth ink: InkSet 2."""
    inks = np.dstack([drawn.colour(8), drawn.alpha(8), drawn.grey(8)])
    return tiff([inks.tobytes()], _tags(inks, SEPARATED, tag332=(_SHORT, [2])))


def no_rows_per_strip() -> Made:
    """RowsPerStrip is left out: one strip (its default)."""
    grey = drawn.grey(8)
    tags = _tags(grey, BLACK_IS_ZERO)
    del tags[278]
    return Made(tiff([grey.tobytes()], tags), grey)


def only_the_needed() -> Made:
    """A bilevel image without BitsPerSample, SamplesPerPixel and Compression: their defaults are 1."""
    bit = drawn.grey(1)
    tags = {
        256: (_LONG, [WIDTH]),
        257: (_LONG, [HEIGHT]),
        262: (_SHORT, [BLACK_IS_ZERO]),
        278: (_LONG, [HEIGHT]),
    }
    return Made(tiff([drawn.packed(bit, 1)], tags), bit * 255)


def wide_words() -> Made:
    """32-bit words of which the data set uses 12 bits."""
    values = drawn.grey(12).astype(np.uint32)
    return Made(image(values, BLACK_IS_ZERO), drawn.to_8_bits(values, 12), options={"bits": 12})


def tiles_of_48() -> Made:
    """Tiles larger than the image."""
    grey = drawn.grey(8)
    padded = np.pad(grey, [(0, 48 - HEIGHT), (0, 48 - WIDTH)])
    tags = _tags(grey, BLACK_IS_ZERO, tag322=(_LONG, [48]), tag323=(_LONG, [48]))
    del tags[278]
    return Made(tiff([padded.tobytes()], tags), grey)


def os2_colour() -> Made:
    """BMP with the header of OS/2, 24 bits."""
    rgb = drawn.colour(8)
    return Made(bmp(np.ascontiguousarray(rgb[::-1, :, ::-1]).tobytes(), 24, core=True), rgb)


def few_colours() -> Made:
    """8-bit BMP with a palette of six entries, the grey ramp downwards: index 0 is white."""
    index = np.rint(drawn.shape() * 5).astype(np.uint8)
    ramp = np.array([255, 204, 153, 102, 51, 0], np.uint8)
    table = np.pad(np.stack([ramp] * 3, axis=1), ((0, 0), (0, 1))).tobytes()
    data = bytearray(bmp(bmp_lines(index, 8), 8, palette=table))
    data[46:50] = (6).to_bytes(4, "little")
    return Made(bytes(data), ramp[index])


# --- DICOM


def _frames_of_bits() -> tuple[np.ndarray, bytes]:
    """Three frames of one bit whose ends are not those of bytes."""
    one = drawn.grey(1)[:23, :31]
    frames = np.stack([one, one[::-1], 1 - one])
    return frames, np.packbits(frames.ravel(), bitorder="little").tobytes()


def segmentation_frames(frame: int) -> Made:
    """One-bit frames that begin within a byte (PS3.5, 8.1.1)."""
    frames, raw = _frames_of_bits()
    file = header(frames, BitsAllocated=1, BitsStored=1, HighBit=0, NumberOfFrames=3)
    return Made(written(file, raw), frames[frame] * 255, options={"frame": frame})


def odd_frames(frame: int) -> Made:
    """8-bit frames of an odd number of bytes."""
    one = drawn.grey(8)[:23, :31]
    frames = np.stack([one, one[::-1], 255 - one])
    file = header(frames, NumberOfFrames=3, **full(8))
    return Made(written(file, frames.tobytes()), windowed(frames[frame], 128, 256), options={"frame": frame})


def big_endian_frames() -> Made:
    """Big endian, the last of three frames."""
    values = drawn.grey(12)
    frames = np.stack([values, values[::-1], 4095 - values])
    file = header(frames, BitsStored=12, NumberOfFrames=3, **full(12))
    return Made(
        written(file, frames.astype(">u2").tobytes(), BIG), windowed(frames[2], 2048, 4096), options={"frame": 2}
    )


def planar_frames() -> Made:
    """RGB, one plane a colour in each of two frames."""
    rgb = drawn.colour(8)
    frames = np.stack([rgb, rgb[::-1]])
    file = header(frames, "RGB", PlanarConfiguration=1, NumberOfFrames=2)
    raw = np.ascontiguousarray(frames.transpose(0, 3, 1, 2)).tobytes()
    return Made(written(file, raw), frames[1], options={"frame": 1})


def frames_422() -> Made:
    """YBR_FULL_422, the second of two frames."""
    ybr = np.stack([to_ycbcr(drawn.smooth()), to_ycbcr(drawn.smooth()[::-1])])
    pairs = ybr.reshape(2, HEIGHT, WIDTH // 2, 2, 3)
    chroma = np.rint(pairs[..., 1:].mean(axis=3)).astype(np.uint8)
    raw = np.concatenate([pairs[..., 0], chroma], axis=-1).tobytes()
    whole = np.concatenate([pairs[..., :1], np.repeat(chroma[:, :, :, None], 2, axis=3)], axis=-1).reshape(ybr.shape)
    file = header(ybr, "YBR_FULL_422", NumberOfFrames=2)
    return Made(written(file, raw), from_ycbcr(whole[1]), options={"frame": 1})


def _coloured(pixels: np.ndarray, first: int, **elements: Any) -> Dataset:
    _, palette = drawn.indices(8)
    file = header(pixels, "PALETTE COLOR", **elements)
    for channel, name in enumerate(("Red", "Green", "Blue")):
        place = first if first >= 0 else first + 65536
        file.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, place, 16])
        file.add_new(f"{name}PaletteColorLookupTableData", "OW", (palette[:, channel].astype("<u2") * 257).tobytes())
    return file


def palette_rle() -> Made:
    """PALETTE COLOR, RLE, the second of two frames."""
    index, palette = drawn.indices(8)
    frames = np.stack([index, index[::-1]])
    file = _coloured(frames, 0, NumberOfFrames=2)
    return Made(written(file, [rle_frame(f) for f in frames], RLE), palette[frames[1]], options={"frame": 1})


def palette_beyond() -> Made:
    """Indices beyond both ends of the table take its first and last colour (PS3.3, C.7.6.3.1.5)."""
    _, palette = drawn.indices(8)
    pixels = (np.rint(drawn.shape() * 500)).astype(np.uint16)
    file = _coloured(pixels, 100)
    return Made(written(file, pixels.tobytes()), palette[np.clip(pixels.astype(int) - 100, 0, 255)])


def jpeg_ybr_full() -> Made:
    """JPEG baseline with all chroma, called YBR_FULL."""
    rgb = drawn.smooth()
    stream = saved(Image.fromarray(rgb), "JPEG", quality=97, subsampling="4:4:4")
    file = header(rgb, "YBR_FULL")
    return Made(written(file, [stream + bytes(len(stream) % 2)], jpeg_syntax(50)), rgb, exact=False)


def jpeg_monochrome1() -> Made:
    """JPEG baseline, inverted."""
    grey = drawn.smooth_grey()
    stream = saved(Image.fromarray(grey), "JPEG", quality=97)
    file = header(grey, "MONOCHROME1", **full(8))
    return Made(written(file, [stream + bytes(len(stream) % 2)], jpeg_syntax(50)), 255 - grey, exact=False)


def jpegls_planes() -> Made:
    """JPEG-LS of red, green and blue, one scan a colour, which the header calls planar configuration 1."""
    rgb = drawn.colour(8)
    stream = imagecodecs.jpegls_encode(rgb)
    file = header(rgb, "RGB", PlanarConfiguration=1)
    return Made(written(file, [stream + bytes(len(stream) % 2)], jpeg_syntax(80)), rgb)


def signed_lossy() -> Made:
    """JPEG 2000, lossy, signed 16 bits with a rescale: as CT in archives."""
    values = drawn.smooth_grey(12).astype(np.int16) - 1024
    stream = imagecodecs.jpeg2k_encode(values, level=70, codecformat="j2k", bitspersample=16)
    file = header(values, RescaleSlope="1", RescaleIntercept="-24", WindowCenter="900", WindowWidth="4000")
    shown = windowed(values.astype(int) - 24, 900, 4000)
    return Made(written(file, [stream + bytes(len(stream) % 2)], jpeg_syntax(91)), shown, exact=False)


def no_width() -> Made:
    """A window of width 0 is none: percentiles."""
    from tests.imaging.made.dicom_file import stretched

    values = drawn.grey(12)
    file = header(values, BitsStored=12, WindowCenter="0", WindowWidth="0")
    return Made(written(file, values.tobytes()), stretched(values))


def narrow() -> Made:
    """A window below 1 without a function, in units of a small slope: as images of treatment machines have it."""
    values = drawn.grey(16)
    file = header(values, RescaleSlope="5.6E-06", RescaleIntercept="0", WindowCenter="0.18", WindowWidth="0.36")
    return Made(written(file, values.tobytes()), windowed(values * 5.6e-6, 0.18, 0.36, "LINEAR_EXACT"))


def groups_of_both() -> Made:
    """Rescale shared by all frames, windows of each frame, one of them exact."""
    values = drawn.grey(12)
    frames = np.stack([values, values[::-1]])
    shared = group(0, 1, 2, -500)
    del shared.FrameVOILUTSequence
    each = []
    for centre, width, function in ((1000, 3000, "LINEAR"), (3000, 5000, "LINEAR_EXACT")):
        item = group(centre, width, 1, 0)
        del item.PixelValueTransformationSequence
        item.FrameVOILUTSequence[0].VOILUTFunction = function
        each.append(item)
    file = header(
        frames,
        BitsStored=12,
        NumberOfFrames=2,
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(each),
    )
    shown = windowed(frames[1].astype(float) * 2 - 500, 3000, 5000, "LINEAR_EXACT")
    return Made(written(file, frames.tobytes()), shown, options={"frame": 1})


def progressive() -> Made:
    """JPEG full progression (retired, 1.2.840.10008.1.2.4.55 is not known to all)."""
    grey = drawn.smooth_grey()
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "JPEG", quality=97, progressive=True)
    stream = out.getvalue()
    file = header(grey, **full(8))
    return Made(written(file, [stream + bytes(len(stream) % 2)], jpeg_syntax(50)), grey, exact=False)


def files() -> dict[str, Callable[[], Made]]:
    """Return the makers by file name."""
    made: dict[str, Callable[[], Made]] = {
        "white0-uses-12.tif": white_zero_of_12,
        "white0-alpha.tif": white_zero_alpha,
        "white0-jpeg.tif": white_zero_jpeg,
        "rgb-jpeg.tif": rgb_jpeg,
        "ycbcr-jpeg-420-tiles.tif": ycbcr_jpeg_420,
        "no-rows-per-strip.tif": no_rows_per_strip,
        "only-the-needed.tif": only_the_needed,
        "uint32-uses-12.tif": wide_words,
        "tiles-of-48.tif": tiles_of_48,
        "rgb24-os2.bmp": os2_colour,
        "few-colours.bmp": few_colours,
        "frames-big-endian.dcm": big_endian_frames,
        "frames-planar.dcm": planar_frames,
        "frames-422.dcm": frames_422,
        "frames-palette-rle.dcm": palette_rle,
        "palette-beyond.dcm": palette_beyond,
        "jpeg-ybr-full.dcm": jpeg_ybr_full,
        "jpeg-monochrome1.dcm": jpeg_monochrome1,
        "jpeg-progressive.dcm": progressive,
        "jpegls-planes.dcm": jpegls_planes,
        "j2k-lossy-signed.dcm": signed_lossy,
        "window-of-width-0.dcm": no_width,
        "window-below-1.dcm": narrow,
        "groups-of-both.dcm": groups_of_both,
    }
    for frame in range(3):
        made[f"segmentation-frame{frame}.dcm"] = lambda f=frame: segmentation_frames(f)
        made[f"odd-frame{frame}.dcm"] = lambda f=frame: odd_frames(f)
    return made


def refused() -> dict[str, tuple[bytes, str]]:
    """Return files that must be refused, and the reason."""
    return {"five-inks.tif": (five_inks(), "unsupported colours")}
