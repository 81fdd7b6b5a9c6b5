"""Exported tables against the pages that they come from, format by format; figures as vectors."""

import re
from pathlib import Path

import pandas as pd
import pytest
from docx import Document
from matplotlib.figure import Figure
from pylatexenc.latex2text import LatexNodes2Text

from pipeline.commands import export_tables
from pipeline.reporting.exporting.latex import escaped, latex, write_latex
from pipeline.reporting.exporting.spreadsheet import cell, write_csv_files
from pipeline.reporting.exporting.tables import Run, plain, read_tables, tables_of
from pipeline.reporting.exporting.word import write_word
from pipeline.reporting.figures import style
from pipeline.reporting.values import ReportError

PAGE = """# Results: a & b

> [!WARNING]
> **Synthetic images.** A program drew them.

## First

Before the _last_ paragraph.

Test set: n = 3 | 100 %.

| Class | AUROC [95 % CI] | p |
|:------|------:|---:|
| [a_b](x.md) | 0.847 [0.832, 0.861] | < 0.001 |
| **c \\| d** ★ | −0.010 | — |
| `e` |  | 1,500 |

- — c \\| d: too few.
- ± is the SD.

![a figure](f.png)

Between.

| x | y |
|---|---|
| 1 | 2 |

## Second

| x | y |
|---|---|
| [0, 1] | *2 |
"""
NUMBER = re.compile(r"[−+-]?\d[\d.,]*")


@pytest.fixture(scope="module")
def tables(pages):
    return read_tables(pages)


def words(texts):
    return [plain(text) for text in texts]


def split_by_hand(page):
    """Return the rows of the tables of a page as plain text, without a parser of markdown."""
    found, within = [], False
    for line in page.read_text().splitlines():
        if not line.startswith("|"):
            within = False
        elif set(line) <= set("|:- "):
            continue
        else:
            if not within:
                found.append([])
            cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            shown = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", c) for c in cells]
            found[-1].append([re.sub(r"\*\*|`|\\(?=[^\w\s])", "", c).replace("&lt;", "<").strip() for c in shown])
            within = True
    return found


def test_a_table_takes_its_caption_notes_and_warnings_with_it():
    first, between, second = tables_of(PAGE, "README.md")
    assert [t.name for t in (first, between, second)] == ["readme-first", "readme-first-2", "readme-second"]
    assert (first.heading, plain(first.lead)) == ("First", "Test set: n = 3 | 100 %.")
    assert words(first.heads) == ["Class", "AUROC [95 % CI]", "p"]
    assert first.right == [False, True, True]
    assert [words(row) for row in first.rows] == [
        ["a_b", "0.847 [0.832, 0.861]", "< 0.001"],
        ["c | d ★", "−0.010", "—"],
        ["e", "", "1,500"],
    ]
    assert first.rows[1][0][0] == Run("c | d", bold=True)
    assert first.rows[2][0] == (Run("e", code=True),)
    warning = "Synthetic images. A program drew them."
    assert words(first.notes) == ["— c | d: too few.", "± is the SD.", warning]
    assert (plain(between.lead), words(between.notes)) == ("Between.", [warning])
    assert (plain(second.lead), words(second.notes)) == ("", [warning])


def test_every_table_of_every_page_is_read_as_it_stands_there(pages, tables):
    for page in pages.rglob("*.md"):
        name = page.relative_to(pages).as_posix()
        read = [[words(t.heads), *map(words, t.rows)] for t in tables if t.page == name]
        assert read == split_by_hand(page), name
    assert len({t.name for t in tables}) == len(tables) > 40
    assert all(re.fullmatch(r"[a-z0-9-]+", t.name) for t in tables)
    assert all("Synthetic images." in " ".join(words(t.notes)) for t in tables)


def test_csv_holds_the_numbers_of_the_pages(tables, tmp_path):
    written = write_csv_files(tables, tmp_path)
    assert len(written) == len(tables) + 1
    for table in tables:
        lines = pd.read_csv(tmp_path / f"{table.name}.csv", dtype=str, keep_default_na=False, header=None)
        expected = [[re.sub(r"−(?=\d)", "-", c) for c in words(row)] for row in [table.heads, *table.rows]]
        assert [[c.lstrip("'") for c in row] for row in lines.to_numpy().tolist()] == expected
    captions = pd.read_csv(tmp_path / "captions.csv", keep_default_na=False)
    assert captions["file"].tolist() == [f"{t.name}.csv" for t in tables]
    assert captions["notes"].str.contains("Synthetic images").all()


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("−0.5", "-0.5"),
        ("+0.01", "+0.01"),
        ("=1+1", "'=1+1"),
        ("@x", "'@x"),
        ("-x", "'-x"),
        ("−2+cmd|'x'!A0", "'-2+cmd|'x'!A0"),
        ("a − b", "a − b"),
    ],
)
def test_no_cell_is_a_formula_and_a_minus_is_one_to_programs(text, means):
    assert cell((Run(text),)) == means


