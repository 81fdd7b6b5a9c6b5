"""Configurations and ensembles against each other, paired on the patients of the test part.

Two questions are asked of each pair, and "no" to the first is not "yes" to the second: do they differ, and are
they shown to be equal but for a margin that does not matter?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student
from threadpoolctl import threadpool_limits

from pipeline.metrics.registry import measure, metrics_of
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.intervals import refusals, spread
from pipeline.uncertainty.multiplicity import AGGREGATES, holm

COLUMNS = [
    "first",
    "second",
    "metric",
    "difference",
    "ci_low",
    "ci_high",
    "p",
    "p_holm",
    "distinguishable",
    "seeds",
    "class",
    "margin",
    "equivalence_low",
    "equivalence_high",
    "tost_p",
    "tost_p_holm",
    "equivalent",
    "note",
]


MARGIN = 0.005
"""Difference in AUROC that is taken not to matter where a study states no other."""


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
    margin: float = MARGIN,
    classes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Test the AUROC of every pair for a difference and for equivalence.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Of the data set.
    logits : mapping of str to float [S, N, K]
        Predictions of each configuration under its seeds, which are averaged after scoring; an ensemble has S = 1.
    targets : 0/1 [N, K]
        Truth.
    patients : str [N]
        Patient of each image: the unit that is drawn.
    draws, confidence, seed : int, float, int
        Of the patient bootstrap. All configurations share the draws, so that what makes a sample of patients easy or
        hard for every configuration cancels.
    margin : float
        Largest difference that is taken not to matter, in AUROC; state it before looking.
    classes : sequence of str [K] or None
        Names of the classes, to test each of them too; None tests the macro mean only.

    Returns
    -------
    DataFrame
        `COLUMNS`, the pairs in the order of `logits`, "macro" first, then the classes. difference: first minus second,
        of the mean over seeds, with its interval; p: two-sided; p_holm: adjusted within the family, which is all pairs
        for "macro" and classes x pairs for the classes; distinguishable: p_holm < 1 - confidence. equivalence_low,
        equivalence_high: interval of confidence 1 - 2 (1 - confidence) (90 % beside 95 %), which lies within -+ margin
        where tost_p < 1 - confidence; tost_p: probability of a difference this small if the true one were the margin or
        more; tost_p_holm and equivalent as for p. seeds: "vary" where both have several, so that the difference is one
        between configurations; "fixed" where one of the two was trained once (or is an ensemble), so that it is one
        between these training runs. A class with too few patients has a difference and no test; note says so. NaN where
        a value is undefined.

    Raises
    ------
    ValueError
        If the margin is not above 0, the confidence not in (0.5, 1), or the names are not as many as the classes.

    Notes
    -----
    Two things make a difference uncertain: the patients that happen to be in the test part, and the seeds that happen
    to be trained. The squared standard error is the variance of the paired bootstrap difference plus, where seeds vary,
    the variance over seeds of each configuration divided by their number; interval and p follow from the t distribution
    with the degrees of freedom of Satterthwaite (Biometrics Bulletin 2(6), 1946, doi:10.2307/3002019), for a class from
    the patients of its rarer side. What seeds and patients have in common counts in both terms, which errs towards not
    calling a difference, nor an equivalence.

    Equivalence: two one-sided tests, against -margin and against +margin, of which the larger p counts (Schuirmann,
    J Pharmacokinet Biopharm 15(6), 1987, doi:10.1007/BF01068419). A pair can be both different and equivalent: the
    difference is there, and too small to matter.
    """
    if not 0.5 < confidence < 1 or not 0 < margin < np.inf:
        raise ValueError(f"confidence {confidence}, margin {margin}: confidence must be in (0.5, 1), margin above 0")
    if classes is not None and len(classes) != targets.shape[1]:
        raise ValueError(f"{len(classes)} names for {targets.shape[1]} classes")
    metric = metrics_of(task)["auroc"]
    counts, index = patient_draws(patients, draws, seed)
    names = ["macro"] if classes is None else ["macro", *classes]
    columns = [-1, *range(len(names) - 1)]
    values, resampled, scored = [], [], None
    for prediction in logits.values():
        scored = Scored(task, targets, prediction, None, index, counts.shape[1])
        values.append(measure(metric, Weighted(scored))[0][:, columns])
        resampled.append(metric_draws(scored, {"auroc": metric}, counts)["auroc"][:, :, columns].mean(axis=1))
    few, rarer = _few_patients(scored) if scored is not None else ([], np.array([]))
    carriers = [counts.shape[1], *rarer[: len(names) - 1]]
    notes = ["", *few[: len(names) - 1]]
    rows = []
    for c, name in enumerate(names):
        for (a, first), (b, second) in combinations(enumerate(logits), 2):
            mine, other = values[a][:, c], values[b][:, c]
            vary = len(mine) > 1 and len(other) > 1
            difference = mine.mean() - other.mean()
            error, freedom = np.nan, np.nan
            if not notes[c]:
                over_seeds = [mine, other] if vary else []
                error, freedom = _error(resampled[a][:, c] - resampled[b][:, c], over_seeds, int(carriers[c]))
            row = {"first": first, "second": second, "metric": "auroc", "seeds": "vary" if vary else "fixed"}
            tested = _tests(float(difference), error, freedom, confidence, margin)
            rows.append(row | tested | {"class": name, "margin": margin, "note": notes[c]})
    table = pd.DataFrame(rows, columns=COLUMNS)
    aggregate = table["class"].isin(AGGREGATES).to_numpy()
    for p in ("p", "tost_p"):
        adjusted = np.full(len(table), np.nan)
        for family in (aggregate, ~aggregate):
            adjusted[family] = holm(table.loc[family, p].to_numpy(float))
        table[f"{p}_holm"] = adjusted
    table["distinguishable"] = table["p_holm"] < 1 - confidence
    table["equivalent"] = table["tost_p_holm"] < 1 - confidence
    return table


