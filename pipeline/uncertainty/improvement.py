"""How likely one is to beat the other: the probability of improvement, beside the size of a difference.

Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021, arXiv:2108.13264.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.uncertainty.intervals import one_sided, percentiles


class Improvement(NamedTuple):
    """What `improvement` returns.

    Parameters
    ----------
    probability : float
        That a training run of the first scores above one of the second, a tie counting half; NaN where too few draws
        are defined.
    low, high : float
        Of the share of pairs of training runs that the first wins, over samples of patients and of training runs.
    """

    probability: float
    low: float
    high: float


NOTHING = Improvement(np.nan, np.nan, np.nan)


def improvement(first: np.ndarray, second: np.ndarray, confidence: float, seed: int = 0) -> Improvement:
    """Probability that a training run of the first beats one of the second on another sample of patients.

    Parameters
    ----------
    first, second : float [B, S], [B, T]
        A metric (higher is better) of S and of T training runs under draws of patients that both share; NaN where
        undefined.
    confidence : float
        In (0, 1).
    seed : int
        Of the draws of training runs.

    Returns
    -------
    Improvement

    Notes
    -----
    The probability is the mean over draws of patients, and over all pairs of training runs, of a win. It says nothing
    of how much is won. The interval is that of Agarwal et al.: percentiles of the share of pairs won, with training
    runs drawn anew on both sides in every draw of patients; with three a side it can be no finer than ninths. Where
    they all agree it is the one-sided bound of as many independent wins as the side with fewer runs has runs
    (`intervals.one_sided`): three of three leave room for a share of 0.29.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    gap = (first[:, :, None] - second[:, None, :]).reshape(len(first), -1)
    complete = ~np.isnan(gap).any(axis=1)
    if 2 * complete.sum() < len(first) or complete.sum() < 2:
        return NOTHING
    gap = gap[complete]
    wins = (gap > 1e-12) + 0.5 * (np.abs(gap) <= 1e-12)
    value, sizes = float(wins.mean()), (first.shape[1], second.shape[1])
    if wins.shape[1] > 1:
        rng = np.random.default_rng(seed)
        drawn = [rng.multinomial(size, np.full(size, 1 / size), len(wins)) / size for size in sizes]
        shares = np.einsum("bij,bi,bj->b", wins.reshape(len(wins), *sizes), *drawn)
        low, high = (float(end) for end in percentiles(shares, confidence))
    else:  # a win, a tie or a loss in each draw: the percentiles by counting, as there may be a thousand pairs
        tail = (1 - confidence) / 2
        lost, won = float((wins == 0).mean()), float((wins == 1).mean())
        low, high = (0.0 if lost > tail else 0.5 if won < 1 - tail else 1.0), (1.0 if won > tail else 0.5)
        high = 0.0 if lost >= 1 - tail else high
    if high - low <= 1e-9:
        end = np.round((low + high) / 2, 6)  # a win throughout may be 1 but for rounding
        ends = one_sided(end, np.array(min(sizes)), confidence, "share", proportion=False)
        low, high = (float(limit) for limit in ends) if end in (0, 1) else (0.0, 1.0)
    return Improvement(value, min(low, value), max(high, value))
