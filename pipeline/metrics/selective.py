"""Leaving the least certain images to a person: the error of what is kept, at every share that is kept.

El-Yaniv & Wiener, "On the foundations of noise-free selective classification", JMLR 11, 2010; Geifman & El-Yaniv,
"Selective classification for deep neural networks", NeurIPS 2017, arXiv:1705.08500.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Aurc(NamedTuple):
    """The area under a risk-coverage curve.

    Parameters
    ----------
    value : float
        Mean, over images, of the error rate among those at least as certain; in [0, 1], lower is better. An order that
        knows nothing has the error rate of all images.
    influence : float64 [N]
        What an image moves it by: the value of a sample in which image i counts w_i times is near
        value + sum of w_i * influence_i. They sum to 0.
    """

    value: float
    influence: np.ndarray


def aurc(certainty: np.ndarray, wrong: np.ndarray) -> Aurc:
    """Area under the risk-coverage curve of one set of decisions.

    Parameters
    ----------
    certainty : float [N]
        The larger, the more certain; equal ones are kept or left together. Of no image the area is NaN.
    wrong : bool [N]
        Whether the decision is wrong.

    Returns
    -------
    Aurc

    Examples
    --------
    The error rates among the first 1, 2, 3 and 4 images are 0, 0, 1/3 and 2/4.

    >>> round(aurc(np.array([0.9, 0.8, 0.7, 0.6]), np.array([False, False, True, True])).value, 4)
    0.2083
    """
    sure, errors = np.asarray(certainty, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    n = len(sure)
    if not n:
        return Aurc(float("nan"), np.zeros(0))
    order = np.argsort(-sure, kind="stable")
    ordered = sure[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), n - 1)
    end = last[np.searchsorted(last, np.arange(n))]  # last image of those that are as certain
    kept = end + 1.0
    risk = np.cumsum(errors[order])[end] / kept
    value = risk.mean()
    # d value / d w_j = risk_j / n - value / n + 1/n sum over the images i no more certain than j of
    # (wrong_j - risk_i) / kept_i.
    begin = np.concatenate([[0], last[:-1] + 1])[np.searchsorted(last, np.arange(n))]  # first of those as certain
    below = np.cumsum((1 / kept)[::-1])[::-1][begin]
    of_risks = np.cumsum((risk / kept)[::-1])[::-1][begin]
    influence = np.empty(n)
    influence[order] = (risk - value + errors[order] * below - of_risks) / n
    return Aurc(float(value), influence)


def cut_for_coverage(certainty: np.ndarray, coverage: float) -> float:
    """Choose, on a validation part, the lowest certainty at which an image is kept.

    Parameters
    ----------
    certainty : float [N]
        Of the validation part.
    coverage : float
        Share of its images to keep, in (0, 1].

    Returns
    -------
    float
        The highest cut that keeps at least this share; ties may keep more. NaN, which keeps nothing, of no image.
    """
    ordered = np.sort(np.asarray(certainty, dtype=np.float64))[::-1]
    if not len(ordered):
        return float("nan")
    return float(ordered[min(len(ordered), int(np.ceil(coverage * len(ordered) - 1e-9))) - 1])
