"""The tables of rendered pages, read from their markdown: what is exported is what the pages show, digit by digit.

markdown-it-py parses the pages as GitHub does. A table's caption is the heading that it stands under and the paragraph
before it; its notes are what stands between it and the next table or heading, and the warnings of its page, so that no
table of drawn images leaves without saying so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.reporting.kept import KEPT
from pipeline.reporting.values import ReportError

_LETTERS = 60
"""Of the name of a file."""


class Run(NamedTuple):
    """A piece of text and how it is set."""

    text: str
    bold: bool = False
    italic: bool = False
    code: bool = False


Text = tuple[Run, ...]


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Parameters
    ----------
    name : str
        Of its file: letters, digits and dashes; no two tables of a folder share one.
    page : str
        Path of the page in the folder of the reports.
    heading : str
        The heading that it stands under.
    lead : tuple of Run
        The paragraph before it; may be empty.
    heads : list of Text
        Titles of the columns.
    rows : list of list of Text
        As many cells each as there are heads.
    right : list of bool
        Columns that are set to the right.
    notes : list of Text
        Notes below it, then the warnings of the page.
    """

    name: str
    page: str
    heading: str
    lead: Text
    heads: list[Text]
    rows: list[list[Text]]
    right: list[bool]
    notes: list[Text]


def plain(text: Iterable[Run]) -> str:
    """Return the letters of a text."""
    return "".join(run.text for run in text)


def read_tables(folder: Path, pages: Sequence[str] = ()) -> list[Table]:
    """Read every table of the pages in `folder`.

    Parameters
    ----------
    folder : Path
        Of rendered pages.
    pages : sequence of str
        Paths below it; by default all but those of other studies that were kept there, the first page first.

    Raises
    ------
    ReportError
        If there is no such page, or none at all.
    """
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.md"))
    found.sort(key=lambda page: (page.count("/"), page != "README.md", page))
    unknown = [page for page in pages if page not in found]
    if not found:
        raise ReportError(f"{folder}: no pages; dvc repro writes them into reports/")
    if unknown:
        raise ReportError(f"{folder}: no page {', '.join(unknown)}; must be among {', '.join(found)}")
    taken: set[str] = set()
    own = [page for page in found if not page.startswith(f"{KEPT.name}/")]
    return [table for page in (pages or own) for table in tables_of(_read(folder / page), page, taken)]


def _read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ReportError(f"{page}: not a text file in UTF-8") from None


@dataclass
class _Reading:
    """What has been read of a page so far."""

    heading: str = ""
    section: str = ""
    blocks: list[Text] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    open: bool = False

    def close(self) -> None:
        """Give the last table the blocks since as notes."""
        if self.open:
            self.tables[-1].notes.extend(self.blocks)
        self.blocks, self.open = [], False


def tables_of(markdown: str, page: str, taken: set[str] | None = None) -> list[Table]:
    """Return the tables of one page.

    Parameters
    ----------
    markdown : str
        Its content.
    page : str
        Its path, for names and sources.
    taken : set of str, optional
        Names that other tables have; those of the page are added.
    """
    taken = set() if taken is None else taken
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    reading, warnings = _Reading(), list[Text]()
    for kind, block in _blocks(tokens):
        if kind == "heading":
            reading.close()
            reading.heading = plain(_text(block[1]))
            reading.section = reading.heading if block[0].tag != "h1" else ""
        elif kind == "html_block":
            summary = re.search(r"<summary>(.*?)</summary>", block[0].content, re.DOTALL)
            if summary:
                reading.close()
                reading.blocks = [(Run(f"{summary[1].strip()}."),)]
        elif kind == "blockquote":
            warnings += [text for text in map(_text, _inline(block)) if text]
        elif kind in ("bullet_list", "ordered_list"):
            reading.blocks += [text for text in map(_text, _inline(block)) if text]
        elif kind == "paragraph":
            text = _text(block[1])
            if text:
                reading.blocks.append(text)
            else:
                reading.close()  # a figure
        elif kind == "table":
            lead: Text = reading.blocks.pop() if reading.blocks and not _is_note(reading.blocks[-1]) else ()
            reading.close()
            name = _name(page, reading.section, taken)
            reading.tables.append(_table(block, name, page, reading.heading, lead))
            reading.open = True
        else:
            reading.close()  # code
    reading.close()
    for table in reading.tables:
        table.notes.extend(warnings)
    return reading.tables


def _is_note(text: Text) -> bool:
    """Whether a block is a remark on a number that the table before lacks."""
    return plain(text).startswith("—")


def _blocks(tokens: Sequence[Token]) -> Iterator[tuple[str, list[Token]]]:
    """Yield the outermost blocks, each with its kind and its tokens."""
    begin = 0
    for index, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            kind = token.type.removesuffix("_close")
            yield kind, list(tokens[begin : index + 1])
            begin = index + 1


def _inline(block: Iterable[Token]) -> Iterator[Token]:
    return (token for token in block if token.type == "inline")


def _text(inline: Token) -> Text:
    """Return the text of a paragraph or a cell: links become their words, and figures nothing."""
    runs: list[Run] = []
    bold = italic = 0
    for token in inline.children or []:
        bold += {"strong_open": 1, "strong_close": -1}.get(token.type, 0)
        italic += {"em_open": 1, "em_close": -1}.get(token.type, 0)
        if token.type in ("text", "code_inline", "softbreak", "hardbreak"):
            content = " " if "break" in token.type else token.content
            # No control character may stand in XML, and none means anything in a table.
            content = re.sub(r"[\x00-\x1f\x7f]", " ", content)
            content = re.sub(r"^\[!\w+\] ?", "", content) if not runs else content
            if content:
                runs.append(Run(content, bool(bold), bool(italic), token.type == "code_inline"))
    while runs and not runs[0].text.strip():
        runs.pop(0)
    return tuple(runs)


def _table(block: Sequence[Token], name: str, page: str, heading: str, lead: Text) -> Table:
    rows: list[list[Text]] = []
    right: list[bool] = []
    for token, after in zip(block, [*block[1:], None]):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open") and after is not None:
            rows[-1].append(_text(after))
            if token.type == "th_open":
                right.append("right" in str(token.attrs.get("style", "")))
    return Table(name, page, heading, lead, rows[0], rows[1:], right, [])


def _name(page: str, section: str, taken: set[str]) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", f"{page.removesuffix('.md')}-{section}".lower()).strip("-")
    base = words[:_LETTERS].strip("-")
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    taken.add(name)
    return name
