"""Stage `report`: write up what the other stages found, or what a bare metrics table allows.

``python -m pipeline.report``, or ``python -m pipeline.report --metrics FILE.csv --out DIR``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline import artifacts, params
from pipeline.errors import stage_errors
from pipeline.reporting import PAGES
from pipeline.reporting.study import StudyResults, from_metrics, load_study


def write_reports(study: StudyResults, folder: Path) -> list[Path]:
    """Write every page of `study` below `folder` and return the files."""
    return [path for render in PAGES.values() for path in render(study, folder)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the results, write the pages."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.report", description="Write the reports.")
    parser.add_argument(
        "--metrics", type=Path, metavar="FILE.csv", help="a metrics table instead of the study's results"
    )
    parser.add_argument("--out", type=Path, default=artifacts.REPORTS, metavar="DIR", help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.metrics and options.out == artifacts.REPORTS:
        parser.error(f"--metrics needs --out: {artifacts.REPORTS}/ belongs to the study")
    with stage_errors():
        study = from_metrics(options.metrics) if options.metrics else load_study(params.load())
        written = write_reports(study, options.out)
        print(f"{len(written)} files in {options.out}/, begin with {options.out / 'README.md'}")


if __name__ == "__main__":
    main()
