"""McNemar's exact test of two classifiers on the same images: what published work states beside two accuracies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class McNemar(NamedTuple):
    """What `mcnemar` returns.

    Parameters
    ----------
    first_alone, second_alone : int
        Images that only the first, or only the second, decides rightly.
    p : float
        Two-sided; 1 where there is no such image.
    """

    first_alone: int
    second_alone: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Test whether two classifiers are right equally often.

    Parameters
    ----------
    first, second : bool [N]
        Whether each is right about each image. Images are taken for independent: one per patient.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    The images about which one alone is right fall to either with probability 1/2 (McNemar, Psychometrika 12(2), 1947,
    doi:10.1007/BF02295996); exact binomial, without a correction.
    """
    from scipy.stats import binomtest  # not at the top: scipy.stats takes half a second

    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"{first.shape} and {second.shape}; expected [N] twice")
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(b, c, float(binomtest(b, b + c).pvalue) if b + c else 1.0)
