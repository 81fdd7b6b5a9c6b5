"""Write the tables of the reports as LaTeX, CSV or Word.

Captions and footnotes go with them; figures as PDF or SVG, too, if asked for. The numbers are read from the pages, so
that they are those that the pages show. LaTeX is one file per table, and tables.tex, which shows them all; CSV one
file per table, and captions.csv; Word is tables.docx. Figures are drawn anew from the study's results, with their fonts
in them; those that show images of people are left out.

Examples
--------
  medmatrix export-tables                                   tables/*.tex of all pages in reports/
  medmatrix export-tables --format docx --out paper         paper/tables.docx
  medmatrix export-tables --format csv --page README.md     the tables of the first page
  medmatrix export-tables --figures pdf                     tables/figures/*.pdf as well
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands import command_parser
from pipeline.study.errors import UserError, stage_errors

if TYPE_CHECKING:
    from pipeline.reporting.exporting.tables import Table

FORMATS = ("latex", "csv", "docx")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write tables and figures."""
    parser = command_parser("export-tables", __doc__)
    parser.add_argument("--format", choices=FORMATS, default="latex", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("tables"), metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="pages to read; default: %(default)s"
    )
    parser.add_argument("--page", action="append", default=[], metavar="FILE", help="of these pages alone")
    parser.add_argument("--figures", choices=("pdf", "svg"), help="write the study's figures, too")
    options = parser.parse_args(arguments)
    with stage_errors():
        out: Path = options.out
        if out.exists() and not out.is_dir():
            raise UserError(f"--out {out}: must be a folder")
        if out.resolve().is_relative_to(Path("reports").resolve()):
            raise UserError(f"--out {out}: reports/ belongs to the stages; must be another folder")
        from pipeline.reporting.exporting.tables import read_tables  # imports pandas
        from pipeline.study.outputs import keep_others, note_written

        tables = read_tables(options.reports, options.page)
        kept = keep_others(out, _names(options.format, tables))
        written = _writer(options.format)(tables, out)
        note_written(out, [path.name for path in written])
        print(*kept, sep="\n", end="\n" if kept else "")
        print(f"{len(tables)} tables of {len({table.page for table in tables})} pages; begin with {written[0]}")
        if options.figures:
            from pipeline.reporting.exporting.figures import write_figures

            drawn = write_figures(out / "figures", f".{options.figures}")
            print(f"{len(drawn)} figures in {out / 'figures'}/")


def _names(form: str, tables: list[Table]) -> list[str]:
    """Return the names of the files that a format writes."""
    if form == "docx":
        return ["tables.docx"]
    suffix, beside = (".csv", "captions.csv") if form == "csv" else (".tex", "tables.tex")
    return [beside, *(f"{table.name}{suffix}" for table in tables)]


def _writer(name: str) -> Callable[[list[Table], Path], list[Path]]:
    """Return the function that writes a format; each imports its own library."""
    if name == "docx":
        from pipeline.reporting.exporting.word import write_word

        return write_word
    if name == "csv":
        from pipeline.reporting.exporting.spreadsheet import write_csv_files

        return write_csv_files
    from pipeline.reporting.exporting.latex import write_latex

    return write_latex


if __name__ == "__main__":
    main()
