"""Recipes and ensembles against each other, paired on the patients of the test part."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student
from threadpoolctl import threadpool_limits

from pipeline.statistics.bootstrap import metric_draws, patient_draws
from pipeline.statistics.metrics import Scored, Weighted, measure, metrics_of
from pipeline.statistics.seeds import holm

COLUMNS = ["first", "second", "metric", "difference", "ci_low", "ci_high", "p", "p_holm", "distinguishable", "seeds"]


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
        its interval; p: two-sided; p_holm: adjusted for all pairs; distinguishable: p_holm < 1 - confidence. seeds:
        "vary" where both have several, so that the difference is one between recipes; "fixed" where one of the two was
        trained once (or is an ensemble), so that it is one between these trainings. NaN where a value is undefined.

    Notes
    -----
    Two things make a difference uncertain: the patients that happen to be in the test part, and the seeds that happen
    to be trained. The squared standard error is the variance of the paired bootstrap difference plus, where seeds vary,
    the variance over seeds of each recipe divided by their number; interval and p follow from the t distribution with
    the degrees of freedom of Satterthwaite (Biometrics Bulletin 2(6), 1946, doi:10.2307/3002019). What seeds and
    patients have in common counts in both terms, which errs towards not calling a difference.
    """
    metric = metrics_of(task)["auroc"]
    counts, index = patient_draws(patients, draws, seed)
    values, drawn = [], []
    for prediction in logits.values():
        scored = Scored(task, targets, prediction, None, index, counts.shape[1])
        values.append(measure(metric, Weighted(scored))[0, :, -1])
        drawn.append(metric_draws(scored, {"auroc": metric}, counts)["auroc"][:, :, -1].mean(axis=1))
    names = list(logits)
    rows = []
    for i, j in combinations(range(len(names)), 2):
        vary = len(values[i]) > 1 and len(values[j]) > 1
        difference = values[i].mean() - values[j].mean()
        error, freedom = _error(drawn[i] - drawn[j], [values[i], values[j]] if vary else [], counts.shape[1])
        reach = student.ppf((1 + confidence) / 2, freedom) * error
        rows.append(
            {
                "first": names[i],
                "second": names[j],
                "metric": "auroc",
                "difference": difference,
                "ci_low": difference - reach,
                "ci_high": difference + reach,
                "p": 1.0 if difference == error == 0 else 2 * student.sf(abs(difference) / error, freedom),
                "seeds": "vary" if vary else "fixed",
            }
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_holm"] = holm(table["p"].to_numpy(float))
    table["distinguishable"] = table["p_holm"] < 1 - confidence
    return table


def _error(drawn: np.ndarray, over_seeds: list[np.ndarray], patients: int) -> tuple[float, float]:
    """Return the standard error of a difference and its degrees of freedom.

    Parameters
    ----------
    drawn : float [B]
        The difference under each draw of patients.
    over_seeds : list of float [S]
        Values of each recipe under its seeds; empty where the seeds are fixed.
    patients : int
        Patients drawn from.
    """
    known = drawn[~np.isnan(drawn)]
    if 2 * len(known) < len(drawn) or len(known) < 2:
        return np.nan, np.nan
    parts = [(known.var(ddof=1), patients - 1), *((v.var(ddof=1) / len(v), len(v) - 1) for v in over_seeds)]
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return 0.0, 1.0
    return float(np.sqrt(total)), float(total**2 / sum(variance**2 / freedom for variance, freedom in parts))
