"""TIFF files of every layout, against the values that were put into them."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.imaging.decoding import UnreadableImage, decode, read_header
from tests.imaging.files import tiff

GREY = np.arange(64 * 48, dtype=np.uint32).reshape(64, 48)
COLOURS = np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])


def pixels(data, channels=1, **options):
    return decode(data, channels, **options).pixels


def packed(values, bits, photometric=1, order="<"):
    """A TIFF of one strip whose samples of `bits` bits stand side by side, which few libraries write."""
    height, width = values.shape
    rows = ["".join(f"{v:0{bits}b}" for v in row) for row in values.tolist()]
    strip = b"".join(int(r.ljust(-(-len(r) // 8) * 8, "0"), 2).to_bytes(-(-len(r) // 8)) for r in rows)
    if bits == 16:
        strip = values.astype(order + "u2").tobytes()
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(strip)),
    ]
    strip += b"\0" * (len(strip) % 2)
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, 1)
        + struct.pack(order + ("I" if kind == 4 else "HH"), *([v] if kind == 4 else [v, 0]))
        for tag, kind, v in tags
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(strip))
    return head + strip + struct.pack(order + "H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16])
def test_every_bit_depth_spans_black_to_white(bits, photometric, order):
    white = (1 << bits) - 1
    values = np.array([[0, white // 3, white // 2, white], [white, 0, white, white // 5]])
    shown = pixels(packed(values, bits, photometric, order), bits=16)
    expected = np.rint(values * 255 / white)
    np.testing.assert_array_equal(shown, expected if photometric else 255 - expected)
    facts = read_header(packed(values, bits, photometric, order))
    assert (facts.bits, facts.scale) == (bits, "data set" if bits == 16 else "header")
    assert facts.photometric == ("grey" if photometric else "white is zero")


def test_white_is_zero_of_16_bits():
    # ImageMagick 6.9.11 and libvips 8.18 give these.
    values = np.array([[0, 1000, 20000, 40000, 65535]], np.uint16)
    np.testing.assert_array_equal(pixels(tiff(values, photometric="miniswhite")), [[255, 251, 177, 99, 0]])


@pytest.mark.parametrize("bits", [12, 14])
def test_white_is_zero_in_the_bits_of_the_data_set(bits):
    white = (1 << bits) - 1
    data = tiff(np.array([[0, white, white // 4]], np.uint16), photometric="miniswhite")
    np.testing.assert_array_equal(pixels(data, bits=bits), [[255, 0, 255 - np.rint(white // 4 * 255 / white)]])


LAYOUTS = {
    "strip": {},
    "strips": {"rowsperstrip": 10},
    "tiles": {"tile": (32, 16)},
    "BigTIFF": {"bigtiff": True},
    "big-endian": {"byteorder": ">"},
    "big-endian tiles": {"byteorder": ">", "tile": (32, 32)},
    "predictor": {"compression": "zlib", "predictor": True},
    "predictor, big-endian tiles": {"compression": "lzw", "predictor": True, "byteorder": ">", "tile": (16, 16)},
}


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", [None, "unassalpha", "assocalpha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_colours_of_every_layout_without_alpha(layout, dtype, alpha, planar):
    full = np.iinfo(dtype).max
    image = (COLOURS * 131 % (full + 1)).astype(dtype)
    stored = image if alpha is None else np.dstack([image, np.full(GREY.shape, full // 3, dtype)])
    options = {"extrasamples": [alpha]} if alpha else {}
    if planar == "separate":
        stored = np.ascontiguousarray(np.moveaxis(stored, -1, 0))
    data = tiff(stored, photometric="rgb", planarconfig=planar, **options, **LAYOUTS[layout])
    np.testing.assert_array_equal(pixels(data, 3, bits=16), np.rint(image / (full // 255)))
    assert read_header(data).alpha == (alpha is not None)


def test_planes_of_16_bits():
    # ImageMagick 6.9.11, libvips 8.18 and Pillow 13 give these.
    planes = np.full((3, 8, 8), 1, np.uint16) * np.array([50000, 20000, 7000], np.uint16)[:, None, None]
    data = tiff(planes, photometric="rgb", planarconfig="separate")
    for _ in range(3):
        np.testing.assert_array_equal(pixels(data, 3)[5, 5], [195, 78, 27])


@pytest.mark.parametrize("layout", ["strips", "tiles"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "compression", ["zlib", "lzw", "packbits", "zstd", "lzma", "lerc", "jpeg2000", "jpegxl", "jpegxr", "png"]
)
def test_every_lossless_compression(compression, depth, layout):
    image = (GREY * (23 if depth == np.uint16 else 1) % (np.iinfo(depth).max + 1)).astype(depth)
    options = {"compressionargs": {"level": 0}} if compression == "jpeg2000" else {}
    if compression == "jpegxl":
        options = {"compressionargs": {"lossless": True}}
    data = tiff(image, compression=compression, **options, **LAYOUTS[layout])
    shown, found = pixels(data, bits=16), read_header(data)
    np.testing.assert_array_equal(shown, image if depth == np.uint8 else np.rint(image / 257))
    assert (found.reader, found.compression) != ("OpenCV", "none")


def test_compressions_that_were_all_black():
    image = np.full((64, 64), 180, np.uint8)
    for compression in ("jpeg2000", "aperio_jp2000_rgb", "jpegxl", "jpegxr", "png", "webp"):
        given = np.dstack([image] * 3) if compression == "webp" else image
        assert np.abs(pixels(tiff(given, compression=compression)).astype(int) - 180).max() <= 2, compression


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_jpeg_in_a_tiff(subsampling):
    smooth = np.dstack([np.tile(np.linspace(20, 230, 64), (64, 1))] * 3).astype(np.uint8)
    smooth[..., 1] = 90
    data = tiff(smooth, photometric="rgb", compression="jpeg", subsampling=subsampling, tile=(32, 32))
    assert np.abs(pixels(data, 3).astype(int) - smooth).mean() < 4


def test_jpeg_of_12_bits_in_a_tiff():
    smooth = np.tile(np.linspace(0, 4095, 64), (64, 1)).astype(np.uint16)
    stream = imagecodecs.jpeg8_encode(smooth, bitspersample=12, level=98)
    data = tiff(iter([stream]), shape=(64, 64), dtype=np.uint16, bitspersample=12, compression="jpeg")
    np.testing.assert_allclose(pixels(data), smooth * (255 / 4095), atol=1.5)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", ["strips", "tiles"])
@pytest.mark.parametrize(
    "compression",
    [None, "zlib", "lzw", "packbits", "zstd", "lzma", "jpeg", "jpeg2000", "png", "webp", "lerc", "jpegxl"],
)
@pytest.mark.parametrize("fault", ["cut short", "missing", "behind the end"])
def test_a_broken_strip_or_tile_is_found(compression, layout, depth, fault):
    image = (GREY * 7 % (np.iinfo(depth).max + 1)).astype(depth)
    options = LAYOUTS["strips"] | {"rowsperstrip": 16} if layout == "strips" else LAYOUTS["tiles"]
    image = image.astype(np.uint8) if compression in ("jpeg", "webp") else image
    image = np.dstack([image] * 3) if compression == "webp" else image
    data = bytearray(tiff(image, compression=compression, **options))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        counts, offsets = page.tags["TileByteCounts" if page.is_tiled else "StripByteCounts"], page.dataoffsets
        size = {3: 2, 4: 4, 16: 8}[int(counts.dtype)]
        place = counts.valueoffset + size
        count = page.databytecounts[1]
    if fault == "cut short":
        changed = count // 2
    elif fault == "missing":
        changed = 0
    else:
        changed = len(data) - offsets[1] + 1
    data[place : place + size] = changed.to_bytes(size, "little")
    with pytest.raises(UnreadableImage) as error:
        pixels(bytes(data), bits=16)
    assert error.value.reason == ("truncated" if fault == "behind the end" else "damaged")


def test_broken_bytes_of_a_strip_are_found():
    smooth = (GREY // 20).astype(np.uint8)
    for compression in ("zlib", "zstd", "lzma", "png", "jpegxl"):
        for layout in ("strips", "tiles"):
            data = bytearray(tiff(smooth, compression=compression, **LAYOUTS[layout]))
            with tifffile.TiffFile(io.BytesIO(data)) as file:
                page = file.pages[0]
                start, count = page.dataoffsets[1], page.databytecounts[1]
            data[start + count // 3 : start + count] = bytes(count - count // 3)
            with pytest.raises(UnreadableImage, match="damaged"):
                pixels(bytes(data))


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file(keep):
    for data in (tiff(GREY.astype(np.uint16) * 9), Image.fromarray(GREY.astype(np.uint8))):
        if isinstance(data, Image.Image):
            out = io.BytesIO()
            data.save(out, "TIFF")
            data = out.getvalue()
        with pytest.raises(UnreadableImage) as error:
            pixels(data[: int(len(data) * keep)])
        assert error.value.reason in ("truncated", "damaged")


def test_float_and_signed_samples_have_no_white():
    for dtype, name in [
        (np.float16, "floating point of 16 bits"),
        (np.float32, "floating point of 32 bits"),
        (np.float64, "floating point of 64 bits"),
        (np.int16, "signed integers of 16 bits"),
    ]:
        with pytest.raises(UnreadableImage) as error:
            decode(tiff(np.ones((8, 8), dtype)), 1)
        assert error.value.reason == "unsupported pixel type"
        assert name in error.value.detail


def test_integers_of_32_bits():
    values = np.array([[0, 2**31, 2**32 - 1]], np.uint32)
    np.testing.assert_array_equal(pixels(tiff(values)), [[0, 128, 255]])
    np.testing.assert_array_equal(pixels(tiff(values // 2**20), bits=12), [[0, 128, 255]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inks(dtype):
    full = np.iinfo(dtype).max
    inks = np.zeros((4, 4, 4), dtype)
    inks[:2, :, 0], inks[2:, :, 3] = full, full // 2
    shown = pixels(tiff(inks, photometric="separated"), 3, bits=16)
    np.testing.assert_array_equal(shown[0, 0], [0, 255, 255])
    np.testing.assert_allclose(shown[3, 0], 128, atol=1)


def test_frames():
    stack = np.stack([GREY, GREY[::-1], GREY[:, ::-1]]).astype(np.uint8)
    data = tiff(stack, photometric="minisblack")
    assert read_header(data).frames == 3
    with pytest.raises(UnreadableImage, match=r"^several frames: 3; choose with preprocess\.frame$"):
        decode(data, 1)
    for frame, index in [("first", 0), ("middle", 1), (2, 2)]:
        np.testing.assert_array_equal(pixels(data, frame=frame), stack[index])
    with pytest.raises(UnreadableImage, match="frame missing: 4 of 3"):
        decode(data, 1, frame=3)


def test_stack_of_imagej():
    stack = np.stack([GREY, GREY[::-1]]).astype(np.uint16) * np.uint16(16)
    out = io.BytesIO()
    tifffile.imwrite(out, stack, imagej=True, metadata={"images": 2})
    data = out.getvalue()
    assert read_header(data).frames == 2
    np.testing.assert_array_equal(pixels(data, frame=1), np.rint(stack[1] / 257))


def test_levels_of_a_pyramid_and_thumbnails_are_no_frames():
    out = io.BytesIO()
    image = GREY.astype(np.uint8)
    with tifffile.TiffWriter(out) as writer:
        writer.write(image, metadata=None)
        writer.write(image[::2, ::2], subfiletype=1, metadata=None)
        writer.write(image[::4, ::4], subfiletype=1, metadata=None)
        writer.write(image > 9, subfiletype=4, metadata=None)
    data = out.getvalue()
    assert read_header(data).frames == 1
    np.testing.assert_array_equal(pixels(data), image)


def test_colours_nobody_can_show():
    channels = np.zeros((8, 8, 7), np.uint8)
    with pytest.raises(UnreadableImage, match="unsupported colours: 7 samples a pixel"):
        decode(tiff(channels, photometric="minisblack", planarconfig="contig"), 1)
