"""Find settings of training by validation, without the test part.

Section `search` of params.yaml says what is searched: ranges of settings of one model and loss, and how many trials.
Each trial is a training run of the study that stays in DVC's cache. A search that was ended goes on where it was; more
trials are added by --trials. In a study with folds each fold has a search of its own, by its own validation images. The
record, reports/search.json, belongs into git; `dvc repro` then has a page about it.

Examples
--------
  medmatrix search                        the trials that are missing, one training run at a time
  medmatrix search --jobs 2               two at a time; the trials are the same
  medmatrix search --trials 40            40 in all; in a study with folds, 40 in each
  medmatrix search --apply                write the best values into params.yaml, then: dvc repro
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.commands import command_parser
from pipeline.study.errors import UserError, stage_errors

if TYPE_CHECKING:
    from pipeline.searching.record import Record
    from pipeline.searching.sides import Side
    from pipeline.settings import Params

SHOWN = 10
"""Trials in the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, or apply what was found; exit with the status."""
    parser = command_parser("search", __doc__)
    parser.add_argument("--trials", type=int, metavar="N", help="in all, or in each fold; default: search.trials")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="training runs side by side; default: 1")
    parser.add_argument("--apply", action="store_true", help="train nothing; write the best values into params.yaml")
    options = parser.parse_args(arguments)
    for name in ("trials", "jobs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: must be at least 1")
    with stage_errors():
        from pipeline.settings.checks import load

        params = load()
        if params.search is None:
            raise UserError("params.yaml: search: empty; must say what is searched: docs/search.md has an example")
        if options.apply:
            print(apply(params))
            return
        status = search(params, options.trials or params.search.trials, options.jobs)
    sys.exit(status)


def search(params: Params, trials: int, jobs: int) -> int:
    """Do the trials that are missing, and print the best; return the exit status."""
    from pipeline.launching.workers import visible_gpus
    from pipeline.searching.applying import applied
    from pipeline.searching.record import read_records
    from pipeline.searching.running import Searching
    from pipeline.searching.sides import sides_of
    from pipeline.settings.search import ends

    assert params.search is not None
    first = {key: ends(of)[0] for key, of in params.search.ranges().items()}
    for side in sides_of(params):
        applied(side.to_apply(first))  # refused before, not after the work
    status = Searching(params, trials, jobs, visible_gpus())()
    records = read_records()
    if records and status == 0:
        print("\n".join([*(text(record) for record in records.values()), *summary(records)]))
        print("Write the best values into params.yaml: medmatrix search --apply")
    return status


def text(record: Record) -> str:
    """Write the best trials as a table, and what the best score is worth."""
    from tabulate import tabulate

    from pipeline.searching.applying import as_yaml

    keys = list(record.about["over"])
    best, measure = record.ranked[:SHOWN], record.measure
    lower = not measure.higher_is_better
    rows = [
        [trial.number, f"{trial.score:.4f}", *(as_yaml(trial.values[key]) or "empty" for key in keys)] for trial in best
    ]
    failed = len(record.trials) - len(record.finished)
    cached = sum(trial.from_cache for trial in record.finished)
    lines = [
        "" if record.fold is None else f"\nFold {record.fold}\n",
        tabulate(rows, ["trial", "score", *keys], tablefmt="presto", disable_numparse=True),
        "",
        f"{len(record.trials)} trials: {len(record.finished)} finished ({cached} without training), {failed} failed. "
        f"Score: {measure.name} of the validation part{', the lowest is the best' if lower else ''}.",
    ]
    of = record.optimism
    if of.get("corrected") is not None:
        within = f"{of['low']:.4f} to {of['high']:.4f}" if of["low"] is not None else f"no interval: {of['refused']}"
        extreme = "lowest" if lower else "highest"
        lines.append(
            f"The best score is the {extreme} of many: {of[extreme]:.4f}, corrected for that {of['corrected']:.4f} "
            f"({within})"
        )
    return "\n".join(lines)


def summary(records: Mapping[int | None, Record]) -> list[str]:
    """Say what the searches of all folds come to; nothing of a study without folds."""
    found = [record.best.score for record in records.values() if record.best is not None]
    best = [score for score in found if score is not None]
    if set(records) == {None} or not best:
        return []
    trials = sum(len(record.trials) for record in records.values())
    return [
        "",
        f"{trials} trials in {len(records)} folds, each fold by its own validation part. Mean of the best scores: "
        f"{sum(best) / len(best):.4f}; what the folds reach on the images that no trial has seen is for the report.",
    ]


def apply(params: Params) -> str:
    """Write the values of the best trial, in each fold of its own search, into params.yaml; return what was done.

    Raises
    ------
    UserError
        If there is no record of this search, or no trial of it has finished, in any fold.
    """
    from pipeline.searching.about import about_search
    from pipeline.searching.applying import applied
    from pipeline.searching.record import RECORD, read_record
    from pipeline.searching.sides import sides_of
    from pipeline.settings import load
    from pipeline.study.files import write_text
    from pipeline.study.locks import alone_in
    from pipeline.study.params import PARAMS_FILE

    assert params.search is not None
    written: dict[str, Any] = {}
    lines = []
    for side in sides_of(params):
        record = read_record(fold=side.fold)
        if record is None or record.best is None:
            raise UserError(f"{RECORD}: no finished trial{side.of} is there; medmatrix search does them")
        now = about_search(side)
        if differing := [key for key in now if record.about.get(key) != now[key]]:
            said = f"is of another search{side.of} ({', '.join(differing)}); medmatrix search does this one"
            raise UserError(f"{RECORD} {said}")
        changes = _changes(side, record)
        if changes is None:
            lines.append(f"{PARAMS_FILE} has the values of trial {record.best.number}{side.of} already")
            continue
        written |= side.to_apply(record.best.values)
        missing = len(record.trials) < record.asked
        note = f" (of {len(record.trials)} trials, {record.asked} were asked for)" if missing else ""
        told = changes or ["  the same as those of the study, and now its own"]
        lines += [f"{PARAMS_FILE} has the values of trial {record.best.number}{side.of}{note}:", *told]
    if not written:
        return "\n".join(lines)
    with alone_in(PARAMS_FILE.resolve().parent, f"another process is writing {PARAMS_FILE}: waiting for it"):
        write_text(PARAMS_FILE, applied(written))
    load()
    return "\n".join([*lines, "Run the study: dvc repro"])


def _changes(side: Side, record: Record) -> list[str] | None:
    """Return a line for each value that is another than that of the best trial; None where params.yaml has all."""
    from pipeline.searching.applying import as_yaml
    from pipeline.settings.search import as_word, held_values

    assert side.params.search is not None
    assert record.best is not None
    values, before = record.best.values, held_values(side.params.search, side.params)
    changes = [
        f"  {key}: {as_yaml(before[key]) or 'empty'} -> {as_yaml(value) or 'empty'}"
        for key, value in values.items()
        if as_word(before[key]) != as_word(value)
    ]
    whole = side.variant is None or set(values) <= set(side.found)
    return None if whole and not changes else changes


if __name__ == "__main__":
    main()
