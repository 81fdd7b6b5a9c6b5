"""The net benefit of a configuration at every threshold probability, beside that of acting on all and on none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.metrics.decision_curve import THRESHOLDS, benefits, benefits_of_all
from pipeline.metrics.scored import Scored
from pipeline.uncertainty.intervals import wilson
from pipeline.uncertainty.ratios import Drawn, carriers, expected_interval, ratio_draws
from pipeline.uncertainty.support import class_refusals

COLUMNS = [
    "class",
    "threshold",
    "net_benefit",
    "ci_low",
    "ci_high",
    "treat_all",
    "over_all",
    "over_all_low",
    "over_all_high",
    "n",
    "n_positive",
    "n_seeds",
    "note",
]


def decision_table(
    calibrated: Scored,
    classes: Sequence[str],
    counts: np.ndarray,
    confidence: float,
    thresholds: np.ndarray = THRESHOLDS,
) -> pd.DataFrame:
    """Compute the decision curve of every class, each against the rest.

    Parameters
    ----------
    calibrated : Scored
        The test part, its logits calibrated on validation, grouped by patient.
    classes : sequence of str [K]
        Class names.
    counts : int [B, P]
        Draws of patients.
    confidence : float
        Of the intervals, in (0, 1).
    thresholds : float [T]
        Threshold probabilities, in (0, 1).

    Returns
    -------
    DataFrame
        `COLUMNS`, one row per class and threshold. net_benefit: mean over seeds, per image; that of acting on none is
        0. treat_all: of acting on every image. over_all: net_benefit minus treat_all, under the same draws. Intervals
        are of single thresholds, not corrected for their number. Their degrees of freedom are those of the patients
        that make the error (`ratios.carriers`), which a handful of missed ones can. Where no image was called falsely,
        or none missed, the lower limit allows for as many as Wilson's bound of the patients does. No interval where no
        draw changes the value, as where no image reaches the threshold.
    """
    refused = class_refusals(calibrated)
    with_class, without = (calibrated.class_counts > 0).sum(axis=0)
    odds = thresholds / (1 - thresholds)
    tables, images = [], calibrated.by_group(np.ones(len(calibrated.truth)))[:, None, None]
    for k, name in enumerate(classes):
        n, rows = int(calibrated.n_known[k]), calibrated.rows_of(k)
        truth, likely = calibrated.truth[:, k], calibrated.probabilities[:, :, k]
        each = np.concatenate([benefits(likely, truth, thresholds), benefits_of_all(truth, thresholds)[None]])
        if calibrated.known is not None:
            each *= calibrated.known[:, k, None]
            images = calibrated.by_group(calibrated.known[:, k])[:, None, None]
        truth, likely = truth[rows], likely[:, rows]
        sums = calibrated.by_group(each, 1)
        both = ratio_draws(sums, images, counts)
        model = Drawn(both.values[:-1].copy(), both.draws[:, :-1])
        model.values[calibrated.broken] = np.nan
        of_all = Drawn(both.values[-1:], both.draws[:, -1:])
        ends = []
        unseen = _unseen(likely, truth, thresholds, int(with_class[k]), int(without[k]), confidence)
        for of, of_images, below in (
            (model, sums[:, :-1].mean(axis=1), unseen[0]),
            (model.minus(of_all), sums[:, :-1].mean(axis=1) - sums[:, -1], unseen[1]),
        ):
            moved = of_images - of.values.mean(axis=0) * images[:, 0]
            patients = np.minimum(carriers(moved), min(with_class[k], without[k]))
            value, low, high = expected_interval(of, patients, confidence, None, curve=True)
            # Everyone with the class found and nobody else, or the other way round, is the most there can be.
            least, most = (-odds, 1.0) if of is model else (-1.0, odds)
            ends += [value, np.maximum(value - np.hypot(value - low, below), least), np.minimum(high, most)]
        value, low, high, over, over_low, over_high = ends
        limits = [low, high, over_low, over_high]
        if refused[k]:
            limits = [np.full(len(thresholds), np.nan)] * 4
        note = "logits are not finite" if calibrated.broken.any() else refused[k]
        columns = [name, thresholds, value, *limits[:2], of_all.values[0], over, *limits[2:], n, int(truth.sum())]
        tables.append(pd.DataFrame(dict(zip(COLUMNS, [*columns, len(likely), note]))))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _unseen(
    likely: np.ndarray, truth: np.ndarray, thresholds: np.ndarray, with_class: int, without: int, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return what false calls cost the net benefit, and misses the gain over acting on all, where none was seen.

    Probabilities [S, N] and truth [N]; float64 [T] each, 0 where there was one. A threshold that nobody reaches, or
    everybody, is no decision: there it is 0, too.
    """
    positives, negatives = likely[:, truth], likely[:, ~truth]
    if not positives.size or not negatives.size:
        return np.zeros(len(thresholds)), np.zeros(len(thresholds))
    prevalence, odds = truth.mean(), thresholds / (1 - thresholds)
    called, missed = (1 - wilson(n, n, confidence)[0] for n in (without, with_class))
    no_false = (negatives.max() < thresholds) & (positives.max() >= thresholds)
    none_missed = (positives.min() >= thresholds) & (negatives.min() < thresholds)
    return np.where(no_false, odds * (1 - prevalence) * called, 0), np.where(none_missed, prevalence * missed, 0)
