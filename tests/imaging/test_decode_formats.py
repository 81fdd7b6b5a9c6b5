"""The smaller formats, orientation by whatever a file uses to say it, and bit depths that a data set decides."""

import io
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from pipeline.imaging.decoding import UnreadableImage, decode, read_header
from pipeline.imaging.decoding.grey import upright
from tests.imaging.files import tiff

GREY = np.arange(24 * 32, dtype=np.uint32).reshape(24, 32)
COLOURS = np.dstack([GREY // 4, GREY[::-1] // 4, GREY[:, ::-1] // 4]).astype(np.uint8)


def pixels(data, channels=1, **options):
    return decode(data, channels, **options).pixels


def saved(image, kind, **options):
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **options)
    return out.getvalue()


def pnm(kind, values, white=None, wide=False):
    height, width = values.shape[:2]
    head = f"P{kind}\n# a comment\n{width} {height}\n" + (f"{white}\n" if white else "")
    if kind > 3:
        return head.encode() + values.astype(">u2" if wide else np.uint8).tobytes()
    return (head + " ".join(map(str, values.ravel().tolist()))).encode()


@pytest.mark.parametrize("white", [1, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_pnm_names_its_white(kind, white):
    values = (GREY * white // GREY.max()).astype(np.uint16)
    if kind in (3, 6):
        values = np.dstack([values, white - values, values])
    shown = pixels(pnm(kind, values, white, wide=white > 255), 3 if values.ndim == 3 else 1)
    np.testing.assert_array_equal(shown, np.rint(values * (255 / white)))


def test_bitmaps_are_black_where_they_are_1():
    bits = (GREY % 3 == 0).astype(np.uint8)
    head = f"P4\n{bits.shape[1]} {bits.shape[0]}\n".encode()
    np.testing.assert_array_equal(pixels(head + np.packbits(bits, axis=1).tobytes()), 255 - bits * 255)
    np.testing.assert_array_equal(pixels(b"P1\n4 2\n0110 1001"), [[255, 0, 0, 255], [0, 255, 255, 0]])


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"P5\n9 9\n255\n" + bytes(80), "truncated"), (b"P5\n9 x\n", "damaged"), (b"P2 2 1 3\n 1 4", "damaged")],
)
def test_broken_pnm(data, reason):
    with pytest.raises(UnreadableImage, match=reason):
        pixels(data)


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_bmp_of_every_depth(bits):
    # 5 bits a colour are spread to 8 by 255/31, as ImageMagick does.
    image = COLOURS if bits > 16 else np.rint((COLOURS >> 3) * (255 / 31)).astype(np.uint8)
    rows = image[::-1].astype(np.uint32)
    if bits == 16:
        five = (COLOURS[::-1] >> 3).astype(np.uint16)
        body = (five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]).astype("<u2").tobytes()
    elif bits == 24:
        body = rows[..., ::-1].astype(np.uint8).tobytes()
    else:
        body = np.dstack([rows[..., ::-1], np.full(GREY.shape, 7)]).astype(np.uint8).tobytes()
    height, width = GREY.shape
    data = b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54)
    data += struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(body), 0, 0, 0, 0) + body
    np.testing.assert_allclose(pixels(data, 3), image, atol=1)
    with pytest.raises(UnreadableImage, match=r"^truncated$"):
        pixels(data[:-9], 3)


