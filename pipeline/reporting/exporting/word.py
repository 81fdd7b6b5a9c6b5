"""Tables in one Word document, by python-docx: three rules, a head on each page, caption above, notes below."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from docx import Document
from docx.enum.section import WD_ORIENT
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt

from pipeline.reporting.exporting.tables import Run, Table, Text
from pipeline.study.files import write_bytes

DOCUMENT = "tables.docx"
_SIZE, _SMALL = Pt(9), Pt(8)


def write_word(tables: list[Table], folder: Path) -> list[Path]:
    """Write all tables into one document, page by page of the reports."""
    document = Document()
    document.core_properties.author = document.core_properties.comments = ""
    document.core_properties.title = "Tables"
    section = document.sections[0]
    section.orientation = WD_ORIENT.LANDSCAPE
    section.page_width, section.page_height = Cm(29.7), Cm(21.0)
    section.left_margin = section.right_margin = Cm(2)
    page = ""
    for number, table in enumerate(tables, 1):
        if table.page != page:
            page = table.page
            document.add_heading(page, 1)
        caption = document.add_paragraph(style="Caption")
        caption.paragraph_format.keep_with_next = True
        _write(caption, (Run(f"Table {number}. {table.heading.rstrip('.')}. ", bold=True), *table.lead), _SIZE)
        _add(document, table)
        for note in table.notes:
            paragraph = document.add_paragraph()
            paragraph.paragraph_format.space_after = Pt(0)
            _write(paragraph, note, _SMALL)
        document.add_paragraph()
    content = io.BytesIO()  # on a full disk the archive would complain once more as it is collected
    document.save(content)
    write_bytes(folder / DOCUMENT, content.getvalue())
    return [folder / DOCUMENT]


def _add(document: Any, table: Table) -> None:
    grid = document.add_table(rows=1 + len(table.rows), cols=len(table.heads))
    grid.autofit = True
    lines = zip(grid.rows, [table.heads, *table.rows])
    for index, (row, cells) in enumerate(lines):
        for place, text, right in zip(row.cells, cells, table.right):
            paragraph = place.paragraphs[0]
            paragraph.paragraph_format.space_after = Pt(0)
            if right:
                paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
            bold = index == 0
            _write(paragraph, tuple(run._replace(bold=run.bold or bold) for run in text), _SIZE)
            if index in (0, len(table.rows)):
                _rule(place, ("top", "bottom") if index == 0 else ("bottom",))
    head = grid.rows[0]._tr.get_or_add_trPr()
    repeated = OxmlElement("w:tblHeader")
    repeated.set(qn("w:val"), "true")
    head.append(repeated)


def _write(paragraph: Any, text: Text, size: Pt) -> None:
    for run in text:
        written = paragraph.add_run(run.text)
        written.bold, written.italic, written.font.size = run.bold, run.italic, size
        if run.code:
            written.font.name = "Courier New"


def _rule(cell: Any, sides: tuple[str, ...]) -> None:
    """Draw lines at some sides of a cell, which python-docx has no call for."""
    borders = OxmlElement("w:tcBorders")
    for side in sides:
        line = OxmlElement(f"w:{side}")
        for key, value in (("val", "single"), ("sz", "6"), ("space", "0"), ("color", "auto")):
            line.set(qn(f"w:{key}"), value)
        borders.append(line)
    cell._tc.get_or_add_tcPr().append(borders)
