"""The engine of pages: facts cannot break a table, a missing fact is an error, blank lines are put in order."""

import pytest
from jinja2 import DictLoader, UndefinedError

from pipeline.reporting import page
from pipeline.reporting.values import Estimate


@pytest.fixture
def rendered(monkeypatch):
    """Return a function that renders a template given as text."""

    def rendered(text, /, _others=(), **facts):
        environment = page._environment().overlay(loader=DictLoader({"t": text, **dict(_others)}))
        monkeypatch.setattr(page, "_environment", lambda: environment)
        return page.render("t", **facts)

    yield rendered
    monkeypatch.undo()


TABLE = (
    '{% call table("Class", "AUROC >") %}{% for n, v in rows %}\n{{ n }} | {{ v | number }}\n{% endfor %}{% endcall %}'
)


def test_a_table_is_padded_and_its_columns_are_aligned(rendered):
    assert rendered(TABLE, rows=[("a", 0.5), ("long name", None)]).splitlines() == [
        "| Class     |   AUROC |",
        "|:----------|--------:|",
        "| a         |   0.500 |",
        "| long name |       — |",
    ]


def test_a_table_without_rows_is_not_written(rendered):
    assert rendered("before\n\n" + TABLE + "\n\nafter", rows=[]) == "before\n\nafter\n"


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("x|y", r"x\|y"),
        ("a\nb", "a b"),
        ("<b>", "&lt;b>"),
        ("a\rb", "a b"),
        ("a\u2028b", "a b"),
        ("a\x0cb", "a b"),
        ("", ""),
    ],
)
def test_a_fact_cannot_break_a_table(rendered, name, cell):
    for text in (TABLE, TABLE.replace("{{ n }}", "{{ n | escape }}")):
        lines = rendered(text, rows=[(name, 1)]).splitlines()
        assert len(lines) == 3
        assert lines[2].startswith(f"| {cell}")
        assert lines[2].removeprefix(f"| {cell}").split() == ["|", "1.000", "|"]


def test_a_bar_of_a_fact_outside_a_table_stays_a_bar(rendered):
    assert rendered("{{ x }} and {{ x | escape }}", x="a|b") == "a|b and a\\|b\n"


def test_rows_of_any_length(rendered):
    text = '{% call table("A", *heads) %}{{ "x" }} | {{ row | cells }}{% endcall %}'
    lines = rendered(text, heads=["B >", "C"], row=["1|2", "<3"]).splitlines()
    assert lines[0] == "| A   |    B | C     |"
    assert lines[2] == r"| x   | 1\|2 | &lt;3 |"


def test_a_row_with_a_cell_too_few_is_an_error(rendered):
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        rendered('{% call table("A", "B") %}x{% endcall %}')


def test_a_table_of_a_macro_keeps_its_borders(rendered):
    macro = '{% macro shared(rows) %}{% call table("A", "B") %}{{ rows }} | 1{% endcall %}{% endmacro %}'
    others = {"m": macro}
    lines = rendered('{% import "m" as m %}{{ m.shared("a|b") }}', _others=others.items()).splitlines()
    assert lines == ["| A    | B   |", "|:-----|:----|", r"| a\|b | 1   |"]


def test_trailing_zeros_are_kept(rendered):
    assert "0.9000" in rendered('{% call table("A >") %}{{ x }}{% endcall %}', x="0.9000")


def test_a_line_break_of_a_fact_outside_a_table_is_one(rendered):
    assert rendered("```\n{{ x }}\n```", x="a: 1\nb: 2") == "```\na: 1\nb: 2\n```\n"


def test_a_missing_fact_is_an_error(rendered):
    with pytest.raises(UndefinedError, match="nothing"):
        rendered("{{ nothing }}")


def test_blank_lines_are_put_in_order(rendered):
    assert rendered("\n\n# A\n\n\n\n{% if false %}\nx\n{% endif %}\n\nB  \n") == "# A\n\nB\n"


def test_what_is_known(rendered):
    text = "{{ x is known }}"
    assert rendered(text, x=0.0) == rendered(text, x=Estimate(0.1)) == "True\n"
    assert rendered(text, x=None) == rendered(text, x=float("nan")) == rendered(text, x=Estimate()) == "False\n"
    assert rendered("{{ x is bounded }}", x=Estimate(0.1, 0.0, 0.2)) == "True\n"


def test_the_words_are_those_of_the_study_and_not_of_the_one_that_a_template_was_compiled_for():
    template = page._environment().from_string('{{ "patient" | kept }}, {{ "a_b" }}, {{ ["a_b"] | cells }}')
    token = page._WORDS.set(page._Words({"a_b": "A"}, (), patients_known=False))
    try:
        assert page._in_words(template.render()).replace(page._KEPT, "") == "patient, A, A"
    finally:
        page._WORDS.reset(token)
    assert template.render() == "patient, a_b, a_b"
