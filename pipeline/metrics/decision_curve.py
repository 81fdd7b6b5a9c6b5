"""Net benefit: what acting on a probability is worth, at every threshold at which one might act.

Who acts at a threshold of 10 % says that one true positive is worth nine false ones. The net benefit counts both in
true positives per image; acting on every image, and on none (0), are what a model has to exceed.

Vickers & Elkin, "Decision curve analysis", Med Decis Making 26(6), 2006, doi:10.1177/0272989X06295361.
"""

from __future__ import annotations

import numpy as np

THRESHOLDS = np.concatenate([np.arange(1, 20), np.arange(20, 50, 2.5), np.arange(50, 96, 5)]) / 100
"""Threshold probabilities of the curves: narrow steps where most decisions are taken."""


def benefits(probabilities: np.ndarray, truth: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Net benefit of each image, whose mean over images is that of the model.

    Parameters
    ----------
    probabilities : float [..., N]
        Of one class, calibrated, in [0, 1].
    truth : bool [N]
        Whether the class is there.
    thresholds : float [T]
        In (0, 1). An image is acted on where its probability is at or above the threshold.

    Returns
    -------
    float64 [..., N, T]
        1 for a true positive, minus the odds of the threshold for a false one, 0 for an image that is left alone.

    Examples
    --------
    At 20 % a false positive costs a quarter.

    >>> benefits(np.array([0.9, 0.3, 0.1]), np.array([True, False, False]), np.array([0.2]))[:, 0].tolist()
    [1.0, -0.25, 0.0]
    """
    odds = np.asarray(thresholds) / (1 - np.asarray(thresholds))
    worth = np.where(np.asarray(truth)[:, None], 1.0, -odds)
    return np.where(np.asarray(probabilities)[..., None] >= thresholds, worth, 0.0)


def benefits_of_all(truth: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Net benefit of each image if every image is acted on, float64 [N, T]; arguments as of `benefits`."""
    return benefits(np.ones(len(truth)), truth, thresholds)
