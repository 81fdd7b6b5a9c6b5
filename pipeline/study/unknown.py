"""Labels that are not known, and labels that a data set calls uncertain, of multi-label sets.

While a data set is prepared a label is a code; in samples.csv it is 1, 0, -1 (uncertain) or an empty cell (unknown).
Whoever scores, counts or splits sees an uncertain label as unknown: NaN. Training alone takes it for what
``datasets.<name>.uncertain`` says. A data set whose labels are all known has columns of 0 and 1, as uint8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BeforeValidator

UNKNOWN, UNCERTAIN = 2, 3
"""Codes of labels beside 0 and 1, uint8."""

IN_TABLE = -1
"""What stands for an uncertain label in samples.csv."""

_RULES: dict[str, float | None] = {"ignore": None, "positive": 1.0, "negative": 0.0}


def _rules(given: Any) -> Any:
    """Refuse what is no policy, before the parts of the type below are tried one by one."""
    for where, rule in given.items() if isinstance(given, Mapping) else [("", given)]:
        number = isinstance(rule, (int, float)) and not isinstance(rule, bool)
        if not (0 <= rule <= 1 if number else isinstance(rule, str) and rule in _RULES):
            raise ValueError(
                f"{where and f'{where}: '}{rule!r}; must be ignore, positive, negative or a soft label from 0 to 1"
                f"{'' if where else ', or these by class'}"
            )
    return given


Rule = Literal["ignore", "positive", "negative"] | float
"""What training takes an uncertain label for: nothing, 1, 0, or a soft label between them."""

Policy = Annotated[Rule | dict[str, Rule], BeforeValidator(_rules)]
"""A rule for all classes, or by class; classes that are not named are ignored."""


def code(name: str, positive: Sequence[str], unknown: Sequence[str], uncertain: Sequence[str]) -> int:
    """Return the code of class `name` of an image, by the lists that name it."""
    return UNKNOWN if name in unknown else UNCERTAIN if name in uncertain else int(name in positive)


def as_column(codes: NDArray[np.uint8]) -> Any:
    """Return a column of samples.csv: the codes themselves where they are 0 and 1, otherwise nullable integers."""
    if codes.max(initial=0) < UNKNOWN:
        return codes
    values = np.where(codes == UNCERTAIN, IN_TABLE, codes.astype(np.int64))
    return pd.arrays.IntegerArray(values, codes == UNKNOWN)


def differ(first: np.ndarray, second: np.ndarray) -> NDArray[np.bool_]:
    """Return where two arrays of labels (codes, or 0, 1 and NaN) contradict each other: both known, and not equal."""
    return (first != second) & known(first) & known(second)


def known(labels: np.ndarray) -> NDArray[np.bool_]:
    """Return which labels are known: codes below `UNKNOWN`, or numbers that are not NaN."""
    return labels < UNKNOWN


def known_of(targets: np.ndarray) -> NDArray[np.bool_] | None:
    """Return which of `targets` (0, 1, NaN) are known, or None where all are."""
    if targets.dtype.kind != "f":
        return None
    is_known = ~np.isnan(targets)
    return None if is_known.all() else is_known


def sides(targets: np.ndarray) -> tuple[NDArray[Any], NDArray[Any]]:
    """Count the positives and the negatives of each class, [K], of `targets` (0, 1, NaN) [N, K]."""
    positives = (targets == 1).sum(axis=0)
    return positives, (targets == 0).sum(axis=0)


def shares(targets: np.ndarray) -> NDArray[np.float64]:
    """Return the share of positives among the known labels of each class [K]; NaN where there are none."""
    positives, negatives = sides(targets)
    total = positives + negatives
    return np.divide(positives, total, out=np.full(len(total), np.nan), where=total > 0)


def without_any(labels: pd.DataFrame) -> pd.Series:
    """Return for each image 1 where it is known to have none of the classes, 0 where it has one, otherwise NaN."""
    none, some = (labels == 0).all(axis=1), (labels == 1).any(axis=1)
    return none if (none | some).all() else none.astype(np.float64).where(none | some)


def hard(targets: np.ndarray) -> np.ndarray:
    """Return `targets` (0, 1, NaN, and soft labels between) with soft labels as unknown: they are no truth."""
    return np.where((targets > 0) & (targets < 1), np.nan, targets) if targets.dtype.kind == "f" else targets


def policy_of(policy: Policy, classes: Sequence[str]) -> dict[str, float | None]:
    """Return what training takes an uncertain label of each class for: a number in [0, 1], or None to ignore it.

    Raises
    ------
    ValueError
        If a class is named that there is not.
    """
    rules = policy if isinstance(policy, Mapping) else dict.fromkeys(classes, policy)
    if foreign := [name for name in rules if name not in classes]:
        raise ValueError(f"uncertain: '{foreign[0]}' is not a class; must be among {', '.join(classes)}")
    chosen = {name: rules.get(name, "ignore") for name in classes}
    return {name: _RULES[rule] if isinstance(rule, str) else float(rule) for name, rule in chosen.items()}
