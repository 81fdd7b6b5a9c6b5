"""Pixels of 16 bits that become 8."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

STEP: Final = 257
"""Levels of 16 bits from one of 8 bits to the next: 65535 / 255."""


def to_8_bits(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Round uint16 of any shape of 2 or 3 axes to the nearest level of 8 bits; uint8 stays as it is."""
    # No 16-bit value lies half-way between two multiples of 257, so that how halves are rounded does not matter.
    return image if image.dtype == np.uint8 else np.asarray(cv2.convertScaleAbs(image, alpha=1 / STEP), np.uint8)


def holds_8_bits(image: NDArray[np.uint16]) -> bool:
    """Whether a picture of 8 bits was stored with 16: every value is one of the 256 levels."""
    return bool((image[:1] % STEP == 0).all() and (image % STEP == 0).all())
