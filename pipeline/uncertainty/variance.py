"""A configuration over its training seeds: mean, spread, where the spread comes from, and what it does to an image.

A value of one training run on one test part is taken as

    value = expected value + seed + cases + seed x cases,

where `cases` is what this sample of patients does to every training run alike, and `seed x cases` what it does to one
training run only. Only the seed's share would be seen again on another sample of patients.

Obuchowski & Rockette, "Hypothesis testing of diagnostic accuracy for multiple readers and multiple tests", Commun
Stat Simul Comput 24(2), 1995, doi:10.1080/03610919508813243 (readers there are training seeds here); Bouthillier et
al., "Accounting for variance in machine learning benchmarks", MLSys 2021, arXiv:2103.03098.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.uncertainty import student

SUMMARY_COLUMNS = ["class", "n_seeds", "mean", "sd", "low", "high", "ci_low", "ci_high"]


COMPONENT_COLUMNS = [
    "class",
    "n_seeds",
    "var_seed",
    "var_case",
    "var_seed_case",
    "var_total",
    "icc_seed",
    "se_mean",
    "note",
]


DISAGREEMENT_COLUMNS = ["class", "n_seeds", "n", "mean_sd", "sd_95th", "mean_cov", "differing", "pairwise"]


def over_seeds(names: Sequence[str], values: np.ndarray, confidence: float = 0.95) -> pd.DataFrame:
    """Mean, standard deviation and t-interval over training seeds.

    Parameters
    ----------
    names : sequence of str [C]
        Classes, and aggregates of them.
    values : float [S, C]
        A metric of S training runs; NaN where undefined.
    confidence : float
        In (0, 1).

    Returns
    -------
    DataFrame
        `SUMMARY_COLUMNS`. sd: with ddof 1. low, high: the extreme seeds. ci_low, ci_high: mean -+ t(S - 1) sd / root S,
        for the expected value of the configuration on this very test part: other patients are not in it
        (`metric_intervals.total_intervals` has them). NaN where a seed is undefined; no spread of a single seed.

    Raises
    ------
    ValueError
        If shapes do not fit or `confidence` is not in (0, 1).
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not len(values) or values.shape[1] != len(names):
        raise ValueError(f"values {values.shape}; expected [S, {len(names)}], S > 0")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must be between 0 and 1")
    n_seeds = len(values)
    mean = values.mean(axis=0)
    sd = values.std(axis=0, ddof=1) if n_seeds > 1 else np.full(len(names), np.nan)
    reach = student.quantile((1 + confidence) / 2, max(n_seeds - 1, 1)) * sd / np.sqrt(n_seeds)
    columns = [list(names), n_seeds, mean, sd, values.min(axis=0), values.max(axis=0), mean - reach, mean + reach]
    return pd.DataFrame(dict(zip(SUMMARY_COLUMNS, columns)), columns=SUMMARY_COLUMNS)


