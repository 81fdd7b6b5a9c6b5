"""Write the pages of a metrics table from elsewhere.

The pages of a study are written by `dvc repro`. The table has the columns model, loss, seed, part (train, val, test),
class (a name, macro or overall), metric and value, and if they are available ci_low, ci_high, n and n_positive. The
pages show what such a table allows.

Examples
--------
  medmatrix report --metrics results.csv --out pages      begin reading with pages/README.md
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.commands import command_parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages."""
    parser = command_parser("report", __doc__)
    parser.add_argument("--metrics", required=True, metavar="FILE.csv", help="the table")
    parser.add_argument("--out", required=True, metavar="DIR", help="where to write the pages; made if it is missing")
    options = parser.parse_args(arguments)
    from pipeline import report  # after the command line has been read: it imports pandas and Matplotlib

    report.main(["--metrics", options.metrics, "--out", options.out])


if __name__ == "__main__":
    main()
