"""Differences between the subgroups of a test part, tested under the draws of patients that both share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.metrics.registry import METRICS, Metric, columns
from pipeline.metrics.scored import Scored
from pipeline.uncertainty import student
from pipeline.uncertainty.intervals import spread
from pipeline.uncertainty.multiplicity import AGGREGATES, holm
from pipeline.uncertainty.ratios import Drawn
from pipeline.uncertainty.support import support

COLUMNS = [
    "variable",
    "first",
    "second",
    "class",
    "metric",
    "difference",
    "ci_low",
    "ci_high",
    "p",
    "p_holm",
    "distinguishable",
    "n_classes",
    "n_first",
    "n_second",
    "n_positive_first",
    "n_positive_second",
    "n_seeds",
    "note",
]
GAP_METRICS = {
    "multilabel": ("auroc", "sensitivity", "specificity"),
    "multiclass": ("overall_accuracy", "sensitivity"),
}
"""What is compared between subgroups. The mean sensitivity of single-label classes is the balanced accuracy."""


class Subgroup(NamedTuple):
    """A subgroup as it was scored.

    Parameters
    ----------
    name : str
        Its label.
    scored : Scored
        Its images, grouped by the patients of the whole part.
    values : mapping of str to Drawn
        [S, C] and [B, S, C] of each metric, under draws of the patients of the whole part.
    """

    name: str
    scored: Scored
    values: Mapping[str, Drawn]


def gap_table(
    variable: str, subgroups: Sequence[Subgroup], task: str, classes: Sequence[str], confidence: float
) -> pd.DataFrame:
    """Compare every pair of subgroups.

    Parameters
    ----------
    variable : str
        What they are subgroups of.
    subgroups : sequence of Subgroup
        Those with enough patients to be scored.
    task : {"multilabel", "multiclass"}
        Decides the metrics (`GAP_METRICS`).
    classes : sequence of str [K]
        Class names.
    confidence : float
        Of the intervals, in (0, 1).

    Returns
    -------
    DataFrame
        `COLUMNS`: difference is first minus second, of the mean over seeds. "macro" is the mean over the n_classes
        classes that have enough patients in both subgroups, so that both sides are about the same classes. p is
        two-sided, p_holm empty until `correct_gaps`. Neither interval nor p where patients are too few, or where no
        draw moves one of the two values; note says so.

    Notes
    -----
    Each seed is compared with itself, and each draw of patients with itself, so that patients who are in both subgroups
    (images of two views) count as one. The standard error is over patients and seeds (`intervals.nested_error`).
    """
    rows: list[dict[str, Any]] = []
    for first, second in combinations(subgroups, 2):
        about = {"variable": variable, "first": first.name, "second": second.name, "n_seeds": first.scored.shape[0]}
        for key in GAP_METRICS[task]:
            rows += [about | row for row in _pair(first, second, METRICS[key], key, classes, confidence)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _pair(
    first: Subgroup, second: Subgroup, metric: Metric, key: str, classes: Sequence[str], confidence: float
) -> list[dict[str, Any]]:
    """Return the rows of one metric."""
    sides = [(side.values[key], support(metric, side.scored)) for side in (first, second)]
    one, other = (of for of, _ in sides)
    refused = [
        "; ".join(
            f"{text} in {side.name}"
            for side, (_, rests_on) in zip((first, second), sides)
            if (text := rests_on.refused[c])
        )
        for c in range(one.values.shape[1])
    ]
    patients = np.minimum(*(rests_on.fewest for _, rests_on in sides))
    names = columns(metric, classes)
    of, n_classes = one.minus(other), [1] * len(names)
    moved = [spread(side.draws.mean(axis=1)) for side in (one, other)]
    still = (moved[0] <= 1e-12) | (moved[1] <= 1e-12)
    if metric.aggregate == "macro":
        eligible = [c for c in range(len(classes)) if not refused[c] and not np.isnan(of.values[:, c]).any()]
        of, n_classes[-1] = _over(of, eligible), len(eligible)
        refused[-1] = "" if eligible else "no class has enough patients in both subgroups"
        still[-1] = bool(eligible) and bool(still[eligible].all())
        patients[-1] = patients[eligible].min() if eligible else 0
    error, freedom = of.error(np.maximum(patients - 1, 1))
    mean = of.values.mean(axis=0)
    positives = [_positives(side.scored, metric) for side in (first, second)]
    images = [[*side.scored.n_known.tolist(), side.scored.n_images][-len(names) :] for side in (first, second)]
    rows = []
    for c, name in enumerate(names):
        note = refused[c]
        if not note and np.isnan(mean[c]):
            note = "undefined in a subgroup"
        if not note and (still[c] or not error[c] > 1e-12):
            note = "no draw of patients changes the value of a subgroup"
        reach = np.nan if note else student.quantile((1 + confidence) / 2, freedom[c]) * error[c]
        apart = metric.apart(len(classes))
        rows.append(
            {
                "class": name,
                "metric": metric.name,
                "difference": mean[c],
                "ci_low": np.maximum(mean[c] - reach, -apart),
                "ci_high": np.minimum(mean[c] + reach, apart),
                "p": np.nan if note else 2 * student.upper_tail(abs(mean[c]) / error[c], freedom[c]),
                "n_classes": n_classes[c],
                "n_first": images[0][c],
                "n_second": images[1][c],
                "n_positive_first": positives[0][c],
                "n_positive_second": positives[1][c],
                "note": note,
            }
        )
    return rows


def _over(of: Drawn, eligible: list[int]) -> Drawn:
    """Put the mean over the eligible classes in the place of the last column."""
    values, draws = of.values.copy(), of.draws.copy()
    values[:, -1] = values[:, eligible].mean(axis=1) if eligible else np.nan
    draws[:, :, -1] = draws[:, :, eligible].mean(axis=2) if eligible else np.nan
    return Drawn(values, draws)


def _positives(scored: Scored, metric: Metric) -> list[int]:
    of_class = scored.truth.sum(axis=0).tolist()
    return [*of_class, sum(of_class)] if metric.aggregate == "macro" else [sum(of_class)]


def correct_gaps(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Correct p for the number of tests of a configuration.

    Parameters
    ----------
    table : DataFrame
        `gap_table` of every variable, one below the other.
    confidence : float
        One minus the level.

    Returns
    -------
    DataFrame
        With p_holm and distinguishable. As for all comparisons, the means over classes ("macro", "overall") are one
        family, over all variables, pairs and metrics, and the single classes another.
    """
    adjusted = np.full(len(table), np.nan)
    aggregate = table["class"].isin(AGGREGATES).to_numpy()
    for family in (aggregate, ~aggregate):
        adjusted[family] = holm(table.loc[family, "p"].to_numpy(float))
    return table.assign(p_holm=adjusted, distinguishable=adjusted < 1 - confidence)