def components(names: Sequence[str], values: np.ndarray, draws: np.ndarray) -> pd.DataFrame:
    """Split the variance of a metric into that of the seed, of the cases, and of both together.

    Parameters
    ----------
    names : sequence of str [C]
        Classes, and aggregates of them.
    values : float [S, C]
        A metric of S training runs on the whole sample.
    draws : float [B, S, C]
        The same under draws of patients that all training runs share (`bootstrap.metric_draws`).

    Returns
    -------
    DataFrame
        `COMPONENT_COLUMNS`. var_total: variance of one training run's value on one sample of patients, the sum of the
        three. icc_seed: var_seed / var_total, the intraclass correlation of values of one training run on two samples
        of patients. se_mean: standard error of the mean over the S seeds, root of var_case + (var_seed + var_seed_case)
        / S. NaN where a value is undefined, most draws are, or there is one seed.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Notes
    -----
    With the training runs held fixed, draws of patients move the values by cases and seed x cases: the mean covariance
    of two training runs over the draws estimates var_case, the mean variance of a training run minus that covariance
    var_seed_case (the error covariances of Obuchowski & Rockette). The variance of `values` over the training runs
    contains seed and seed x cases, so that var_seed is what is left of it after var_seed_case. Estimates below 0, which
    a component of 0 gives half of the time, are set to 0 and named in the note; with few seeds var_seed is known poorly
    (its relative standard error is about sqrt(2 / (S - 1))).
    """
    values, draws = np.asarray(values, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    n_seeds = len(values)
    if values.ndim != 2 or draws.shape[1:] != values.shape or values.shape[1] != len(names):
        raise ValueError(f"values {values.shape}, draws {draws.shape}; expected [S, {len(names)}], led by B")
    rows = []
    for c, name in enumerate(names):
        row = dict.fromkeys(COMPONENT_COLUMNS, np.nan) | {"class": name, "n_seeds": n_seeds, "note": ""}
        complete = draws[~np.isnan(draws[:, :, c]).any(axis=1), :, c]
        if n_seeds < 2:
            row["note"] = "one seed: no spread"
        elif np.isnan(values[:, c]).any():
            row["note"] = "undefined for a seed"
        elif 2 * len(complete) < len(draws) or len(complete) < 2:
            row["note"] = "undefined in most draws"
        else:
            row |= _components(values[:, c], complete)
        rows.append(row)
    return pd.DataFrame(rows, columns=COMPONENT_COLUMNS)


def _components(values: np.ndarray, draws: np.ndarray) -> dict[str, float | str]:
    """Return the components of one column, from `values` [S] and defined `draws` [B, S]."""
    n_seeds = len(values)
    covariance = np.cov(draws, rowvar=False)
    of_one = np.trace(covariance) / n_seeds
    shared = (covariance.sum() - np.trace(covariance)) / (n_seeds * (n_seeds - 1))
    raw = {"var_case": shared, "var_seed_case": of_one - shared}
    raw["var_seed"] = values.var(ddof=1) - max(raw["var_seed_case"], 0)
    negative = [key for key, variance in raw.items() if variance < 0]
    kept = {key: max(float(variance), 0.0) for key, variance in raw.items()}
    total = sum(kept.values())
    return kept | {
        "var_total": total,
        "icc_seed": kept["var_seed"] / total if total > 0 else np.nan,
        "se_mean": float(np.sqrt(kept["var_case"] + (kept["var_seed"] + kept["var_seed_case"]) / n_seeds)),
        "note": f"estimated below 0: {', '.join(negative)}" if negative else "",
    }


def image_spread(probabilities: np.ndarray) -> np.ndarray:
    """Standard deviation over seeds of what each image was given.

    Parameters
    ----------
    probabilities : float [S, N, K]
        Of S training runs, in [0, 1].

    Returns
    -------
    float64 [N, K]
        With ddof 1; NaN for a single training run.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if len(probabilities) < 2:
        return np.full(probabilities.shape[1:], np.nan)
    return probabilities.std(axis=0, ddof=1)


def disagreement(
    classes: Sequence[str], probabilities: np.ndarray, decisions: np.ndarray, undecided: np.ndarray | None = None
) -> pd.DataFrame:
    """Say how much training runs that differ in the seed alone disagree on single images.

    Equal AUROCs can hide it: averaged over images it cancels, for the patient concerned it does not (Zech et al.,
    "Individual predictions matter", 2019, arXiv:1912.03606).

    Parameters
    ----------
    classes : sequence of str [K]
        Class names.
    probabilities : float [S, N, K]
        Of S training runs, in [0, 1].
    decisions : bool [S, N, K]
        Called positive, each training run by its own thresholds (`scored.Scored.decisions`).
    undecided : bool [S, K] or None
        Where a training run has no threshold (`scored.Scored.undecided`).

    Returns
    -------
    DataFrame
        `DISAGREEMENT_COLUMNS`, one row per class. mean_sd and sd_95th: mean and 95th percentile over images of the
        standard deviation over seeds. mean_cov: mean of that deviation over the image's mean probability. differing:
        share of images that not all training runs decide alike. pairwise: share that two of the training runs, picked
        at random, decide differently. NaN for a single training run, and where a decision is missing.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    probabilities, decisions = np.asarray(probabilities, dtype=np.float64), np.asarray(decisions, dtype=bool)
    if probabilities.ndim != 3 or decisions.shape != probabilities.shape or probabilities.shape[2] != len(classes):
        raise ValueError(
            f"probabilities {probabilities.shape}, decisions {decisions.shape}; expected [S, N, {len(classes)}]"
        )
    n_seeds, n_images, n_classes = probabilities.shape
    sd, mean = image_spread(probabilities), probabilities.mean(axis=0)
    relative = np.divide(sd, mean, out=np.zeros_like(sd), where=mean > 0)
    called = decisions.sum(axis=0)
    blank = np.zeros(n_classes, dtype=bool) if undecided is None else np.asarray(undecided).any(axis=0)
    blank = blank | (n_seeds < 2)
    pairs = max(n_seeds * (n_seeds - 1) / 2, 1)
    columns = [
        list(classes),
        n_seeds,
        n_images,
        sd.mean(axis=0),
        np.quantile(sd, 0.95, axis=0),
        np.where(n_seeds < 2, np.nan, relative.mean(axis=0)),
        np.where(blank, np.nan, ((called > 0) & (called < n_seeds)).mean(axis=0)),
        np.where(blank, np.nan, (called * (n_seeds - called) / pairs).mean(axis=0)),
    ]
    return pd.DataFrame(dict(zip(DISAGREEMENT_COLUMNS, columns)), columns=DISAGREEMENT_COLUMNS)
