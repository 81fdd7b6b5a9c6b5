"""What another training seed makes of the same image: how often decisions flip, and how far probabilities lie apart.

Two networks of equal AUROC can disagree about a patient. Over images it averages out; for the patient it does not (Zech
et al., "Individual predictions matter", 2019, arXiv:1912.03606: over 50 CheXNets the mean of ln(max p / min p) is 2.45
and the coefficient of variation 0.543, of means of ten 0.169).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import log_expit, log_softmax, ndtr

from pipeline.metrics.thresholds import best_f1_thresholds, probabilities
from pipeline.uncertainty.bootstrap import patient_draws
from pipeline.uncertainty.intervals import spread, t_interval
from pipeline.uncertainty.metric_intervals import share_interval
from pipeline.uncertainty.support import MIN_PATIENTS

_MOST_PAIRS = 200
"""Pairs of disjoint ensembles that are formed of many seeds; more of them say nothing new."""


class Measured(NamedTuple):
    """A mean over images with its interval over patients; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Patients:
    """The test part as patients are drawn from it.

    Parameters
    ----------
    counts : int [B, P]
        How often each patient was drawn (`bootstrap.patient_draws`).
    index : int64 [N]
        Patient of each image.
    confidence : float
        Of the intervals.
    """

    counts: np.ndarray
    index: np.ndarray
    confidence: float

    @classmethod
    def drawn(cls, patients: np.ndarray, draws: int, confidence: float, seed: int) -> Patients:
        """Draw them."""
        return cls(*patient_draws(patients, draws, seed), confidence)

    @property
    def number(self) -> int:
        """Patients of the part."""
        return self.counts.shape[1]

    def share(self, of_images: np.ndarray) -> Measured:
        """Return the mean of `of_images` [N], each in [0, 1], as a share."""
        value, draws = self._means(of_images)
        if self.number < MIN_PATIENTS:
            return Measured(value, np.nan, np.nan)
        return Measured(value, *share_interval(value, draws, self.number, self.confidence))

    def mean(self, of_images: np.ndarray) -> Measured:
        """Return the mean of `of_images` [N], each at least 0."""
        value, draws = self._means(of_images)
        if self.number < MIN_PATIENTS:
            return Measured(value, np.nan, np.nan)
        error = spread(draws[:, None])[0]
        low, high = t_interval(np.asarray(value), error, self.number - 1, self.confidence, "loss")
        return Measured(value, float(low), float(high))

    def _means(self, of_images: np.ndarray) -> tuple[float, np.ndarray]:
        sums = np.bincount(self.index, weights=of_images, minlength=self.number)
        sizes = np.bincount(self.index, minlength=self.number)
        weights = self.counts.astype(np.float64)
        return float(np.mean(of_images)), (weights @ sums) / (weights @ sizes)


class Stability(NamedTuple):
    """How stable a class, or the whole decision, is from seed to seed.

    Parameters
    ----------
    flips : Measured
        Share of images that two seeds, picked at random, decide differently.
    flips_at_one_threshold : float
        The same if both used the mean of the seeds' thresholds: what is left is due to the probabilities. NaN where
        there are no thresholds.
    divided : Measured
        Share of images that not all seeds decide alike.
    log_ratio : Measured
        Mean of ln(largest / smallest probability over the seeds).
    sd : float
        Mean over images of the standard deviation of the probability over seeds.
    variation : float
        Mean over images of that deviation over the mean probability.
    """

    flips: Measured
    flips_at_one_threshold: float
    divided: Measured
    log_ratio: Measured
    sd: float
    variation: float


