"""How much of the best of many scores is luck: the bootstrap that chooses anew in every draw of patients.

The highest of several noisy scores is too high on average, the more so the more there are and the fewer the patients.
In every draw the best configuration is chosen by the patients that were drawn, and scored on those that were not.

Tsamardinos, Greasidou & Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation", Machine Learning 107, 2018, doi:10.1007/s10994-018-5714-4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.support import class_refusals, mean_refusal


class Corrected(NamedTuple):
    """What is left of the highest score.

    Parameters
    ----------
    highest : float
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
    """

    highest: float
    corrected: float
    low: float
    high: float
    chosen: np.ndarray
    draws: int
    classes: int
    left_out: float
    refused: str

    @property
    def optimism(self) -> float:
        """By how much the highest score is too high."""
        return self.highest - self.corrected


def corrected_best(
    task: str,
    targets: np.ndarray,
    logits: np.ndarray,
    patients: np.ndarray,
    owners: Sequence[int],
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Corrected:
    """Correct the highest macro AUROC of several configurations for having been chosen.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Of the data set.
    targets : uint8 or float [N, K]
        0/1, NaN where not known.
    logits : float [R, N, K]
        Of R training runs, on the same images.
    patients : str [N]
        Whose images they are.
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
    drawn. A macro AUROC is a mean over classes: its expectation is the mean of theirs, so each class is averaged over
    the draws that have it on both sides, and then the classes. A draw chooses by the classes that it has, which are
    the same for all configurations. For the interval the classes of a draw are centred on their means, so that which of
    them a draw happens to have does not count as spread. Chosen by fewer distinct patients than there are, the
    configuration is a little worse on average than the one chosen by all: the correction errs on the low side.
    """
    of = np.asarray(owners)
    if len(of) != len(logits):
        raise ValueError(f"{len(of)} owners of {len(logits)} training runs")
    counts, index = patient_draws(patients, draws, seed)
    scored = Scored(task, targets, logits, None, index, counts.shape[1])
    auroc = {"auroc": METRICS["auroc"]}
    whole = _means(measure(METRICS["auroc"], Weighted(scored, None, False))[..., :-1], of)[0]
    used = np.isfinite(whole).any(axis=0)  # a configuration whose scores are not finite has none
    inside = _means(metric_draws(scored, auroc, counts)["auroc"][..., :-1], of)[..., used]
    outside = _means(metric_draws(scored, auroc, (counts == 0).astype(np.uint16))["auroc"][..., :-1], of)[..., used]
    by = _over_classes(inside)
    best = np.where(np.isfinite(by), by, -np.inf).argmax(axis=1)
    possible = np.isfinite(by).any(axis=1)
    value = outside[np.arange(draws), best]
    value[~possible] = np.nan
    defined = np.isfinite(value).any(axis=0)
    of_class = np.nanmean(value[:, defined], axis=0) if defined.any() else np.array([np.nan])
    corrected = float(of_class.mean())
    spread = _over_classes(value[:, defined] - of_class) if defined.any() else np.array([np.nan])
    tail = (1 - confidence) / 2
    bounds = np.nanquantile(spread, [tail, 1 - tail]) + corrected if np.isfinite(spread).any() else np.full(2, np.nan)
    refused = mean_refusal(scored, class_refusals(scored))
    low, high = (np.nan, np.nan) if refused else np.clip(bounds, 0.0, 1.0)
    places = np.flatnonzero(used)[defined] if len(defined) else np.array([], int)
    highest = np.nanmax(whole[:, places].mean(axis=1)) if len(places) else np.nan
    chosen = np.bincount(best[possible], minlength=len(whole))
    left_out = float((counts == 0).mean())
    numbers = float(highest), corrected, float(low), float(high)
    return Corrected(*numbers, chosen, draws, len(places), left_out, refused)


def _means(values: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Average [B, R, K] over the runs of each owner: [B, T, K]."""
    return np.stack([values[:, owners == owner].mean(axis=1) for owner in range(int(owners.max()) + 1)], axis=1)


def _over_classes(values: np.ndarray) -> np.ndarray:
    """Average over the last axis what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    number = defined.sum(axis=-1)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    return np.divide(total, number, out=np.full(number.shape, np.nan), where=number > 0)
