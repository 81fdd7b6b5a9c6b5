"""Tables in LaTeX: pandas writes them with the rules of booktabs, pylatexenc every sign."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd
from pylatexenc.latexencode import RULE_DICT, UnicodeToLatexConversionRule, UnicodeToLatexEncoder

from pipeline.reporting.exporting.tables import Run, Table, Text, plain
from pipeline.study.files import write_text

_LINE = 95
"""Letters of a line at the size of footnotes; wider tables are scaled."""
_LONG = 40
"""Letters of a cell from which on its column is a paragraph."""
_ROWS = 40
"""Rows from which on a table may run over several pages."""
DOCUMENT = "tables.tex"
_HEAD = r"""% All tables. A manuscript takes single files by \input, and these packages.
\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp,amsmath,amssymb}
\usepackage[margin=2cm]{geometry}
\usepackage{array,booktabs,longtable,graphicx}
\begin{document}
"""


@cache
def _encoder() -> UnicodeToLatexEncoder:
    stars = UnicodeToLatexConversionRule(
        RULE_DICT, {ord("★"): r"\ensuremath{\star}", ord("'"): "'", ord('"'): "{\\textquotedbl}"}
    )
    return UnicodeToLatexEncoder(
        conversion_rules=[stars, "defaults"], unknown_char_policy="keep", unknown_char_warning=False
    )


def escaped(text: str) -> str:
    """Return `text` so that LaTeX sets it as it is, Unicode's minus and other signs included."""
    return str(_encoder().unicode_to_latex(text))


def in_latex(text: Text) -> str:
    """Return a text with its bold, slanted and typewriter pieces."""
    done = "".join(_set(run) for run in text).strip()
    return f"{{{done[0]}}}{done[1:]}" if done[:1] in ("[", "*") else done  # an option of the line break before it


def _set(run: Run) -> str:
    done = escaped(run.text)
    for wanted, command in ((run.code, "texttt"), (run.italic, "emph"), (run.bold, "textbf")):
        done = rf"\{command}{{{done}}}" if wanted else done
    return done


def latex(table: Table) -> str:
    """Return a table environment with caption, label and notes; of many rows a longtable."""
    heads: dict[object, str] = dict(enumerate(map(in_latex, table.heads)))
    # By number: two columns may have one title, which pandas does not style.
    cells = pd.DataFrame([[in_latex(cell) for cell in row] for row in table.rows], columns=range(len(heads)))
    styler = cells.style.hide(axis="index").format_index(lambda column: heads[column], axis=1)
    widths, long = _widths(table), len(table.rows) > _ROWS
    columns = _columns(widths, table.right)
    paragraphs = any(width > _LONG for width in widths)
    caption = f"{escaped(table.heading.rstrip('.'))}. {in_latex(table.lead)}".strip()
    written = str(
        styler.to_latex(
            hrules=True,
            column_format=columns,
            caption=caption,
            label=f"tab:{table.name}",
            position=None if long else "htbp",
            position_float=None if long else "centering",
            environment="longtable" if long else None,
        )
    )
    notes = "\n".join(rf"{in_latex(note)}\par" for note in table.notes)
    wide = not paragraphs and sum(widths) + 2 * len(widths) > _LINE
    if long:
        size = r"\tiny\setlength{\tabcolsep}{2pt}" if wide else r"\footnotesize"
        below = f"{{\\footnotesize\\noindent\n{notes}\n}}\n" if notes else ""
        written = f"{{{size}\n{written}}}\n{below}"
    else:
        if wide:
            written = written.replace(r"\begin{tabular}", "\\resizebox{\\linewidth}{!}{%\n\\begin{tabular}")
            written = written.replace(r"\end{tabular}", "\\end{tabular}}")
        written = written.replace("\\centering\n", "\\centering\n\\footnotesize\n", 1)
        below = f"\\par\\smallskip\n\\begin{{minipage}}{{\\linewidth}}\\footnotesize\n{notes}\n\\end{{minipage}}\n"
        written = written.replace("\\end{table}", (below if notes else "") + "\\end{table}")
    return f"% {table.page}\n{written}"


def _widths(table: Table) -> list[int]:
    columns = zip(table.heads, *table.rows)
    return [max(len(plain(cell)) for cell in column) for column in columns]


def _columns(widths: list[int], right: list[bool]) -> str:
    """Return the format of the columns: those with long texts share what the others leave of a line."""
    long = sum(width for width in widths if width > _LONG)
    short = sum(width for width in widths if width <= _LONG) + 3 * (len(widths) - 1)
    left = max(_LINE - short, _LINE // 4)
    formats = [
        rf">{{\raggedright\arraybackslash}}p{{{width / long * left / _LINE:.2f}\linewidth}}"
        if width > _LONG
        else "r"
        if to_right
        else "l"
        for width, to_right in zip(widths, right)
    ]
    return f"@{{}}{''.join(formats)}@{{}}"


def write_latex(tables: list[Table], folder: Path) -> list[Path]:
    """Write one file per table, and a document that shows them all."""
    written = []
    for table in tables:
        written.append(folder / f"{table.name}.tex")
        write_text(written[-1], latex(table))
    body = "".join(f"\\input{{{path.name}}}\n\\clearpage\n" for path in written)
    write_text(folder / DOCUMENT, f"{_HEAD}{body}\\end{{document}}\n")
    return [folder / DOCUMENT, *written]
