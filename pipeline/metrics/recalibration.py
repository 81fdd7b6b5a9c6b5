"""How far probabilities are from meaning what they say, without bins: slope and intercept; and what noise adds to bins.

A forecast means what it says where the truth, regressed on its logit, has slope 1 and intercept 0. A slope below 1 says
that it is too sure, an intercept above 0 that the class is more frequent than forecast. Neither depends on bins, and
unlike the expected calibration error neither is raised by noise.

Cox, "Two further applications of a model for binary regression", Biometrika 45(3/4), 1958, doi:10.2307/2333203. Van
Calster et al., "A calibration hierarchy for risk models", J Clin Epidemiol 74, 2016,
doi:10.1016/j.jclinepi.2015.12.005.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit

from pipeline.metrics.calibration import ECE_BINS, equal_mass_bins
from pipeline.metrics.logistic import logistic_optimum


class Line(NamedTuple):
    """The logistic regression of the truth on the logit.

    Parameters
    ----------
    slope, intercept : float
        NaN where they cannot be had.
    influence : float64 [G, 2]
        What each group (patient) moves them by: the root of its sum of squares is their standard error, robust to
        images of a patient that resemble each other.
    note : str
        Why there is no line; "" where there is.
    """

    slope: float
    intercept: float
    influence: np.ndarray
    note: str = ""

    @property
    def errors(self) -> np.ndarray:
        """Standard errors [2] of slope and intercept."""
        return group_errors(self.influence)


def group_errors(influence: np.ndarray) -> np.ndarray:
    """Return standard errors [...] from influences [G, ...] of groups, with the correction G / (G - 1)."""
    n = len(influence)
    return np.sqrt((influence**2).sum(axis=0) * n / max(n - 1, 1))


def recalibration(logits: np.ndarray, truth: np.ndarray, groups: np.ndarray, n_groups: int) -> Line:
    """Regress the truth of one class on its logit, by maximum likelihood.

    Parameters
    ----------
    logits : float [N]
        Log-odds of the class.
    truth : 0/1 or bool [N]
        Whether it is there.
    groups : int [N]
        Group (patient) of each image, 0..n_groups-1.
    n_groups : int
        G.

    Returns
    -------
    Line
        None of slope and intercept exists where a logit is not finite, the truth has one value, the logits have one, or
        a threshold on them tells the classes apart without an error.

    Notes
    -----
    Liang & Zeger, Biometrika 73(1), 1986, doi:10.1093/biomet/73.1.13 (standard errors robust to clusters).
    """
    return recalibrations(np.asarray(logits)[None], np.asarray(truth)[None], groups, n_groups)[0]


def recalibrations(
    logits: np.ndarray, truth: np.ndarray, groups: np.ndarray, n_groups: int, known: np.ndarray | None = None
) -> list[Line]:
    """Regress P truths on their logits, each by itself.

    Parameters
    ----------
    logits : float [P, N]
        Log-odds of a class by a model.
    truth : 0/1 or bool [P, N]
        Whether it is there.
    groups, n_groups
        As for `recalibration`.
    known : bool [P, N] or None
        Which truths are known; None: all.

    Returns
    -------
    list of Line [P]
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(truth).astype(bool)
    if known is None:
        reasons = [_reason(*pair) for pair in zip(z, y)]
    else:
        reasons = [_reason(of_z[k], of_y[k]) if k.any() else "no known label" for of_z, of_y, k in zip(z, y, known)]
    lines = [Line(np.nan, np.nan, np.full((n_groups, 2), np.nan), note) for note in reasons]
    fits = np.flatnonzero([not note for note in reasons])
    if not len(fits):
        return lines
    z, y = z[fits], y[fits]
    if known is None:
        centre, scale = z.mean(axis=1, keepdims=True), z.std(axis=1, keepdims=True)
    else:
        counted = known[fits]
        n = counted.sum(axis=1, keepdims=True)
        centre = np.where(counted, z, 0).sum(axis=1, keepdims=True) / n
        scale = np.sqrt((np.where(counted, z - centre, 0) ** 2).sum(axis=1, keepdims=True) / n)
    design = np.stack([(z - centre) / scale, np.ones_like(z)], axis=-1)
    if known is not None:  # rows of zeros have no part in sums
        design *= counted[..., None]
    at = logistic_optimum(design, y.astype(np.float64))
    p = expit((design @ at[..., None])[..., 0])
    information = (design * (p * (1 - p))[..., None]).swapaxes(1, 2) @ design
    scores = design * (y - p)[..., None]
    member = csr_array((np.ones(z.shape[1]), (groups, np.arange(z.shape[1]))), shape=(n_groups, z.shape[1]))
    by_group = (member @ scores.swapaxes(0, 1).reshape(z.shape[1], -1)).reshape(n_groups, len(fits), 2).swapaxes(0, 1)
    influence = by_group @ np.linalg.pinv(information, hermitian=True)
    for i, fit, m, s in zip(fits, range(len(fits)), centre[:, 0], scale[:, 0]):
        # Back from the standardised logit: slope a / s, intercept b - a m / s.
        back = np.array([[1 / s, -m / s], [0.0, 1.0]])
        slope, intercept = at[fit] @ back
        lines[i] = Line(float(slope), float(intercept), influence[fit] @ back)
    return lines


def _reason(z: np.ndarray, y: np.ndarray) -> str:
    """Say why there is no finite line; "" where there is one."""
    if not np.isfinite(z).all():
        return "logits are not finite"
    if y.all() or not y.any():
        return "no negative" if y.all() else "no positive"
    if not np.ptp(z) > 1e-12 * max(1.0, float(np.abs(z).max())):
        return "one logit for all images"
    if z[y].min() >= z[~y].max() or z[y].max() <= z[~y].min():
        return "the logit tells the classes apart without an error: no finite slope"
    return ""


def error_floor(probabilities: np.ndarray, bins: int = ECE_BINS) -> float:
    """Expected calibration error of a forecast that means what it says, from noise alone.

    Parameters
    ----------
    probabilities : float [N]
        In [0, 1].
    bins : int
        Of equal mass, as for the error itself.

    Returns
    -------
    float
        The mean of what the error would be if each truth were drawn from its probability, images being independent:
        that of a normal distribution's absolute value in each bin, sqrt(2 / pi * sum of p (1 - p)), over N. Where a bin
        expects less than one positive it is 4 % too low; images of one patient raise the floor further.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    variance = np.bincount(equal_mass_bins(p, bins), p * (1 - p), bins)
    return float(np.sqrt(2 / np.pi * variance).sum() / len(p))