def test_word_holds_the_numbers_of_the_pages(tables, tmp_path):
    few = [t for t in tables if t.page in ("README.md", "methods.md")]  # a cell takes python-docx a millisecond
    (path,) = write_word(few, tmp_path)
    document = Document(str(path))
    assert len(document.tables) == len(few)
    for read, table in zip(document.tables, few):
        assert [[c.text for c in row.cells] for row in read.rows] == [words(r) for r in [table.heads, *table.rows]]
    paragraphs = [p.text for p in document.paragraphs]
    for number, table in enumerate(few, 1):
        assert f"Table {number}. {table.heading.rstrip('.')}. {plain(table.lead)}" in paragraphs
        assert set(words(table.notes)) <= set(paragraphs)
    bold = {
        run.text
        for t in document.tables
        for row in t.rows[1:]
        for c in row.cells
        for run in c.paragraphs[0].runs
        if run.bold
    }
    assert bold  # the chosen one


def read_back(text):
    """Return LaTeX as text, by the reader of pylatexenc, which does not know ensuremath and texttt."""
    text = re.sub(r"\\(?:ensuremath|texttt)\{(.*?)\}", r"\1{}", text)
    shown = LatexNodes2Text().latex_to_text(text)
    return re.sub(r"-(?=\d)", "−", shown).replace("⋆", "★").replace("ˆ", "^")


def test_latex_holds_the_numbers_of_the_pages(tables, tmp_path):
    document, *written = write_latex(tables, tmp_path)
    listed = re.findall(r"\\input\{(.*?)\}", document.read_text())
    assert listed == [path.name for path in written] == [f"{t.name}.tex" for t in tables]
    for table in tables:
        text = (tmp_path / f"{table.name}.tex").read_text()
        assert text.count("{") == text.count("}")
        begin, end = ("\\endlastfoot", "\\end{longtable}") if "longtable" in text else ("\\midrule", "\\bottomrule")
        body = text.rpartition(begin)[2].partition(end)[0]
        expected = [n for row in table.rows for c in words(row) for n in NUMBER.findall(re.sub(r"-(?=\d)", "−", c))]
        assert NUMBER.findall(read_back(body)) == expected, table.name


def test_latex_sets_every_sign():
    text = r"50 % & #1 _x_ $5 {a} ~ ^ \ <b> −1 ± 2 ≥ κ — ★ é"
    assert read_back(escaped(text)) == text
    for sign in "%&#_$":
        assert not re.search(rf"(?<!\\){re.escape(sign)}", escaped(text))
    second = latex(tables_of(PAGE, "p.md")[2])
    assert "{[}0, 1] & {*}2" in second  # behind a line break, LaTeX takes both for its own


def test_the_command_names_what_it_wrote_and_what_is_wrong(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/README.md").write_text(PAGE)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/README.md").write_bytes(b"\xff")
    common = ["--reports", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    for name, count in (("latex", 4), ("csv", 4), ("docx", 1)):
        export_tables.main([*common, "--format", name])
        assert "3 tables of 1 pages" in capsys.readouterr().out
        suffix = {"latex": "tex"}.get(name, name)
        files = sorted((tmp_path / "out").glob(f"*.{suffix}"))
        assert len(files) == count
        files[-1].write_bytes(b"edited by hand")
        export_tables.main([*common, "--format", name])
        assert capsys.readouterr().out.startswith(f"{files[-1]} was there: kept as {files[-1]}.1\n3 tables")
        assert files[-1].with_name(f"{files[-1].name}.1").read_bytes() == b"edited by hand"
    for wrong, message in (
        ([*common, "--page", "x.md"], "no page x.md; must be among README.md"),
        (["--reports", str(tmp_path / "none")], "no pages"),
        (["--out", "reports/x"], "must be another folder"),
        (["--reports", str(tmp_path / "other")], "README.md: not a text file in UTF-8"),
        ([*common[:2], "--out", str(tmp_path / "loop")], "Too many levels of symbolic links"),
        ([*common[:2], "--out", str(tmp_path / "in/README.md/x")], "Not a directory"),
    ):
        with pytest.raises(SystemExit):
            export_tables.main(wrong)
        assert message in capsys.readouterr().err


def test_pages_that_do_not_exist_are_an_error(tmp_path):
    with pytest.raises(ReportError, match="no pages; dvc repro writes them"):
        read_tables(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "signs"), [(".pdf", (b"/FontFile2", b"/CIDFontType2")), (".svg", (b"<svg", b"<path"))]
)
@pytest.mark.drawn
def test_a_figure_is_written_with_its_fonts_and_a_private_one_is_not(suffix, signs, tmp_path):
    contents = []
    for _ in range(2):
        with style.styled(), style.vector(tmp_path / "reports", suffix) as written:
            drawn: Figure = style.figure(3, 2)
            drawn.subplots().set_title("AUROC, $5 −1")
            style.save(drawn, tmp_path / "reports/figures/a.png")
            style.save(drawn, tmp_path / "private/b.png")
        contents.append(written[0].read_bytes())
    first = contents[0]
    assert contents[1] == first
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [f"reports/figures/a{suffix}"]
    assert all(sign in first for sign in signs)
    assert b"/Type3" not in first
    assert not (tmp_path / "private").exists()
    assert [path.suffix for path in Path(tmp_path).rglob("*.*")] == [suffix]
