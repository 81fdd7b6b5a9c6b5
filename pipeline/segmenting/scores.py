"""How well a mask fits the true one: overlap, and distance between outlines, in pixels of the prepared image.

A score is of an image that has the structure. Where nothing was found in it, overlaps are 0 and the distance is the
diagonal of the image. An image without the structure has no overlap and no distance, whatever was found: it counts by
whether anything was found in it, `FALSE_ALARM`. So the images that a mean is over do not depend on the network.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

DICE, IOU, HD95, SURFACE, FALSE_ALARM = "dice", "iou", "hd95", "surface_dice", "false_alarm"
TOLERANCE = 1.0
"""Pixels of the prepared image by which outlines may differ in `SURFACE`."""
PERCENTILE = 95.0
MOST = 4
"""Structures whose images are shown: those in most images."""
KINDS = ("best", "median", "worst")
"""Images that are shown of each, by Dice."""
_CROSS = ndimage.generate_binary_structure(2, 1)


class Scores(NamedTuple):
    """Of one mask; NaN where a score is undefined."""

    dice: float
    iou: float
    surface_dice: float
    hd95: float
    false_alarm: float


def score(found: Mask, truth: Mask) -> Scores:
    """Score a mask.

    Parameters
    ----------
    found, truth : bool [H, W]
        What a network gives, and what is true.
    """
    if not truth.any():
        return Scores(math.nan, math.nan, math.nan, math.nan, float(found.any()))
    if not found.any():
        return Scores(0.0, 0.0, 0.0, math.hypot(*truth.shape), math.nan)
    both, either = int((found & truth).sum()), int((found | truth).sum())
    to_truth, to_found = surface_distances(found, truth)
    near = int((to_truth <= TOLERANCE).sum() + (to_found <= TOLERANCE).sum())
    return Scores(
        2 * both / (both + either),
        both / either,
        near / (len(to_truth) + len(to_found)),
        float(max(np.percentile(to_truth, PERCENTILE), np.percentile(to_found, PERCENTILE))),
        math.nan,
    )


def surface_distances(found: Mask, truth: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure how far the pixels of either outline are from the other outline.

    Parameters
    ----------
    found, truth : bool [H, W]
        Neither is empty.

    Returns
    -------
    from_found, from_truth : float64 [outline pixels]
        In pixels. An outline is the pixels of a mask with one of their four neighbours outside of it; beyond the image
        is outside.

    References
    ----------
    Hausdorff distance at a percentile, the larger of the two directions: Huttenlocher et al. 1993,
    doi:10.1109/34.232073. Share of both outlines within a tolerance: Nikolov et al. 2021, doi:10.2196/26151, here by
    pixels of the outlines, as MONAI counts them.
    """
    rows, columns = (np.flatnonzero((found | truth).any(axis)) for axis in (1, 0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    edges = [mask[part] & ~ndimage.binary_erosion(mask[part], _CROSS) for mask in (found, truth)]
    away = [ndimage.distance_transform_edt(~edge) for edge in edges]
    return away[1][edges[0]], away[0][edges[1]]


def score_all(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Score masks [N, K, H, W]: float64 [N, K, 5], in the order of `Scores`."""
    n, k = truth.shape[:2]
    values = [score(found[i, j], truth[i, j]) for i in range(n) for j in range(k)]
    return np.array(values, np.float64).reshape(n, k, len(Scores._fields))


def three_of(dice: np.ndarray) -> list[int]:
    """Return the places of the best, the middle and the worst value; of equal ones the first, NaN left out."""
    known = np.flatnonzero(~np.isnan(dice))
    order = known[np.argsort(-dice[known], kind="stable")]
    return [int(order[place]) for place in (0, (len(order) - 1) // 2, len(order) - 1)] if len(order) else []
