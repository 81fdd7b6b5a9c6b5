"""Every kind of file that data sets hold, and every kind of damage."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.imaging import decoding
from pipeline.imaging.decoding import UnreadableImage


def decode(data, channels, **options):
    return decoding.decode(data, channels, **options).pixels


def as_image(content, channels):
    return decoding.as_image(content, channels).pixels


def encode(image, suffix=".png", *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, rows, *extra):
    """A PNG written by hand, for kinds that OpenCV does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 256, (23, 31), np.uint8)


@pytest.fixture
def rgb():
    return np.random.default_rng(1).integers(0, 256, (23, 31, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_lossless_grey_comes_back(grey, suffix):
    np.testing.assert_array_equal(decode(encode(grey, suffix), 1), grey)


def test_grey_as_rgb_has_three_equal_channels(grey):
    image = decode(encode(grey), 3)
    assert image.shape == (23, 31, 3)
    assert all((image[..., c] == grey).all() for c in range(3))


def test_colour_is_rgb(rgb):
    np.testing.assert_array_equal(decode(encode(rgb[..., ::-1]), 3), rgb)


def test_grey_of_colour_is_the_luma(rgb):
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decode(encode(rgb[..., ::-1]), 1), luma, atol=0.51)


def test_grey_stored_as_rgb_keeps_its_values(grey):
    np.testing.assert_array_equal(decode(encode(np.dstack([grey] * 3)), 1), grey)


def test_grey_jpeg_stored_as_rgb_is_close_to_grey_jpeg(grey):
    smooth = cv2.GaussianBlur(grey, (0, 0), 3)
    quality = (cv2.IMWRITE_JPEG_QUALITY, 95)
    as_rgb = decode(encode(np.dstack([smooth] * 3), ".jpg", *quality), 1)
    np.testing.assert_allclose(as_rgb.astype(int), decode(encode(smooth, ".jpg", *quality), 1), atol=2)


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_alpha_is_dropped(grey, rgb, alpha):
    see_through = np.full_like(grey, alpha)
    np.testing.assert_array_equal(decode(encode(np.dstack([grey] * 3 + [see_through])), 1), grey)
    np.testing.assert_array_equal(decode(encode(np.dstack([rgb[..., ::-1], see_through])), 3), rgb)


def test_palette_becomes_colours():
    data = png(2, 1, 8, 3, [bytes([0, 1])], chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255])))
    np.testing.assert_array_equal(decode(data, 3), [[[255, 0, 0], [0, 0, 255]]])
    np.testing.assert_array_equal(decode(data, 1), [[76, 29]])


def test_one_bit_becomes_black_and_white():
    np.testing.assert_array_equal(decode(png(4, 1, 1, 0, [bytes([0b10100000])]), 1), [[255, 0, 255, 0]])


def test_grey_with_alpha_loses_it():
    np.testing.assert_array_equal(decode(png(2, 1, 8, 4, [bytes([7, 0, 200, 255])]), 1), [[7, 200]])


def test_16_bit_is_divided_by_257_whatever_the_exposure():
    values = np.array([[0, 128, 129, 257 * 100, 257 * 200]], np.uint16)
    np.testing.assert_array_equal(decode(encode(values), 1), [[0, 0, 1, 100, 200]])


def test_16_bit_colour():
    values = np.full((2, 2, 3), 257, np.uint16) * np.array([10, 20, 30], np.uint16)
    np.testing.assert_array_equal(decode(encode(values), 3)[0, 0], [30, 20, 10])


@pytest.mark.parametrize("brightest", [255, 1023, 4095])
def test_12_bits_in_a_16_bit_file_are_refused(brightest):
    with pytest.raises(UnreadableImage, match="16-bit file using 12 bits or fewer"):
        decode(encode(np.full((4, 4), brightest, np.uint16)), 1)


def test_float_tiff_is_refused():
    with pytest.raises(UnreadableImage, match="unsupported pixel type: floating point of 32 bits"):
        decode(encode(np.ones((4, 4), np.float32), ".tiff"), 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404 Not Found</html>", "not an image"),
        (b"\x00\x00\x00\x01Bud1" + bytes(6140), "not an image"),  # a .DS_Store under another name
        (bytes(128) + b"DICM" + bytes(64), "no pixels: DICOM without the elements of an image"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\xff\xd8\xff", "truncated"),
    ],
)
def test_what_is_no_image(data, reason):
    with pytest.raises(UnreadableImage) as error:
        decode(data, 1)
    assert str(error.value) == reason


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_truncated(grey, suffix, keep):
    data = encode(cv2.resize(grey, (300, 300)), suffix)
    with pytest.raises(UnreadableImage, match=r"^truncated$"):
        decode(data[: int(len(data) * keep)], 1)


def test_png_without_its_end_chunk_and_jpeg_without_its_end_marker(grey):
    for data in (encode(grey)[:-12], encode(grey, ".jpg")[:-2]):
        with pytest.raises(UnreadableImage, match=r"^truncated$"):
            decode(data, 1)


