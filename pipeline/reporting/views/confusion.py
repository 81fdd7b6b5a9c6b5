"""Facts of the page about errors: what is confused with what, and how well each subgroup is classified."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.reporting.figures import errors as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.terms import LABELS
from pipeline.reporting.values import MEAN, Estimate
from pipeline.reporting.views.shared import Noted
from pipeline.uncertainty.intervals import wilson

_LISTED_PAIRS = 10
_WIDEST_MATRIX = 10
"""Classes up to which a confusion matrix is laid out as a table."""
_LOOKED_FOR = ("sex", "view", "age")
"""Variables that stage `evaluate` groups by."""


class Pair(NamedTuple):
    """A finding on the false positives of another, as `co_occurrence` counts it; `p_holm` is NaN if not tested."""

    called: str
    present: str
    n_false: int
    n_both: int
    expected: float
    lift: float
    share: Estimate
    prevalence: float
    p_holm: float
    more: bool


@dataclass(frozen=True)
class Pairs:
    """What else is in the image where a finding is called falsely (multi-label).

    Parameters
    ----------
    listed : list of Pair
        Those with the smallest p values.
    significant : list of Pair
        Those whose adjusted p value is below the level of the study, the smallest first; at most as many as listed.
    n_tested, n_untested, n_significant : int
        How many pairs have a p value, how many have none, and how many of those tested are significant.
    """

    listed: list[Pair]
    significant: list[Pair]
    n_tested: int
    n_untested: int
    n_significant: int


class TrueClass(NamedTuple):
    """A row of the confusion matrix: images of a class, how many were decided for each class, and the recall."""

    name: str
    n: int
    counts: list[float]
    recall: Estimate


class Confused(NamedTuple):
    """Images of one class that are decided for another: mean and range over seeds, and share of the true class."""

    truth: str
    decided: str
    mean: float
    low: int
    high: int
    share: Estimate


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix (single-label).

    Parameters
    ----------
    n_seeds : int
        Seeds whose decisions are recorded; 0 for none.
    rows : list of TrueClass
        One row per class.
    wide : bool
        There are too many classes for their counts to fit into a table.
    frequent : list of Confused
        The most frequent confusions.
    """

    n_seeds: int
    rows: list[TrueClass]
    wide: bool
    frequent: list[Confused]

    @property
    def noted(self) -> Noted:
        """Recalls for `formats.reasons`."""
        return [(row.name, "recall", row.recall) for row in self.rows]


class Subgroup(NamedTuple):
    """A subgroup of the test set."""

    name: str
    n: float
    positives: float
    estimates: list[Estimate]


class Variable(NamedTuple):
    """The subgroups by a variable."""

    name: str
    rows: list[Subgroup]
    noted: Noted


@dataclass(frozen=True)
class Subgroups:
    """How well each subgroup is classified, and the variables that the data set has no values of."""

    labels: list[str]
    variables: list[Variable]
    lacking: list[str]


def draw(study: StudyResults, results: Results, pairs: pd.DataFrame, path: Path) -> Path | None:
    """Draw the confusion matrix, or which other findings false positives have; None where there is nothing."""
    if study.task == "multiclass":
        matrix = results.confusions(study.classes)
        return figures.confusion(study.classes, matrix, path) if len(matrix) else None
    return figures.lifts(study.classes, pairs, study.alpha, path)


def view(study: StudyResults, results: Results, pairs: pd.DataFrame) -> Pairs | Matrix:
    """Return the confusion matrix, or for multi-label which other findings false positives have."""
    return _matrix(study, results) if study.task == "multiclass" else co_occurring(study, pairs)


def co_occurring(study: StudyResults, pairs: pd.DataFrame) -> Pairs:
    """Return what the page says of `co_occurrence`."""
    tested = pairs[pairs["p_holm"].notna()]
    significant = tested[tested["p_holm"] < study.alpha].sort_values("p_holm", kind="stable")
    seen = pairs[(pairs["n_false"] > 0) & (pairs["expected"] > 0)]
    ranked = seen.assign(minus=-seen["lift"]).sort_values(["p", "minus"], kind="stable")
    return Pairs(
        listed=_pairs(ranked),
        significant=_pairs(significant),
        n_tested=len(tested),
        n_untested=len(pairs) - len(tested),
        n_significant=len(significant),
    )


def _pairs(table: pd.DataFrame) -> list[Pair]:
    plain = ("called", "present", "n_false", "n_both", "expected", "lift", "prevalence", "p_holm", "more")
    return [
        Pair(
            **{column: row[column] for column in plain},
            share=Estimate(row["n_both"] / row["n_false"], row["share_low"], row["share_high"]),
        )
        for row in table.head(_LISTED_PAIRS).to_dict("records")
    ]


def _matrix(study: StudyResults, results: Results) -> Matrix:
    matrix = results.confusions(study.classes)
    wide = len(study.classes) > _WIDEST_MATRIX
    if not len(matrix):
        return Matrix(0, [], wide, [])
    mean = matrix.mean(axis=0)
    rows = [
        TrueClass(name, int(matrix[0, k].sum()), mean[k].tolist(), results.get("sensitivity", name))
        for k, name in enumerate(study.classes)
    ]
    apart = [(i, j) for i, j in permutations(range(len(mean)), 2) if mean[i, j] > 0]
    apart.sort(key=lambda pair: (-mean[pair], pair))
    frequent = [
        Confused(
            study.classes[i],
            study.classes[j],
            float(mean[i, j]),
            int(matrix[:, i, j].min()),
            int(matrix[:, i, j].max()),
            _share(mean[i, j], mean[i].sum(), study.params.evaluate.confidence),
        )
        for i, j in apart[:_LISTED_PAIRS]
    ]
    return Matrix(len(matrix), rows, wide, frequent)


def _share(successes: float, n: float, confidence: float) -> Estimate:
    """Return a share with Wilson's interval."""
    low, high = wilson(np.array(successes), np.array(n), confidence)
    return Estimate(successes / n, float(low), float(high), n, successes, "")


def subgroups(study: StudyResults, results: Results) -> Subgroups:
    """Return how well each subgroup is classified, variable by variable."""
    metrics = ("auroc",) if study.task == "multilabel" else ("accuracy", "balanced_accuracy")
    table = results.subgroups
    if not table.empty:
        table = table[(table["seed"] == MEAN) & table["class"].isin(["macro", "overall"])]
    by_variable = {} if table.empty else dict(iter(table.groupby("variable", sort=False)))
    return Subgroups(
        labels=[LABELS[m] for m in metrics],
        variables=[_variable(str(name), rows, metrics) for name, rows in by_variable.items()],
        lacking=[name for name in _LOOKED_FOR if name not in by_variable],
    )


def _variable(variable: str, table: pd.DataFrame, metrics: tuple[str, ...]) -> Variable:
    rows = []
    for name, found in table.groupby("subgroup", sort=True):
        by_metric = {row.metric: Estimate.of_row(row) for row in found.itertuples()}
        estimates = [by_metric.get(m, Estimate()) for m in metrics]
        rows.append(Subgroup(str(name), estimates[0].n, estimates[0].n_positive, estimates))
    noted = [(row.name, LABELS[m], e) for row in rows for m, e in zip(metrics, row.estimates)]
    return Variable(variable, rows, noted)
