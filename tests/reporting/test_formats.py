import math

import pytest

from pipeline.reporting import formats
from pipeline.reporting.values import Estimate

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
    assert formats.estimated(estimate) == text


def test_missing_is_a_dash_and_never_nan():
    for text in (
        formats.number(NAN),
        formats.number(None),
        formats.whole(NAN),
        formats.percent(NAN),
        formats.probability(NAN),
    ):
        assert text == "—"
    assert formats.mean_sd(0.8, NAN) == "0.800"
    assert formats.mean_sd(0.8, 0.01) == "0.800 ± 0.010"


def test_a_p_value_is_never_zero():
    assert formats.probability(0.0) == "< 0.001"
    assert formats.probability(0.0421) == "0.042"


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
        ([("a", "X", few("")), ("b", "X", whole())], ["- — a: no interval."]),
        ([("a", "X", Estimate()), ("b", "X", whole())], ["- — a: not in the metrics table."]),
        ([("a", "X", Estimate(0.5, 0.4, 0.6, note="remark")), ("b", "X", whole())], ["- a: remark."]),
    ],
)
def test_reasons(noted, lines):
    assert formats.reasons(noted).splitlines() == lines
