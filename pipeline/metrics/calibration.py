"""Probabilities that mean what they say: recalibration fitted on validation, and reliability curves.

A calibration is an increasing map of the logit, of a class or of all classes together, so that the order of the images
(AUROC) and the class that is decided for stay as they were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import softmax

from pipeline.metrics.logistic import logistic_optimum
from pipeline.study.unknown import known_of

ECE_BINS = 15
"""Bins of equal mass of the expected calibration error."""


RELIABILITY_COLUMNS = ["bin", "low", "high", "n", "mean_probability", "frequency"]


@dataclass(frozen=True)
class Calibration:
    """What `fit` returns: the calibrated logit of a class is slope * logit + intercept.

    Parameters
    ----------
    task : str
        "multilabel" (Platt scaling of each class) or "multiclass" (one temperature).
    slope : float64 [K]
        Above 0; for multiclass 1 / temperature of all classes.
    intercept : float64 [K]
        0 for multiclass.
    notes : tuple of str [K]
        Why a class keeps its logits (slope 1, intercept 0), or "".
    """

    task: str
    slope: np.ndarray
    intercept: np.ndarray
    notes: tuple[str, ...]

    @property
    def temperature(self) -> float:
        """Temperature of multiclass logits, above 0; above 1 where they were over-confident."""
        if self.task != "multiclass":
            raise AttributeError("multi-label logits have one slope and one intercept per class, not a temperature")
        return float(1 / self.slope[0])

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Calibrate logits.

        Parameters
        ----------
        logits : float [..., K]
            Of the same model, of any part.

        Returns
        -------
        float64 [..., K]
            Logits.
        """
        return np.asarray(logits, dtype=np.float64) * self.slope + self.intercept


def fit(task: str, logits: np.ndarray, targets: np.ndarray) -> Calibration:
    """Fit the calibration of one model on its validation part.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Multi-label: Platt scaling of each class on the logit, with Platt's smoothed targets. Multiclass: temperature
        scaling.
    logits : float [N, K]
        Before sigmoid or softmax.
    targets : 0/1 [N, K]
        Truth; NaN where it is not known (multi-label), which is left out.

    Returns
    -------
    Calibration
        A class keeps its logits, with a note, where validation cannot tell: no positive or no negative, one logit for
        all images, logits that do not rise with the class (a map that reverses the order would calibrate noise),
        or no finite temperature (every image right).

    Raises
    ------
    ValueError
        If the shapes do not fit, `task` is neither or there is no image.

    Notes
    -----
    Both losses are convex in the slope (and intercept). The temperature is the root of a monotone derivative, by
    Brent's method in a bracket; Platt's parameters the minimum by Newton's method, its step halved until the loss falls
    (`logistic.logistic_optimum`). Temperature: Guo et al., ICML 2017, arXiv
    1706.04599. Platt, Advances in Large Margin Classifiers, 1999; Lin, Lin & Weng, Machine Learning 68, 2007,
    doi:10.1007/s10994-007-5018-6.
    """
    values, targets = np.asarray(logits, dtype=np.float64), np.asarray(targets)
    known = known_of(targets)
    truth = targets.astype(bool) if known is None else targets == 1
    if values.shape != truth.shape or values.ndim != 2 or not values.size:
        raise ValueError(f"logits {values.shape} and targets {truth.shape}; expected [N, K] twice, N > 0")
    if task not in ("multilabel", "multiclass"):
        raise ValueError(f"task {task!r} must be 'multilabel' or 'multiclass'")
    n_classes = truth.shape[1]
    if not np.isfinite(values).all():
        return Calibration(task, np.ones(n_classes), np.zeros(n_classes), ("logits are not finite",) * n_classes)
    if task == "multiclass":
        slope, note = _inverse_temperature(values, truth)
        return Calibration(task, np.full(n_classes, slope), np.zeros(n_classes), (note,) * n_classes)
    slopes, intercepts, notes = _platt(values, truth, known)
    return Calibration(task, slopes, intercepts, tuple(notes))


def _inverse_temperature(logits: np.ndarray, truth: np.ndarray) -> tuple[float, str]:
    """Return the slope that minimises the cross-entropy of the softmax, or 1 and why."""
    # Relative to the logit of the true class, so that the loss is the log-sum-exp of slope * relative; in units of the
    # largest, so that the tolerance of the root does not depend on the scale.
    relative = logits - logits[truth][:, None]
    unit = np.abs(relative).max()
    if not (relative > 0).any():
        return 1.0, "no finite temperature: every validation image is decided right"
    relative = relative / unit

    def derivative(slope: float) -> float:
        return float((softmax(slope * relative, axis=1) * relative).sum(axis=1).mean())

    if derivative(0.0) >= 0:
        return 1.0, "the logit does not rise with the class in validation"
    high = 1.0
    while derivative(high) < 0:
        high *= 2
        if not np.isfinite(high):
            return 1.0, "no finite temperature: every validation image is decided right, but for rounding"
    from scipy.optimize import brentq  # not at the top: a quarter of a second

    return float(brentq(derivative, 0.0, high, xtol=1e-14, rtol=1e-13) / unit), ""


