"""Which training runs are worth combining, and which comparisons of the results answer a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pipeline.study.runs import Configuration, Run
from pipeline.uncertainty.multiplicity import holm_in_two_tiers

TOP_CONFIGURATIONS = (3, 5)
"""Sizes of the ensembles of the best configurations, as in Rajaraman et al. 2021, arXiv 2109.14433."""
_TWIN = "the same members as "
"""Begins the reason why a set is not there, if another has its members; the name of that one ends it."""


def member_sets(
    configurations: Sequence[str],
    val_auroc: Sequence[float],
    top_k: int,
    top_configurations: Sequence[int] = TOP_CONFIGURATIONS,
) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Name the sets of training runs that are worth combining.

    Parameters
    ----------
    configurations : sequence of str [C]
        Configuration of each training run.
    val_auroc : sequence of float [C]
        Validation macro AUROC of each training run; ties keep the study's order, an undefined one ranks last, and so
        does a configuration with an undefined one.
    top_k : int
        Training runs in the set of the best ones.
    top_configurations : sequence of int
        Configurations in the sets of the best ones, with all their seeds.

    Returns
    -------
    sets : dict of str to tuple of int
        Positions of the members: "all", "top<k>" (training runs), "top<n>recipes" (configurations),
        "seeds_<configuration>".
    skipped : dict of str to str
        Why a set is not there: fewer than two members, or those of another set.
    """
    values = np.asarray(val_auroc, dtype=np.float64)
    by_name = {r: tuple(i for i, name in enumerate(configurations) if name == r) for r in dict.fromkeys(configurations)}
    best_runs = ranked(dict(enumerate(values)))
    best = ranked({name: values[list(runs)].mean() for name, runs in by_name.items()})
    candidates = {"all": tuple(range(len(configurations))), f"top{top_k}": tuple(best_runs[:top_k])}
    for n in top_configurations:
        candidates[f"top{n}recipes"] = tuple(i for name in best[:n] for i in by_name[name])
    candidates |= {f"seeds_{name}": runs for name, runs in by_name.items()}
    sets: dict[str, tuple[int, ...]] = {}
    skipped: dict[str, str] = {}
    for name, runs in candidates.items():
        same = next((other for other, members in sets.items() if set(members) == set(runs)), None)
        if len(runs) < 2:
            skipped[name] = "one member only"
        elif same is not None:
            skipped[name] = f"{_TWIN}{same}"
        else:
            sets[name] = runs
    return sets, skipped


def twin_of(name: str, skipped: Mapping[str, str]) -> str | None:
    """Return the set that stands for set `name`, having the same members; None where `skipped` names no such set."""
    reason = skipped.get(name, "")
    return reason.removeprefix(_TWIN) if reason.startswith(_TWIN) else None


def ranked(values: Mapping[Any, float]) -> list[Any]:
    """Return the keys of `values`, the highest first; ties keep their order, an undefined one ranks last."""
    return sorted(values, key=lambda key: -np.nan_to_num(values[key], nan=-1.0))


