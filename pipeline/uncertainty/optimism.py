"""How much of the best of many scores is luck: the bootstrap that chooses anew in every draw of patients.

The best of several noisy scores is too good on average, the more so the more there are and the fewer the patients.
In every draw the best configuration is chosen by the patients that were drawn, and scored on those that were not.

Tsamardinos, Greasidou & Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation", Machine Learning 107, 2018, doi:10.1007/s10994-018-5714-4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.uncertainty.bootstrap import patient_draws

Sides = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Scores by the patients that draws have and by those that they leave out, [B, R, C] each."""


class Measured(NamedTuple):
    """Scores of R training runs on the same images.

    Parameters
    ----------
    whole : float64 [R, C]
        On all patients, of each class, or of all of them together (C = 1); NaN where undefined.
    sides : callable
        Takes how often draws have each patient, and which patients they leave out, int [B, P] each, patients in sorted
        order; returns `Sides`, NaN where undefined.
    patients : str [N]
        Of each image.
    refused : str
        Why there is no interval; empty where there is one.
    limits : (float, float)
        Between which scores lie.
    higher_is_better : bool
        False for errors.
    squares : bool
        Whether scores are roots of means: their squares are averaged over draws.
    """

    whole: np.ndarray
    sides: Callable[[np.ndarray, np.ndarray], Sides]
    patients: np.ndarray
    refused: str = ""
    limits: tuple[float, float] = (0.0, 1.0)
    higher_is_better: bool = True
    squares: bool = False


class Corrected(NamedTuple):
    """What is left of the best score.

    Parameters
    ----------
    best : float
        Of the scores on all patients.
    corrected : float
        Mean score, on the patients left out, of what each draw chose; NaN where no class is defined on them.
    low, high : float
        Percentile interval over the draws.
    chosen : int [T]
        In how many draws each configuration was the best.
    draws : int
        B.
    classes : int
        Number of classes of which the scores are the mean.
    left_out : float
        Mean share of the patients that a draw leaves out.
    refused : str
        Why there is no interval, by the rule of `pipeline.uncertainty.support`; empty where there is one.
    optimism : float
        By how much the best score is too good: too high, or as an error too low.
    """

    best: float
    corrected: float
    low: float
    high: float
    chosen: np.ndarray
    draws: int
    classes: int
    left_out: float
    refused: str
    optimism: float


@threadpool_limits.wrap(limits=1, user_api="blas")  # the last bit is then the same whatever the threads
def corrected_best(
    of: Measured, owners: Sequence[int], *, draws: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Corrected:
    """Correct the best score of several configurations for having been chosen.

    Parameters
    ----------
    of : Measured
        R training runs.
    owners : sequence of int [R]
        Configuration of each training run, 0 to T - 1; the score of one is the mean over its runs.
    draws, confidence, seed : int, float, int
        Of the bootstrap.

    Returns
    -------
    Corrected

    Raises
    ------
    ValueError
        If there is no image, or the numbers of runs differ.

    Notes
    -----
    A draw leaves out about 37 % of the patients, and a rare class may have no positive among them, or none among those
    drawn. A macro score is a mean over classes: its expectation is the mean of theirs, so each class is averaged over
    the draws that have it on both sides, and then the classes. A draw chooses by the classes that it has, which are
    the same for all configurations. For the interval the classes of a draw are centred on their means, so that which of
    them a draw happens to have does not count as spread. Chosen by fewer distinct patients than there are, the
    configuration is a little worse on average than the one chosen by all: the correction errs on the safe side.
    """
    owned = np.asarray(owners)
    if len(owned) != len(of.whole):
        raise ValueError(f"{len(owned)} owners of {len(of.whole)} training runs")
    sign = 1.0 if of.higher_is_better else -1.0
    counts, _ = patient_draws(of.patients, draws, seed)
    whole = _means(of.whole[None], owned)[0]
    used = np.isfinite(whole).any(axis=0)  # a configuration whose scores are not finite has none
    sides = of.sides(counts, (counts == 0).astype(np.uint16))
    inside, outside = (_means(side, owned)[..., used] for side in sides)
    by = _over_classes(inside)
    best = np.where(np.isfinite(by), sign * by, -np.inf).argmax(axis=1)
    possible = np.isfinite(by).any(axis=1)
    value = outside[np.arange(draws), best]
    value[~possible] = np.nan
    defined = np.isfinite(value).any(axis=0)
    of_class = _over_draws(value[:, defined], of.squares) if defined.any() else np.array([np.nan])
    corrected = float(of_class.mean())
    spread = _over_classes(value[:, defined] - of_class) if defined.any() else np.array([np.nan])
    tail = (1 - confidence) / 2
    bounds = np.nanquantile(spread, [tail, 1 - tail]) + corrected if np.isfinite(spread).any() else np.full(2, np.nan)
    low, high = (np.nan, np.nan) if of.refused else np.clip(bounds, *of.limits)
    places = np.flatnonzero(used)[defined] if len(defined) else np.array([], int)
    highest = sign * np.nanmax(sign * whole[:, places].mean(axis=1)) if len(places) else np.nan
    chosen = np.bincount(best[possible], minlength=len(whole))
    left_out = float((counts == 0).mean())
    numbers = float(highest), corrected, float(low), float(high)
    optimism = float(sign * (highest - corrected))
    return Corrected(*numbers, chosen, draws, len(places), left_out, of.refused, optimism)


def _over_draws(values: np.ndarray, squares: bool) -> np.ndarray:
    """Average [B, C] over the draws where it is defined."""
    return np.sqrt(np.nanmean(values**2, axis=0)) if squares else np.nanmean(values, axis=0)


def _means(values: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Average [B, R, K] over the runs of each owner: [B, T, K]."""
    return np.stack([values[:, owners == owner].mean(axis=1) for owner in range(int(owners.max()) + 1)], axis=1)


def _over_classes(values: np.ndarray) -> np.ndarray:
    """Average over the last axis what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    number = defined.sum(axis=-1)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    return np.divide(total, number, out=np.full(number.shape, np.nan), where=number > 0)
