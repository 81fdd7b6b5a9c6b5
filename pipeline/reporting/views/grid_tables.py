"""The facts of the tables of grids of learning rate and dropout, see `pipeline.reporting.views.grid`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.terms import LABELS, PARTS
from pipeline.reporting.values import Sample
from pipeline.reporting.views.grid import (
    DECIDED,
    Grid,
    Point,
    Training,
    best,
    collapsed,
    identical,
    leading,
    numbers,
    titled,
)
from pipeline.reporting.views.shared import Noted


class Column(NamedTuple):
    """A metric on a set, and what the column is called."""

    metric: str
    part: str
    name: str
    digits: int


class Row(NamedTuple):
    """A point of a grid: whether validation chooses it, and under how many seeds it collapsed."""

    point: Point
    best: bool
    collapsed: int

    @property
    def results(self) -> Results:
        """The configuration."""
        return self.point.results


class Place(NamedTuple):
    """A point by its name, and some of its seeds; `several` says whether the point has more than one."""

    name: str
    seeds: list[int | None]
    several: bool


class Collapse(NamedTuple):
    """How training runs show that they learned nothing: a `grid.Sign` or a recorded sentence."""

    sign: str
    places: list[Place]


@dataclass(frozen=True)
class Table:
    """A grid.

    Parameters
    ----------
    title : str
        Architecture, and the loss where there are several.
    sample : Sample
        Size of the test set.
    rows : list of Row
        The highest learning rate first, then the highest dropout.
    columns : list of Column
        Those that have any number.
    dropout, seeds, interval, remark : bool
        Whether these columns say anything.
    noted : list
        For `formats.reasons`.
    collapses : list of Collapse
        One per sign.
    """

    title: str
    sample: Sample
    rows: list[Row]
    columns: list[Column]
    dropout: bool
    seeds: bool
    interval: bool
    remark: bool
    noted: Noted
    collapses: list[Collapse]

    @property
    def tied(self) -> bool:
        """Whether several points are best on validation."""
        return sum(row.best for row in self.rows) > 1


class Same(NamedTuple):
    """Training runs that agree in all `n` numbers, grid by grid; `collapsed` if all of them did."""

    n: int
    grids: list[tuple[str, list[Place]]]
    collapsed: bool


@dataclass(frozen=True)
class Grids:
    """All grids of a study.

    Parameters
    ----------
    tables : list of Table
        One per architecture and loss.
    several_seeds : bool
        Whether any point has more than one seed.
    intervals : bool
        Whether any number has an interval.
    why : str
        Why there is none otherwise.
    same : list of Same
        Training runs with the same numbers.
    """

    tables: list[Table]
    several_seeds: bool
    intervals: bool
    why: str
    same: list[Same]


def called(metric: str) -> str:
    """Return what a metric is called inside a sentence."""
    if metric == "sensitivity":
        return "recall"
    label = LABELS.get(metric, metric)
    return label if label[:2].isupper() or metric == "f1" else label.lower()


def tables(study: StudyResults, found: Sequence[Grid]) -> Grids:
    """Return the tables of the grids `found`, and the training runs in them that have the same numbers."""
    points = [p.results for grid in found for p in grid.points]
    tested = [r.get(leading(study)) for r in points]
    why = next((e.note for e in tested if e.note), "not in the metrics table")
    return Grids(
        [_table(study, grid, titled(grid, found)) for grid in found],
        any(len(r.seeds) > 1 for r in points),
        any(e.bounded for e in tested),
        why.removeprefix("no interval: "),
        [_same(study, n, trainings, found) for n, trainings in identical(study, found)],
    )


def _table(study: StudyResults, grid: Grid, title: str) -> Table:
    metric, chosen, points = leading(study), best(study, grid), grid.points
    columns = [
        Column(m, part, f"{PARTS[part].capitalize()} {called(m)}", 3 if m in DECIDED else 4)
        for m, part in numbers(study)
        # A bare table may hold less, and an empty column says nothing.
        if study.recorded or any(p.results.get(m, part=part).exists for p in points)
    ]
    rows = [Row(p, p in chosen, len(collapsed(study, p.results))) for p in points]
    bounded = any(p.results.get(metric).bounded for p in points)
    noted = [(p.name, c.name, p.results.get(c.metric), c.metric) for p in points for c in columns if c.part == "test"]
    return Table(
        title,
        _sample(grid.points[0].results, metric),
        rows,
        columns,
        any(p.dropout is not None for p in points),
        any(len(p.results.seeds) != 1 for p in points),
        bounded and (metric, "test") in [(c.metric, c.part) for c in columns],
        any(row.best or row.collapsed for row in rows),
        [(name, head, e) for name, head, e, m in noted if (bounded and m == metric) or not e.exists],
        _collapses(study, grid),
    )


def _sample(results: Results, metric: str) -> Sample:
    """Return the size of the test set: that of `metric` where no predictions are there."""
    counted = results.get(metric)
    return results.sample() if results.has_predictions else results.sample()._replace(images=counted.n)


def _collapses(study: StudyResults, grid: Grid) -> list[Collapse]:
    signs: dict[str, list[Training]] = {}
    for point in grid.points:
        for seed, sign in collapsed(study, point.results).items():
            signs.setdefault(sign, []).append(Training(grid, point, seed))
    return [Collapse(sign, _places(trainings)) for sign, trainings in signs.items()]


def _places(trainings: Iterable[Training]) -> list[Place]:
    """Name training runs of one grid by learning rate and dropout, and by their seeds where a model has several."""
    points: dict[str, tuple[Point, list[int | None]]] = {}
    for training in trainings:
        points.setdefault(training.point.results.key, (training.point, []))[1].append(training.seed)
    return [Place(point.name, seeds, len(point.results.seeds) > 1) for point, seeds in points.values()]


def _same(study: StudyResults, n: int, trainings: Sequence[Training], found: Sequence[Grid]) -> Same:
    by_grid: dict[str, list[Training]] = {}
    for training in trainings:
        by_grid.setdefault(titled(training.grid, found), []).append(training)
    return Same(
        n,
        [(title, _places(members)) for title, members in by_grid.items()],
        all(t.seed in collapsed(study, t.point.results) for t in trainings),
    )
