"""Why a file is no usable image: a closed list of reasons."""

from __future__ import annotations

from typing import Final

REASONS: Final = {
    "empty file": "",
    "not an image": "",
    "truncated": "",
    "damaged": "",
    "larger than preprocess.max_pixels": "set it higher if the size is right",
    "no pixels": "the file holds a document, a plan or measurements",
    "no decoder": "the compression is named; convert the files, or install what is named",
    "unsupported pixel type": "convert the files to 8 or 16 bits",
    "unsupported shape": "pixels are [H, W] or [H, W, 3]",
    "unsupported colours": "convert the files to grey or RGB",
    "several frames": "choose with preprocess.frame",
    "frame missing": "the file has fewer frames than asked for",
    "scale unknown": "set preprocess.bits",
    "brighter than preprocess.bits": "set preprocess.bits higher, or auto",
    "empty image": "no rows or no columns",
    "too little memory": "",
    "decoder failed": "the decoder and what it raised are named",
}
"""Every reason with what it means or what helps."""


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
