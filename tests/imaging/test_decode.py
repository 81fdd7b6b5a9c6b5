"""Every kind of file that data sets hold, and every kind of damage."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from pipeline.imaging.decode import UnreadableImage, decode


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
    with pytest.raises(UnreadableImage, match="unsupported pixel type float32"):
        decode(encode(np.ones((4, 4), np.float32), ".tiff"), 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404 Not Found</html>", "not an image"),
        (b"\x00\x00\x00\x01Bud1" + bytes(6140), "not an image"),  # a .DS_Store under another name
        (bytes(128) + b"DICM" + bytes(64), "DICOM file, not supported"),
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
    with pytest.raises(UnreadableImage, match=r"^damaged$"):
        decode(bytes(data), 1)


def test_bad_files_print_nothing(grey, capfd):
    for data in (b"text", encode(grey)[:-12], encode(grey)[:50], encode(grey, ".jpg")[:-2], encode(grey, ".bmp")[:99]):
        with pytest.raises(UnreadableImage):
            decode(data, 1)
    assert capfd.readouterr() == ("", "")