def asked(
    configurations: Sequence[str], references: Sequence[str], ensembles: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Name the comparisons that answer a question, kind by kind; each stands in one of them.

    Parameters
    ----------
    configurations : sequence of str
        Kind "recipes": each against each.
    references, ensembles : sequence of str
        Kind "ensembles": each ensemble against each reference. What ensembles differ by among themselves is not
        asked: the many pairs of near twins would only cost the others their power.
    """
    return {
        "recipes": list(combinations(configurations, 2)),
        "ensembles": [(reference, ensemble) for reference in references for ensemble in ensembles],
    }


def means_of(auroc: Mapping[Run, float]) -> dict[Configuration, float]:
    """Average a number of training runs over the seeds of each configuration; undefined where one of them is."""
    by_name: dict[Configuration, list[float]] = {}
    for run, value in auroc.items():
        by_name.setdefault(run.configuration, []).append(value)
    return {name: float(np.mean(values)) for name, values in by_name.items()}


def one_family(
    pairs: pd.DataFrame, by_class: pd.DataFrame, chosen: str | None, alpha: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Correct p for all comparisons of the study as one family (`multiplicity.holm_in_two_tiers`).

    In the first tier are the pairs of configurations and what the chosen ensemble is compared with. In the second,
    below a pair of configurations, are its classes; below a single model that the chosen ensemble is compared with, the
    other ensembles compared with the same.

    Parameters
    ----------
    pairs : DataFrame
        As `comparisons.compare` returns them, with the column "family" of `asked`; ensembles are the second of a pair.
    by_class : DataFrame
        The pairs of configurations, class by class.
    chosen : str or None
        The ensemble that validation chooses; None, or one that was not compared, puts all ensembles into the first
        tier.
    alpha : float
        Level below which an adjusted p counts.

    Returns
    -------
    pairs, by_class : DataFrame
        With p_holm, tost_p_holm, distinguishable and equivalent computed anew and the column "tier" added. Differences
        are one family, equivalences another: of one pair not both answers can be wrong.
    """
    ensembles = (pairs["family"] == "ensembles").to_numpy()
    with_chosen = (pairs["second"] == chosen).to_numpy() & ensembles
    leading = ~ensembles | with_chosen if with_chosen.any() else np.ones(len(pairs), dtype=bool)
    places: dict[tuple[str, str], list[int]] = {}
    for i, pair in enumerate(zip(by_class["first"], by_class["second"])):
        places.setdefault(pair, []).append(i)
    others: dict[str, list[int]] = {}
    for i in map(int, np.flatnonzero(~leading)):
        others.setdefault(pairs["first"].iloc[i], []).append(i)
    first = np.flatnonzero(leading)
    of_classes = [
        [] if ensembles[i] else places.get((pairs["first"].iloc[i], pairs["second"].iloc[i]), []) for i in first
    ]
    of_ensembles = [others.get(pairs["first"].iloc[i], []) if with_chosen[i] else [] for i in first]
    found = []
    for p in ("p", "tost_p"):
        of_pairs, of_class = pairs[p].to_numpy(float), by_class[p].to_numpy(float)
        below = [
            of_class[classes] if classes else of_pairs[rest]
            for classes, rest in zip(of_classes, of_ensembles, strict=True)
        ]
        adjusted, adjusted_below = holm_in_two_tiers(of_pairs[first], below)
        whole, single = np.full(len(pairs), np.nan), np.full(len(by_class), np.nan)
        whole[first] = adjusted
        for classes, rest, values in zip(of_classes, of_ensembles, adjusted_below, strict=True):
            if classes:
                single[classes] = values
            else:
                whole[rest] = values
        found.append((whole, single))
    tiers = np.where(leading, 1, 2), np.full(len(by_class), 2)
    made = [
        table.assign(
            p_holm=found[0][i],
            tost_p_holm=found[1][i],
            distinguishable=found[0][i] < alpha,
            equivalent=found[1][i] < alpha,
            tier=tiers[i],
        )
        for i, table in enumerate((pairs, by_class))
    ]
    return made[0], made[1]


def questions(
    pairs: pd.DataFrame, configurations: Sequence[str], references: Sequence[str], ensembles: Sequence[str]
) -> pd.DataFrame:
    """Keep the pairs that answer a question.

    Parameters
    ----------
    pairs : DataFrame
        Pairs of competitors, as `comparisons.compare` returns them.
    configurations, references, ensembles : sequence of str
        As for `asked`.

    Returns
    -------
    DataFrame
        Rows of `pairs`, configurations first, with the column "family" added.
    """
    compared = list(zip(pairs["first"], pairs["second"]))
    tables = [
        pairs[np.array([pair in members for pair in compared], dtype=bool)].assign(family=name)
        for name, members in asked(configurations, references, ensembles).items()
    ]
    return pd.concat(tables, ignore_index=True)


def shown(described: dict[str, dict[str, Any]]) -> list[str]:
    """Choose the ensembles that lead the pages: of each method the best on validation, and the mean of all.

    Parameters
    ----------
    described : dict of str to dict
        As in members.json.
    """
    best: dict[str, str] = {}
    for name, of in described.items():
        other = best.get(of["method"])
        if other is None or (of["val_auroc"] or -1.0) > (described[other]["val_auroc"] or -1.0):
            best[of["method"]] = name
    return [name for name in described if name in best.values() or name == "mean_all"]
