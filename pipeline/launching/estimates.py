"""What the rest of a study will take: time, disk, and how many seeds a difference needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist, median
from typing import Any

from pipeline.launching.status import StageStatus, stage_of
from pipeline.learning.settings import train_settings
from pipeline.settings import Params
from pipeline.study.runs import Run, runs

START_UP_SECONDS = 4.0
"""Of a stage beside its training: Python, torch and timm are imported, DVC hashes and records."""


def expected_seconds(params: Params, status: Mapping[str, StageStatus]) -> dict[Run, float | None]:
    """Estimate what each cell takes to train, whether it has to or not.

    Parameters
    ----------
    params : Params
        The study.
    status : mapping
        Of `pipeline.launching.status.read_status`; what it holds of earlier runs is what the estimate is made of.

    Returns
    -------
    dict of Cell to float or None
        Seconds if all its epochs are trained, which early stopping may shorten: the median time of an epoch in the runs
        of this cell, or else of its model, times its epochs. None where the model has never run.
    """
    records = {run: status[stage_of(run, params)].run for run in runs(params) if stage_of(run, params) in status}
    epochs = {run: _epoch(record) for run, record in records.items()}

    def of(cell: Run) -> float | None:
        own = [epochs[cell]] if epochs.get(cell) else [e for c, e in epochs.items() if c.model == cell.model and e]
        return START_UP_SECONDS + median(own) * train_settings(params, cell.model).epochs if own else None

    return {cell: of(cell) for cell in runs(params)}


def _epoch(run: Mapping[str, Any] | None) -> float | None:
    """Seconds an epoch took in a run."""
    if not run or not run.get("epochs") or not run.get("seconds"):
        return None
    return float(run["seconds"]) / float(run["epochs"])


def expected_bytes(params: Params, status: Mapping[str, StageStatus]) -> dict[Run, int | None]:
    """Estimate the size of each cell's folder: as it is, else as the cells of the same model are; None = never run."""
    sizes = {cell: status[stage_of(cell, params)].size for cell in runs(params) if stage_of(cell, params) in status}

    def of(cell: Run) -> int | None:
        own = [sizes[cell]] if sizes.get(cell) else [s for c, s in sizes.items() if c.model == cell.model and s]
        return round(median(own)) if own else None

    return {cell: of(cell) for cell in runs(params)}


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


def seeds_needed(sd: float, delta: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Count the seeds that each of two recipes needs so that a true difference is found.

    Parameters
    ----------
    sd : float
        Standard deviation over seeds, the same for both recipes; 0 or more.
    delta : float
        Difference of their means, above 0, in the unit of `sd`.
    power : float
        Probability that it is found.
    alpha : float
        Of the two-sided test.

    Returns
    -------
    int
        n = 2 (z(1 - alpha / 2) + z(power))² (sd / delta)², rounded up, and at least 2; with the defaults the factor is
        15.7. The normal approximation for two independent groups (Lehr, Statistics in Medicine 11, 1992).

    Raises
    ------
    ValueError
        If `delta` is not above 0 or `sd` is below 0.
    """
    if delta <= 0 or sd < 0:
        raise ValueError(f"sd = {sd:g}, delta = {delta:g}; allowed: sd of 0 or more, delta above 0")
    normal = NormalDist()
    factor = 2 * (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) ** 2
    return max(2, math.ceil(factor * (sd / delta) ** 2))
