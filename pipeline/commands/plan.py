"""Say what will train, how long it takes and what is cached.

Also how much disk that needs, how many seeds a difference, and what the test part allows to be said: which classes will
have no interval, how wide the others' will be. Nothing is run and nothing is changed.

Examples
--------
  medmatrix plan                          the time of training runs one after another, and two at a time
  medmatrix plan --jobs 4                 ... and four at a time
  medmatrix plan --delta 0.005 0.02       seeds needed for these differences of the test macro AUROC
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tabulate import tabulate

from pipeline.commands import command_parser
from pipeline.launching.display import duration
from pipeline.launching.estimates import expected_bytes, expected_seconds, makespan
from pipeline.launching.status import (
    CONFIGURE,
    DATA,
    SHARED,
    StageState,
    StageStatus,
    read_status,
    run_stages,
    stage_of,
)
from pipeline.launching.work import read_summary
from pipeline.reporting.english import count
from pipeline.settings import Params
from pipeline.settings.checks import load
from pipeline.settings.search import Search
from pipeline.study.errors import stage_errors
from pipeline.study.files import ArtifactError
from pipeline.study.records import check_record, name_within, record_file
from pipeline.study.runs import Configuration, Run, configurations, every_run, seeds
from pipeline.variants.settings import as_variant

DELTAS = (0.002, 0.005, 0.01, 0.02)
State = StageState | Literal["changed"]
WORDS: dict[State, str] = {
    "up to date": "up to date",
    "cached": "in the run-cache",
    "to run": "will train",
    "changed": "will train, unless the run-cache has it",
    "unknown": "known after the shared stages",
}

_ALTERED = (
    "data:     images, table or their settings are not those of the last download: where images came, went or\n"
    "          changed, the split is dealt anew, and everything trains again"
)


def states(params: Params, status: Mapping[str, StageStatus]) -> dict[Run, State]:
    """Return the state of every training run; unknown where images or split are stale, or nothing is recorded yet.

    Parameters
    ----------
    params : Params
        The study.
    status : mapping
        Of the shared stages and of the training runs. Stage download may run again for its code alone; its files are
        then expected to stay as they are.
    """
    data = not _altered(status) and all(status[name].state == "up to date" for name in DATA[1:] if name in status)
    same = CONFIGURE not in status or status[CONFIGURE].state == "up to date"
    sides = [None, *params.variants] if data else []
    records = {
        (side, each): "same" if same else _recorded(each, own, side)
        for side in sides
        for own in [as_variant(params, None if same else side)]
        for each in configurations(params)
    }
    known: dict[str, State] = {"changed": "changed", "missing": "unknown"}
    return {
        run: known.get(records[getattr(run, "variant", None), run.configuration], status[stage_of(run, params)].state)
        if data
        else "unknown"
        for run in every_run(params)
    }


def _altered(status: Mapping[str, StageStatus]) -> bool:
    """Whether the images, the table or their settings are others than those that were downloaded last."""
    return DATA[0] in status and status[DATA[0]].altered


def _recorded(
    configuration: Configuration, params: Params, variant: str | None
) -> Literal["same", "changed", "missing"]:
    """Whether stage configure will write for the runs of `configuration` what it wrote before.

    `params` are the sections as the variant has them; None is the study itself.
    """
    from pipeline.learning.records import training_record  # and NumPy with it, which takes a moment

    named = name_within(variant, configuration)
    if not record_file(named, "train").exists():
        return "missing"
    try:
        check_record(named, "train", training_record(configuration, params))
    except ArtifactError:
        return "changed"
    return "same"


def plan(params: Params, status: Mapping[str, StageStatus], jobs: int, free: int) -> str:
    """Write the part about the training runs: a table, time, disk.

    Parameters
    ----------
    params : Params
        The study.
    status : mapping
        Of the shared stages and of the training runs.
    jobs : int
        Training runs side by side.
    free : int
        Free bytes on the disk.
    """
    state = states(params, status)
    seconds, sizes = expected_seconds(params, status), expected_bytes(params, status)
    left = [run for run, each in state.items() if each in ("to run", "changed", "unknown")]
    study = params.study
    rows = [
        [run.name, WORDS[each], duration(seconds[run] or 0) if run in left and seconds[run] else ""]
        for run, each in state.items()
    ]
    counts = Counter(state.values())
    return "\n".join(
        [
            f"{count('training run', len(state))} of {params.dataset}: {count('model', len(study.models))} x "
            f"{count('loss', len(study.losses))} x {count('seed', len(seeds(params)))}"
            + (f", in the study and {count('variant', len(params.variants))}" if params.variants else ""),
            "",
            tabulate(rows, ["run", "state", "at most"], tablefmt="presto", disable_numparse=True),
            "",
            "shared:   " + ", ".join(f"{name} {_shared(status, name)}" for name in SHARED),
            *([_ALTERED] if _altered(status) else []),
            "runs:     " + ", ".join(f"{n} {WORDS[s]}" for s, n in counts.items()),
            "time:     " + _time([seconds[run] for run in left], jobs),
            "disk:     " + _disk([sizes[run] for run in left], free),
            *(["search:   " + _search(params, params.search, seconds, jobs)] if params.search else []),
        ]
    )


def _shared(status: Mapping[str, StageStatus], stage: str) -> str:
    """Write the state of a shared stage."""
    return status[stage].state if stage in status else "is no stage"


def _search(params: Params, search: Search, seconds: Mapping[Run, float | None], jobs: int) -> str:
    """Write how many trials a search has, in all folds, and what those take that are not recorded yet."""
    from pipeline.searching.about import about_search  # and NumPy with it
    from pipeline.searching.record import read_record
    from pipeline.searching.sides import sides_of

    sides, done = sides_of(params), 0
    for side in sides:
        record = read_record(fold=side.fold)
        with contextlib.suppress(ArtifactError):  # nothing is prepared yet
            done += min(len(record.trials), search.trials) if record and record.about == about_search(side) else 0
    trials, runs = len(sides) * search.trials, search.seeds or [params.seed]
    per_fold = "" if sides[0].fold is None else f", {search.trials} in each of {count('fold', len(sides))}"
    each = f", each of {count('training run', len(runs))}" if len(runs) > 1 else ""
    text = f"{count('trial', trials)} of {search.model}-{search.loss}{per_fold}{each}; {trials - done} to be done"
    if trials == done:
        return text
    one = [s for run, s in seconds.items() if run.configuration == (search.model, search.loss) and s is not None]
    left = [max(one)] * ((trials - done) * len(runs)) if one else [None]
    return f"{text}: {_time(left, jobs)}"


def _time(seconds: Sequence[float | None], jobs: int) -> str:
    """Write what training takes."""
    if not seconds:
        return "nothing to train"
    known = [s for s in seconds if s is not None]
    unknown = len(seconds) - len(known)
    beyond = f"; not counted: {unknown} runs of models never trained" if unknown else ""
    if not known:
        return "unknown: none of these models has been trained yet"
    beside = f", {duration(makespan(sorted(known, reverse=True), jobs))} with --jobs {jobs}" if jobs > 1 else ""
    return (
        f"training at most {duration(sum(known))} one after another{beside}{beyond} (estimated from earlier runs; "
        "runs side by side on one processor slow each other down)"
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


def seeds_table(metrics: Mapping[str, Any], deltas: Sequence[float], of_now: bool = True) -> str:
    """Write how many seeds each configuration needs for differences of the test macro AUROC.

    Parameters
    ----------
    metrics : mapping
        As `read_summary` returns them; configurations without a standard deviation over seeds are left out.
    deltas : sequence of float
        Differences of the AUROC, above 0.
    of_now : bool
        Whether the reports are of the images and the split that the study now has.
    """
    known = {
        name: (configuration["test"]["auroc_sd"], configuration["n_seeds"])
        for name, configuration in metrics.items()
        if configuration.get("n_seeds") and configuration.get("test", {}).get("auroc_sd") is not None
    }
    if not known:
        return "seeds:    no standard deviation over seeds yet (it takes at least two seeds, and the report)"
    from pipeline.uncertainty.power import seeds_needed  # not at the top: scipy.stats takes a second to import

    rows = [[name, f"{sd:.4f}", n, *(seeds_needed(sd, d) for d in deltas)] for name, (sd, n) in known.items()]
    return "\n".join(
        [
            "seeds per configuration for a difference of the test macro AUROC to be found (80 % power, two-sided 5 %):",
            "",
            tabulate(rows, ["configuration", "SD", "over seeds", *(f"by {d:g}" for d in deltas)], tablefmt="presto"),
            "",
            "This counts the variation between seeds alone, and an SD over few seeds is itself uncertain. That between",
            "test images does not shrink with more seeds: see the intervals in the reports.",
            *([] if of_now else ["The SDs are those of the last report, whose images or split may have been others."]),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan."""
    parser = command_parser("plan", __doc__)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs side by side; default: %(default)s")
    parser.add_argument("--delta", type=float, nargs="+", default=DELTAS, metavar="D", help="differences of the AUROC")
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: must be at least 1")
    for delta in options.delta:
        if not 0 < delta < 1:
            parser.error(f"--delta {delta:g}: must be above 0 and below 1")
    with stage_errors():
        params = load()
        status = read_status([*SHARED, *run_stages(params)])
        print(plan(params, status, options.jobs, shutil.disk_usage(".").free))
        if any(params.models[name].gives_masks for name in params.study.models):
            return  # what follows is about the AUROC
        print()
        names = {str(each) for each in configurations(params)}  # the last report may be that of another study
        metrics = {name: values for name, values in read_summary().items() if name in names}
        of_now = not _altered(status) and all(status[name].state == "up to date" for name in DATA if name in status)
        print(seeds_table(metrics, options.delta, of_now))
        print()
        from pipeline.planning.test_part import test_part  # pandas and scipy take a second

        print(test_part())


if __name__ == "__main__":
    main()
