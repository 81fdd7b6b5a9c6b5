import math

import pytest

from pipeline.reporting import tables
from pipeline.reporting.study import Estimate

NAN = math.nan


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.8474, 0.8321, 0.8609), "0.847 [0.832, 0.861]"),
        (Estimate(0.8474), "0.847 [—]"),
        (Estimate(), "—"),
        (Estimate(-0.1, -0.2, 0.05), "−0.100 [−0.200, 0.050]"),
    ],
)
def test_estimated(estimate, text):
    assert tables.estimated(estimate) == text


def test_missing_is_a_dash_and_never_nan():
    for text in (
        tables.number(NAN),
        tables.number(None),
        tables.whole(NAN),
        tables.percent(NAN),
        tables.probability(NAN),
    ):
        assert text == "—"
    assert tables.mean_sd(0.8, NAN) == "0.800"
    assert tables.mean_sd(0.8, 0.01) == "0.800 ± 0.010"


def test_a_p_value_is_never_zero():
    assert tables.probability(0.0) == "< 0.001"
    assert tables.probability(0.0421) == "0.042"


def test_a_pipe_or_a_line_break_stays_in_its_cell():
    lines = tables.table(["A", "B"], [["x|y", "1\n2"]], "lr").splitlines()
    assert len(lines) == 3
    assert r"x\|y" in lines[2]
    assert "1 2" in lines[2]


def test_trailing_zeros_are_kept():
    assert "0.9000" in tables.table(["A"], [["0.9000"]], "r")


def few(note="too few"):
    return Estimate(0.5, note=note)


def whole():
    return Estimate(0.5, 0.4, 0.6, note="")


@pytest.mark.parametrize(
    ("noted", "lines"),
    [
        ([("a", "X", whole())], []),
        ([("a", "X", few()), ("b", "X", whole())], ["- — a: too few."]),
        ([("a", "X", few()), ("a", "Y", few()), ("b", "X", whole())], ["- — a: too few."]),
        ([("a", "X", few()), ("b", "X", few())], ["- — All rows: too few."]),
        (
            [("a", "X", few()), ("a", "Y", whole()), ("b", "X", few()), ("b", "Y", whole())],
            ["- — X of all rows: too few."],
        ),
        (
            [("a", "X", few()), ("a", "Y", whole()), ("b", "X", whole()), ("b", "Y", few())],
            ["- — a (X) and b (Y): too few."],
        ),
        ([("a", "X", few("one")), ("b", "X", few("two"))], ["- — a: one.", "- — b: two."]),
        ([("a", "X", Estimate(0.5, 0.4, 0.6, note="remark")), ("b", "X", whole())], ["- a: remark."]),
    ],
)
def test_reasons(noted, lines):
    assert tables.reasons(noted).splitlines() == lines
