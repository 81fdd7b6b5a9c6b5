"""Configurations and ensembles against each other, paired on the patients of the test part.

Two questions are asked of each pair, and "no" to the first is not "yes" to the second: do they differ, and are
they shown to be equal but for a margin that does not matter?
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.metrics.ranks import average_ranks
from pipeline.metrics.registry import METRICS, measure, metrics_of
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty import student
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.improvement import NOTHING, improvement
from pipeline.uncertainty.multiplicity import AGGREGATES, holm
from pipeline.uncertainty.support import support

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
    "error",
    "freedom",
    "note",
]
IMPROVEMENT = ("improvement", "improvement_low", "improvement_high")
"""Further columns where only macro means are compared."""


_APART = {"auroc": METRICS["auroc"].apart(2), "qwk": METRICS["overall_qwk"].apart(2)}
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
    seed_sd: Mapping[str, float] | None = None,
    classes: Sequence[str] | None = None,
    pairs: Collection[tuple[str, str]] | None = None,
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
    seed_sd : mapping of str to float or None
        Standard deviation of the metric over training seeds that is assumed of configurations that were trained once,
        by name; what is not named is compared as this training run, and not as its configuration.
    classes : sequence of str [K] or None
        Names of the classes, to test each of them too; None tests the macro mean only.
    pairs : collection of (str, str) or None
        What to compare, first and second in the order of `logits`; None compares every pair.

    Returns
    -------
    DataFrame
        `COLUMNS`, the pairs in the order of `logits`, "macro" first, then the classes. difference: first minus second,
        of the mean over seeds, with its interval; p: two-sided; p_holm: adjusted within the family, which is the pairs
        for "macro" and classes x pairs for the classes; distinguishable: p_holm < 1 - confidence. equivalence_low,
        equivalence_high: interval of confidence 1 - 2 (1 - confidence) (90 % beside 95 %), which lies within -+ margin
        where tost_p < 1 - confidence; tost_p: probability of a difference this small if the true one were the margin or
        more; tost_p_holm and equivalent as for p. seeds: "vary" where both have several, so that the difference is one
        between configurations; "assumed" where `seed_sd` stands in for the seeds that one of the two lacks; "fixed"
        where one of the two was trained once (or is an ensemble), so that it is one between these training runs. error,
        freedom: standard error of the difference, and its degrees of freedom (`difference_error`). What
        rests on too few patients (`support`) has a difference and no test, and so has a difference that no draw
        changes, unless both order the images alike; note says so. NaN where a value is undefined. Without `classes`
        also `IMPROVEMENT`: the probability that a training run of the first scores above one of the second, with its
        interval (`improvement`).

    Raises
    ------
    ValueError
        If the margin is not above 0, the confidence not in (0.5, 1), or the names are not as many as the classes.

    Notes
    -----
    Two things make a difference uncertain: the patients that happen to be in the test part, and the seeds that happen
    to be trained. What patients do, to all networks alike and to each alone, is the variance of the paired bootstrap
    difference of the means. Values over seeds vary by what a seed is worth, and again by what the patients do to each
    network alone; of their variance only what exceeds the latter is added, so that nothing is counted twice: the error
    covariances of Obuchowski & Rockette, Commun Stat Simul Comput 24(2), 1995, doi:10.1080/03610919508813243, with the
    part that the bootstrap knows well taken from there. Where seeds are fixed, the bootstrap is all. Interval and p
    follow from the t distribution with the degrees of freedom of Satterthwaite (Biometrics Bulletin 2(6), 1946,
    doi:10.2307/3002019): those of the patients, for a class of its rarer side, for the bootstrap; and those of the
    variance over seeds, of both sides together where they have as many, for what seeds add to it, as far as it is
    uncertain (`_doubt`): t of the seeds' means where patients do nothing. docs/statistics.md has
    how often such tests err; with one seed, the difference between two trained networks says nothing of another seed.

    Equivalence: two one-sided tests, against -margin and against +margin, of which the larger p counts (Schuirmann,
    J Pharmacokinet Biopharm 15(6), 1987, doi:10.1007/BF01068419). A pair can be both different and equivalent: the
    difference is there, and too small to matter.
    """
    if classes is not None and len(classes) != targets.shape[1]:
        raise ValueError(f"{len(classes)} names for {targets.shape[1]} classes")
    measured = measured_auroc(task, logits, targets, patients, draws=draws, seed=seed)
    return compare_measured(
        measured, confidence=confidence, margin=margin, seed_sd=seed_sd, classes=classes, pairs=pairs, seed=seed
    )


