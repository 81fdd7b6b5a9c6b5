"""Show two revisions, or two tables of predictions, side by side.

A revision is a commit, a branch, a tag or the name of an experiment; one alone is compared with the working directory.
Their numbers come from reports/ in git; intervals of differences from the predictions in DVC's cache, where both
revisions have the same test images under the same labels. Nothing is checked out, and nothing is run.

Two files are compared as tables of predictions, whatever made them: one row per image with the columns id; truth (name
of the class), or truth_<class> with 0 or 1 per class; the probability of every class, called as the class or p_<class>
(of two classes one is enough); and where they are known patient and seed. Fields are separated by commas, semicolons or
tabs. See docs/statistics.md for what the intervals and tests mean.

Examples
--------
  medmatrix compare main                  what this working directory changes
  medmatrix compare HEAD~1 HEAD           ... and what the last commit changed
  medmatrix compare main bulky-name       ... and an experiment of `dvc exp run`
  medmatrix compare old.csv new.csv --out page      predictions made anywhere; the page is page/README.md
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from pipeline.commands import command_parser
from pipeline.study.errors import UserError, stage_errors

if TYPE_CHECKING:
    from pipeline.reporting.revisions import Revision, Row
    from pipeline.scoring.settings import Evaluate

WIDTH = 100
"""Columns that the output fits."""
_TABLES = (".csv", ".tsv", ".txt")
"""What a table of predictions may end in; no revision does."""
_CHANGES = 12
"""Changed settings that are listed."""
_LETTERS = 30
"""Longest value of a setting that is shown whole."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the comparison."""
    parser = command_parser("compare", __doc__)
    parser.add_argument("first", metavar="REV", help="a commit, branch, tag or experiment; or a file")
    parser.add_argument("second", metavar="REV2", nargs="?", default="workspace", help="default: the working directory")
    of_files = parser.add_argument_group("of two files")
    of_files.add_argument("--out", metavar="DIR", help="write the page and its table there; made if it is missing")
    of_files.add_argument("--margin", type=float, metavar="M", help="equivalence margin of the AUROC; default: 0.005")
    of_files.add_argument("--draws", type=int, metavar="N", help="patient-bootstrap draws; default: 2000")
    options = parser.parse_args(arguments)
    given = [option for option in ("out", "margin", "draws") if getattr(options, option) is not None]
    if _are_files(options.first, options.second):
        if options.margin is not None and not 0 < options.margin < 0.5:
            parser.error(f"--margin {options.margin:g}: must be above 0 and below 0.5")
        if options.draws is not None and not 100 <= options.draws <= 1_000_000:
            parser.error(f"--draws {options.draws}: must be from 100 to 1,000,000")
        if options.out == "":
            parser.error("--out '': must be a folder")
        if options.out is not None and Path(options.out).exists() and not Path(options.out).is_dir():
            parser.error(f"--out {options.out}: must be a folder")
        with stage_errors():
            _compare_files(Path(options.first), Path(options.second), options)
        return
    if given:
        parser.error(f"--{given[0]} is for two files; {options.first} and {options.second} are taken for revisions")
    with stage_errors():
        from pipeline.reporting.revisions import beside, read_revision  # pandas takes a moment

        first, second = read_revision(options.first), read_revision(options.second)
        settings = _evaluate(second)
        rows = beside(first, second, settings.draws(), settings.margin)
        print(text(first, second, rows, settings.confidence, settings.bootstrap))


def _are_files(first: str, second: str) -> bool:
    """Whether two files are compared; one file alone is a mistake that is named."""
    files = [Path(name).is_file() for name in (first, second)]
    if any(files) and not all(files):
        other = (first, second)[files.index(False)]
        lacking = "name a second file" if other == "workspace" else f"'{other}' is not a file"
        with stage_errors():
            raise UserError(f"{(first, second)[files.index(True)]} is a file, and two are compared: {lacking}")
    if not any(files):
        for name in (first, second):
            if Path(name).suffix.lower() in _TABLES:
                with stage_errors():
                    raise UserError(f"{name}: no such file")
    return all(files)


