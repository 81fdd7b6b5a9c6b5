"""PNG files: their chunks, and the reader."""

from __future__ import annotations

import struct
import zlib
from typing import Final

from pipeline.imaging.decoding import exif, libraries
from pipeline.imaging.decoding.errors import UnreadableImage
from pipeline.imaging.decoding.facts import Facts, Opened, Stored

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEAD, _NUMBER = struct.Struct(">I4s"), struct.Struct(">I")
"""Length and kind of a chunk; its checksum. Large files have thousands of chunks."""
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey", 6: "RGB"}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_BLOCK = 65535
"""Bytes of a stored block of deflate, at most."""
_STORED = struct.Struct("<BHH")
"""Head of a stored block: whether it is the last, its length, and the complement of that."""
_END = b"\0\0\0\0IEND\xae\x42\x60\x82"
_LOWER = ord("a")
_MOST = 2**25
"""Bytes of an image that is copied on its way; a larger one is decoded by OpenCV, which holds it once."""
_MOST_TEXT = 2**20
"""Bytes of a text chunk that may hold an orientation, unpacked."""


def open_png(data: bytes) -> Opened:
    """Follow the chunks to IEND and verify their checksums, which some decoders skip (PNG specification, section 5).

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    UnreadableImage
        "truncated", "damaged", "no decoder".
    """
    from imagecodecs import deflate_crc32 as crc32  # libdeflate's takes a fifth of the time of zlib's

    unpack_head, unpack_number = _HEAD.unpack_from, _NUMBER.unpack_from
    position, view, size = len(SIGNATURE), memoryview(data), len(data)
    header = exif_block = xmp = b""
    frames, transparent = 1, False
    packed: list[memoryview] = []
    plain, before = True, b""
    while True:
        if position + 12 > size:
            raise UnreadableImage("truncated")
        length, kind = unpack_head(data, position)
        end = position + 12 + length
        if kind != b"IDAT" and not (kind.isascii() and kind.isalpha()):
            raise UnreadableImage("damaged", "PNG chunks")
        if end > size:
            raise UnreadableImage("truncated")
        (checksum,) = unpack_number(data, end - 4)
        if crc32(view[position + 4 : end - 4]) != checksum:  # type: ignore[arg-type]  # takes any buffer
            raise UnreadableImage("damaged", "checksum of a PNG chunk")
        if kind == b"IDAT":
            plain &= not packed or before == b"IDAT"
            packed.append(view[position + 8 : end - 4])
        else:
            body = data[position + 8 : end - 4]
            if kind == b"IEND":
                break
            # OpenCV is to judge what must be understood and is no plain picture: chunks whose name begins with a
            # capital, and a header that is not the first and only one.
            plain &= kind[0] >= _LOWER if before else kind == b"IHDR"
            if kind == b"IHDR":
                header = body
            elif kind == b"CgBI":
                raise UnreadableImage("no decoder", "PNG as iOS stores it; convert the files")
            elif kind == b"acTL" and length >= 4:
                frames, plain = max(1, int.from_bytes(body[:4])), False
            elif kind == b"tRNS":
                transparent = True
            elif kind == b"eXIf":
                exif_block = body
            elif kind in (b"zTXt", b"tEXt") and not exif_block:
                exif_block = _raw_profile(kind, body)
            elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
                xmp = body
        position, before = end, kind
    if len(header) != 13:
        raise UnreadableImage("damaged", "PNG header")
    width, height, bits, colour, *layout = struct.unpack(">IIBBBBB", header)
    if bits not in _DEPTHS.get(colour, ()):
        raise UnreadableImage("damaged", "PNG header")
    facts = Facts(
        "PNG",
        compression="deflate",
        bits=bits,
        photometric=_COLOURS[colour],
        frames=frames,
        width=width,
        height=height,
        orientation=exif.orientation(exif_block, xmp) if exif_block or xmp else 1,
        alpha=transparent or colour in (4, 6),
        reader="OpenCV",
        scale="data set" if bits == 16 else "header",
    )
    if plain and bits >= 8 and colour in (0, 2) and not any(layout) and _filtered_size(facts) <= _MOST:
        return Opened(libraries.by(facts, "kornia-rs"), lambda index: _read_plain(data, header, packed, facts))
    return libraries.open_animated(data, facts) if frames > 1 else libraries.open_opencv(data, facts)


