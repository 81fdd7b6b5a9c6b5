"""PNG that are unpacked apart from OpenCV, against OpenCV, whose verdict on damaged ones holds."""

import struct
import zlib

import cv2
import kornia_rs
import numpy as np
import pytest

from pipeline.imaging.decoding import UnreadableImage, decode

FLAGS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
GREY, RGB = 0, 2


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(header, *chunks):
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *header)) + b"".join(chunks) + chunk(b"IEND", b"")
    )


def rows(width, height, bits, colour, filters=range(5), seed=0):
    """Rows of random bytes under each of some filters in turn, as a compressor gets them."""
    generator, row = np.random.default_rng(seed), width * (3 if colour == RGB else 1) * bits // 8
    return b"".join(bytes([filters[k % len(filters)]]) + generator.bytes(row) for k in range(height))


def by_opencv(data):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), FLAGS)
    return image if image is None or image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read(data, bits=8, colour=GREY):
    return decode(data, 3 if colour == RGB else 1, bits=16, depth="uint8" if bits == 8 else "uint16")


@pytest.mark.parametrize("colour", [GREY, RGB])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 23), (300, 260)])  # the last is more than one stored block
@pytest.mark.parametrize("pieces", [1, 3])
def test_every_filter_of_rows(width, height, bits, colour, pieces):
    packed = zlib.compress(rows(width, height, bits, colour))
    step = -(-len(packed) // pieces)
    parts = [chunk(b"IDAT", packed[k : k + step]) for k in range(0, len(packed), step)]
    data = png((width, height, bits, colour, 0, 0, 0), chunk(b"gAMA", struct.pack(">I", 20_000)), *parts)
    decoded = read(data, bits, colour)
    assert decoded.facts.reader == "kornia-rs"
    np.testing.assert_array_equal(decoded.pixels, by_opencv(data))


SOUND = rows(9, 8, 8, GREY)
PACKED = zlib.compress(SOUND)
HEADER = (9, 8, 8, GREY, 0, 0, 0)
ODD = {
    "another checksum of the data": png(HEADER, chunk(b"IDAT", PACKED[:-1] + bytes([PACKED[-1] ^ 1]))),
    "too few data": png(HEADER, chunk(b"IDAT", zlib.compress(SOUND[:-1]))),
    "too many data": png(HEADER, chunk(b"IDAT", zlib.compress(SOUND + b"\0"))),
    "no data": png(HEADER),
    "an unknown filter": png(HEADER, chunk(b"IDAT", zlib.compress(b"\5" + SOUND[1:]))),
    "no stream": png(HEADER, chunk(b"IDAT", b"\0" * 40)),
    "bytes after the stream": png(HEADER, chunk(b"IDAT", PACKED + b"\0" * 5)),
    "two headers": png(HEADER, chunk(b"IHDR", struct.pack(">IIBBBBB", *HEADER)), chunk(b"IDAT", PACKED)),
    "an unknown chunk that must be understood": png(HEADER, chunk(b"ABCD", b""), chunk(b"IDAT", PACKED)),
    "data in two places": png(HEADER, chunk(b"IDAT", PACKED[:9]), chunk(b"tEXt", b"a\0b"), chunk(b"IDAT", PACKED[9:])),
    "interlaced": png((1, 1, 8, GREY, 0, 0, 1), chunk(b"IDAT", zlib.compress(b"\0\7"))),
    "another method of compression": png((9, 8, 8, GREY, 1, 0, 0), chunk(b"IDAT", PACKED)),
}


@pytest.mark.parametrize("name", ODD)
def test_the_verdict_on_odd_files_is_that_of_opencv(name):
    data = ODD[name]
    if (expected := by_opencv(data)) is None:
        with pytest.raises(UnreadableImage, match=r"^damaged"):
            decode(data, 1)
    else:
        np.testing.assert_array_equal(decode(data, 1).pixels, expected)


def test_what_kornia_refuses_is_left_to_opencv(monkeypatch):
    data = png(HEADER, chunk(b"IDAT", PACKED))
    monkeypatch.setattr(kornia_rs.io, "decode_image_png_u8", lambda *args: 1 / 0)
    decoded = decode(data, 1)
    assert decoded.facts.reader == "OpenCV"
    np.testing.assert_array_equal(decoded.pixels, by_opencv(data))

    def no_memory(*args):
        raise MemoryError

    monkeypatch.setattr(kornia_rs.io, "decode_image_png_u8", no_memory)
    with pytest.raises(UnreadableImage, match=r"^too little memory: asked for by kornia-rs$"):
        decode(data, 1)
