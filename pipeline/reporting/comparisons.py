"""What may be said of differences: in a sentence, and in the table of pairs of recipes."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from pipeline.reporting import prose, tables
from pipeline.reporting.sections import join
from pipeline.reporting.study import Estimate, StudyResults

_NAMED_PAIRS = 4
"""Pairs that differ, named in a sentence."""
_LISTED_PAIRS = 15
"""Pairs that the table lists in full: those of six recipes."""


def sentence(study: StudyResults) -> str:
    """Say whether recipes differ, as their paired tests allow."""
    if len(study.configurations) < 2:
        return "With one recipe there is nothing to compare it with."
    if study.comparisons is None:
        return "Differences between recipes are not tested in this report: treat them as within noise."
    keys = [r.key for r in study.configurations]
    every = study.comparisons
    pairs = every[every["first"].isin(keys) & every["second"].isin(keys)]
    apart = pairs[pairs["distinguishable"]]
    tested = f"paired on the same patients, with Holm's correction for {prose.count('comparison', len(pairs))}"
    if apart.empty:
        which = "the two recipes" if len(pairs) == 1 else f"none of the {len(pairs)} pairs of recipes"
        verb = "cannot be told apart" if len(pairs) == 1 else "can be told apart"
        return f"{prose.capital(tested)}, {which} {verb}: their differences are within noise."
    head = "the two recipes differ" if len(pairs) == 1 else f"{len(apart)} of {len(pairs)} pairs of recipes differ"
    named = [_ordered(row) for row in apart.itertuples()] if len(apart) <= _NAMED_PAIRS else []
    listed = f" ({prose.listing(f'{better} above {worse}' for better, worse in named)})" if named else ""
    rest = "" if len(apart) == len(pairs) else "; the other differences are within noise"
    return f"{prose.capital(tested)}, {head}{listed}{rest}."


def _ordered(row: Any) -> tuple[str, str]:
    """Name the better of a pair first."""
    return (row.first, row.second) if row.difference > 0 else (row.second, row.first)


def pair(study: StudyResults, first: str, second: str) -> tuple[str, str] | None:
    """Return the tested difference first minus second with its interval, and what may be said of it."""
    if study.comparisons is None:
        return None
    for row in study.comparisons.itertuples():
        if {row.first, row.second} == {first, second} and math.isfinite(row.difference):
            found = Estimate(row.difference, row.ci_low, row.ci_high)
            found = found if row.first == first else found.turned()
            difference = f"{tables.signed(found.value)} {tables.signed_interval(found)}"
            p = tables.probability(row.p_holm).replace("<", "below") if math.isfinite(row.p_holm) else tables.DASH
            return (
                difference,
                f"a difference after Holm's correction (p {p})" if row.distinguishable else "within noise",
            )
    return None


def section(study: StudyResults) -> str:
    """Lay out the pairs: all of them where they are few, else those with the chosen recipe."""
    every = study.comparisons
    if every is None or every[every["family"] == "recipes"].empty:
        return ""
    chosen, keys = study.chosen, [r.key for r in study.configurations]
    pairs = every[every["first"].isin(keys) & every["second"].isin(keys)]
    if len(pairs) > _LISTED_PAIRS and chosen is not None:
        pairs = pairs[(pairs["first"] == chosen.key) | (pairs["second"] == chosen.key)]
    lines = []
    for row in pairs.itertuples():
        interval = Estimate(row.difference, row.ci_low, row.ci_high)
        verdict = "differ" if row.distinguishable else "as good as equal" if row.equivalent else "within noise"
        p = tables.probability(row.p_holm)
        lines.append([row.first, row.second, prose.signed(row.difference), tables.interval(interval), p, verdict])
    tested = every[every["family"] == "recipes"]
    text = [
        "Test macro AUROC, first minus second, means over seeds. Both are scored on the same bootstrap draws of "
        f"patients; p is corrected for all {prose.count('comparison', len(tested))}.",
        "" if len(pairs) == len(tested) else f"Shown are those with {chosen.key}.",
        _scope(tested),
        f'"As good as equal" means that a difference of {every["margin"].iloc[0]:g} or more, either way, is refuted '
        "(two one-sided tests, corrected likewise).",
    ]
    if (others := len(every) - len(tested)) and study.every_ensemble:
        text.append(f"The {prose.count('comparison', others)} with ensembles: [ensembles](ensembles.md).")
    heads = ["First", "Second", "Difference", study.interval_name, "p (Holm)", ""]
    return join("### Differences between recipes", " ".join(filter(None, text)), tables.table(heads, lines, "llrrrl"))


def _scope(comparisons: pd.DataFrame) -> str:
    """Say whether the comparisons speak of recipes or of trainings."""
    vary = "Between recipes the error counts the spread over training seeds besides the sample of patients."
    fixed = "With a recipe of a single training there is no such spread: these rows speak of these trainings only."
    kinds = set(comparisons["seeds"])
    return " ".join(text for kind, text in (("vary", vary), ("fixed", fixed)) if kind in kinds)