def test_thumbnail_does_not_hide_a_truncated_jpeg(grey):
    whole = encode(cv2.resize(grey, (300, 300)), ".jpg")
    thumbnail = encode(grey, ".jpg")
    embedded = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert decode(whole[:2] + embedded + whole[2:], 1).shape == (300, 300)
    with pytest.raises(UnreadableImage, match=r"^truncated$"):
        decode(whole[:2] + embedded + whole[2 : len(whole) // 2], 1)


def test_bytes_after_the_end_do_no_harm(grey):
    np.testing.assert_array_equal(decode(encode(grey) + b"\n\n", 1), grey)
    assert decode(encode(grey, ".jpg") + b"\0" * 100, 1).shape == grey.shape


def test_flipped_bits_in_a_png_are_found(grey):
    data = bytearray(encode(grey))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UnreadableImage, match=r"^damaged"):
        decode(bytes(data), 1)


def test_bad_files_print_nothing(grey, capfd):
    for data in (b"text", encode(grey)[:-12], encode(grey)[:50], encode(grey, ".jpg")[:-2], encode(grey, ".bmp")[:99]):
        with pytest.raises(UnreadableImage):
            decode(data, 1)
    assert capfd.readouterr() == ("", "")


def saved(image, kind, **options):
    """What Pillow writes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def corners():
    """Four colours, none symmetric to another."""
    image = np.zeros((16, 32, 3), np.uint8)
    image[:8, :16], image[:8, 16:], image[8:, :16] = (240, 10, 10), (10, 240, 10), (10, 10, 240)
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_orientation_is_applied(corners, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
    data = saved(Image.fromarray(corners), kind, **options)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert upright.shape == ((16, 32, 3) if orientation < 5 else (32, 16, 3))
    found = decode(data, 3)
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < 6


def without_adobe_marker(data):
    position = data.index(b"\xff\xee")
    return data[:position] + data[position + 2 + int.from_bytes(data[position + 2 : position + 4]) :]


@pytest.mark.parametrize("orientation", [1, 6])
def test_cmyk_jpeg_of_adobe_and_of_others(corners, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = corners if orientation == 1 else np.rot90(corners, -1)
    inks = np.asarray(Image.fromarray(corners).convert("CMYK"))
    of_adobe = saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=98, exif=exif)
    # Pillow inverts what it writes, as Adobe does; without the marker nothing says so.
    plain = without_adobe_marker(saved(Image.fromarray(255 - inks, "CMYK"), "JPEG", quality=98, exif=exif))
    assert plain != of_adobe
    for data in (of_adobe, plain):
        assert np.abs(decode(data, 3).astype(int) - upright).mean() < 6
        luma = upright @ np.array([0.299, 0.587, 0.114])
        assert np.abs(decode(data, 1) - luma).mean() < 6


def test_damaged_cmyk_jpeg(corners):
    data = bytearray(saved(Image.fromarray(corners).convert("CMYK"), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 77  # bits a sample
    with pytest.raises(UnreadableImage, match=r"^damaged"):
        decode(bytes(data), 3)


@pytest.mark.parametrize("transparency", [None, bytes([0, 128, 255, 40])])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_palettes(corners, kind, transparency):
    image = Image.fromarray(corners).quantize(4)
    options = {"transparency": transparency} if transparency and kind == "PNG" else {}
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(saved(image, kind, **options), 3), expected)


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "WEBP", "GIF"])
def test_grey_and_colour_of_pillow_come_back(grey, corners, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(saved(Image.fromarray(grey), kind, **options), 1), grey)
    if kind != "GIF":
        np.testing.assert_array_equal(decode(saved(Image.fromarray(corners), kind, **options), 3), corners)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_tiff_of_16_bits(compression):
    values = (np.arange(400, dtype=np.uint16).reshape(20, 20) * 150).astype(np.uint16)
    data = saved(Image.fromarray(values), "TIFF", compression=compression)
    np.testing.assert_allclose(decode(data, 1), values / 257, atol=0.51)


def test_tiff_whose_white_is_zero(grey):
    np.testing.assert_array_equal(decode(saved(Image.fromarray(grey), "TIFF", tiffinfo={262: 0}), 1), grey)


def test_decoded_pixels_are_only_converted(grey, rgb):
    assert np.shares_memory(as_image(grey, 1), grey)
    np.testing.assert_array_equal(as_image(rgb, 3), rgb)
    np.testing.assert_allclose(as_image(rgb, 1), rgb @ np.array([0.299, 0.587, 0.114]), atol=0.51)
    np.testing.assert_array_equal(as_image(grey, 3), np.dstack([grey] * 3))
    np.testing.assert_array_equal(as_image(grey[::2, ::-1, None], 1), grey[::2, ::-1])
    np.testing.assert_array_equal(as_image(encode(grey), 1), grey)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((4, 4), np.float32), "unsupported pixel type: float32"),
        (np.zeros((0, 4), np.uint8), "empty image"),
        (np.zeros((4, 4, 2), np.uint8), "unsupported shape: [4, 4, 2]"),
        (np.zeros(4, np.uint8), "unsupported shape: [4]"),
    ],
)
def test_pixels_that_are_no_image(pixels, reason):
    with pytest.raises(UnreadableImage) as error:
        as_image(pixels, 1)
    assert str(error.value) == reason
