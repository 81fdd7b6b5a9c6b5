"""Say what the study has, what of it is cached, what will train, and what that takes.

``python -m pipeline.commands.plan [--jobs N] [--delta D ...]``: nothing is run and nothing is changed.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from pipeline.launching.display import duration
from pipeline.launching.estimates import expected_bytes, expected_seconds, makespan, seeds_needed
from pipeline.launching.status import SHARED, StageState, StageStatus, cell_stages, name_of, read_status, stage_of
from pipeline.launching.work import read_summary
from pipeline.settings import Params, load
from pipeline.study.errors import stage_errors
from pipeline.study.runs import Run, runs, seeds

DELTAS = (0.002, 0.005, 0.01, 0.02)
WORDS: dict[StageState, str] = {
    "up to date": "up to date",
    "cached": "in the run-cache",
    "to run": "will train",
    "unknown": "known after the shared stages",
}


def states(params: Params, status: Mapping[str, StageStatus]) -> dict[Run, StageState]:
    """Return the state of every cell; unknown where images or split have to be made first.

    Parameters
    ----------
    params : Params
        The study.
    status : mapping
        Of the shared stages and of the cells. Stage download runs again for little, an edited loss for example; its
        files are expected to stay as they are.
    """
    settled = all(status[name].state == "up to date" for name in SHARED[1:] if name in status)
    return {cell: status[stage_of(cell, params)].state if settled else "unknown" for cell in runs(params)}


def plan(params: Params, status: Mapping[str, StageStatus], jobs: int, free: int) -> str:
    """Write the part about the cells: a table, time, disk.

    Parameters
    ----------
    params : Params
        The study.
    status : mapping
        Of the shared stages and of the cells.
    jobs : int
        Cells side by side.
    free : int
        Bytes on the disk.
    """
    state = states(params, status)
    seconds, sizes = expected_seconds(params, status), expected_bytes(params, status)
    left = [cell for cell, each in state.items() if each in ("to run", "unknown")]
    study = params.study
    rows = [
        [name_of(c), WORDS[s], duration(seconds[c] or 0) if c in left and seconds[c] else ""] for c, s in state.items()
    ]
    counts = Counter(state.values())
    return "\n".join(
        [
            f"{len(state)} cells of {params.dataset}: {len(study.models)} models x {len(study.losses)} losses x "
            f"{len(seeds(params))} seeds",
            "",
            tabulate(rows, ["cell", "state", "at most"], tablefmt="presto", disable_numparse=True),
            "",
            "shared:   " + ", ".join(f"{name} {_shared(status, name)}" for name in SHARED),
            "cells:    " + ", ".join(f"{n} {WORDS[s]}" for s, n in counts.items()),
            "time:     " + _time([seconds[cell] for cell in left], jobs),
            "disk:     " + _disk([sizes[cell] for cell in left], free),
        ]
    )


def _shared(status: Mapping[str, StageStatus], name: str) -> str:
    return status[name].state if name in status else "is no stage"


def _time(seconds: Sequence[float | None], jobs: int) -> str:
    """Write what training takes."""
    if not seconds:
        return "nothing to train"
    known = [s for s in seconds if s is not None]
    unknown = f"; of {len(seconds) - len(known)} cells no run is known" if len(known) < len(seconds) else ""
    if not known:
        return "of none of the models a run is known"
    beside = f", {duration(makespan(sorted(known, reverse=True), jobs))} with --jobs {jobs}" if jobs > 1 else ""
    return (
        f"training at most {duration(sum(known))} one after another{beside}{unknown} (by earlier runs; cells side by "
        "side on one processor slow each other)"
    )


def _disk(sizes: Sequence[int | None], free: int) -> str:
    """Write what new models take, in the workspace and in DVC's cache."""
    known = [s for s in sizes if s is not None]
    if sizes and not known:
        return f"size of the models unknown; {_bytes(free)} free"
    mean = sum(known) / len(known) if known else 0
    need = round(2 * mean * len(sizes))
    short = "  NOT ENOUGH" if need > free else ""
    return f"{_bytes(need)} for new models, in the workspace and in the cache; {_bytes(free)} free{short}"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def seeds_table(metrics: Mapping[str, Any], deltas: Sequence[float]) -> str:
    """Write how many seeds differences of the test macro AUROC need, recipe by recipe.

    Parameters
    ----------
    metrics : mapping
        Content of reports/metrics.json; recipes without a standard deviation over seeds are left out.
    deltas : sequence of float
        Differences of the AUROC, above 0.
    """
    known = {
        name: (configuration["test"]["auroc_sd"], configuration["n_seeds"])
        for name, configuration in metrics.items()
        if configuration.get("n_seeds") and configuration.get("test", {}).get("auroc_sd") is not None
    }
    if not known:
        return "seeds:    no standard deviation over seeds is known yet (two seeds or more, then the report)"
    rows = [[name, f"{sd:.4f}", n, *(seeds_needed(sd, d) for d in deltas)] for name, (sd, n) in known.items()]
    return "\n".join(
        [
            "seeds a recipe needs for a difference of the test macro AUROC to be found (80 % power, two-sided 5 %):",
            "",
            tabulate(rows, ["recipe", "SD", "of seeds", *(f"by {d:g}" for d in deltas)], tablefmt="presto"),
            "",
            "This is the noise of training alone, and an SD of few seeds is itself uncertain; that of the test images",
            "does not shrink with seeds: see the intervals in the reports.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="cells side by side; default: %(default)s")
    parser.add_argument("--delta", type=float, nargs="+", default=DELTAS, metavar="D", help="differences of the AUROC")
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}; allowed: 1 or more")
    if min(options.delta) <= 0:
        parser.error(f"--delta {min(options.delta):g}; allowed: above 0")
    with stage_errors():
        params = load()
        print(plan(params, read_status([*SHARED, *cell_stages(params)]), options.jobs, shutil.disk_usage(".").free))
        print()
        print(seeds_table(read_summary(), options.delta))


if __name__ == "__main__":
    main()
