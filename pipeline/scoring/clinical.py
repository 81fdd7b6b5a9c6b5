"""What a clinic asks of a configuration: predictive values, net benefit, abstention and prediction sets.

Everything is of the mean over seeds, chosen on validation, measured on the test part under the draws of patients that
all metrics share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.metrics.calibration import fit
from pipeline.metrics.thresholds import operating_points
from pipeline.scoring.decision_curves import decision_table
from pipeline.scoring.operating import operating_table, prevalence_of
from pipeline.scoring.part import PartLogits, View, views_of
from pipeline.scoring.prediction_sets import conformal_table
from pipeline.scoring.selection import selection_tables
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws


class Clinical(NamedTuple):
    """The tables of a configuration; the name of each is that of its file.

    Parameters
    ----------
    operating : DataFrame
        `operating.COLUMNS`.
    decision_curve : DataFrame
        `decision_curves.COLUMNS`.
    selective, risk_coverage : DataFrame
        `quantities.COLUMNS`, `selection.CURVE_COLUMNS`.
    conformal : DataFrame
        `prediction_sets.COLUMNS`.
    """

    operating: pd.DataFrame
    decision_curve: pd.DataFrame
    selective: pd.DataFrame
    risk_coverage: pd.DataFrame
    conformal: pd.DataFrame


def clinical(
    classes: Sequence[str],
    val: PartLogits,
    of_val: Sequence[View],
    of_test: Sequence[View],
    drawn: Mapping[str, np.ndarray],
    counts: np.ndarray,
    prevalence: float | Mapping[str, float] | None,
    confidence: float,
) -> Clinical:
    """Measure a configuration.

    Parameters
    ----------
    classes : sequence of str [K]
        Class names.
    val : PartLogits
        The validation part.
    of_val, of_test : sequence of View
        Each part as trained and calibrated (`part.views_of`); the test part grouped by patient.
    drawn : mapping of str to float [B, S, C]
        Metrics of the test part as trained under draws of patients.
    counts : int [B, P]
        The draws.
    prevalence : float, mapping of str to float, or None
        That predictive values are for; see `operating.prevalence_of`.
    confidence : float
        Of the intervals, in (0, 1).
    """
    raw, calibrated = (view.scored for view in of_test)
    val_raw, val_calibrated = (view.scored for view in of_val)
    frequent = prevalence_of(raw, classes, prevalence, counts)
    return Clinical(
        operating_table(of_test[0], classes, drawn, counts, val, frequent, confidence),
        decision_table(calibrated, classes, counts, confidence),
        *selection_tables((val_raw, val_calibrated), (raw, calibrated), classes, counts, confidence),
        conformal_table(val_calibrated, calibrated, classes, counts, confidence),
    )


@threadpool_limits.wrap(limits=1, user_api="blas")
def clinical_alone(
    task: str,
    classes: Sequence[str],
    val: PartLogits,
    test: PartLogits,
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    prevalence: float | Mapping[str, float] | None = None,
) -> Clinical:
    """Measure predictions of which nothing else is asked; parameters as for `evaluation.evaluate`.

    Of the metrics only sensitivity and specificity are drawn, so that it takes a fraction of the time of `evaluate`;
    the numbers are the same.
    """
    points = operating_points(task, val.targets, val.logits)
    calibrations = tuple(fit(task, logits, val.targets) for logits in val.logits)
    counts, index = patient_draws(test.patients, draws, seed)
    of_test = views_of(task, test, points, calibrations, index, counts.shape[1])
    shares = {key: m for key, m in of_test[0].metrics.items() if key.startswith(("sensitivity", "specificity"))}
    drawn = metric_draws(of_test[0].scored, shares, counts)
    of_val = views_of(task, val, points, calibrations)
    return clinical(classes, val, of_val, of_test, drawn, counts, prevalence, confidence)
