"""How well heat maps find what is known to be somewhere: scores against masks or boxes, and what needs no network.

Every score is of one map and one mask, 1 at best. A map that is 0 all over points nowhere: its pointing game, energy
and overlap are 0. A mask without a pixel leaves every score undefined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score

from pipeline.uncertainty.bootstrap import patient_draws
from pipeline.uncertainty.intervals import percentiles

THRESHOLDS = np.linspace(0.05, 0.95, 19)
"""Among which validation chooses."""
Map = NDArray[np.floating]
Mask = NDArray[np.bool_]


class Mean(NamedTuple):
    """A mean over images with its interval, and what it rests on.

    Parameters
    ----------
    value, low, high : float
        NaN where no image has a value; `low` and `high` also where fewer than two patients have one.
    images, patients : int
        With a value.
    """

    value: float
    low: float
    high: float
    images: int
    patients: int


def mask_of(boxes: ArrayLike, height: int, width: int) -> Mask:
    """Return the pixels whose centres lie in one of the boxes.

    Parameters
    ----------
    boxes : float [B, 4]
        x, y, width, height in pixels; x and y at the top left corner.
    height, width : int
        Of the image.

    Returns
    -------
    bool [height, width]
    """
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5
    mask = np.zeros((height, width), bool)
    for left, top, wide, high in np.asarray(boxes, np.float64).reshape(-1, 4):
        mask |= (left <= x) & (x < left + wide) & (top <= y) & (y < top + high)
    return mask


def pointing(heat: Map, mask: Mask) -> float:
    """Return whether the highest place lies in the mask; of several highest places, the share that does.

    References
    ----------
    Zhang et al. 2018, "Top-down neural attention by excitation backprop", doi:10.1007/s11263-017-1059-x, there with a
    tolerance of 15 pixels, here with none.
    """
    if not mask.any():
        return np.nan
    highest = heat.max()
    return float(mask[heat == highest].mean()) if highest > 0 else 0.0


def energy_inside(heat: Map, mask: Mask) -> float:
    """Return the share of the map's sum that lies in the mask.

    References
    ----------
    Wang et al. 2020, Score-CAM, arXiv 1910.01279, section 4.3: the energy-based pointing game.
    """
    if not mask.any():
        return np.nan
    whole = float(heat.sum(dtype=np.float64))
    return float(heat[mask].sum(dtype=np.float64)) / whole if whole > 0 else 0.0


def overlap(heat: Map, mask: Mask, threshold: float) -> float:
    """Return intersection over union of the mask with the places where the map is at least `threshold`, above 0."""
    if not mask.any():
        return np.nan
    found = heat >= threshold
    return float((found & mask).sum() / (found | mask).sum())


def pixel_ap(heat: Map, mask: Mask) -> float:
    """Return the average precision of pixels ranked by the map; of a constant map it is the mask's share."""
    return float(average_precision_score(mask.ravel(), heat.ravel())) if mask.any() else np.nan


def best_threshold(heats: Sequence[Map], masks: Sequence[Mask], thresholds: ArrayLike = THRESHOLDS) -> float:
    """Return the threshold with the highest mean `overlap`, the lowest of several; for validation images.

    Raises
    ------
    ValueError
        If no mask has a pixel.
    """
    pairs = [(heat, mask) for heat, mask in zip(heats, masks, strict=True) if mask.any()]
    if not pairs:
        raise ValueError("a threshold needs masks; none has a pixel")
    candidates = np.asarray(thresholds, np.float64)
    return float(candidates[np.argmax([np.mean([overlap(*pair, cut) for pair in pairs]) for cut in candidates])])


def centre(height: int, width: int) -> NDArray[np.float64]:
    """Return a map that falls from the image's centre to 0 at its corners, in proportion to the distance."""
    y, x = (np.arange(side) + 0.5 - side / 2 for side in (height, width))
    away = np.hypot(y[:, None], x[None])
    return 1 - away / np.hypot(height / 2, width / 2)


def mean_mask(masks: Sequence[Mask]) -> NDArray[np.float64]:
    """Return, as a map, how often each place lies in the masks of training images: what is known without the image.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not len(masks) or not np.any(masks):
        raise ValueError("the mean mask needs training masks; none has a pixel")
    share = np.mean(masks, axis=0, dtype=np.float64)
    return share / share.max()


def uniform(height: int, width: int) -> NDArray[np.float64]:
    """Return the map that prefers no place."""
    return np.ones((height, width))


def mean_with_interval(
    values: ArrayLike, patients: ArrayLike, draws: int = 2000, seed: int = 0, confidence: float = 0.95
) -> Mean:
    """Average scores over images, with the percentile interval over draws of patients.

    Parameters
    ----------
    values : float [N]
        Of each image, NaN where undefined. Differences of two maps of the same images give a paired interval.
    patients : str [N]
        Of each image.
    draws, seed, confidence
        See `pipeline.uncertainty.bootstrap.patient_draws` and `pipeline.uncertainty.intervals.percentiles`.
    """
    scores, owners = np.asarray(values, np.float64), np.asarray(patients)
    defined = np.isfinite(scores)
    scores, owners = scores[defined], owners[defined]
    known = len(np.unique(owners))
    if known < 2:
        value = float(scores.mean()) if len(scores) else np.nan
        return Mean(value, np.nan, np.nan, len(scores), known)
    counts, index = patient_draws(owners, draws, seed)
    sums, images = (np.bincount(index, weights, minlength=known) for weights in (scores, None))
    low, high = percentiles((counts @ sums) / (counts @ images), confidence)
    return Mean(float(scores.mean()), float(low), float(high), len(scores), known)
