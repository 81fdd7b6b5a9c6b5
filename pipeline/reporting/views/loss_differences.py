"""The differences between losses of one model, with the verdict that their tests allow."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate, Outcome, exists, outcome

NOT_COMPARED = "not compared by stage ensemble"
UNKNOWN_ERROR = "the uncertainty of the difference could not be estimated"


class Difference(NamedTuple):
    """A loss minus the baseline, both with the same model.

    Parameters
    ----------
    model, loss, group : str
        What is compared; group is a class or "macro".
    estimate : Estimate
        Difference in test AUROC with its interval; its note says why there is no test.
    p, p_holm : float
        Of no difference, raw and adjusted within the study's family, so that a pair has one p on every page.
    tost_p, tost_p_holm : float
        Of a difference of the margin or more, likewise.
    seeds : str
        "vary" or "fixed", as in `pipeline.uncertainty.comparisons`.
    margin : float
        Equivalence margin, in AUROC.
    alpha : float
        Level below which an adjusted p is significant.
    failed : bool
        Whether a training run that learned nothing is in either.
    """

    model: str
    loss: str
    group: str
    estimate: Estimate
    p: float
    tost_p: float
    seeds: str
    margin: float
    alpha: float
    p_holm: float = math.nan
    tost_p_holm: float = math.nan
    failed: bool = False

    @property
    def tested(self) -> bool:
        """Whether there is a test."""
        return math.isfinite(self.p_holm)

    @property
    def apart(self) -> bool:
        """Whether the two losses differ, and not by a training run that learned nothing."""
        return self.outcome is Outcome.DIFFER

    @property
    def equivalent(self) -> bool:
        """Whether a difference of the margin or more is rejected."""
        return self.tost_p_holm < self.alpha

    @property
    def outcome(self) -> Outcome:
        """What the tests allow to be said; a difference that is below the margin is still one."""
        return outcome(self.p_holm, self.p_holm < self.alpha, self.equivalent, self.failed)


def differences(
    study: StudyResults,
    table: pd.DataFrame,
    models: Mapping[str, Sequence[Results]],
    base: str,
    groups: Sequence[str],
) -> list[Difference]:
    """Turn pairs of configurations into losses against the baseline.

    Parameters
    ----------
    study : StudyResults
        For the confidence level.
    table : DataFrame
        `pipeline.uncertainty.comparisons.COLUMNS`, and "family" where it holds several; `NO_TABLE` for no comparisons.
    models : mapping of str to sequence of Results
        As `pipeline.reporting.views.losses.by_model` returns them. A model without the baseline has nothing to compare.
    base : str
        The baseline loss.
    groups : sequence of str
        Values of the column "class" to take.

    Returns
    -------
    list of Difference
        Models and losses in their order, groups innermost; empty without a table. The pair is looked up either way
        round, and the sign is always that of loss minus baseline. A pair that the table lacks has no numbers.
    """
    if not exists(table):
        return []
    asked = []
    for configurations in models.values():
        baseline = next((r for r in configurations if r.loss == base), None)
        asked += [(r, baseline) for r in configurations if baseline is not None and r.key != baseline.key]
    return paired(study, table, asked, groups)


def paired(
    study: StudyResults, table: pd.DataFrame, asked: Sequence[tuple[Results, Results]], groups: Sequence[str]
) -> list[Difference]:
    """Look up pairs of configurations, the first minus the second; model and loss are those of the first.

    Parameters
    ----------
    study, table, groups
        As for `differences`.
    asked : sequence of (Results, Results)
        The pairs.

    Returns
    -------
    list of Difference
        Pairs in their order, groups innermost.
    """
    pairs = {}
    if exists(table):
        rows = table[table["metric"] == "auroc"]
        rows = rows[rows["family"] == "recipes"] if "family" in rows else rows
        pairs = {(row["first"], row["second"], row["class"]): row for row in rows.to_dict("records")}
    compared = []
    for first, second in asked:
        for group in groups:
            row, reverse = pairs.get((first.key, second.key, group)), pairs.get((second.key, first.key, group))
            found = _difference((first.model, first.loss, group), row, reverse, study.alpha)
            compared.append(found._replace(failed=bool({first.key, second.key} & study.failing)))
    return compared


Row = Mapping[Hashable, Any]
"""A row of comparisons.csv."""


def _difference(of: tuple[str, str, str], row: Row | None, reverse: Row | None, alpha: float) -> Difference:
    """Read a pair whichever way round it stands."""
    pair = reverse if row is None else row
    if pair is None:
        return Difference(*of, Estimate(note=NOT_COMPARED), math.nan, math.nan, "", math.nan, alpha)
    difference, low, high, p, tost_p, margin, p_holm, tost_p_holm = (
        float(pair[key])
        for key in ("difference", "ci_low", "ci_high", "p", "tost_p", "margin", "p_holm", "tost_p_holm")
    )
    note = pair["note"] if isinstance(pair["note"], str) else ""
    note = note or ("" if math.isfinite(p) else UNKNOWN_ERROR)
    estimate = Estimate(difference, low, high, note=note)
    estimate = estimate.turned() if row is None else estimate
    return Difference(*of, estimate, p, tost_p, str(pair["seeds"]), margin, alpha, p_holm, tost_p_holm)
