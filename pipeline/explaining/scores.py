"""How well heat maps find what is known to be somewhere: scores against masks or boxes, and what needs no network.

Every score is of one map and one mask, 1 at best. A map that is 0 all over points nowhere: its pointing game, energy
and overlap are 0. A mask without a pixel leaves every score undefined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.metrics.registry import Scale
from pipeline.uncertainty.bootstrap import patient_draws
from pipeline.uncertainty.intervals import one_sided, spread, t_interval
from pipeline.uncertainty.support import MIN_PATIENTS

THRESHOLDS = np.linspace(0.05, 0.95, 19)
"""Among which validation chooses."""
Map = NDArray[np.floating]
Mask = NDArray[np.bool_]


class Mean(NamedTuple):
    """A mean over images with its interval, and what it rests on.

    Parameters
    ----------
    value, low, high : float
        NaN where no image has a value; `low` and `high` also where fewer than `MIN_PATIENTS` patients have one.
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
    """Return the average precision of pixels ranked by the map; of a constant map it is the mask's share.

    That of scikit-learn, whose checks of its arguments take longer than the sum.
    """
    if not mask.any():
        return np.nan
    order = np.argsort(-heat, axis=None, kind="stable")
    ranked, found = heat.ravel()[order], np.cumsum(mask.ravel()[order])
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of those that are alike
    return float((found[last] / (last + 1) * np.diff(found[last], prepend=0)).sum() / found[-1])


def overlaps(heat: Map, mask: Mask) -> NDArray[np.float64]:
    """Return the `overlap` at each of `THRESHOLDS`."""
    return np.array([overlap(heat, mask, cut) for cut in THRESHOLDS])


def best_threshold(at_each: Sequence[NDArray[np.float64]]) -> float:
    """Return the threshold with the highest mean overlap, the lowest of several; for validation images.

    Parameters
    ----------
    at_each : sequence of float [T]
        `overlaps` of each image.

    Returns
    -------
    float
        NaN where no image has a mask.
    """
    defined = [each for each in at_each if np.isfinite(each).all()]
    return float(THRESHOLDS[np.argmax(np.mean(defined, axis=0))]) if defined else np.nan


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


def means(
    values: ArrayLike,
    patients: ArrayLike,
    scale: Scale = "share",
    draws: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[Mean]:
    """Average scores over images, with intervals over draws of patients.

    Parameters
    ----------
    values : float [N, M]
        Of each image, M scores that are defined for all images or for none (NaN).
    patients : str [N]
        Of each image.
    scale : {"share", "correlation"}
        Of scores in [0, 1], or of differences of two of them for the same images, in [-1, 1]: these are paired.
    draws, seed, confidence
        See `pipeline.uncertainty.bootstrap.patient_draws`.

    Returns
    -------
    list of Mean [M]
        Intervals as of the metrics of a study: from the standard deviation of the draws, on a scale without ends; where
        no draw moves a mean, as a pointing game of 1, the interval of Wilson.
    """
    scores, owners = np.asarray(values, np.float64), np.asarray(patients)
    known = len(np.unique(owners))
    whole = scores.mean(axis=0) if len(scores) else np.full(scores.shape[1], np.nan)
    low, high = np.full_like(whole, np.nan), np.full_like(whole, np.nan)
    if known >= MIN_PATIENTS:
        counts, index = patient_draws(owners, draws, seed)
        sums = np.zeros((known, scores.shape[1]))
        np.add.at(sums, index, scores)
        drawn = counts.astype(np.float64)
        shares = (drawn @ sums) / (drawn @ np.bincount(index, minlength=known))[:, None]
        inner = t_interval(whole, spread(shares), known - 1, confidence, scale)
        outer = one_sided(whole, np.full(whole.shape, known), confidence, scale, proportion=True)
        low, high = (np.where(np.isnan(inside), ends, inside) for inside, ends in zip(inner, outer))
    return [
        Mean(float(value), float(under), float(over), len(scores), known)
        for value, under, over in zip(whole, low, high)
    ]
