"""Whether the spread over training seeds exceeds the noise of the sample that they are scored on.

All seeds are scored on the same patients, so that their values rise and fall together from sample to sample: seeds are
compared pair by pair under shared bootstrap draws, and "the best seed" of a class is one only if a pair survives the
correction for the number of comparisons. The same holds for any other paired columns, such as ensembles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.uncertainty.intervals import spread
from pipeline.uncertainty.multiplicity import AGGREGATES, holm, paired_p

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
    """Set the spread over seeds beside the noise of the sample, one row per class.

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

    complete = np.where(defined, values, np.nan)
    low, high = complete.min(axis=0), complete.max(axis=0)
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
                "mean": complete[:, c].mean(),
                "sd": complete[:, c].std(ddof=1) if n_seeds > 1 else np.nan,
                "low": low[c],
                "high": high[c],
                "range": high[c] - low[c] if n_seeds > 1 else np.nan,
                "sampling_se": sampling[c],
                "best_seeds": _best(complete[:, c], labels, higher_is_better),
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
