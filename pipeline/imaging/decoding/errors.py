"""Why a file is no usable image: a closed list of reasons, and the guard that turns every exception into one."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import cv2

REASONS: Final = {
    "empty file": "no bytes",
    "not an image": "neither its beginning nor its structure is that of an image format",
    "truncated": "the file ends before its image does; copy it again",
    "damaged": "the data contradict their own format; copy the file again",
    "no pixels": "the file holds a document, a plan, a link or measurements",
    "larger than preprocess.max_pixels": "set it higher if the size is right",
    "larger than preprocess.max_bytes": "set it higher if the size is right and the memory is there",
    "empty image": "no rows or no columns",
    "too many pixels": "more than decoders can hold",
    "no decoder": "the format or compression is named, and what would help",
    "unsupported pixel type": "the type is named; convert to 8 or 16 bits with the right scale",
    "unsupported colours": "the colours are named; convert to grey or RGB",
    "unsupported shape": "pixels are [H, W] or [H, W, 3]",
    "several frames": "the count is named; choose with preprocess.frame",
    "frame missing": "the file has fewer frames than asked for",
    "scale unknown": "nothing says which value is white; set preprocess.bits",
    "brighter than preprocess.bits": "the value is named; set preprocess.bits higher, or auto",
    "too little memory": "the size is named",
    "decoder failed": "what a decoder raised that is no usual sign of damage",
}
"""Every reason with what it means or what helps."""

_DAMAGE = (
    ValueError,
    EOFError,
    OSError,
    SyntaxError,
    RuntimeError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    cv2.error,
)
"""What decoders raise for data that contradict their format: RuntimeError stands for imagecodecs and for pydicom's
collected failures, SyntaxError for Pillow."""
_FAULTS = (RecursionError, UnicodeError)
"""Subclasses of these that are no sign of damaged pixels."""


class UnreadableImage(Exception):
    """A file is no usable image; the only exception that leaves `pipeline.imaging.decoding`.

    Parameters
    ----------
    reason : str
        One of `REASONS`.
    detail : str
        What exactly, and what would help; the same for every file with the same fault where that is possible.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        if reason not in REASONS:
            raise ValueError(f"'{reason}' is not among REASONS")
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@contextmanager
def only_unreadable(reader: Callable[[], str]) -> Iterator[None]:
    """Turn every exception into `UnreadableImage`; KeyboardInterrupt and SystemExit pass.

    Parameters
    ----------
    reader : callable
        Names the library at work when the exception was raised.
    """
    try:
        yield
    except UnreadableImage:
        raise
    except Exception as error:
        raise _named(error, reader()) from None


def _named(error: Exception, reader: str) -> UnreadableImage:
    kind = type(error).__name__
    if isinstance(error, MemoryError) or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem):
        return UnreadableImage("too little memory", f"asked for by {reader}")
    if isinstance(error, ImportError):
        # Not the message: imagecodecs puts paths of the machine into it.
        return UnreadableImage("no decoder", f"{error.name} is missing; pip install -r requirements.txt")
    if isinstance(error, NotImplementedError):
        return UnreadableImage("no decoder", f"{reader} does not implement this variant; convert the file")
    if isinstance(error, _DAMAGE) and not isinstance(error, _FAULTS):
        return UnreadableImage("damaged", f"found by {reader}")
    return UnreadableImage("decoder failed", f"{kind} in {reader}; the file may be damaged")
