"""Facts of the page about ensembles: members and weights of every set, and what its methods fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pipeline.ensembling.fitting import PENALTIES
from pipeline.reporting.results import StudyResults


class Thresholds(NamedTuple):
    """Thresholds of the members, members x classes, and their range."""

    members: int
    classes: int
    low: float
    high: float
    kind: str = "thresholds"


class Ranks(NamedTuple):
    """Range of the number of distinct validation scores per member and class."""

    low: int
    high: int
    kind: str = "ranks"


class Stack(NamedTuple):
    """Coefficients of a logistic regression, rows x columns, with their range, and the penalty that was chosen.

    `end` says whether that is the strongest or the weakest of `penalties`; `unfitted` are classes without a fit.
    """

    rows: int
    columns: int
    low: float
    high: float
    intercepts: int
    penalty: float
    end: Literal["strongest", "weakest", ""]
    penalties: tuple[float, ...]
    unfitted: list[str]
    kind: str = "stack"


class Head(NamedTuple):
    """A linear head on features."""

    features: int
    loss: str
    lr: float
    epoch: int
    kind: str = "head"


class Other(NamedTuple):
    """Names of fitted parameters that the page does not describe."""

    names: list[str]
    kind: str = "other"


Fitted = Thresholds | Ranks | Stack | Head | Other


class Member(NamedTuple):
    """A training run in a set; one weight per column of `MemberSet.methods`, NaN where a method gives it none."""

    name: str
    collapsed: bool
    val_auroc: float
    weights: list[float]


class MemberSet(NamedTuple):
    """The members of a set, the methods that weight them with the sums of their weights, and what else was fitted."""

    name: str
    members: list[Member]
    methods: list[str]
    sums: list[float]
    fitted: list[tuple[str, Fitted]]


def member_sets(study: StudyResults) -> list[MemberSet]:
    """Return the members of every set; nothing where they are not recorded."""
    sets: dict[str, list[dict[str, Any]]] = {}
    for of in study.described.values():
        sets.setdefault(of["set"], []).append(of)
    return [_set(study, name, ensembles) for name, ensembles in sets.items()]


def _set(study: StudyResults, name: str, ensembles: Sequence[dict[str, Any]]) -> MemberSet:
    members = {run_name(m): m["val_auroc"] for of in ensembles for m in of["members"]}
    weights = {
        of["method"]: {run_name(m): m["weight"] for m in of["members"] if m["weight"] is not None} for of in ensembles
    }
    weights = {method: by for method, by in weights.items() if by}
    collapsed = {f"{r.key} seed {seed}" for r, seed, _ in study.collapsed}
    rows = [
        Member(
            name=member,
            collapsed=member in collapsed,
            val_auroc=math.nan if val_auroc is None else val_auroc,
            weights=[by.get(member, math.nan) for by in weights.values()],
        )
        for member, val_auroc in members.items()
    ]
    described = [(of["method"], fitted(of["parameters"], study.classes)) for of in ensembles]
    return MemberSet(
        name=name,
        members=rows,
        methods=list(weights),
        sums=[math.fsum(by.values()) for by in weights.values()],
        fitted=[(method, what) for method, what in described if what is not None],
    )


def fitted(parameters: dict[str, Any], classes: Sequence[str]) -> Fitted | None:
    """Return what a method fitted besides weights, as members.json describes it; None for nothing."""
    if "coefficients" in parameters:
        rows, penalty = parameters["coefficients"], parameters["penalty"]
        values = [value for row in rows for value in row]
        return Stack(
            rows=len(rows),
            columns=len(rows[0]),
            low=min(values),
            high=max(values),
            intercepts=len(parameters["intercepts"]),
            penalty=penalty,
            end="strongest" if penalty == PENALTIES[0] else "weakest" if penalty == PENALTIES[-1] else "",
            penalties=PENALTIES,
            unfitted=[classes[k] for k in parameters.get("unfitted_classes", [])],
        )
    if "thresholds" in parameters:
        rows = parameters["thresholds"]
        values = [value for row in rows for value in row]
        return Thresholds(len(rows), len(rows[0]), min(values), max(values))
    if "distinct_reference_scores" in parameters:
        counts = [n for member in parameters["distinct_reference_scores"] for n in member]
        return Ranks(min(counts), max(counts))
    if "features" in parameters:
        return Head(parameters["features"], parameters["loss"], parameters["lr"], parameters["best_epoch"])
    return Other(list(parameters)) if parameters else None


def run_name(member: dict[str, Any]) -> str:
    """Name the training run of a member as comparisons.csv does."""
    return f"{member['model']}-{member['loss']} seed {member['seed']}"
