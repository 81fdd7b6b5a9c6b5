"""The page of grades: distances by hand, the constant grade, and no page without an order."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from pipeline.reporting import page
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate, Outcome
from pipeline.reporting.views import ordinal, shared
from pipeline.study.predictions import METRIC_COLUMNS

pytestmark = pytest.mark.drawn

CLASSES = ("none", "mild", "severe")
COUNTS = {("none", "none"): 6, ("none", "severe"): 2, ("mild", "mild"): 3, ("mild", "none"): 1, ("severe", "severe"): 4}


def results(metric="qwk"):
    confusion = pd.DataFrame(
        [("1", t, p, COUNTS.get((t, p), 0)) for t in CLASSES for p in CLASSES],
        columns=["seed", "truth", "predicted", "n"],
    )
    rows = [("m", "ce", "mean", part, "overall", metric, 0.7, 0.5, 0.8, 16, 16, "") for part in ("val", "test")]
    rows += [("m", "ce", "mean", part, "macro", "auroc", 0.8, 0.7, 0.9, 16, 16, "") for part in ("val", "test")]
    return Results("m", "ce", (1,), pd.DataFrame(rows, columns=METRIC_COLUMNS), confusion=confusion)


def study(metric="qwk"):
    return StudyResults("Eyes", "multiclass", CLASSES, (results(metric),))


def test_distances_are_counted_from_the_confusion_matrix():
    apart = ordinal.distances(study(), results())
    assert apart.off == [-2, -1, 0, 1, 2]
    assert apart.labels == ["−2", "−1", "right", "+1", "+2"]
    by_name = {row.name: row for row in apart.rows}
    assert by_name["none"].shares == [0, 0, 0.75, 0, 0.25]
    assert by_name["none"].bias == pytest.approx(0.5)
    assert by_name["mild"].shares == [0, 0.25, 0.75, 0, 0]
    assert by_name["severe"].n == 4


def test_the_median_grade_of_the_training_set_is_held_to_the_test_set():
    labels = np.eye(3, dtype=int)[[0, 1, 1, 2, 2, 2, 0, 0, 1, 2]]
    samples = pd.DataFrame(labels, columns=list(CLASSES)).assign(part=["train"] * 6 + ["test"] * 4)
    recorded = replace(study(), samples=samples, params=object())
    plain = ordinal.plain(recorded)
    assert (plain.name, plain.grades_off, plain.within_one, plain.accuracy) == ("mild", 0.75, 1.0, 0.25)
    assert cohen_kappa_score([0, 0, 1, 2], [1] * 4, weights="quadratic") == 0
    assert ordinal.plain(study()) is None


def test_pairs_say_what_the_tests_allow():
    row = {"first": "a", "second": "b", "difference": 0.1, "ci_low": 0.02, "ci_high": 0.18, "p": 0.01, "note": ""}
    table = pd.DataFrame([row | {"p_holm": 0.02}, row | {"first": "c", "p_holm": 0.2}])
    made = shared.pairs(study(), table.assign(metric="qwk"))
    assert [pair.outcome for pair in made] == [Outcome.DIFFER, Outcome.NOISE]
    assert made[0].difference == Estimate(0.1, 0.02, 0.18, note="")


def test_the_page_is_written_where_there_are_grades_alone(tmp_path):
    made = study()
    with page.about(made):
        written, drawn = ordinal.render(made, tmp_path)
    text = re.sub(" +", " ", written.read_text())
    assert "| **[m-ce](seeds/m-ce.md)** ★ " in text
    assert "0.700 [0.500, 0.800]" in text
    assert "| none | 8 | 0.0 % | 0.0 % | 75.0 % | 0.0 % | 25.0 % | +0.50 |" in text
    assert drawn.is_file()
    assert ordinal.render(study("kappa"), tmp_path / "other") == []


def test_one_pair_is_no_family(tmp_path):
    row = {"second": "b", "metric": "qwk", "difference": 0.1, "ci_low": 0.02, "ci_high": 0.18, "p": 0.01, "note": ""}
    for firsts, said in (
        (["a"], "paired by patient; there is one pair, whose p needs no correction. Significant: 1."),
        (["a", "c"], "p is Holm-corrected for the 2 pairs of this table, which are a family of their own."),
    ):
        table = pd.DataFrame([row | {"first": first, "p_holm": 0.02} for first in firsts])
        made = replace(study(), grade_comparisons=table)
        with page.about(made):
            ordinal.render(made, tmp_path)
        assert said in (tmp_path / "ordinal.md").read_text()
