"""Stage `report`: write up what the other stages found, or what a bare metrics table allows.

``python -m pipeline.report``, or ``python -m pipeline.report --metrics FILE.csv --out DIR``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path

from pipeline.reporting import page
from pipeline.reporting.bare_table import from_metrics
from pipeline.reporting.kept import carry_over
from pipeline.reporting.loading import load_study
from pipeline.reporting.registry import pages_of
from pipeline.reporting.results import StudyResults
from pipeline.settings import load
from pipeline.study.errors import stage_errors
from pipeline.study.files import REPORTS, exchanged
from pipeline.study.parallel import over_processes, processors, safe_to_fork

HEAD = "# Results: "
"""With which the front page begins."""
LONGEST = ("seeds", "errors", "data", "clinical")
"""Pages with the most figures."""
LAST = ("checklist", "readme")
"""Pages that link what the others have written."""
MOST = 4
"""Processes: the longest page takes a quarter of all."""


def write_reports(study: StudyResults, folder: Path, but: Collection[str] = ()) -> list[Path]:
    """Write every page of `study` below `folder`, but those named in `but`, and return the files."""
    with page.about(study):
        return [path for name, render in pages_of(study).items() if name not in but for path in render(study, folder)]


def write_study(folder: Path) -> list[Path]:
    """Write the pages of the study of params.yaml below `folder`, each on the next free processor."""
    _study.cache_clear()
    study = _study()
    few = study.task in ("segmentation", "regression") and not safe_to_fork()
    pages = sorted((name for name in pages_of(study) if name not in LAST), key=lambda name: name not in LONGEST)
    written = over_processes(partial(_write_page, folder), pages, 1 if few else min(processors(), MOST))
    return [*chain(*written), *write_reports(study, folder, pages)]


@cache
def _study() -> StudyResults:
    """Read the results; forks find them read."""
    return load_study(load())


def _write_page(folder: Path, name: str) -> list[Path]:
    study = _study()
    with page.about(study):
        return pages_of(study)[name](study, folder)


def others(folder: Path) -> list[str]:
    """Return what lies in a folder that no earlier report has written, by its front page; nothing is written over."""
    if not folder.is_dir():
        return []
    front = folder / "README.md"
    ours = front.is_file() and front.read_text(encoding="utf-8", errors="replace").startswith(HEAD)
    return [] if ours else sorted(path.name for path in folder.iterdir())


def real(path: Path) -> Path:
    """Return where a path leads; one that leads in a circle, which cannot be written to either, as it is."""
    return Path(os.path.realpath(path))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the results, write the pages."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.report", description="Write the reports.")
    parser.add_argument(
        "--metrics", type=Path, metavar="FILE.csv", help="a metrics table instead of the study's results"
    )
    parser.add_argument("--out", type=Path, default=REPORTS, metavar="DIR", help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.metrics and real(options.out).is_relative_to(real(REPORTS)):
        parser.error(f"--metrics needs --out: {REPORTS}/ belongs to the study")
    if options.out.exists() and not options.out.is_dir():
        parser.error(f"--out {options.out}: must be a folder")
    if options.metrics and real(options.metrics).is_relative_to(real(options.out)):
        parser.error(
            f"--out {options.out}: holds {options.metrics}, over which a page could be written; use another one"
        )
    if real(options.out) != real(REPORTS) and (found := others(options.out)):
        parser.error(
            f"--out {options.out}: holds {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}; must be empty, or "
            "hold the pages of an earlier report"
        )
    with stage_errors():
        if options.metrics is not None:
            written = write_reports(from_metrics(options.metrics), options.out)
        elif real(options.out) == real(REPORTS):  # none is better than half of them; the last are better still
            with exchanged(REPORTS) as folder:
                written = write_study(folder)
                carry_over(folder)
        else:
            written = write_study(options.out)
        print(f"{len(written)} files in {options.out}/, begin with {options.out / 'README.md'}")


if __name__ == "__main__":
    main()
