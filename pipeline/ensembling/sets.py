"""Which training runs are worth combining, and which comparisons of the results answer a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pipeline.study.runs import Configuration, Run
from pipeline.uncertainty.multiplicity import holm

TOP_CONFIGURATIONS = (3, 5)
"""Sizes of the ensembles of the best configurations, as in Rajaraman et al. 2021, arXiv 2109.14433."""


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
            skipped[name] = f"the same members as {same}"
        else:
            sets[name] = runs
    return sets, skipped


def ranked(values: Mapping[Any, float]) -> list[Any]:
    """Return the keys of `values`, the highest first; ties keep their order, an undefined one ranks last."""
    return sorted(values, key=lambda key: -np.nan_to_num(values[key], nan=-1.0))


def asked(
    configurations: Sequence[str], references: Sequence[str], ensembles: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Name the comparisons that answer a question, family by family; each stands in one of them.

    Parameters
    ----------
    configurations : sequence of str
        Family "recipes": each against each.
    references, ensembles : sequence of str
        Family "ensembles": each ensemble against each reference. What ensembles differ by among themselves is not
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


def questions(
    pairs: pd.DataFrame,
    configurations: Sequence[str],
    references: Sequence[str],
    ensembles: Sequence[str],
    alpha: float,
) -> pd.DataFrame:
    """Keep the pairs that answer a question, and correct p for the number of pairs that answer the same one.

    Parameters
    ----------
    pairs : DataFrame
        Pairs of competitors, as `comparisons.compare` returns them.
    configurations, references, ensembles : sequence of str
        As for `asked`.
    alpha : float
        Level below which an adjusted p counts.

    Returns
    -------
    DataFrame
        Rows of `pairs`, configurations first, with p_holm, tost_p_holm, distinguishable and equivalent computed anew
        and the column "family" added.
    """
    compared = list(zip(pairs["first"], pairs["second"]))
    tables = []
    for name, members in asked(configurations, references, ensembles).items():
        table = pairs[np.array([pair in members for pair in compared], dtype=bool)].assign(family=name)
        for p in ("p", "tost_p"):
            table[f"{p}_holm"] = holm(table[p].to_numpy(float))
        tables.append(table)
    kept = pd.concat(tables, ignore_index=True)
    return kept.assign(distinguishable=kept["p_holm"] < alpha, equivalent=kept["tost_p_holm"] < alpha)


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