def _compare_files(first: Path, second: Path, options: Namespace) -> None:
    from pipeline.reporting.views import files_compared  # pandas takes a moment
    from pipeline.scoring.prediction_table import read_pair
    from pipeline.scoring.side_by_side import side_by_side
    from pipeline.study.files import write_csv
    from pipeline.study.outputs import keep_others, note_written

    compared = side_by_side(
        read_pair(first, second), draws=options.draws or 2000, confidence=0.95, seed=0, margin=options.margin or 0.005
    )
    about = files_compared.About(first, second, compared)
    print(files_compared.in_short(about))
    if options.out is not None:
        folder, names = Path(options.out), (files_compared.PAGE, "comparison.csv")
        kept = keep_others(folder, names)
        page = files_compared.render(about, folder)
        write_csv(folder / "comparison.csv", compared.table())
        note_written(folder, names)
        print("", *kept, f"The page: {page}; its numbers: {folder / 'comparison.csv'}", sep="\n")


def _evaluate(revision: Revision) -> Evaluate:
    """Return section evaluate of a revision; of one that this version cannot read, the default."""
    from pydantic import ValidationError

    from pipeline.scoring.settings import Evaluate

    try:
        return Evaluate.model_validate(revision.params.get("evaluate") or {})
    except ValidationError:
        return Evaluate()


def text(first: Revision, second: Revision, rows: Sequence[Row], confidence: float, draws: int) -> str:
    """Write the comparison.

    Parameters
    ----------
    first, second : Revision
        What is compared.
    rows : sequence of Row
        As `beside` returns them.
    confidence, draws : float, int
        Of the intervals, for the sentence below the table.
    """
    from tabulate import tabulate

    from pipeline.reporting import formats
    from pipeline.reporting.revisions import changes

    changed = list(changes(first.params, second.params))
    lines = [f"first:  {_called(first)}", f"second: {_called(second)}", ""]
    lines.append("settings: " + ("no difference" if not changed else ""))
    lines += [f"  {key}: {_short(before)} -> {_short(after)}" for key, before, after in changed[:_CHANGES]]
    if len(changed) > _CHANGES:
        lines.append(f"  and {len(changed) - _CHANGES} more: dvc params diff {first.name} {second.name}".rstrip())
    table = [
        [
            row.name,
            *(formats.number(e.value) for e in row.validation),
            *(formats.estimated(e) for e in row.test),
        ]
        for row in rows
    ]
    heads = ["macro AUROC", "val, first", "val, second", "test, first", "test, second"]
    lines += ["", tabulate(table, heads, tablefmt="presto", disable_numparse=True), ""]
    paired = [
        [
            row.name,
            formats.signed(row.difference.value),
            formats.signed_interval(row.difference),
            formats.probability(row.p),
            _verdict(row, confidence),
        ]
        for row in rows
    ]
    heads = ["second - first, test", "difference", f"{100 * confidence:g} % CI", "p (Holm)", ""]
    lines += [tabulate(paired, heads, tablefmt="presto", disable_numparse=True), ""]
    lines += _seeds(rows)
    if any(not row.note for row in rows):
        lines.append(f"Paired on the test images: {draws:,} draws of patients, the same for both revisions.")
    lines += _reasons(rows)
    return "\n".join(lines)


def _called(revision: Revision) -> str:
    return revision.name + (f" ({revision.commit})" if revision.commit and revision.commit != revision.name else "")


def _short(value: str) -> str:
    return value if len(value) <= _LETTERS else f"{value[: _LETTERS - 1]}…"


def _seeds(rows: Sequence[Row]) -> list[str]:
    """Say where the seeds, or the ensemble that is chosen, are not the same; at once what is the same for all."""
    both: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if all(row.seeds) and row.seeds[0] != row.seeds[1]:
            both.setdefault(row.seeds, []).append(row.name)
    lines = [f"seeds of {', '.join(names)}: {first} -> {second}" for (first, second), names in both.items()]
    if any("," not in seeds for row in rows if row.name != "chosen ensemble" for seeds in row.seeds if seeds):
        lines.append("One seed on a side: what differs are two trained networks, not yet two configurations.")
    return lines


def _verdict(row: Row, confidence: float) -> str:
    if row.note:
        return "not paired" if all(row.seeds) else row.note
    if row.p < 1 - confidence:
        return "differ"
    apart = row.difference.low > 0 or row.difference.high < 0
    return "within noise after Holm" if apart else "within noise"


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Say why differences are not paired, each reason once."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        if row.note and all(row.seeds):
            by_reason.setdefault(row.note, []).append(row.name)
    lines = [f"Not paired ({', '.join(names)}): {reason}." for reason, names in by_reason.items()]
    if lines:
        lines.append("Such a difference has no interval; that two intervals overlap says nothing about it.")
    return [line for long in lines for line in wrap(long, WIDTH)]
