"""Whether the spread over training seeds exceeds the noise of the sample that they are scored on.

All seeds are scored on the same patients, so that their values rise and fall together from sample to sample: seeds are
compared pair by pair under shared bootstrap draws, and "the best seed" of a class is one only if a pair survives the
correction for the number of comparisons. The same holds for any other paired columns, such as ensembles.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import t as student

from pipeline.statistics.bootstrap import spread

COLUMNS = [
    "class",
    "n_seeds",
    "mean",
    "sd",
    "low",
    "high",
    "range",
    "sampling_se",
    "best_seeds",
    "p_holm",
    "distinguishable",
    "note",
]
AGGREGATES = ("macro", "overall")


def holm(p: np.ndarray) -> np.ndarray:
    """Adjust p-values for their number by Holm's step-down method.

    Parameters
    ----------
    p : float [...]
        One family, in any shape; NaN is a comparison that was not made and does not count.

    Returns
    -------
    float64 [...]
        Adjusted p-values, at most 1; NaN where `p` is.

    Notes
    -----
    Holm, "A simple sequentially rejective multiple test procedure", Scand J Stat 6(2), 1979.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    made = ~np.isnan(values)
    given = values[made]
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(np.minimum(1.0, given[order] * np.arange(len(given), 0, -1)))
    back = np.empty_like(stepped)
    back[order] = stepped
    adjusted[made] = back
    return adjusted


def paired_p(
    values: np.ndarray, draws: np.ndarray, patients: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test every pair of columns for a difference, under shared bootstrap draws.

    The difference over the standard deviation of its bootstrap is compared with a t distribution. Its degrees of
    freedom are the patients that carry the rarer side of the class, less one, because a standard error that rests on
    few clusters is itself uncertain and the normal distribution would call too much a difference (Cameron & Miller,
    "A practitioner's guide to cluster-robust inference", J Hum Resour 50(2), 2015). A tail count of the draws could
    not go below 2 / B, which the correction would always undo.

    Parameters
    ----------
    values : float [S, C]
        A metric of S seeds for C classes.
    draws : float [B, S, C]
        The same under each draw.
    patients : int [C] or None
        Patients that a column's value rests on; None for many, where t is the normal distribution.

    Returns
    -------
    difference, standard_error, p : float64 [S (S - 1) / 2, C]
        For the pairs (0, 1), (0, 2), ... in the order of `itertools.combinations`. Two columns that are equal under
        every draw have p = 1. NaN where a value is missing, or where the error cannot be had: fewer than half of
        the draws defined, or a difference that no draw changes.
    """
    n_seeds = values.shape[0]
    first, second = np.array(list(combinations(range(n_seeds), 2)), dtype=np.int64).reshape(-1, 2).T
    difference = values[first] - values[second]
    error = np.stack([spread(draws[:, i] - draws[:, j]) for i, j in zip(first, second)]) if len(first) else difference
    # A constant difference has an error of rounding only.
    fixed = error <= 1e-12
    z = np.divide(difference, error, out=np.full(difference.shape, np.nan), where=~fixed & ~np.isnan(error))
    freedom = np.full(values.shape[1], np.inf) if patients is None else np.maximum(np.asarray(patients) - 1, 1)
    p = np.where(fixed & (np.abs(difference) <= 1e-12), 1.0, 2 * student.sf(np.abs(z), freedom))
    return difference, error, p


def seed_table(
    names: Sequence[str],
    labels: Sequence[str],
    values: np.ndarray,
    draws: np.ndarray,
    refused: Sequence[str] | None = None,
    higher_is_better: bool = True,
    alpha: float = 0.05,
    patients: np.ndarray | None = None,
) -> pd.DataFrame:
    """Set the spread over seeds beside the noise of the sample, a class a row.

    Parameters
    ----------
    names : sequence of str [C]
        Class names. "macro" and "overall" are not corrected together with the classes but are a family of their own.
    labels : sequence of str [S]
        Names of the seeds.
    values : float [S, C]
        A metric on the whole sample.
    draws : float [B, S, C]
        The same under bootstrap draws that all seeds share (`bootstrap.metric_draws`).
    refused : sequence of str [C] or None
        Where not "", why a class has too few patients for a bootstrap: it has no sampling error and no test then.
    higher_is_better : bool
        Which end is the best seed.
    alpha : float
        Level below which an adjusted p-value counts.
    patients : int [C] or None
        As for `paired_p`.

    Returns
    -------
    DataFrame
        `COLUMNS`. sd: over seeds, with ddof 1. sampling_se: standard deviation over draws of the mean over seeds.
        best_seeds: the best to 4 decimals, "32/42" where equal. p_holm: the smallest adjusted p-value of the class's
        pairs, in the family of all classes and pairs. distinguishable: p_holm < alpha. A class that is undefined for
        one of the seeds has no numbers.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    values, draws = np.asarray(values, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    n_seeds, n_columns = len(labels), len(names)
    if values.shape != (n_seeds, n_columns) or draws.shape[1:] != values.shape:
        raise ValueError(f"values {values.shape}, draws {draws.shape}; expected [{n_seeds}, {n_columns}], led by B")
    refused = [""] * n_columns if refused is None else refused
    defined = ~np.isnan(values).any(axis=0)
    tested = defined & np.array([not text for text in refused], dtype=bool)

    _, _, p = paired_p(values, draws, patients)
    p = np.where(tested, p, np.nan)
    aggregate = np.isin(np.asarray(names), AGGREGATES)
    adjusted = np.full(p.shape, np.nan)
    for family in (~aggregate, aggregate):
        adjusted[:, family] = holm(p[:, family])
    smallest = np.where(np.isnan(adjusted), np.inf, adjusted).min(axis=0, initial=np.inf)
    smallest[np.isinf(smallest)] = np.nan

    known = np.where(defined, values, np.nan)
    low, high = known.min(axis=0), known.max(axis=0)
    sampling = np.where(tested, spread(draws.mean(axis=1)), np.nan)
    rows = []
    for c, name in enumerate(names):
        notes = []
        if not defined[c]:
            notes.append(
                "undefined for " + ", ".join(label for s, label in enumerate(labels) if np.isnan(values[s, c]))
            )
        elif refused[c]:
            notes.append(refused[c])
        elif np.isnan(sampling[c]):
            notes.append("undefined in most draws")
        if n_seeds == 1:
            notes.append("one seed: no spread")
        rows.append(
            {
                "class": name,
                "n_seeds": n_seeds,
                "mean": known[:, c].mean(),
                "sd": known[:, c].std(ddof=1) if n_seeds > 1 else np.nan,
                "low": low[c],
                "high": high[c],
                "range": high[c] - low[c] if n_seeds > 1 else np.nan,
                "sampling_se": sampling[c],
                "best_seeds": _best(known[:, c], labels, higher_is_better),
                "p_holm": smallest[c],
                "distinguishable": bool(smallest[c] < alpha),
                "note": "; ".join(notes),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _best(values: np.ndarray, labels: Sequence[str], higher_is_better: bool) -> str:
    """Join the labels of the best of `values` [S], compared to 4 decimals as a table prints them; "" if undefined."""
    rounded = np.round(values if higher_is_better else -values, 4)
    return "/".join(label for label, value in zip(labels, rounded) if value == rounded.max())
