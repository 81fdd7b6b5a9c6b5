"""AUROCs of fixed models on the same images, with their covariance in closed form.

DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic
curves", Biometrics 44(3), 1988, doi:10.2307/2531595, in the time of a sort as by Sun & Xu, "Fast implementation of
DeLong's algorithm", IEEE Signal Process Lett 21(11), 2014, doi:10.1109/LSP.2014.2337313.

It takes images for independent. With several images per patient its errors are too small and its p-values too low: on
the test part of ChestX-ray14, with nine images per patient, by far. It is here for single-image data and as the figure
that published work states; `comparisons.compare` draws patients.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr


class DeLong(NamedTuple):
    """What `delong` returns.

    Parameters
    ----------
    auroc : float64 [S, K]
        NaN where a class lacks a positive or a negative.
    covariance : float64 [K, S, S]
        Of the AUROCs of the models of each class; NaN where a class has fewer than two positives or two negatives.
    """

    auroc: np.ndarray
    covariance: np.ndarray


class Pairs(NamedTuple):
    """What `delong_pairs` returns, each [S (S - 1) / 2, K] in the order of `itertools.combinations`.

    Parameters
    ----------
    difference, standard_error : float64
        First minus second, and its standard error.
    z, p : float64
        Their ratio, and its two-sided probability under the normal distribution; p = 1 for two equal rankings. NaN
        where undefined.
    """

    difference: np.ndarray
    standard_error: np.ndarray
    z: np.ndarray
    p: np.ndarray


def delong(targets: np.ndarray, scores: np.ndarray) -> DeLong:
    """Compute AUROCs and their covariance.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth; NaN where it is not known.
    scores : float [S, N, K]
        Of S models; finite, the larger, the more positive.

    Returns
    -------
    DeLong
        AUROCs and covariances. Images are taken for independent.

    Raises
    ------
    ValueError
        If shapes do not fit or a score is not finite.

    Notes
    -----
    The place of a positive is the share of negatives below it, ties counting half, and that of a negative the share of
    positives above it. With the negatives sorted, a place is the mean of two binary searches; it is the same number as
    Sun & Xu's difference of midranks.
    """
    targets, scores = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    truth = targets == 1
    if truth.ndim != 2 or scores.ndim != 3 or scores.shape[1:] != truth.shape:
        raise ValueError(f"targets {truth.shape} and scores {scores.shape}; expected [N, K] and [S, N, K]")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    n_models, _, n_classes = scores.shape
    auroc = np.full((n_models, n_classes), np.nan)
    covariance = np.full((n_classes, n_models, n_models), np.nan)
    for k in range(n_classes):
        positive, negative = truth[:, k], targets[:, k] == 0
        if positive.any() and negative.any():
            auroc[:, k], covariance[k] = _one_class(scores[:, positive, k], scores[:, negative, k])
    return DeLong(auroc, covariance)


def _one_class(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROCs [S] and covariance [S, S] from the scores [S, m] and [S, n] of the two sides."""
    of_positives = np.stack([_places(p, n) for p, n in zip(positives, negatives)])
    of_negatives = 1 - np.stack([_places(n, p) for p, n in zip(positives, negatives)])
    m, n = positives.shape[1], negatives.shape[1]
    if min(m, n) < 2:
        return of_positives.mean(axis=1), np.full((len(positives),) * 2, np.nan)
    return of_positives.mean(axis=1), _covariance(of_positives) / m + _covariance(of_negatives) / n


def _places(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return for each score the share of `among` below it, ties counting half."""
    among = np.sort(among)
    # A search for sorted numbers walks forward through memory: a third of the time of a search in any order.
    order = np.argsort(scores)
    ordered = scores[order]
    places = np.empty(len(scores))
    places[order] = (np.searchsorted(among, ordered, "left") + np.searchsorted(among, ordered, "right")) / (
        2 * len(among)
    )
    return places


def _covariance(places: np.ndarray) -> np.ndarray:
    """Return the sample covariance [S, S] of the rows of `places` [S, m]."""
    centred = places - places.mean(axis=1, keepdims=True)
    return centred @ centred.T / (places.shape[1] - 1)


def delong_pairs(result: DeLong) -> Pairs:
    """Test every pair of models for a difference, class by class and without a correction for their number.

    Parameters
    ----------
    result : DeLong
        From `delong`.

    Returns
    -------
    Pairs
        Give `p` to `seeds.holm` for the family.
    """
    n_models, n_classes = result.auroc.shape
    first, second = np.array(list(combinations(range(n_models), 2)), dtype=np.int64).reshape(-1, 2).T
    difference = result.auroc[first] - result.auroc[second]
    diagonal = np.einsum("kss->ks", result.covariance)
    variance = diagonal[:, first] + diagonal[:, second] - 2 * result.covariance[:, first, second]
    # Of two equal rankings the variance is 0 but for rounding, which can have either sign.
    error = np.sqrt(np.maximum(variance.T, 0))
    fixed = error <= 1e-9
    z = np.divide(difference, error, out=np.full((len(first), n_classes), np.nan), where=~fixed & ~np.isnan(error))
    return Pairs(difference, error, z, np.where(fixed & (np.abs(difference) <= 1e-12), 1.0, 2 * ndtr(-np.abs(z))))
