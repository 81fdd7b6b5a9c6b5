"""Keep the pages of the finished study, as reports/studies/NAME/.

reports/ is of the study of params.yaml, and the next one takes its place. This copies its pages, the figures that they
show and the tables of numbers, for git to keep; figures that show images of a data set are left out, and a sentence
stands for them. A NAME of studies/ must be the study that params.yaml holds. Pages that were kept under the same name
are replaced.

Examples
--------
  medmatrix use studies/kermany_cpu.yaml && dvc repro
  medmatrix keep kermany_cpu              reports/studies/kermany_cpu/README.md and what belongs to it
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands import command_parser
from pipeline.study.errors import UserError, stage_errors

if TYPE_CHECKING:
    from pipeline.settings import Params

READY = Path("studies")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy the pages; say where they are."""
    parser = command_parser("keep", __doc__)
    parser.add_argument("name", metavar="NAME", help="of a folder: letters, digits, and . _ - after the first")
    options = parser.parse_args(arguments)
    with stage_errors():
        written = keep(options.name)
        print(f"{len(written)} files in {written[0].parent}/, begin with {written[0].parent / 'README.md'}")


def keep(name: str) -> list[Path]:
    """Copy the pages of the study of params.yaml to ``reports/studies/<name>/``; return what was written.

    Raises
    ------
    UserError
        If the name is none of a folder, or that of another study in studies/; if the reports are not those of
        params.yaml and the data as they are, or training runs are missing in them; if they show images of real data.
    """
    from pipeline.launching.status import read_status
    from pipeline.reporting.kept import keep_pages
    from pipeline.settings import load
    from pipeline.study.files import REPORTS
    from pipeline.study.params import read
    from pipeline.study.prepared import read_dataset

    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r}: not a name for a folder; letters, digits, and . _ - after the first are allowed")
    ready = READY / f"{name}.yaml"
    if ready.is_file() and read(ready) != read():
        raise UserError(f"params.yaml is not {ready}: medmatrix use {ready} and dvc repro first, or use another name")
    params = load()
    report = read_status(["report"]).get("report")
    if report is None or report.state != "up to date":
        raise UserError(f"{REPORTS}/ is not the report of params.yaml and the data as they are: dvc repro first")
    missing = _missing(params)
    if missing:
        raise UserError(f"no results of {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}: dvc repro first")
    data = read_dataset()
    if not data.synthetic and params.report.private_figures is False:
        raise UserError(
            f"report.private_figures = false: the pages show images of {data.name}; must be empty or true, and dvc "
            "repro report leaves them out"
        )
    source = f"[{ready}](../../../{ready})" if ready.is_file() else f"{name}, whose params.yaml is not among them"
    left = "" if data.synthetic else " Figures that show images of the data set are left out."
    return keep_pages(REPORTS, name, f"> Pages of the study {source}, kept by `medmatrix keep {name}`.{left}")


def _missing(params: Params) -> list[str]:
    """Return the training runs of the study that have no value in metrics.csv."""
    from pipeline.study.files import REPORTS, read_table
    from pipeline.study.runs import runs

    table = read_table(REPORTS / "metrics.csv", ("model", "loss", "seed"))
    there = set(zip(table["model"], table["loss"], table["seed"], strict=True))
    return [str(run) for run in runs(params) if (run.model, run.loss, str(run.seed)) not in there]


if __name__ == "__main__":
    main()
