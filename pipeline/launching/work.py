"""The study as tasks: its cells and, once all seeds of a recipe are there, its evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.launching.estimates import expected_seconds
from pipeline.launching.schedule import GOOD, State, Task
from pipeline.launching.status import RUN, StageStatus, evaluation_of, name_of, stage_of
from pipeline.settings import Params
from pipeline.study.runs import Configuration, Run, configurations, runs

LOGS = Path("tmp/launch")
AFTER = ("probe", "fuse", "ensemble", "report")
"""Stages after the evaluations, in their order."""
EVALUATIONS = Path("evaluations")
METRICS = Path("reports/metrics.json")
"""Both spelled here because `pipeline.artifacts` imports pandas, which takes longer than all that a plan does."""
DVC = ("dvc", "--wait-for-lock", "repro")


def shard_of(params: Params, shard: tuple[int, int] | None) -> list[Run]:
    """Return every N-th cell from the i-th on, for shard (i, N) with i from 1; all for None."""
    number, count = shard or (1, 1)
    return runs(params)[number - 1 :: count]


def cell_tasks(params: Params, status: Mapping[str, StageStatus], shard: tuple[int, int] | None = None) -> list[Task]:
    """Return the tasks of the cells, recipes that take longest first; what is up to date counts as done already.

    Parameters
    ----------
    params : Params
        The study.
    status : mapping
        Of `pipeline.launching.status.read_status`, read when the shared stages were up to date.
    shard : (int, int), optional
        See `shard_of`.
    """
    expected = expected_seconds(params, status)
    longest = sorted(
        configurations(params), key=lambda r: -max(expected[c] or 0.0 for c in runs(params) if c.configuration == r)
    )
    return [
        Task(
            name_of(cell),
            [*DVC, "-s", stage_of(cell, params)],
            LOGS / f"{name_of(cell)}.log",
            finished=status[stage_of(cell, params)].folder / RUN,
            state=_known(status, stage_of(cell, params)),
        )
        for configuration in longest
        for cell in shard_of(params, shard)
        if cell.configuration == configuration
    ]


def evaluation_tasks(params: Params, status: Mapping[str, StageStatus], trainings: list[Task]) -> list[Task]:
    """Return the tasks of the evaluations, which score the cells that are there.

    One counts as done if neither it nor a cell of it has anything to do.
    """
    of_cell = {task.name: task for task in trainings}
    tasks = []
    for configuration in configurations(params):
        needs = [name_of(cell) for cell in runs(params) if cell.configuration == configuration]
        stage = evaluation_of(configuration)
        settled = all(of_cell[name].state in GOOD for name in needs)
        state = _known(status, stage) if settled else State.WAITING
        log = LOGS / f"{stage}.log"
        tasks.append(Task(stage, [*DVC, "-s", stage], log, needs=needs, some=True, state=state))
    return tasks


def probe_task(status: Mapping[str, StageStatus]) -> list[Task]:
    """Return the task of the probes, which need the data alone."""
    return [Task("probe", [*DVC, "-s", "probe"], LOGS / "probe.log", state=_known(status, "probe"))]


def missing(params: Params, trainings: list[Task]) -> dict[Configuration, list[Run]]:
    """Return the recipes with cells that have no result, and those cells."""
    of_cell = {task.name: task for task in trainings}
    lost = [c for c in runs(params) if name_of(c) in of_cell and of_cell[name_of(c)].state not in GOOD]
    return {
        configuration: [c for c in lost if c.configuration == configuration]
        for configuration in dict.fromkeys(c.configuration for c in lost)
    }


def _known(status: Mapping[str, StageStatus], stage: str) -> State:
    return State.UP_TO_DATE if stage in status and status[stage].state == "up to date" else State.WAITING


def read_summary() -> dict[str, Any]:
    """Read reports/metrics.json; empty before the first report."""
    return json.loads(METRICS.read_text(encoding="utf-8")) if METRICS.exists() else {}