def log_probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Return ln of the probabilities of logits [..., K], exact where a probability is as good as 0."""
    values = np.asarray(logits, dtype=np.float64)
    return log_expit(values) if task == "multilabel" else log_softmax(values, axis=-1)


def of_class(
    called: np.ndarray, logs: np.ndarray, patients: Patients, thresholds: np.ndarray | None = None
) -> Stability:
    """Measure one class.

    Parameters
    ----------
    called : bool [S, N]
        Decided for, by each of S >= 2 seeds.
    logs : float [S, N]
        ln of the probability of the class.
    patients : Patients
        Of the N images.
    thresholds : float [S] or None
        In probability; None where decisions have none.

    Raises
    ------
    ValueError
        If there are fewer than two seeds.
    """
    if len(called) < 2:
        raise ValueError("one seed; stability needs 2 at least")
    forecast = np.exp(logs)
    sd, mean = forecast.std(axis=0, ddof=1), forecast.mean(axis=0)
    common = np.nan
    if thresholds is not None:
        common = float(_flips((forecast >= np.mean(thresholds))[..., None]).mean())
    return Stability(
        patients.share(_flips(called[..., None])),
        common,
        patients.share(_divided(called[..., None])),
        patients.mean(np.ptp(logs, axis=0)),
        float(sd.mean()),
        float(np.divide(sd, mean, out=np.zeros_like(sd), where=mean > 0).mean()),
    )


def _flips(called: np.ndarray) -> np.ndarray:
    """Return the share of pairs of seeds that differ on each image [N], averaged over classes, from [S, N, K]."""
    n_seeds, votes = len(called), called.sum(axis=0)
    return (votes * (n_seeds - votes) / (n_seeds * (n_seeds - 1) / 2)).mean(axis=-1)


def _divided(called: np.ndarray) -> np.ndarray:
    """Return the share of classes on which not all seeds agree, of each image [N], from [S, N, K]."""
    votes = called.sum(axis=0)
    return ((votes > 0) & (votes < len(called))).mean(axis=-1)


class Sets(NamedTuple):
    """How alike the whole answers of the seeds are: all findings that one calls, or the one class.

    Parameters
    ----------
    alike : Measured
        Share of images for which all seeds give the same answer.
    all_different : Measured
        Share for which no two seeds do.
    pairs : Measured
        Share for which two seeds, picked at random, do not.
    """

    alike: Measured
    all_different: Measured
    pairs: Measured


def answers(called: np.ndarray) -> np.ndarray:
    """Number of different answers [N] that the seeds give for each image, from decisions [S, N, K]."""
    return np.array([len(np.unique(called[:, i], axis=0)) for i in range(called.shape[1])])


def of_answers(called: np.ndarray, patients: Patients) -> Sets:
    """Compare the answers of S >= 2 seeds, from decisions bool [S, N, K]."""
    different, n_seeds = answers(called), len(called)
    unlike = np.mean([(called[a] != called[b]).any(axis=-1) for a, b in combinations(range(n_seeds), 2)], axis=0)
    return Sets(patients.share(different == 1), patients.share(different == n_seeds), patients.share(unlike))


class Flipping(NamedTuple):
    """How often two predictors that share no training run decide differently.

    Parameters
    ----------
    members : (int, int)
        Training runs of each, 1 being a single run, more the mean of their probabilities.
    pairs : int
        Pairs that were formed.
    flips : Measured
        Share of (image, class) decided differently; for multiclass of images.
    """

    members: tuple[int, int]
    pairs: int
    flips: Measured


def of_ensembles(
    task: str, validation: tuple[np.ndarray, np.ndarray], logits: np.ndarray, patients: Patients
) -> list[Flipping]:
    """Measure how often other seeds would have decided otherwise, of single seeds and of ensembles of them.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Of the data set.
    validation : logits float [S, M, K], targets 0/1 [M, K]
        Where each predictor chooses its thresholds (multi-label: highest F1).
    logits : float [S, N, K]
        Of the test part, finite.
    patients : Patients
        Of the N test images.

    Returns
    -------
    list of Flipping
        Single seeds; with three seeds or more a seed beside the mean of all others; with four or more two means of
        disjoint halves. Predictors that shared a run would agree for that alone.
    """
    n_seeds = len(logits)
    forecasts = [probabilities(part, task) for part in (validation[0], logits)]
    made: dict[tuple[int, ...], np.ndarray] = {}

    def decide(members: tuple[int, ...]) -> np.ndarray:
        if members not in made:
            val, test = (part[list(members)].mean(axis=0) for part in forecasts)
            if task == "multiclass":
                made[members] = test.argmax(axis=-1)[:, None]
            else:
                chosen = best_f1_thresholds(validation[1], val)
                known = np.isfinite(chosen)
                made[members] = test[:, known] >= chosen[known]
        return made[members]

    every = tuple(range(n_seeds))
    kinds: list[list[tuple[tuple[int, ...], tuple[int, ...]]]] = [[((a,), (b,)) for a, b in combinations(every, 2)]]
    if n_seeds >= 3:
        kinds.append([((a,), tuple(s for s in every if s != a)) for a in every])
    if n_seeds >= 4:
        kinds.append(_halves(every))
    rows = []
    for kind in kinds:
        apart = np.mean([(decide(a) != decide(b)).mean(axis=-1) for a, b in kind], axis=0)
        rows.append(Flipping((len(kind[0][0]), len(kind[0][1])), len(kind), patients.share(apart)))
    return rows


def _halves(every: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return pairs of disjoint subsets of half of the seeds, in order, at most `_MOST_PAIRS`."""
    half, pairs = len(every) // 2, []
    for first in combinations(every, half):
        for second in combinations([s for s in every if s not in first], half):
            if first < second:
                pairs.append((first, second))
            if len(pairs) == _MOST_PAIRS:
                return pairs
    return pairs


def expected_range(n: int) -> float:
    """Expected distance of the largest from the smallest of n independent values, in standard deviations.

    Parameters
    ----------
    n : int
        At least 2.

    Returns
    -------
    float
        Of a normal distribution: 1.128 for 2, 1.693 for 3, 4.498 for 50.

    Notes
    -----
    Tippett, Biometrika 17(3/4), 1925, doi:10.1093/biomet/17.3-4.364: the integral of 1 - F^n - (1 - F)^n.
    """
    if n < 2:
        raise ValueError(f"{n} values; a range needs 2 at least")
    x = np.linspace(-9, 9, 20_001)
    return float(np.trapezoid(1 - ndtr(x) ** n - ndtr(-x) ** n, x))
