"""Find settings of training by validation, without the test part.

Section `search` of params.yaml says what is searched: ranges of settings of one model and loss, and how many trials.
Each trial is a training run of the study that stays in DVC's cache. A search that was ended goes on where it was; more
trials are added by --trials. The record, reports/search.json, belongs into git; `dvc repro` then has a page about it.

Examples
--------
  medmatrix search                        the trials that are missing, one training run at a time
  medmatrix search --jobs 2               two at a time; the trials are the same
  medmatrix search --trials 40            40 in all
  medmatrix search --apply                write the best values into params.yaml, then: dvc repro
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.commands import command_parser
from pipeline.study.errors import UserError, stage_errors

if TYPE_CHECKING:
    from pipeline.searching.record import Record
    from pipeline.settings import Params

SHOWN = 10
"""Trials in the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, or apply what was found; exit with the status."""
    parser = command_parser("search", __doc__)
    parser.add_argument("--trials", type=int, metavar="N", help="in all; default: search.trials of params.yaml")
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
    from pipeline.searching.record import read_record
    from pipeline.searching.running import Searching
    from pipeline.settings.search import ends

    assert params.search is not None
    applied({key: ends(of)[0] for key, of in params.search.ranges().items()})  # refused before, not after the work
    status = Searching(params, trials, jobs, visible_gpus())()
    record = read_record()
    if record is not None and status == 0:
        print(text(record))
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
        "",
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
    lines.append("Write its values into params.yaml: medmatrix search --apply")
    return "\n".join(lines)


def apply(params: Params) -> str:
    """Write the values of the best trial into params.yaml; return what was done.

    Raises
    ------
    UserError
        If there is no record of this search, or no trial of it has finished.
    """
    from pipeline.searching.about import about_search
    from pipeline.searching.applying import applied, as_yaml
    from pipeline.searching.record import RECORD, read_record
    from pipeline.settings import load
    from pipeline.settings.search import as_word, held_values
    from pipeline.study.files import write_text
    from pipeline.study.locks import alone_in
    from pipeline.study.params import PARAMS_FILE

    assert params.search is not None
    record = read_record()
    if record is None or record.best is None:
        raise UserError(f"{RECORD}: no finished trial is there; medmatrix search does them")
    now = about_search(params)
    if differing := [key for key in now if record.about.get(key) != now[key]]:
        raise UserError(f"{RECORD} is of another search ({', '.join(differing)}); medmatrix search does this one")
    values, before = record.best.values, held_values(params.search, params)
    if all(as_word(before[key]) == as_word(value) for key, value in values.items()):
        return f"{PARAMS_FILE} has the values of trial {record.best.number} already"
    with alone_in(PARAMS_FILE.resolve().parent, f"another process is writing {PARAMS_FILE}: waiting for it"):
        write_text(PARAMS_FILE, applied(values))
    load()
    changes = [
        f"  {key}: {as_yaml(before[key]) or 'empty'} -> {as_yaml(value) or 'empty'}"
        for key, value in values.items()
        if as_word(before[key]) != as_word(value)
    ]
    missing = len(record.trials) < record.asked
    note = f" (of {len(record.trials)} trials, {record.asked} were asked for)" if missing else ""
    lines = [f"{PARAMS_FILE} has the values of trial {record.best.number}{note}:", *changes, "Run the study: dvc repro"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