class Measured(NamedTuple):
    """The AUROC of a configuration or an ensemble, ready to be compared.

    Parameters
    ----------
    values : float64 [S, K + 1]
        Of each class and, last, their mean.
    draws : float64 [B, S, K + 1]
        The same under draws of patients.
    scores : float64 [S, N, K]
        What orders the images.
    refused : list of str [K + 1]
        Why a column has no test, "" where it has.
    freedom : list of float [K + 1]
        Degrees of freedom of what the patients contribute.
    """

    values: np.ndarray
    draws: np.ndarray
    scores: np.ndarray
    refused: list[str]
    freedom: list[float]


@threadpool_limits.wrap(limits=1, user_api="blas")
def measured_auroc(
    task: str,
    logits: Mapping[str, np.ndarray],
    targets: np.ndarray,
    patients: np.ndarray,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, Measured]:
    """Measure what `compare_measured` compares, under draws that all share.

    Parameters
    ----------
    task, logits, targets, patients, draws, seed
        As for `compare`.
    """
    metric = metrics_of(task)["auroc"]
    counts, index = patient_draws(patients, draws, seed)
    measured = {}
    for name, prediction in logits.items():
        scored = Scored(task, targets, prediction, None, index, counts.shape[1])
        rests_on = support(metric, scored)
        values = measure(metric, Weighted(scored, curves=False))[0]
        resampled = metric_draws(scored, {"auroc": metric}, counts)["auroc"]
        measured[name] = Measured(values, resampled, scored.ranked_by, rests_on.refused, rests_on.freedom[0].tolist())
    return measured


@threadpool_limits.wrap(limits=1, user_api="blas")
def measured_grades(
    logits: Mapping[str, np.ndarray], targets: np.ndarray, patients: np.ndarray, *, draws: int = 2000, seed: int = 0
) -> dict[str, Measured]:
    """Measure the quadratic weighted kappa of ordered classes, as `measured_auroc` does the AUROC; one column."""
    metric = METRICS["overall_qwk"]
    counts, index = patient_draws(patients, draws, seed)
    measured = {}
    for name, prediction in logits.items():
        scored = Scored("multiclass", targets, prediction, None, index, counts.shape[1], ordered=True)
        rests_on = support(metric, scored)
        values = measure(metric, Weighted(scored, curves=False))[0]
        resampled = metric_draws(scored, {"qwk": metric}, counts)["qwk"]
        decided = scored.logits.argmax(axis=-1)[..., None].astype(float)
        measured[name] = Measured(values, resampled, decided, rests_on.refused, rests_on.freedom[0].tolist())
    return measured


