"""Grids of learning rate and dropout: which models form one, what was best, what collapsed, which numbers are the same.

With params.yaml, models form a grid if there are three or more of one architecture that differ in nothing but learning
rate and dropout. In a bare metrics table the model's name tells, by one regular expression::

    <name>_lr<number>[_do<number>]

with numbers like 0.001, 0p001 (a name in params.yaml has no dots) or 1e-4, a dash instead of any underscore, and
``dropout`` instead of ``do``, as in ``resnet50_lr0.001_do0.2`` or ``resnet50-lr1e-4-dropout0``. Models of one
``<name>`` then form a grid.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from pipeline.checking.gates import is_saturated, same_vectors
from pipeline.learning.settings import Model
from pipeline.reporting import formats
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.views.model_settings import dropout

_NUMBER = r"(?:\d+[.p]?\d*|\.\d+)(?:[eE][-+]?\d+)?"
NAMED = re.compile(rf"(?P<name>.+?)[_-]lr(?P<lr>{_NUMBER})(?:[_-](?:do|dropout)(?P<dropout>{_NUMBER}))?")
"""Name of a model of a grid in a bare table; the whole name matches."""
LEAST = 3
"""Models that make a grid: two are a comparison."""
_CHANCE = 5e-5
"""How far an AUROC of predictions that are all alike may lie from 0.5: rounding to four decimals."""
DECIDED = ("precision", "sensitivity", "f1")
"""What the tables say of decisions, in their order; sensitivity is called recall there."""
PARTS = ("train", "val", "test")
_TEXT_DIGITS = 0.006
"""How far a number printed with two decimals may lie from what it stands for, with a little to spare."""


class Sign(StrEnum):
    """How numbers alone show that a training run learned nothing, see `collapsed`."""

    SATURATED = "saturated"
    ONE_CLASS = "one class"
    CHANCE = "chance"


class Point(NamedTuple):
    """A configuration in its place of a grid; `dropout` is None where the architecture has its own."""

    lr: float
    dropout: float | None
    results: Results

    @property
    def name(self) -> str:
        """Learning rate and dropout, ``0.001 / 0.2``."""
        return f"{self.lr:g} / {formats.dropout(self.dropout)}"


class Grid(NamedTuple):
    """Points of one architecture and loss, the highest learning rate first, then the highest dropout."""

    name: str
    loss: str
    points: tuple[Point, ...]


class _Place(NamedTuple):
    """Where a model stands: `group` is the same for all models of a grid."""

    group: str
    name: str
    lr: float
    dropout: float | None


class Training(NamedTuple):
    """A point under one seed; `seed` is None where only a mean is known."""

    grid: Grid
    point: Point
    seed: int | None


def grids(study: StudyResults) -> tuple[Grid, ...]:
    """Find the grids of a study, one for each architecture and loss, in the study's order."""
    names = study.params.study.models if study.recorded else [r.model for r in study.configurations]
    placed = {name: place for name in dict.fromkeys(names) if (place := _place(study, name)) is not None}
    groups: dict[str, list[str]] = {}
    for name, place in placed.items():
        groups.setdefault(place.group, []).append(name)
    groups = {g: ms for g, ms in groups.items() if len({(placed[m].lr, placed[m].dropout) for m in ms}) >= LEAST}
    titles = {group: placed[members[0]].name for group, members in groups.items()}
    found = []
    for group, members in groups.items():
        title = titles[group]
        if list(titles.values()).count(title) > 1:  # one architecture in several grids: named by their models
            title = f"{title} ({members[0]} and {len(members) - 1} more)"
        for loss in dict.fromkeys(r.loss for r in study.configurations if r.model in members):
            points = [
                Point(placed[r.model].lr, placed[r.model].dropout, r)
                for r in study.configurations
                if r.model in members and r.loss == loss
            ]
            found.append(Grid(title, loss, tuple(sorted(points, key=_order))))
    return tuple(found)


def _order(point: Point) -> tuple[float, float]:
    return -point.lr, math.inf if point.dropout is None else -point.dropout


def _place(study: StudyResults, name: str) -> _Place | None:
    """Return where the model `name` stands; None for a model of a bare table whose name says nothing."""
    if study.recorded:
        model = study.params.models[name]
        return _Place(_besides(model), model.arch, model.lr, dropout(model))
    match = NAMED.fullmatch(name)
    if match is None:
        return None
    lr, rate = (None if match[key] is None else float(match[key].replace("p", ".")) for key in ("lr", "dropout"))
    return _Place(match["name"], match["name"], lr, rate) if lr and (rate or 0) < 1 else None


def _besides(model: Model) -> str:
    """Write down all that must be the same in a grid; of the head's learning rate its ratio to the network's."""
    content = model.model_dump(mode="json", exclude={"lr", "dropout", "head_lr"})
    content["options"] = {k: v for k, v in content["options"].items() if k != "drop_rate"}
    content["head_lr"] = None if model.head_lr is None else round(model.head_lr / model.lr, 6)
    return json.dumps(content, sort_keys=True)


