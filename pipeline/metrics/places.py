"""Where a curve is highest: what a threshold is chosen by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TIE = 1e-12
"""Difference below which two values are the same."""


def best_places(curves: NDArray[Any]) -> NDArray[np.int64]:
    """Return where the last axis is highest, in the middle of the places that tie.

    Parameters
    ----------
    curves : float [..., T]
        Values, none below -1; NaN is never the highest, unless there is nothing else.

    Returns
    -------
    int64 [...]
        Of an even number of ties the second of the two in the middle.
    """
    filled = np.nan_to_num(curves, nan=-1.0)
    ties = filled >= filled.max(-1, keepdims=True) - TIE
    return (np.cumsum(ties, -1) == ties.sum(-1, keepdims=True) // 2 + 1).argmax(-1)
