"""The differences between losses of one model, with the verdict that their tests allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.reporting.figures.losses import APART, EQUAL, NOISE, UNTESTED
from pipeline.reporting.study import Estimate, Results, StudyResults
from pipeline.uncertainty.multiplicity import holm

_UNKNOWN_ERROR = "no draw of patients tells how uncertain the difference is"
_NOT_COMPARED = "not among the comparisons that stage ensemble has made"


class Difference(NamedTuple):
    """A loss less the baseline, both with the same model.

    Parameters
    ----------
    model, loss, group : str
        What is compared; group is a class or "macro".
    estimate : Estimate
        Difference in test AUROC with its interval; its note says why there is no test.
    p, p_holm : float
        Of no difference, raw and adjusted within the family of this page.
    tost_p, tost_p_holm : float
        Of a difference of the margin or more, likewise.
    seeds : str
        "vary" or "fixed", as in `pipeline.uncertainty.comparisons`.
    margin : float
        Difference that is taken not to matter.
    alpha : float
        Level below which an adjusted p counts.
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

    @property
    def tested(self) -> bool:
        """Whether there is a test."""
        return math.isfinite(self.p_holm)

    @property
    def apart(self) -> bool:
        """Whether the two losses differ."""
        return self.p_holm < self.alpha

    @property
    def equal(self) -> bool:
        """Whether a difference of the margin or more is refuted."""
        return self.tost_p_holm < self.alpha

    @property
    def verdict(self) -> str:
        """One of the words that figure and table share; a difference that is too small to matter is still one."""
        return APART if self.apart else EQUAL if self.equal else NOISE if self.tested else UNTESTED


def differences(
    study: StudyResults,
    table: pd.DataFrame | None,
    models: dict[str, list[Results]],
    base: str,
    groups: Sequence[str],
) -> list[Difference]:
    """Turn pairs of recipes into losses against the baseline, and correct p for those alone.

    Parameters
    ----------
    study : StudyResults
        For the confidence level.
    table : DataFrame or None
        `pipeline.uncertainty.comparisons.COLUMNS`, and "family" where it holds several; None for no comparisons.
    models : dict of str to list of Results
        As `by_model` returns them. A model without the baseline has nothing to compare.
    base : str
        The baseline loss.
    groups : sequence of str
        Values of the column "class" that make up the family.

    Returns
    -------
    list of Difference
        Models and losses in their order, groups innermost; empty without a table. The pair is looked up either way
        round, and the sign is always that of loss minus baseline. A pair that the table lacks has no numbers.
    """
    if table is None:
        return []
    rows = table[table["metric"] == "auroc"]
    rows = rows[rows["family"] == "recipes"] if "family" in rows else rows
    pairs = {(row.first, row.second, row["class"]): row for _, row in rows.iterrows()}
    alpha = 1 - (study.params.evaluate.confidence if study.params else 0.95)
    found = []
    for model, configurations in models.items():
        baseline = next((r.key for r in configurations if r.loss == base), None)
        for results in configurations:
            if baseline is None or results.key == baseline:
                continue
            for group in groups:
                row = pairs.get((results.key, baseline, group))
                flipped = pairs.get((baseline, results.key, group))
                found.append(_difference((model, results.loss, group), row, flipped, alpha))
    p, tost_p = (holm(np.array([getattr(d, name) for d in found], dtype=float)) for name in ("p", "tost_p"))
    return [d._replace(p_holm=float(a), tost_p_holm=float(b)) for d, a, b in zip(found, p, tost_p)]


def _difference(of: tuple[str, str, str], row: pd.Series | None, flipped: pd.Series | None, alpha: float) -> Difference:
    """Read a pair whichever way round it stands."""
    if row is None and flipped is None:
        return Difference(*of, Estimate(note=_NOT_COMPARED), math.nan, math.nan, "", math.nan, alpha)
    turned, row = row is None, flipped if row is None else row
    note = row["note"] if isinstance(row["note"], str) else ""
    note = note or ("" if math.isfinite(row["p"]) else _UNKNOWN_ERROR)
    estimate = Estimate(*(float(row[key]) for key in ("difference", "ci_low", "ci_high")), note=note)
    estimate = estimate.turned() if turned else estimate
    return Difference(*of, estimate, float(row["p"]), float(row["tost_p"]), row["seeds"], float(row["margin"]), alpha)
