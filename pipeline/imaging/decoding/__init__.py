"""Encoded image files to grey levels or colours, with the facts, or with a reason for every file that has none."""

from __future__ import annotations

import dataclasses

import numpy as np

from pipeline.imaging.decoding import grey, header
from pipeline.imaging.decoding.errors import REASONS, UnreadableImage, only_unreadable
from pipeline.imaging.decoding.facts import Channels, Decoded, Depth, Facts, Frame, Opened, Stored

__all__ = [
    "REASONS",
    "Channels",
    "Decoded",
    "Depth",
    "Facts",
    "Frame",
    "Opened",
    "UnreadableImage",
    "as_image",
    "decode",
    "open_file",
    "read_header",
]


def open_file(data: bytes) -> Opened:
    """Read the header of a file for `decode`, which then does not read it again; raises as `read_header`."""
    with only_unreadable(lambda: "the reader of headers"):
        return header.open_file(data)


def read_header(data: bytes) -> Facts:
    """Return what the header of a file says, without decoding pixels.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    Facts
        `window`, `full_scale` and `brightest` are known only after decoding.

    Raises
    ------
    UnreadableImage
        For files that no reader can be chosen for.
    """
    return open_file(data).facts


def decode(
    data: bytes | Opened,
    channels: Channels,
    *,
    bits: int | None = None,
    depth: Depth = "uint8",
    frame: Frame = "error",
) -> Decoded:
    """Decode an image file to display values.

    Parameters
    ----------
    data : bytes or Opened
        The whole file, or what `open_file` returned for it.
    channels : {1, 3}
        Grey or RGB.
    bits : int, optional
        Full scale is 2**bits - 1 in files of this data set that store more than 8 bits and do not say how many are
        used. The data set decides, not the image: stretching each image to its own range would hide under- and
        over-exposure. Without it 16 bits are taken, and a file that uses 12 or fewer is refused.
    depth : {"uint8", "uint16"}
        Of the result: full scale is 255 or 65535.
    frame : {"error", "first", "middle"} or int
        Which image of a file with several; an integer counts from 0.

    Returns
    -------
    Decoded

    Raises
    ------
    UnreadableImage
        With one of `REASONS`; nothing else is raised, KeyboardInterrupt and SystemExit apart.
    """
    at_work = "the reader of headers"
    with only_unreadable(lambda: at_work):
        opened = data if isinstance(data, Opened) else header.open_file(data)
        facts = opened.facts
        at_work = facts.reader
        stored = opened.read(_frame(frame, facts.frames))
        if stored.values.size == 0:
            raise UnreadableImage("empty image")
        white, brightest = grey.white_of(stored, bits)
        image = grey.shown(stored, white, channels, depth)
        if facts.orientation != 1:
            image = grey.upright(image, facts.orientation)
    facts = dataclasses.replace(facts, full_scale=white, brightest=brightest, window=stored.window)
    if stored.reader:
        facts = dataclasses.replace(facts, reader=stored.reader)
    return Decoded(image, facts)


def _frame(asked: Frame, frames: int) -> int:
    """Return the frame to read, counted from 0."""
    if asked == "error":
        if frames > 1:
            raise UnreadableImage("several frames", f"{frames}; choose with preprocess.frame")
        return 0
    if asked in ("first", "middle"):
        return 0 if asked == "first" else frames // 2
    index = int(asked)
    if not 0 <= index < frames:
        raise UnreadableImage("frame missing", f"{index + 1} of {frames}")
    return index


def as_image(
    content: bytes | np.ndarray,
    channels: Channels,
    *,
    bits: int | None = None,
    depth: Depth = "uint8",
    frame: Frame = "error",
) -> Decoded:
    """Return what `Sample.read` gave as grey or RGB pixels: a file is decoded, pixels are only converted.

    Parameters
    ----------
    content : bytes or uint8 [H, W] or [H, W, 3]
        A whole image file, or grey or RGB pixels.
    channels, bits, depth, frame
        As for `decode`.

    Returns
    -------
    Decoded

    Raises
    ------
    UnreadableImage
        As `decode`; or "empty image", "unsupported pixel type", "unsupported shape".
    """
    if not isinstance(content, np.ndarray):
        return decode(content, channels, bits=bits, depth=depth, frame=frame)
    if content.dtype != np.uint8:
        raise UnreadableImage("unsupported pixel type", str(content.dtype))
    if content.ndim not in (2, 3) or content.shape[2:] not in ((), (1,), (3,)):
        raise UnreadableImage("unsupported shape", str(list(content.shape)))
    if content.size == 0:
        raise UnreadableImage("empty image")
    pixels = np.ascontiguousarray(content[..., 0] if content.shape[2:] == (1,) else content)
    facts = Facts(
        "pixels",
        photometric="grey" if pixels.ndim == 2 else "RGB",
        width=pixels.shape[1],
        height=pixels.shape[0],
        full_scale=255,
    )
    with only_unreadable(lambda: "OpenCV"):
        return Decoded(grey.shown(Stored(pixels), 255, channels, depth), facts)
