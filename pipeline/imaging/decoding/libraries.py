"""Calls of OpenCV, Pillow and imagecodecs for files that their headers say these can read."""

from __future__ import annotations

import dataclasses
import io
import warnings

import cv2
import numpy as np
from PIL import Image

from pipeline.imaging.decoding.errors import UnreadableImage
from pipeline.imaging.decoding.facts import Facts, Opened, Stored

# Bad files are reported in excluded.csv; OpenCV's own warnings would only tear the progress bar.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")

# The size is checked from the header; Pillow's limit would refuse slides that fit into memory.
Image.MAX_IMAGE_PIXELS = None

# Not IMREAD_UNCHANGED: that one keeps alpha. The orientation is applied once, for all formats alike.
_FLAGS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION


def by(facts: Facts, reader: str) -> Facts:
    """Return `facts` with another reader."""
    return dataclasses.replace(facts, reader=reader)


def open_opencv(data: bytes, facts: Facts) -> Opened:
    """Let OpenCV decode the file.

    Parameters
    ----------
    data : bytes
        The whole file.
    facts : Facts
        From its header: one frame, 8 or fewer bits a sample or 16.
    """
    return Opened(facts, lambda index: decode_opencv(data, facts.scale == "data set"))


def decode_opencv(data: bytes, unscaled: bool = False) -> Stored:
    """Return what OpenCV decodes, as grey or RGB.

    Parameters
    ----------
    data : bytes
        The whole file.
    unscaled : bool
        Whether the data set decides which value is white.

    Raises
    ------
    UnreadableImage
        "damaged".
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    if image is None:
        raise UnreadableImage("damaged", "found by OpenCV")
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    elif image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return Stored(image, 0 if unscaled else (1 << 8 * image.dtype.itemsize) - 1)


def open_animated(data: bytes, facts: Facts) -> Opened:
    """Let Pillow decode one image of an animation, drawn over those before it as the format says."""
    facts = by(facts, "Pillow")
    return Opened(facts, lambda index: decode_pillow(data, index))


def decode_pillow(data: bytes, index: int = 0) -> Stored:
    """Return what Pillow decodes, without alpha.

    Parameters
    ----------
    data : bytes
        The whole file.
    index : int
        Frame, from 0.
    """
    with Image.open(io.BytesIO(data)) as file:
        if index:
            file.seek(index)
        file.load()
        if file.mode in ("1", "L", "LA", "La"):
            return Stored(np.array(file.convert("L") if file.mode == "1" else file.getchannel(0)))
        if file.mode.startswith("I;16"):
            return Stored(np.array(file).astype(np.uint16), 0)
        if file.mode in ("RGBA", "RGBX"):
            return Stored(np.array(file)[..., :3])
        if file.mode not in ("P", "PA", "RGB"):
            raise UnreadableImage("unsupported colours", f"mode {file.mode} of Pillow")
        if file.mode in ("P", "PA"):
            # Without this Pillow blends: a palette with alpha becomes RGBA first, whose colours are kept as they are.
            file.info.pop("transparency", None)
        return Stored(np.array(file.convert("RGB")))


def decode_codec(codec: str, data: bytes, bits: int) -> Stored:
    """Return what a codec of imagecodecs decodes, without alpha.

    Parameters
    ----------
    codec : str
        "jpeg", "jpegls", "jpeg2k", "jpegxl", ...
    data : bytes
        The whole code stream.
    bits : int
        Bits a sample in it.
    """
    import imagecodecs

    image = np.asarray(getattr(imagecodecs, f"{codec}_decode")(data))
    if image.dtype.kind != "u":
        raise UnreadableImage("unsupported pixel type", str(image.dtype))
    if image.ndim == 3:
        if image.shape[2] > 4:
            raise UnreadableImage("unsupported colours", f"{image.shape[2]} channels")
        image = image[..., 0] if image.shape[2] < 3 else image[..., :3]
    if image.ndim != 2 and image.shape[2:] != (3,):
        raise UnreadableImage("unsupported shape", str(list(image.shape)))
    return Stored(np.ascontiguousarray(image), (1 << bits) - 1)