def _platt(
    logits: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return slopes and intercepts [K] of all classes; 1, 0 and why, where there is nothing to fit."""
    n_positive, n_negative = truth.sum(axis=0), (~truth if known is None else known & ~truth).sum(axis=0)
    if known is None:
        centre, scale = logits.mean(axis=0), logits.std(axis=0)
    else:
        n = np.maximum(known.sum(axis=0), 1)
        centre = np.where(known, logits, 0).sum(axis=0) / n
        scale = np.sqrt((np.where(known, logits - centre, 0) ** 2).sum(axis=0) / n)
    flat = ~(scale > 1e-12 * np.maximum(1.0, np.abs(centre)))
    notes = np.select(
        [n_positive == 0, n_negative == 0, flat],
        ["no positive in validation", "no negative in validation", "one logit for all validation images"],
        "",
    )
    slopes, intercepts = np.ones(len(notes)), np.zeros(len(notes))
    fits = np.flatnonzero(notes == "")
    if len(fits):
        # Smoothed targets are inside (0, 1), so that the minimum is finite even where the class is separated.
        smoothed = np.where(truth, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))[:, fits]
        standard = (logits[:, fits] - centre[fits]) / scale[fits]
        design = np.stack([standard.T, np.ones_like(standard.T)], axis=-1)
        if known is not None:  # a row of zeros has the same loss whatever the coefficients
            design *= known[:, fits].T[..., None]
        solution = logistic_optimum(design, smoothed.T)
        slopes[fits] = solution[:, 0] / scale[fits]
        intercepts[fits] = solution[:, 1] - solution[:, 0] * centre[fits] / scale[fits]
    falls = slopes <= 0
    slopes[falls], intercepts[falls] = 1.0, 0.0
    return slopes, intercepts, np.where(falls, "the logit does not rise with the class in validation", notes).tolist()


def equal_mass_bins(scores: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """Cut scores into bins of as equal numbers as can be.

    The i-th edge is the score of rank floor(i N / bins); a score belongs to the bin of the highest edge that it
    reaches. Equal scores share a bin, so that with ties some bins are larger and some empty.

    Parameters
    ----------
    scores : float [N]
        Finite, N > 0.
    bins : int
        At least 1.

    Returns
    -------
    int64 [N]
        In 0 .. bins - 1, not decreasing in the score.
    """
    ordered = np.sort(scores)
    edges = ordered[np.arange(1, bins) * len(ordered) // bins]
    return np.searchsorted(edges, scores, side="right")


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = ECE_BINS) -> pd.DataFrame:
    """Compute a reliability curve: frequency of the truth beside mean probability, bin by bin.

    Parameters
    ----------
    probabilities : float [N]
        Of one class, or of the class decided for, in [0, 1].
    truth : 0/1 [N]
        Whether the class is there, or the decision right.
    bins : int
        Of equal mass; see `equal_mass_bins`.

    Returns
    -------
    DataFrame
        `RELIABILITY_COLUMNS`, one row per bin that is not empty. low, high: of the probabilities in the bin. The mean
        of |frequency - mean_probability|, weighted by n, is the expected calibration error.

    Raises
    ------
    ValueError
        If the shapes differ, there is no image, a probability is not in [0, 1] or the truth not 0/1.

    Notes
    -----
    DeGroot & Fienberg, The Statistician 32, 1983, doi:10.2307/2987588.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if p.shape != y.shape or p.ndim != 1 or not p.size:
        raise ValueError(f"probabilities {p.shape} and truth {y.shape}; expected [N] twice, N > 0")
    if not ((p >= 0) & (p <= 1)).all() or not np.isin(y, (0, 1)).all():
        raise ValueError("a probability is not in [0, 1] or a truth neither 0 nor 1")
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    place = equal_mass_bins(p, bins)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    n = np.diff(starts, append=len(p))
    curve = {
        "bin": place[starts],
        "low": p[starts],
        "high": p[starts + n - 1],
        "n": n,
        "mean_probability": np.add.reduceat(p, starts) / n,
        "frequency": np.add.reduceat(y, starts) / n,
    }
    return pd.DataFrame(curve, columns=RELIABILITY_COLUMNS)
