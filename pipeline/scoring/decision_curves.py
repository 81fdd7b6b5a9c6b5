"""The net benefit of a configuration at every threshold probability, beside that of acting on all and on none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.metrics.decision_curve import THRESHOLDS, benefits, benefits_of_all
from pipeline.metrics.scored import Scored
from pipeline.uncertainty.ratios import Drawn, expected_interval, ratio_draws
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
        are of single thresholds: they are not corrected for their number. No interval where no draw changes the value,
        as where no image reaches the threshold.
    """
    refused = class_refusals(calibrated)
    carriers = (calibrated.class_counts > 0).sum(axis=0).min(axis=0).astype(float)
    n, tables = len(calibrated.truth), []
    images = calibrated.by_group(np.ones(n))[:, None, None]
    for k, name in enumerate(classes):
        truth = calibrated.truth[:, k]
        likely = calibrated.probabilities[:, :, k]
        each = np.concatenate([benefits(likely, truth, thresholds), benefits_of_all(truth, thresholds)[None]])
        sums = calibrated.by_group(each, 1)
        both = ratio_draws(sums, images, counts)
        model = Drawn(both.values[:-1].copy(), both.draws[:, :-1])
        model.values[calibrated.broken] = np.nan
        of_all = Drawn(both.values[-1:], both.draws[:, -1:])
        value, low, high = expected_interval(model, carriers[k], confidence, None, curve=True)
        over, over_low, over_high = expected_interval(model.minus(of_all), carriers[k], confidence, None, curve=True)
        limits = [low, high, over_low, over_high]
        if refused[k]:
            limits = [np.full(len(thresholds), np.nan)] * 4
        note = "logits are not finite" if calibrated.broken.any() else refused[k]
        columns = [name, thresholds, value, *limits[:2], of_all.values[0], over, *limits[2:], n, int(truth.sum())]
        tables.append(pd.DataFrame(dict(zip(COLUMNS, [*columns, len(likely), note]))))
    return pd.concat(tables, ignore_index=True)[COLUMNS]
