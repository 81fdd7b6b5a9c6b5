"""The part of the page about models that lays out grids of learning rate and dropout, see `pipeline.reporting.grid`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pipeline.reporting import described, prose, sections, tables
from pipeline.reporting.grid import (
    DECIDED,
    Grid,
    Point,
    Training,
    best,
    collapsed,
    identical,
    leading,
    numbers,
)
from pipeline.reporting.sections import LABELS, PARTS, join
from pipeline.reporting.study import StudyResults


def section(study: StudyResults, found: Sequence[Grid], picture: str) -> str:
    """Lay out every grid, what collapsed in it, and which trainings have the same numbers.

    Parameters
    ----------
    study : StudyResults
        Of the page.
    found : sequence of Grid
        By `grid.grids`.
    picture : str
        The figure, embedded; empty for none.
    """
    if not found:
        return ""
    return join(
        "## Grids of learning rate and dropout",
        "Models of one architecture that differ in learning rate and dropout alone. **Bold** has the highest "
        f"validation {called(leading(study))} of its table, among equals the lowest validation loss; the test part had "
        "no say in it. The best of several is partly luck, and differences between rows are not tested here: read them "
        "as within noise.",
        f"{_decisions(study)} Training values say how far a training fitted, not how good it is."
        f"{_bounds(study, found)}",
        picture,
        *(_grid(study, grid, title(grid, found)) for grid in found),
        _same(study, found),
    )


def called(metric: str) -> str:
    """Return what a metric is called inside a sentence."""
    if metric == "sensitivity":
        return "recall"
    label = LABELS.get(metric, metric)
    return label if label[:2].isupper() or metric == "f1" else label.lower()


def title(grid: Grid, found: Sequence[Grid]) -> str:
    """Name a grid, with its loss where there are several."""
    return f"{grid.name} with {grid.loss}" if len({g.loss for g in found}) > 1 else grid.name


def _decisions(study: StudyResults) -> str:
    what = "Precision, recall, and F1 are means over classes, of the test part"
    if study.task == "multiclass":
        return f"{what}."
    if study.params is None:
        return f"{what}; how its thresholds were chosen is not known from the table."
    return f"{what}, each class decided at its threshold from the validation part."


def _bounds(study: StudyResults, found: Sequence[Grid]) -> str:
    """Say what intervals and spreads are, or why there is none."""
    every = [p.results for grid in found for p in grid.points]
    tested = [r.get(leading(study)) for r in every]
    spread = " ± is the standard deviation over training seeds." if any(len(r.seeds) > 1 for r in every) else ""
    if any(math.isfinite(e.low) for e in tested):
        return f"{spread} The {study.interval_name} is that of the number before it."
    why = next((e.note for e in tested if e.note), "not in the metrics table").removeprefix("no interval: ")
    return f"{spread} No number has an interval: {why}."


def _grid(study: StudyResults, grid: Grid, named: str) -> str:
    """Lay out one grid."""
    metric, chosen, columns = leading(study), best(study, grid), list(numbers(study))
    if study.params is None:  # a bare table may hold less, and an empty column says nothing
        columns = [
            (m, p) for m, p in columns if any(math.isfinite(x.results.get(m, part=p).value) for x in grid.points)
        ]
    heads = {(m, part): f"{prose.capital(PARTS[part])} {called(m)}" for m, part in columns}
    rows = [_row(study, point, heads) | {"Remark": _remark(study, point, chosen)} for point in grid.points]
    # Columns that say nothing, as the number of seeds where each model has one.
    empty = {"Dropout": "own", "Seeds": "1", "Remark": "", study.interval_name: tables.DASH}
    shown = [head for head in rows[0] if any(row[head] != empty.get(head) for row in rows)]
    body = [
        [f"**{row[head]}**" if point in chosen and row[head] else row[head] for head in shown]
        for point, row in zip(grid.points, rows)
    ]
    noted = [(p.name, heads[m, part], p.results.get(m)) for p in grid.points for m, part in columns if part == "test"]
    bounded = any(math.isfinite(p.results.get(metric).low) for p in grid.points)
    noted = [n for n in noted if (bounded and n[1] == heads[metric, "test"]) or not math.isfinite(n[2].value)]
    return join(
        f"### {named}",
        f"{prose.capital(prose.count('model', len(grid.points)))}, test part {_sample(study, grid, metric)}.",
        tables.table(shown, body, "".join("l" if head in ("Learning rate", "Remark") else "r" for head in shown)),
        "\n".join(line for line in (tables.reasons(noted), _collapses(study, grid)) if line),
    )


def _row(study: StudyResults, point: Point, heads: dict[tuple[str, str], str]) -> dict[str, str]:
    """Return the cells of a point by the heads of their columns."""
    results = point.results
    link = f"[{point.lr:g}](seeds/{results.key}.md)" if results.seeds else f"{point.lr:g}"
    row = {
        "Learning rate": link,
        "Dropout": described.rate(point.dropout),
        "Seeds": str(len(results.seeds) or tables.DASH),
    }
    for (metric, part), head in heads.items():
        value, sd = results.get(metric, part=part).value, results.sd(metric, part=part)
        row[head] = tables.mean_sd(value, sd, 3 if metric in DECIDED else 4)
        if (metric, part) == (leading(study), "test"):
            row[study.interval_name] = tables.interval(results.get(metric))
    return row


def _sample(study: StudyResults, grid: Grid, metric: str) -> str:
    """Say what the numbers of the test part rest on."""
    first = grid.points[0].results
    estimate = first.get(metric)
    if first.predictions is None and math.isfinite(estimate.n):
        return f"n = {prose.count('image', int(estimate.n))}"
    return sections.sample(study, first)


def _remark(study: StudyResults, point: Point, chosen: Sequence[Point]) -> str:
    fallen, seeds = collapsed(study, point.results), len(point.results.seeds)
    words = []
    if point in chosen:
        words.append("best on validation" if len(chosen) == 1 else "best on validation, tied")
    if fallen:
        words.append("collapsed" if len(fallen) == max(seeds, 1) else f"collapsed under {len(fallen)} of {seeds} seeds")
    return "; ".join(words)


def _collapses(study: StudyResults, grid: Grid) -> str:
    """Say of every collapsed training how it shows, a line a sign."""
    signs: dict[str, list[Training]] = {}
    for point in grid.points:
        for seed, sign in collapsed(study, point.results).items():
            signs.setdefault(sign, []).append(Training(grid, point, seed))
    named = [(_places(trainings), prose.capital(sign)) for sign, trainings in signs.items()]
    return "\n".join(f"- Collapsed: {places}. {tables.escape(sign)}." for places, sign in named)


def _places(trainings: Iterable[Training]) -> str:
    """Name trainings of one grid by learning rate and dropout, and by their seeds where a model has several."""
    points: dict[str, tuple[Point, list[int | None]]] = {}
    for training in trainings:
        points.setdefault(training.point.results.key, (training.point, []))[1].append(training.seed)
    return prose.listing(
        f"{point.name} ({prose.seeds(seeds)})" if len(point.results.seeds) > 1 else point.name
        for point, seeds in points.values()
    )


def _same(study: StudyResults, found: Sequence[Grid]) -> str:
    """Name the trainings that agree in all numbers of the tables."""
    lines = []
    for n, trainings in identical(study, found):
        by_grid: dict[str, list[Training]] = {}
        for training in trainings:
            by_grid.setdefault(title(training.grid, found), []).append(training)
        named = "; ".join(f"{name} {_places(members)}" for name, members in by_grid.items())
        text = f"Identical in all {n} numbers: {named}"
        fallen = all(t.seed in collapsed(study, t.point.results) for t in trainings)
        lines.append(f"- {text}. All of them collapsed." if fallen else f"- **{text}.**")
    if not lines:
        return ""
    return join(
        "### Trainings with the same numbers",
        "Named by learning rate / dropout. Collapsed trainings that predict the same class agree by necessity. Others "
        "agree by copying, by a cache, or because neither depends on what differs: look before either is used.",
        "\n".join(lines),
    )
