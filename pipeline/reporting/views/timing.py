"""Facts of the page about time: what the clock said of each training run, which no other page repeats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.reporting import page
from pipeline.reporting.results import StudyResults
from pipeline.reporting.views import shared


class Timed(NamedTuple):
    """A training run; NaN and the empty string where something is not recorded."""

    configuration: str
    seed: int
    epochs: float
    speed: float
    seconds: float
    device: str


@dataclass(frozen=True)
class Page:
    """What ``pages/timing.md`` names.

    Parameters
    ----------
    runs : list of Timed
        In the study's order.
    seconds : float
        Of all runs that recorded theirs.
    unknown : int
        Runs that did not.
    """

    study: StudyResults
    banner: Any
    runs: list[Timed]
    seconds: float
    unknown: int


def duration(seconds: float) -> str:
    """Write a time in seconds, minutes or hours, whichever people would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def facts(study: StudyResults) -> Page:
    """Return what the training runs of `study` recorded."""

    def entry(run: Any, name: str) -> float:
        return float(run[name]) if run.get(name) else math.nan

    runs = [
        Timed(
            results.key,
            seed,
            entry(run, "epochs"),
            entry(run, "images_per_second"),
            entry(run, "seconds"),
            str(run.get("device") or ""),
        )
        for results in study.configurations
        for seed in results.seeds
        for run in [results.run(seed)]
    ]
    known = [run.seconds for run in runs if math.isfinite(run.seconds)]
    return Page(study, shared.banner(study), runs, sum(known), len(runs) - len(known))


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write timing.md into `folder`; nothing for a bare table, which knows of no clock."""
    if not study.recorded:
        return []
    return [page.write(folder / "timing.md", "timing.md", page=facts(study), duration=duration)]
