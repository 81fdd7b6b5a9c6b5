"""Whatever a decoder raises, only UnreadableImage leaves, with a reason of the closed list."""

import builtins
import contextlib
import io
import lzma
import random
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import PIL
import pydicom
import pytest
import tifffile
from PIL import Image

from pipeline.imaging.decoding import REASONS, UnreadableImage, as_image, decode, read_header
from tests.imaging.files import dicom, tiff

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def saved(kind, mode="L", **options):
    out = io.BytesIO()
    Image.fromarray(GREY).convert(mode).save(out, kind, **options)
    return out.getvalue()


FILES = {
    "PNG": (saved("PNG", "P"), "cv2.imdecode"),
    "JPEG": (saved("JPEG"), "cv2.imdecode"),
    "lossless JPEG": (
        imagecodecs.jpeg8_encode(GREY.astype(np.uint16), lossless=True, bitspersample=12),
        "imagecodecs.jpeg_decode",
    ),
    "TIFF": (tiff(GREY), "tifffile.TiffFile"),
    "TIFF pixels": (tiff(GREY), "tifffile.TiffPage.asarray"),
    "GIF": (saved("GIF"), "PIL.Image.open"),
    "DICOM": (dicom(GREY), "pydicom.dcmread"),
    "DICOM pixels": (dicom(GREY), "pipeline.imaging.decoding.display.grey"),
}


def every_exception():
    made = [
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        UnicodeEncodeError("utf-8", "x", 0, 1, "invalid"),
        UnicodeTranslateError("x", 0, 1, "invalid"),
        ExceptionGroup("several", [ValueError()]),
        ModuleNotFoundError("no", name="pylibjpeg"),
        struct.error(),
        zlib.error(),
        lzma.LZMAError(),
        cv2.error(),
        PIL.UnidentifiedImageError(),
        Image.DecompressionBombError(),
        tifffile.TiffFileError(),
        pydicom.errors.InvalidDicomError(),
        pydicom.errors.BytesLengthException(),
        imagecodecs.DelayedImportError("zstd"),
        type("NobodyKnowsIt", (Exception,), {})(),
    ]
    for kind in vars(builtins).values():
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, Warning):
            try:
                made.append(kind())
            except TypeError:
                continue
    return made


@pytest.mark.parametrize("error", every_exception(), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", FILES)
def test_only_unreadable_images_leave(name, error, monkeypatch):
    data, target = FILES[name]
    decode(data, 1, bits=16)  # sound without the fault

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(target, fail)
    with pytest.raises(UnreadableImage) as found:
        decode(data, 1, bits=16)
    assert found.value.reason in REASONS
    assert found.value.__cause__ is None
    expected = {
        MemoryError: "too little memory",
        RecursionError: "decoder failed",
        NotImplementedError: "no decoder",
        ModuleNotFoundError: "no decoder",
        OSError: "damaged",
        struct.error: "damaged",
        TypeError: "decoder failed",
    }.get(type(error))
    # pydicom says by EOFError that the file ends early.
    if expected:
        assert found.value.reason == expected
    if found.value.reason == "decoder failed":
        assert type(error).__name__ in found.value.detail


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_interrupts_is_not_held_up(error, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("cv2.imdecode", fail)
    with pytest.raises(error):
        decode(FILES["PNG"][0], 1)


def test_memory_that_opencv_does_not_get(monkeypatch):
    def fail(*args, **kwargs):
        raised = cv2.error("Failed to allocate")
        raised.code = cv2.Error.StsNoMem
        raise raised

    monkeypatch.setattr("cv2.imdecode", fail)
    with pytest.raises(UnreadableImage, match=r"^too little memory: asked for by OpenCV$"):
        decode(FILES["PNG"][0], 1)


def test_reasons_are_a_closed_list():
    with pytest.raises(ValueError, match="not among REASONS"):
        UnreadableImage("bad mood")
    assert str(UnreadableImage("damaged", "PNG header")) == "damaged: PNG header"
    assert str(UnreadableImage("truncated")) == "truncated"


def test_sizes_that_no_decoder_holds():
    header = struct.pack(">IIBBBBB", 2**16, 2**15, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    for read in (read_header, lambda data: decode(data, 1)):
        with pytest.raises(UnreadableImage, match=r"^too many pixels: 65536 x 32768"):
            read(data)


@pytest.mark.parametrize("name", FILES)
def test_broken_bytes_end_in_a_reason_or_in_pixels(name):
    data = FILES[name][0]
    chance = random.Random(name)
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        broken = bytes(broken[: chance.choice([len(broken), chance.randrange(len(broken))])])
        with contextlib.suppress(UnreadableImage):  # whose reasons are of the closed list by construction
            assert decode(broken, 1, bits=16, frame="first").pixels.dtype == np.uint8


def test_files_of_other_kinds_are_named():
    for start, name in [
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.4", "PDF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\0\0\0\x20ftypheic", "HEIC"),
        (b"\0\0\0\x20ftypisom", "MP4"),
        (bytes(344) + b"n+1\0", "NIfTI"),
        (b"\0\0\1\0\1\0", "ICO"),
        (b"qoif", "QOI"),
    ]:
        with pytest.raises(UnreadableImage, match=f"^no decoder: {name}"):
            decode(start + bytes(64), 1)


def test_pixels_keep_their_facts():
    found = as_image(GREY, 1, depth="uint16")
    np.testing.assert_array_equal(found.pixels, GREY * np.uint16(257))
    assert (found.facts.format, found.facts.width, found.facts.height) == ("pixels", 16, 16)
