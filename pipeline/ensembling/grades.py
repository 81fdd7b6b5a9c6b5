"""Configurations compared by how far their grades are off, where classes are ordered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipeline.scoring.settings import Evaluate
from pipeline.study.predictions import Predictions
from pipeline.uncertainty.comparisons import compare_measured, measured_grades


def grade_comparisons(logits: Mapping[str, np.ndarray], labels: Predictions, settings: Evaluate) -> pd.DataFrame:
    """Test the quadratic weighted kappa of every pair of configurations for a difference, paired by patient.

    Parameters
    ----------
    logits : mapping of str to float [S, N, K]
        Of each configuration, test part.
    labels : Predictions
        Lends its truth and patients.
    settings : Evaluate
        Draws and confidence.

    Returns
    -------
    DataFrame
        As from `comparisons.compare`, metric "qwk"; p_holm is adjusted for these pairs, a family of their own.
    """
    truth = labels.test_targets, labels.test_patients
    measured = measured_grades(logits, *truth, draws=settings.bootstrap, seed=settings.seed)
    return compare_measured(
        measured, confidence=settings.confidence, margin=settings.margin, seed=settings.seed, metric="qwk"
    )