@pytest.mark.parametrize("codecformat", ["jp2", "j2k"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000(bits, codecformat):
    values = (GREY * ((1 << bits) - 1) // GREY.max()).astype(np.uint8 if bits == 8 else np.uint16)
    data = imagecodecs.jpeg2k_encode(values, level=0, bitspersample=bits, codecformat=codecformat)
    np.testing.assert_array_equal(pixels(data), np.rint(values * (255 / ((1 << bits) - 1))))
    assert read_header(data).bits == bits
    np.testing.assert_array_equal(pixels(imagecodecs.jpeg2k_encode(COLOURS, level=0), 3), COLOURS)


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("shape", [(24, 32), (64, 64), (300, 7)])
def test_jpeg_xl(bits, shape, container):
    white = (1 << bits) - 1
    values = np.linspace(0, white, shape[0] * shape[1]).reshape(shape).astype(np.uint8 if bits == 8 else np.uint16)
    data = imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=bits, usecontainer=container)
    facts = read_header(data)
    assert (facts.width, facts.height, facts.bits) == (shape[1], shape[0], bits)
    np.testing.assert_array_equal(pixels(data, bits=16), np.rint(values * (255 / white)))


def test_avif():
    smooth = np.dstack([np.tile(np.linspace(20, 220, 64), (48, 1))] * 3).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = pixels(saved(smooth, "AVIF", quality=95, exif=exif))
    assert shown.shape == (64, 48)
    np.testing.assert_allclose(shown, np.rot90(smooth[..., 0], -1), atol=8)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("predictor", [1, 7])
def test_lossless_jpeg(bits, predictor):
    values = (GREY * ((1 << bits) - 1) // GREY.max()).astype(np.uint8 if bits == 8 else np.uint16)
    data = imagecodecs.jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=bits)
    np.testing.assert_array_equal(pixels(data), np.rint(values * (255 / ((1 << bits) - 1))))


def test_jpeg_of_12_bits():
    smooth = np.tile(np.linspace(0, 4095, 64), (64, 1)).astype(np.uint16)
    data = imagecodecs.jpeg8_encode(smooth, bitspersample=12, level=98)
    np.testing.assert_allclose(pixels(data), smooth * (255 / 4095), atol=1.5)
    assert read_header(data).bits == 12


def test_jpeg_ls():
    np.testing.assert_array_equal(pixels(imagecodecs.jpegls_encode(COLOURS), 3), COLOURS)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_frames_of_animations(kind):
    frames = [Image.fromarray(image) for image in (COLOURS, COLOURS[::-1], COLOURS[:, ::-1])]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert read_header(data).frames == 3
    with pytest.raises(UnreadableImage, match=r"^several frames: 3; choose"):
        pixels(data)
    for frame, index in [("first", 0), ("middle", 1), (2, 2)]:
        difference = pixels(data, 3, frame=frame).astype(int) - np.asarray(frames[index])
        assert np.abs(difference).mean() < (12 if kind == "GIF" else 0.01)


def profile(orientation, keyword):
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = exif.tobytes()
    return f"{keyword}\n{len(block):8}\n{block.hex()}\n"


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("how", ["Raw profile type exif", "Raw profile type APP1", "XML:com.adobe.xmp"])
def test_orientation_in_the_text_of_a_png(how, orientation):
    texts = PngImagePlugin.PngInfo()
    if how.startswith("XML"):
        texts.add_itxt(how, XMP.format(orientation))
    else:
        texts.add_text(how, profile(orientation, "exif"), zip=True)
    data = saved(COLOURS, "PNG", pnginfo=texts)
    np.testing.assert_array_equal(
        pixels(data, 3), np.asarray(ImageOps.exif_transpose(Image.fromarray(upright(COLOURS, orientation))))
    )
    assert read_header(data).orientation == orientation


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_orientation_in_xmp(kind):
    data = saved(COLOURS, kind, xmp=XMP.format(6).encode())
    assert pixels(data, 3).shape == (32, 24, 3)
    exif = Image.Exif()
    exif[0x0112] = 1
    both = saved(COLOURS, kind, xmp=XMP.format(6).encode(), exif=exif)
    assert pixels(both, 3).shape == (24, 32, 3)


def test_broken_exif_says_nothing():
    for block in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 40):
        data = cv2.imencode(".jpg", COLOURS)[1].tobytes()
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
        assert read_header(data).orientation == 1
        assert pixels(data).shape == GREY.shape


@pytest.mark.parametrize("bits", [9, 10, 12, 13, 14, 15, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_one_scale_for_the_whole_data_set(kind, bits):
    white = (1 << bits) - 1
    write = tiff if kind == "TIFF" else lambda image: cv2.imencode(".png", image)[1].tobytes()
    dim = (GREY * (white // 3) // GREY.max()).astype(np.uint16)
    bright = (GREY * white // GREY.max()).astype(np.uint16)
    for image in (dim, bright):
        found = decode(write(image), 1, bits=bits)
        np.testing.assert_array_equal(found.pixels, np.rint(image * (255 / white)))
        assert (found.facts.full_scale, found.facts.brightest) == (white, image.max())
        wide = pixels(write(image), bits=bits, depth="uint16")
        np.testing.assert_array_equal(wide, np.rint(image * (65535 / white)))
    if bits < 16:
        over = bright.copy()
        over[0, 0] = white + 1
        with pytest.raises(UnreadableImage) as error:
            pixels(write(over), bits=bits)
        assert str(error.value) == f"brighter than preprocess.bits: {white + 1}, and {bits} bits end at {white}"


def test_bits_do_not_touch_files_that_say_their_scale():
    image = GREY.astype(np.uint8)
    for data in (cv2.imencode(".png", image)[1].tobytes(), tiff(image), pnm(5, GREY, 1023, wide=True)):
        np.testing.assert_array_equal(pixels(data, bits=12), pixels(data))


def test_grey_of_deep_colours_is_rounded_once():
    image = (np.random.default_rng(0).integers(0, 4096, (40, 40, 3))).astype(np.uint16)
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    luma = image @ np.array([0.299, 0.587, 0.114]) / 4095
    np.testing.assert_allclose(pixels(data, bits=12), luma * 255, atol=0.52)
    np.testing.assert_allclose(pixels(data, bits=12, depth="uint16"), luma * 65535, atol=2.5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_pillows(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = Image.open(io.BytesIO(saved(COLOURS, "PNG", exif=exif)))
    np.testing.assert_array_equal(upright(COLOURS, orientation), np.asarray(ImageOps.exif_transpose(file)))


def test_headers_are_read_without_pixels(monkeypatch):
    files = {
        "PNG": cv2.imencode(".png", COLOURS)[1].tobytes(),
        "JPEG": cv2.imencode(".jpg", COLOURS)[1].tobytes(),
        "BMP": cv2.imencode(".bmp", COLOURS)[1].tobytes(),
        "WebP": saved(COLOURS, "WEBP"),
        "GIF": saved(COLOURS, "GIF"),
        "TIFF": tiff(COLOURS, photometric="rgb"),
        "JPEG 2000": imagecodecs.jpeg2k_encode(COLOURS),
        "JPEG XL": imagecodecs.jpegxl_encode(COLOURS),
        "AVIF": saved(COLOURS, "AVIF"),
        "PPM": pnm(6, COLOURS, 255),
    }

    def fail(*args, **kwargs):
        raise AssertionError("pixels were decoded")

    for target in ("cv2.imdecode", "PIL.Image.Image.load", "tifffile.TiffPage.asarray", "imagecodecs.jpegxl_decode"):
        monkeypatch.setattr(target, fail)
    for name, data in files.items():
        facts = read_header(data)
        assert (facts.format, facts.width, facts.height) == (name, 32, 24)
        assert facts.reader


def test_png_whose_header_is_impossible():
    body = struct.pack(">IIBBBBB", 4, 4, 3, 2, 0, 0, 0)
    chunks = [(b"IHDR", body), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    with pytest.raises(UnreadableImage, match=r"^damaged: PNG header$"):
        pixels(data)


def test_variants_that_nothing_decodes_are_named():
    data = bytearray(cv2.imencode(".jpg", COLOURS)[1].tobytes())
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 7] = b"\0\0"
    with pytest.raises(UnreadableImage, match=r"^no decoder: JPEG that states its height"):
        read_header(bytes(data))
    data = cv2.imencode(".png", COLOURS)[1].tobytes()
    chunk = struct.pack(">I", 4) + b"CgBI" + bytes(4) + struct.pack(">I", zlib.crc32(b"CgBI" + bytes(4)))
    with pytest.raises(UnreadableImage, match=r"^no decoder: PNG as iOS stores it"):
        read_header(data[:8] + chunk + data[8:])


def test_bmp_of_os2():
    # 3 bytes a colour; OpenCV 5 reads 4.
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    index = (GREY % 256).astype(np.uint8)
    height, width = GREY.shape
    start = 26 + 3 * 256
    data = (
        b"BM" + struct.pack("<IHHI", start + index.size, 0, 0, start) + struct.pack("<IHHHH", 12, width, height, 1, 8)
    )
    data += palette[:, ::-1].tobytes() + index[::-1].tobytes()
    np.testing.assert_array_equal(pixels(data, 3), palette[index])
