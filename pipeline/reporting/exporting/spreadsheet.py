"""Tables as CSV, with a hyphen for Unicode's minus, so that programs read the numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from pipeline.reporting.exporting.tables import Table, Text, plain
from pipeline.study.cells import harmless
from pipeline.study.files import write_text

CAPTIONS = "captions.csv"


def cell(text: Text) -> str:
    """Return a cell as text: a minus is a hyphen, and what a spreadsheet would take for a formula begins with ``'``."""
    return harmless(re.sub(r"−(?=[\d.])", "-", plain(text)).strip())


def write_csv_files(tables: list[Table], folder: Path) -> list[Path]:
    """Write one file per table, in UTF-8, and one with their pages, captions and notes."""
    written = []
    for table in tables:
        frame = pd.DataFrame([[cell(c) for c in row] for row in table.rows], columns=[cell(h) for h in table.heads])
        written.append(folder / f"{table.name}.csv")
        write_text(written[-1], frame.to_csv(index=False, lineterminator="\n"))
    captions = pd.DataFrame(
        [
            [
                f"{table.name}.csv",
                table.page,
                *map(harmless, (table.heading, plain(table.lead), "\n".join(map(plain, table.notes)))),
            ]
            for table in tables
        ],
        columns=["file", "page", "heading", "caption", "notes"],
    )
    write_text(folder / CAPTIONS, captions.to_csv(index=False, lineterminator="\n"))
    return [folder / CAPTIONS, *written]
