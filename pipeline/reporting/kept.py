"""The pages of a finished study, kept below reports/studies/ when the next study takes their place.

Pages and the figures that they show are copied, and the tables of numbers; nothing that shows an image of real data. A
link to what stays behind becomes a sentence, so that none leads nowhere.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from pipeline.reporting.values import ReportError
from pipeline.searching.record import RECORD
from pipeline.study.files import REPORTS, exchanged, write_bytes, write_text

KEPT = REPORTS / "studies"
"""A folder for each study. DVC does not see it (.dvcignore): it is no part of the output of stage report, and no edit
there makes that stale."""
NUMBERS = ("metrics.csv", "metrics.json", "validation.json")
"""Tables that are kept beside the pages."""
FRONT = "README.md"
_LINK = re.compile(r"(?P<shown>!?)\[(?P<text>(?:\\.|[^\]\\])*)\]\((?P<target>[^)\s]+)\)(?P<note> \(this file[^)]*\))?")
"""A link or, with ``!``, an embedded picture; the note stands behind links to figures that stay out of git."""
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|#")
"""With which the target of a link begins that is not a file."""


def keep_pages(reports: Path, name: str, opening: str) -> list[Path]:
    """Copy the pages in `reports` to `KEPT`/`name`, in place of earlier ones there.

    Parameters
    ----------
    reports : Path
        A folder of pages. What lies in its folder ``studies`` are other studies, which are left alone.
    name : str
        Of the study.
    opening : str
        Paragraph that comes below the title of the first page.

    Returns
    -------
    list of Path
        What was written: every page, the figures that pages embed, and `NUMBERS`.

    Raises
    ------
    ReportError
        If there is no first page, or a page embeds a picture that lies outside `reports` or is not there.
    """
    if not (reports / FRONT).is_file():
        raise ReportError(f"{reports / FRONT}: no such page; dvc repro writes it")
    others = reports / KEPT.name
    pages = sorted(path for path in reports.rglob("*.md") if not path.is_relative_to(others))
    copied: set[Path] = {reports / table for table in NUMBERS if (reports / table).is_file()}
    texts: dict[Path, str] = {}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        copied |= set(_embedded(text, page, reports))
        texts[page.relative_to(reports)] = _without_dead_ends(text, page, set(pages))
    title, line, rest = texts[Path(FRONT)].partition("\n")
    texts[Path(FRONT)] = f"{title}{line}\n{opening}\n{rest}"
    target = KEPT / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with exchanged(target) as folder:
        for place, text in texts.items():
            write_text(folder / place, text)
        for path in sorted(copied):
            write_bytes(folder / path.relative_to(reports), path.read_bytes())
    return [target / place for place in (*texts, *(path.relative_to(reports) for path in sorted(copied)))]


def carry_over(folder: Path) -> None:
    """Give a folder that is to take the place of the reports what no report writes: kept pages, a search's record."""
    for file in RECORD.parent.glob(f"{RECORD.name}*"):  # earlier searches have a number behind their names
        shutil.copy(file, folder / file.name)
    if KEPT.is_dir():
        shutil.copytree(KEPT, folder / KEPT.name)


def _embedded(text: str, page: Path, reports: Path) -> Iterator[Path]:
    """Yield the pictures that a page shows."""
    for match in _LINK.finditer(text):
        if not match["shown"]:
            continue
        path = _target(page, match["target"])
        if path is None or not path.is_relative_to(reports) or not path.is_file():
            raise ReportError(f"{page}: shows {match['target']}, which is not a file of {reports}/: dvc repro report")
        yield path


def _without_dead_ends(text: str, page: Path, pages: Collection[Path]) -> str:
    """Return a page whose links to what is not copied are words; of a figure that shows images it says so."""

    def mended(match: re.Match[str]) -> str:
        target = _target(page, match["target"])
        if match["shown"] or target is None or target in pages:
            return match[0]
        if match["note"]:
            return f"*{match['text']}: not shown here, since it shows images of the data set.*"
        return match["text"]

    return _LINK.sub(mended, text)


def _target(page: Path, target: str) -> Path | None:
    """Return the file that a link of `page` leads to, or None where it is an address or a place on a page."""
    if _ELSEWHERE.match(target):
        return None
    parts: list[str] = []
    for part in PurePosixPath(page.parent.as_posix(), target.partition("#")[0]).parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)