def _filtered_size(facts: Facts) -> int:
    """Return the bytes of all rows, each with the number of its filter."""
    return (1 + facts.width * facts.bits // 8 * (3 if facts.photometric == "RGB" else 1)) * facts.height


def _read_plain(data: bytes, header: bytes, packed: list[memoryview], facts: Facts) -> Stored:
    """Read grey or RGB of 8 or 16 bits, not interlaced; what is not sound is left to OpenCV to judge, or to rescue."""
    unscaled, grey = facts.scale == "data set", facts.photometric == "grey"
    if (filtered := _unpacked(b"".join(packed), _filtered_size(facts))) is None:
        return libraries.decode_opencv(data, unscaled)._replace(reader="OpenCV")
    try:
        import kornia_rs

        decode = kornia_rs.io.decode_image_png_u8 if facts.bits == 8 else kornia_rs.io.decode_image_png_u16
        pixels = decode(_stored(header, filtered), (facts.height, facts.width), "mono" if grey else "rgb")
    except MemoryError:
        raise
    except Exception:  # it has no type of its own; a machine without it reads the same pixels
        return libraries.decode_opencv(data, unscaled)._replace(reader="OpenCV")
    return Stored(pixels[..., 0] if grey else pixels, 0 if unscaled else 255)


def _unpacked(packed: bytes, size: int) -> bytes | None:
    """Return `size` bytes of a zlib stream whose checksum is right; None if there are not as many."""
    from imagecodecs import DeflateError, deflate_decode

    try:
        content = deflate_decode(packed, out=size)
    except DeflateError:
        return None
    return bytes(content) if len(content) == size else None


def _stored(header: bytes, filtered: bytes) -> bytes:
    """Return a PNG of the same pixels whose data are not compressed: blocks of at most 65535 bytes (RFC 1951, 3.2.4).

    libdeflate inflates two to three times as fast as the zlib of OpenCV and verifies the Adler-32 of the data, which
    kornia-rs does not; kornia-rs undoes the filters of rows two to three times as fast as libpng. Together they take
    40 to 50 % of the time of OpenCV for a radiograph.
    """
    from imagecodecs import deflate_adler32, deflate_crc32

    view, size = memoryview(filtered), len(filtered)
    parts: list[bytes | memoryview] = [b"IDAT\x78\x01"]
    for start in range(0, size, _BLOCK):
        length = min(_BLOCK, size - start)
        parts += (_STORED.pack(start + length == size, length, length ^ 0xFFFF), view[start : start + length])
    parts.append(_NUMBER.pack(deflate_adler32(filtered)))
    checksum = 0
    for part in parts:
        checksum = deflate_crc32(part, checksum)  # type: ignore[arg-type]  # takes any buffer
    head = b"IHDR" + header
    return b"".join(
        [
            SIGNATURE,
            _NUMBER.pack(len(header)) + head + _NUMBER.pack(deflate_crc32(head)),
            _NUMBER.pack(sum(map(len, parts)) - 4),
            *parts,
            _NUMBER.pack(checksum) + _END,
        ]
    )


def _raw_profile(kind: bytes, body: bytes) -> bytes:
    """Return the EXIF block of a text chunk as ImageMagick writes it, else nothing."""
    keyword, _, text = body.partition(b"\0")
    if keyword not in (b"Raw profile type exif", b"Raw profile type APP1"):
        return b""
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MOST_TEXT)
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except (ValueError, zlib.error):  # no orientation then; the pixels are not concerned
        return b""