def compare_measured(
    measured: Mapping[str, Measured],
    *,
    confidence: float = 0.95,
    margin: float = MARGIN,
    seed_sd: Mapping[str, float] | None = None,
    classes: Sequence[str] | None = None,
    pairs: Collection[tuple[str, str]] | None = None,
    seed: int = 0,
    metric: str = "auroc",
) -> pd.DataFrame:
    """Test what `measured_auroc`, or another of `metric`, has measured; see `compare`."""
    if not 0.5 < confidence < 1 or not 0 < margin < np.inf:
        raise ValueError(f"confidence {confidence}, margin {margin}: confidence must be in (0.5, 1), margin above 0")
    names = ["macro"] if classes is None else ["macro", *classes]
    asked = [pair for pair in combinations(measured, 2) if pairs is None or pair in pairs]
    rows = []
    for column, name in zip([-1, *range(len(names) - 1)], names):
        for first, second in asked:
            refused, freedom = measured[first].refused[column], measured[first].freedom[column]  # those of the truth
            one, other = (
                Side(side.values[:, column], side.draws[:, :, column], (seed_sd or {}).get(key))
                for key, side in ((first, measured[first]), (second, measured[second]))
            )
            difference = float(one.values.mean() - other.values.mean())
            row = {"first": first, "second": second, "metric": metric, "seeds": kind_of_seeds(one, other)}
            error, degrees = (np.nan, np.nan) if refused else difference_error(one, other, freedom)
            note = refused
            if not note and error == 0:
                chosen = slice(None) if column < 0 else [column]
                same = _same_order(*(measured[side].scores[..., chosen] for side in (first, second)))
                note = "the same order of images" if same else "no draw of patients changes the difference"
                degrees = 1.0 if same else np.nan
            tested = tests_of(difference, error, degrees, confidence, margin, _APART[metric])
            if classes is None:
                better = NOTHING if refused else improvement(one.draws, other.draws, confidence, seed)
                tested |= dict(zip(IMPROVEMENT, better))
            about = {"class": name, "margin": margin, "error": error, "freedom": degrees, "note": note}
            rows.append(row | tested | about)
    table = pd.DataFrame(rows, columns=[*COLUMNS, *(IMPROVEMENT if classes is None else ())])
    aggregate = table["class"].isin(AGGREGATES).to_numpy()
    for p in ("p", "tost_p"):
        adjusted = np.full(len(table), np.nan)
        for family in (aggregate, ~aggregate):
            adjusted[family] = holm(table.loc[family, p].to_numpy(float))
        table[f"{p}_holm"] = adjusted
    table["distinguishable"] = table["p_holm"] < 1 - confidence
    table["equivalent"] = table["tost_p_holm"] < 1 - confidence
    return table


class Side(NamedTuple):
    """One side of a comparison.

    Parameters
    ----------
    values : float64 [S]
        A metric of S training runs, or of one ensemble, on the whole sample.
    draws : float64 [B, S]
        The same under draws of patients that both sides share.
    seed_sd : float or None
        Standard deviation over seeds that is assumed where there is one.
    """

    values: np.ndarray
    draws: np.ndarray
    seed_sd: float | None = None

    @property
    def over_seeds(self) -> tuple[float, float] | None:
        """Variance of the mean over seeds, and its degrees of freedom; None where nothing is known of it."""
        n = len(self.values)
        if n > 1:
            return float(self.values.var(ddof=1)) / n, n - 1.0
        return None if self.seed_sd is None else (self.seed_sd**2, np.inf)


def kind_of_seeds(first: Side, second: Side) -> str:
    """Say whether the seeds of a comparison "vary", are "assumed" to, or are "fixed"; see `compare`."""
    if min(len(first.values), len(second.values)) > 1:
        return "vary"
    return "fixed" if first.over_seeds is None or second.over_seeds is None else "assumed"


def difference_error(first: Side, second: Side, freedom: float) -> tuple[float, float]:
    """Return the standard error of the difference of two means over seeds, and its degrees of freedom; see `compare`.

    Parameters
    ----------
    first, second : Side
        Under the same draws.
    freedom : float
        Degrees of freedom of what the patients contribute, at least 1.

    Returns
    -------
    error, freedom : float
        NaN where a value is undefined or fewer than half of the draws are defined; an error that is rounding alone
        is 0.
    """
    both = np.concatenate([first.draws, second.draws], axis=1)
    complete = both[~np.isnan(both).any(axis=1)]
    if 2 * len(complete) < len(both) or len(complete) < 2 or np.isnan([*first.values, *second.values]).any():
        return np.nan, np.nan
    n = len(first.values)
    drawn = complete[:, :n], complete[:, n:]
    of_patients = float((drawn[0].mean(axis=1) - drawn[1].mean(axis=1)).var(ddof=1))
    spread = [side.over_seeds for side in (first, second)]
    beyond, uncertain = 0.0, 0.0
    if kind_of_seeds(first, second) != "fixed":
        known = [side for side in spread if side is not None]
        of_seeds, interaction = sum(variance for variance, _ in known), sum(map(_interaction, drawn))
        beyond = max(of_seeds - interaction, 0.0)
        if n == len(second.values) > 1:
            of_freedom = sum(df for _, df in known)
        else:
            below = sum(variance**2 / df for variance, df in known)
            of_freedom = of_seeds**2 / below if below > 0 else np.inf
        uncertain = _doubt(of_seeds, interaction, of_freedom) ** 2 / of_freedom
    total = of_patients + beyond
    if total <= 1e-24:  # rounding only
        return 0.0, 1.0
    return float(np.sqrt(total)), float(total**2 / (of_patients**2 / freedom + uncertain))


