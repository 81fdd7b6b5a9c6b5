"""Cells that a spreadsheet would calculate."""

import pytest

from pipeline.study.cells import harmless


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", '=HYPERLINK("http://x")', "-A1", "+A1"),
        *(" =1+1", "\t=1+1", "\r=1", "+1&A1", "-1+SUM(A1)", "-note", "+1\t=1", "=", "@"),
    ],
)
def test_no_formula_is_left(text):
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mass",
        "-0.5",
        "+0.01",
        "-1e-05",
        "-.5",
        "+0.01 [-0.02, 0.04]",
        "-0.1 (-0.2 to 0.1)",
        "-3 %",
        "a=b",
        "x@y",
        "1+1",
    ],
)
def test_numbers_and_names_stay(text):
    assert harmless(text) == text
