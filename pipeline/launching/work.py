"""The study as tasks: training runs, and what depends on the runs of one configuration or on all evaluations."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.launching.estimates import expected_seconds
from pipeline.launching.schedule import GOOD, State, Task
from pipeline.launching.status import (
    RECORD,
    StageStatus,
    ensembles_of,
    evaluation_of,
    explanations_of,
    stage_of,
)
from pipeline.learning.settings import RunSections
from pipeline.study.runs import Configuration, Run, StudySections, configurations, every_run, variants_of

LOGS = Path("tmp/launch")
AFTER = ("probe", *ensembles_of(), "report")
"""Stages after the evaluations, in their order."""
EVALUATIONS = Path("evaluations")
VARIANTS = Path("variants")
OF_VARIANT = ("fused", "ensembles")
"""Below the folder of a variant: what the stages of `ensembles_of` write."""
METRICS = Path("reports/metrics.csv")
"""All spelled here because `pipeline.study.files` imports NumPy, which takes longer than all that a plan does."""
DVC = ("dvc", "--wait-for-lock", "repro")


def shard_of(params: StudySections, shard: tuple[int, int] | None) -> list[Run]:
    """Return every N-th training run from the i-th on, for shard (i, N) with i from 1; all for None."""
    number, count = shard or (1, 1)
    return every_run(params)[number - 1 :: count]


def run_tasks(
    params: RunSections, status: Mapping[str, StageStatus], shard: tuple[int, int] | None = None
) -> list[Task]:
    """Return the tasks of the training runs; what is up to date counts as done already.

    Parameters
    ----------
    params : RunSections
        The study.
    status : mapping
        Of `pipeline.launching.status.read_status`, read when the shared stages were up to date.
    shard : (int, int), optional
        See `shard_of`.

    Returns
    -------
    list of Task
        Configuration by configuration, those that take longest first.
    """
    expected = expected_seconds(params, status)
    longest = sorted(
        configurations(params),
        key=lambda each: -max(expected[run] or 0.0 for run in every_run(params) if run.configuration == each),
    )
    return [
        Task(
            run.name,
            [*DVC, "-s", stage_of(run, params)],
            LOGS / f"{run.name}.log",
            finished=status[stage_of(run, params)].folder / RECORD,
            state=_state(status, stage_of(run, params)),
        )
        for configuration in longest
        for run in shard_of(params, shard)
        if run.configuration == configuration
    ]


def evaluation_tasks(params: StudySections, status: Mapping[str, StageStatus], trainings: list[Task]) -> list[Task]:
    """Return the tasks of the evaluations, which score the training runs that are there.

    One counts as done if neither it nor a training run of it has anything to do.
    """
    of_run = {task.name: task for task in trainings}
    tasks = []
    sides: list[str | None] = [None, *variants_of(params)]
    for configuration, variant in [(each, side) for side in sides for each in configurations(params)]:
        of = [run for run in every_run(params) if run.configuration == configuration]
        needs = [run.name for run in of if getattr(run, "variant", None) == variant]
        settled = all(of_run[name].state in GOOD for name in needs)
        tasks.append(_task(evaluation_of(configuration, variant), status, needs, settled, some=True))
    return tasks


def ensemble_tasks(params: StudySections, status: Mapping[str, StageStatus], evaluations: list[Task]) -> list[Task]:
    """Return the tasks of the ensembles of the study and its variants, each after all evaluations of its side."""
    of_evaluation = {task.name: task for task in evaluations}
    tasks = []
    sides: list[str | None] = [None, *variants_of(params)]
    for variant in sides:
        needs = [evaluation_of(each, variant) for each in configurations(params)]
        settled = all(of_evaluation[name].state in GOOD for name in needs)
        for stage in ensembles_of(variant):
            tasks.append(_task(stage, status, needs, settled))
            needs, settled = [stage], tasks[-1].state in GOOD
    return tasks


def probe_task(status: Mapping[str, StageStatus]) -> list[Task]:
    """Return the task of the probes, which need the data alone."""
    return [_task("probe", status)]


def explanation_tasks(
    params: StudySections, methods: Sequence[str], status: Mapping[str, StageStatus], evaluations: list[Task]
) -> list[Task]:
    """Return the tasks of the heat maps by `methods`, which need the evaluation of their configuration."""
    settled = {task.name for task in evaluations if task.state in GOOD}
    return [
        _task(stage, status, [evaluation_of(configuration)], evaluation_of(configuration) in settled)
        for configuration in configurations(params)
        for stage in explanations_of(configuration, methods)
    ]


def missing(params: StudySections, trainings: list[Task]) -> dict[Configuration, list[Run]]:
    """Return the configurations with training runs that have no result, and those runs."""
    of_run = {task.name: task for task in trainings}
    lost = [run for run in every_run(params) if run.name in of_run and of_run[run.name].state not in GOOD]
    return {
        configuration: [run for run in lost if run.configuration == configuration]
        for configuration in dict.fromkeys(run.configuration for run in lost)
    }


def _task(
    stage: str, status: Mapping[str, StageStatus], needs: Sequence[str] = (), settled: bool = True, some: bool = False
) -> Task:
    """Return the task of a stage; it counts as done if it is up to date and what it needs is `settled`."""
    state = _state(status, stage) if settled else State.WAITING
    return Task(stage, [*DVC, "-s", stage], LOGS / f"{stage}.log", needs=needs, some=some, state=state)


def _state(status: Mapping[str, StageStatus], stage: str) -> State:
    return State.UP_TO_DATE if stage in status and status[stage].state == "up to date" else State.WAITING


def read_summary() -> dict[str, Any]:
    """Read the test macro AUROC of every configuration from reports/metrics.csv; empty before the first report.

    Returns
    -------
    dict
        Of each configuration: ``test`` (auroc, and auroc_sd over two seeds or more) and ``n_seeds``.
    """
    if not METRICS.exists():
        return {}
    values: dict[str, list[float]] = {}
    with METRICS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if (row["part"], row["class"], row["metric"]) == ("test", "macro", "auroc") and row["seed"] != "mean":
                values.setdefault(f"{row['model']}-{row['loss']}", []).append(float(row["value"] or "nan"))
    summary = {}
    for name, of_seeds in values.items():
        finite = [value for value in of_seeds if math.isfinite(value)]
        test = {"auroc": statistics.fmean(finite)} if finite else {}
        if len(finite) > 1:
            test["auroc_sd"] = statistics.stdev(finite)
        summary[name] = {"test": test, "n_seeds": len(of_seeds)}
    return summary