def leading(study: StudyResults) -> str:
    """Return the metric that decides in a grid and leads the page: accuracy of single-label data, else AUROC.

    A bare table of single-label data that has AUROC on the validation set and no accuracy is led by AUROC.
    """

    def known(metric: str) -> bool:
        return any(math.isfinite(r.get(metric, part="val").value) for r in study.configurations)

    return "accuracy" if study.task == "multiclass" and (known("accuracy") or not known("auroc")) else "auroc"


def best(study: StudyResults, grid: Grid) -> tuple[Point, ...]:
    """Return the points with the highest validation metric, of those that tie the ones with the lowest loss.

    Points that collapsed under all their seeds are left out; more than one is returned only if all numbers tie.
    """
    metric = leading(study)
    scored = [
        (value, p)
        for p in grid.points
        if math.isfinite(value := p.results.get(metric, part="val").value)
        and len(collapsed(study, p.results)) < max(len(p.results.seeds), 1)
    ]
    top = [p for value, p in scored if value == max(value for value, _ in scored)]
    losses = [loss if math.isfinite(loss := p.results.get("loss", part="val").value) else math.inf for p in top]
    return tuple(p for p, loss in zip(top, losses) if loss == min(losses))


def collapsed(study: StudyResults, results: Results) -> dict[int | None, str]:
    """Return the seeds under which a configuration learned nothing, and how it shows; seed None for a mean alone.

    It is the sentence that training recorded. Where nothing is recorded, as in a bare table, it is a `Sign`:

    - saturated: in every set that has both, loss = (1 - accuracy) x -ln(1e-7), see `gates.is_saturated`;
    - one class: recall and F1 on the test set are those of one class for every image, see `of_one_class`;
    - chance: the AUROC on the validation set, or on the test set where that is missing, is 0.5.
    """
    if results.runs:
        return {run["seed"]: str(run["collapsed"]).rstrip(".") for run in results.runs if run.get("collapsed")}
    signs = {seed: _sign(study, results, seed) for seed in _seeds(results)}
    return {seed: sign for seed, sign in signs.items() if sign is not None}


def _seeds(results: Results) -> tuple[int | None, ...]:
    """Return the seeds of `results`; None alone where only a mean is known."""
    return results.seeds or (None,)


def _sign(study: StudyResults, results: Results, seed: int | None) -> Sign | None:
    def value(metric: str, part: str = "test") -> float:
        return results.get(metric, None, seed, part).value

    if study.task == "multiclass":
        pairs = [(value("accuracy", part), value("loss", part)) for part in PARTS]
        known = [pair for pair in pairs if all(map(math.isfinite, pair))]
        if known and all(is_saturated(*pair) for pair in known):
            return Sign.SATURATED
        if of_one_class(value("accuracy"), value("sensitivity"), value("f1"), len(study.classes) or None):
            return Sign.ONE_CLASS
    auroc = value("auroc", "val") if math.isfinite(value("auroc", "val")) else value("auroc")
    return Sign.CHANCE if abs(auroc - 0.5) < _CHANCE else None


def of_one_class(accuracy: float, sensitivity: float, f1: float, classes: int | None = None) -> bool:
    """Say whether macro numbers, printed with two decimals or more, are those of one class for every image.

    Of K classes one then has the sensitivity 1 and a precision that is the accuracy, the others have 0: the macro
    sensitivity is 1 / K and the macro F1 is 2 x accuracy / (1 + accuracy) / K.

    Parameters
    ----------
    accuracy, sensitivity, f1 : float
        Of one part; False where one is NaN.
    classes : int, optional
        K; by default the whole number next to 1 / sensitivity.
    """
    if not all(map(math.isfinite, (accuracy, sensitivity, f1))) or sensitivity <= 0:
        return False
    k = classes or round(1 / sensitivity)
    one = 2 * accuracy / (1 + accuracy) / k
    return k > 1 and abs(sensitivity - 1 / k) < _TEXT_DIGITS and abs(f1 - one) < _TEXT_DIGITS


def numbers(study: StudyResults) -> tuple[tuple[str, str], ...]:
    """Return metric and part of every column of a grid's table, in its order."""
    return (*((m, "test") for m in DECIDED), *((m, part) for part in PARTS for m in (leading(study), "loss")))


def identical(study: StudyResults, found: Sequence[Grid]) -> list[tuple[int, list[Training]]]:
    """Group the training runs that agree in all `numbers` that they have, see `gates.same_vectors`.

    Returns
    -------
    list of (int, list of Training)
        How many numbers there are, and at least two training runs.
    """
    points = [(grid, point) for grid in found for point in grid.points]
    every = [Training(grid, point, seed) for grid, point in points for seed in _seeds(point.results)]
    columns = numbers(study)
    vectors = {
        str(i): np.array([t.point.results.get(key, None, t.seed, part).value for key, part in columns])
        for i, t in enumerate(every)
    }
    groups: list[list[int]] = []
    for first, second in ((int(a), int(b)) for a, b in same_vectors(vectors)):
        known = next((group for group in groups if first in group), None)
        if known is None:
            groups.append([first, second])
        elif second not in known:
            known.append(second)
    return [(int(np.isfinite(vectors[str(g[0])]).sum()), [every[i] for i in g]) for g in groups]


def titled(grid: Grid, found: Sequence[Grid]) -> str:
    """Name a grid, with its loss where there are several."""
    return f"{grid.name} with {grid.loss}" if len({g.loss for g in found}) > 1 else grid.name
