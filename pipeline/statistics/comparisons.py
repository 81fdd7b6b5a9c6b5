"""Recipes and ensembles against each other, paired on the patients of the test part."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.statistics.bootstrap import intervals, metric_draws, patient_draws
from pipeline.statistics.metrics import Scored, Weighted, measure, metrics_of
from pipeline.statistics.seeds import holm, paired_p

COLUMNS = ["first", "second", "metric", "difference", "ci_low", "ci_high", "p", "p_holm", "distinguishable"]


@threadpool_limits.wrap(limits=1, user_api="blas")
def compare(
    task: str,
    logits: Mapping[str, np.ndarray],
    targets: np.ndarray,
    patients: np.ndarray,
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Test the macro AUROC of every pair for a difference.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Of the data set.
    logits : mapping of str to float [S, N, K]
        Predictions of each recipe under its seeds, which are averaged after scoring; an ensemble has S = 1.
    targets : 0/1 [N, K]
        Truth.
    patients : str [N]
        Patient of each image: the unit that is drawn.
    draws, confidence, seed : int, float, int
        Of the patient bootstrap. All recipes share the draws, so that what makes a sample of patients easy or hard
        for every recipe cancels.

    Returns
    -------
    DataFrame
        `COLUMNS`, a row a pair in the order of `logits`. difference: first minus second, of the mean over seeds, with
        its percentile interval. p: as in `seeds.paired_p`; p_holm: adjusted for all pairs; distinguishable: p_holm <
        1 - confidence. The seeds are held fixed: a difference is one between these trainings.
    """
    metric = {"auroc": metrics_of(task)["auroc"]}
    counts, index = patient_draws(patients, draws, seed)
    values, drawn = [], []
    for prediction in logits.values():
        scored = Scored(task, targets, prediction, None, index, counts.shape[1])
        values.append(measure(metric["auroc"], Weighted(scored))[0, :, -1].mean())
        drawn.append(metric_draws(scored, metric, counts)["auroc"][:, :, -1].mean(axis=1))
    stacked = np.stack(drawn, axis=1)
    difference, _, p = paired_p(np.array(values)[:, None], stacked[:, :, None], np.array([counts.shape[1]]))
    pairs = list(combinations(range(len(values)), 2))
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    low, high, _ = intervals(stacked[:, first] - stacked[:, second], confidence)
    names, adjusted = list(logits), holm(p[:, 0])
    return pd.DataFrame(
        {
            "first": [names[i] for i in first],
            "second": [names[i] for i in second],
            "metric": "auroc",
            "difference": difference[:, 0],
            "ci_low": low,
            "ci_high": high,
            "p": p[:, 0],
            "p_holm": adjusted,
            "distinguishable": adjusted < 1 - confidence,
        },
        columns=COLUMNS,
    )