def _few_patients(scored: Scored) -> tuple[list[str], np.ndarray]:
    """Return for each class why it is not tested ("" if it is), and the patients of its rarer side."""
    return refusals(scored), (scored.class_counts > 0).sum(axis=0).min(axis=0)


def _tests(difference: float, error: float, freedom: float, confidence: float, margin: float) -> dict[str, float]:
    """Return the difference with both of its intervals and both of its p-values."""
    two_sided = student.ppf((1 + confidence) / 2, freedom) * error
    one_sided = student.ppf(confidence, freedom) * error
    if error > 0:
        p = 2 * student.sf(abs(difference) / error, freedom)
        tost = student.sf((margin - abs(difference)) / error, freedom)
    else:  # two equal columns; or a difference that no draw changes, or an unknown error, which cannot be tested
        p, tost = (1.0, 0.0) if abs(difference) <= 1e-12 and error == 0 else (np.nan, np.nan)
    return {
        "difference": difference,
        "ci_low": difference - two_sided,
        "ci_high": difference + two_sided,
        "p": float(p),
        "equivalence_low": difference - one_sided,
        "equivalence_high": difference + one_sided,
        "tost_p": float(tost),
    }


def _error(draws: np.ndarray, over_seeds: list[np.ndarray], patients: int) -> tuple[float, float]:
    """Return the standard error of a difference and its degrees of freedom.

    Parameters
    ----------
    draws : float [B]
        The difference under each draw of patients.
    over_seeds : list of float [S]
        Values of each configuration under its seeds; empty where the seeds are fixed.
    patients : int
        Patients that the value rests on.
    """
    of_patients = float(spread(draws)) ** 2
    if np.isnan(of_patients):
        return np.nan, np.nan
    parts = [(of_patients, max(patients - 1, 1)), *((v.var(ddof=1) / len(v), len(v) - 1) for v in over_seeds)]
    total = sum(variance for variance, _ in parts)
    if total <= 1e-24:  # rounding only
        return 0.0, 1.0
    return float(np.sqrt(total)), float(total**2 / sum(variance**2 / freedom for variance, freedom in parts))