def _doubt(of_seeds: float, interaction: float, freedom: float) -> float:
    """Return how much of a variance over seeds counts as uncertain where a part of it is known from the patients.

    With `freedom` ν, what exceeds the interaction counts ν / (ν - 2) times, the mean of ν / χ²: a variance that was
    estimated may be larger by that on average. More than was seen over the seeds it never is, and far above the
    interaction it is just that, so that the test becomes the t-test of the seeds' means. With ν = 2 that mean is
    infinite: what was seen counts, and below the interaction, where nothing exceeds it, in proportion.
    """
    if freedom <= 2:
        return of_seeds * min(1.0, of_seeds / interaction) if interaction > 0 else of_seeds
    excess = max(of_seeds - interaction, 0.0)
    return min(excess * freedom / (freedom - 2) if np.isfinite(freedom) else excess, of_seeds)


def _interaction(draws: np.ndarray) -> float:
    """Return what the interaction of seed and patient adds to the variance of a mean over seeds, from draws [B, S]."""
    n = draws.shape[1]
    if n < 2:
        return 0.0
    covariance = np.cov(draws, rowvar=False)
    own = np.trace(covariance) / n
    return float(max(own - (covariance.sum() - np.trace(covariance)) / (n * (n - 1)), 0.0) / n)


def _same_order(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two predictions [S, N, K] rank the images of every class alike, so that no sample could part them."""
    return first.shape == second.shape and np.array_equal(average_ranks(first, axis=1), average_ranks(second, axis=1))


def tests_of(
    difference: float, error: float, freedom: float, confidence: float, margin: float, apart: float
) -> dict[str, float]:
    """Return a difference with both of its intervals and both of its p-values.

    Parameters
    ----------
    difference : float
        Of a metric.
    error, freedom : float
        Its standard error and degrees of freedom (`difference_error`); NaN where it cannot be tested. An error of 0
        with degrees of freedom stands for two predictions that no sample could part.
    confidence, margin : float
        As for `compare`.
    apart : float
        By how much two values of the metric can differ at most (`registry.Metric.apart`): no interval goes beyond.

    Returns
    -------
    dict of str to float
        difference, ci_low, ci_high, p, equivalence_low, equivalence_high and tost_p of `COLUMNS`.
    """
    two_sided = student.quantile((1 + confidence) / 2, freedom) * error
    one_sided = student.quantile(confidence, freedom) * error
    if error > 0:
        p = 2 * student.upper_tail(abs(difference) / error, freedom)
        tost = student.upper_tail((margin - abs(difference)) / error, freedom)
    else:  # the same order; or a difference that no draw changes, or an unknown error, which cannot be tested
        p, tost = (1.0, 0.0) if error == 0 and not np.isnan(freedom) else (np.nan, np.nan)
    return {
        "difference": difference,
        "ci_low": np.maximum(difference - two_sided, -apart),
        "ci_high": np.minimum(difference + two_sided, apart),
        "p": float(p),
        "equivalence_low": np.maximum(difference - one_sided, -apart),
        "equivalence_high": np.minimum(difference + one_sided, apart),
        "tost_p": float(tost),
    }
