"""What the rest of a study will take: time and disk."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from pipeline.launching.status import StageStatus, stage_of
from pipeline.learning.settings import RunSections, train_settings
from pipeline.study.runs import Run, every_run

START_UP_SECONDS = 4.0
"""Of a stage beside its training: Python, torch and timm are imported, DVC hashes and records."""


def expected_seconds(params: RunSections, status: Mapping[str, StageStatus]) -> dict[Run, float | None]:
    """Estimate how long each training run takes, whether it is due or not.

    Parameters
    ----------
    params : RunSections
        The study.
    status : mapping
        Of `pipeline.launching.status.read_status`; its records of earlier runs are what the estimate is based on.

    Returns
    -------
    dict of Run to float or None
        Seconds if all its epochs are trained, which early stopping may shorten: its number of epochs times the time of
        an epoch when it was trained last, or else the median of that over the runs of its model. None where the model
        has never been trained.
    """
    records = {
        run: status[stage_of(run, params)].record for run in every_run(params) if stage_of(run, params) in status
    }
    epochs = {run: seconds for run, record in records.items() if (seconds := _epoch(record))}

    def of(run: Run) -> float | None:
        seconds = [epochs[run]] if run in epochs else [e for other, e in epochs.items() if other.model == run.model]
        return START_UP_SECONDS + median(seconds) * train_settings(params, run.model).epochs if seconds else None

    return {run: of(run) for run in every_run(params)}


def _epoch(record: Mapping[str, Any] | None) -> float | None:
    """Seconds per epoch of a training run, from its run.json."""
    if not record or not record.get("epochs") or not record.get("seconds"):
        return None
    return float(record["seconds"]) / float(record["epochs"])


def expected_bytes(params: RunSections, status: Mapping[str, StageStatus]) -> dict[Run, int | None]:
    """Estimate the bytes of each run's folder: as it is, else the median over its model; None = never trained."""
    stages = {run: stage_of(run, params) for run in every_run(params)}
    sizes = {run: size for run, stage in stages.items() if stage in status and (size := status[stage].size)}

    def of(run: Run) -> int | None:
        own = [sizes[run]] if run in sizes else [size for other, size in sizes.items() if other.model == run.model]
        return round(median(own)) if own else None

    return {run: of(run) for run in every_run(params)}


def makespan(seconds: list[float], jobs: int) -> float:
    """Return the time of work in the given order, `jobs` at a time, each taking the next as it becomes free.

    Parameters
    ----------
    seconds : list of float
        Of each piece.
    jobs : int
        At least 1.
    """
    ends = [0.0] * jobs
    for each in seconds:
        ends[ends.index(min(ends))] += each
    return max(ends)
