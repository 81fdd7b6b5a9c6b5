"""The page about claims: its numbers against independent ones, and what it says where little is known."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2, norm

from pipeline.reporting.loading import load_study
from pipeline.reporting.values import NO_TABLE
from pipeline.reporting.views import claims, verdict
from pipeline.uncertainty import sample_size
from pipeline.uncertainty.claims import false_claim
from pipeline.uncertainty.retraining import patients_needed, retraining
from tests.reporting.loaded import load_once
from tests.reporting.test_pages import check_page


def page(study) -> str:
    """Render, check and return the page."""
    (path,) = claims.render(study, Path("reports"))
    (path.parent / "README.md").write_text("# Results\n\n## Verdict\n")
    text = path.read_text()
    check_page(path, text)
    return re.sub(" +", " ", text)


def test_every_claim_has_its_probability(here):
    study = load_once(here)
    found, text = claims.claims(study), page(study)
    rows = study.comparisons
    for pair in found.pairs:
        row = rows[rows["first"].isin([pair.first, pair.second]) & rows["second"].isin([pair.first, pair.second])].iloc[
            0
        ]
        assert pair.difference.value == pytest.approx(abs(row["difference"]))
        assert pair.false_claim == pytest.approx(float(false_claim(row["p"]).sceptical))
        about = "networks" if row["seeds"] == "fixed" else "configurations"
        assert f"| {pair.first} | {pair.second} |" in text
        assert pair.fixed == (about == "networks")
    assert found.doubtful == sum(pair.false_claim >= 0.05 for pair in found.pairs)
    assert len(found.pairs) >= 6


def test_the_margin_is_the_repeatability_of_training(here):
    study = load_once(here)
    r = claims.claims(study).retraining
    values = [results.values("auroc") for results in study.configurations]
    residuals = np.concatenate([v - v.mean() for v in values])
    freedom = sum(len(v) - 1 for v in values)
    sd = np.sqrt((residuals**2).sum() / freedom)
    assert (r.sd, r.freedom) == (pytest.approx(sd), freedom)
    assert r.margin == pytest.approx(norm.ppf(0.975) * np.sqrt(2) * sd)
    assert r.low == pytest.approx(sd * np.sqrt(freedom / chi2.ppf(0.975, freedom)))
    assert r.high == pytest.approx(sd * np.sqrt(freedom / chi2.ppf(0.025, freedom)))
    text = page(study)
    assert f"`evaluate.margin: {r.margin:.3f}`" in text
    assert f"**Used** here: {study.params.evaluate.margin:g}" in text


def test_two_trainings_differ_by_more_than_the_margin_once_in_twenty():
    rng = np.random.default_rng(0)
    r = retraining([rng.normal(0.8, 0.01, 400) for _ in range(5)])
    one, other = rng.normal(0.8, 0.01, (2, 100_000))
    assert (np.abs(one - other) > r.margin).mean() == pytest.approx(0.05, abs=0.008)
    assert retraining([np.array([0.8]), np.array([0.9, np.nan])]) is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        retraining([], 1.0)


def test_patients_needed_find_the_difference():
    """A difference of 0.02 whose error is half of cases: with so many patients 80 % of studies see it."""
    n = patients_needed(100, 1e-4, 1e-4, 10, 0.02)
    error = np.sqrt(1e-4 * 100 / n + 2 * 1e-4 / 10)
    assert norm.sf(norm.ppf(0.975) - 0.02 / error) == pytest.approx(0.8, abs=0.01)
    assert patients_needed(100, 1e-4, 1e-4, 3, 0.005) == math.inf


def test_precise_estimates_by_class(here):
    study = load_once(here)
    for row in claims.claims(study).patients:
        prevalence = row.positives / len(study.subject.predictions.test_targets)
        assert row.needed.observed_expected == sample_size.observed_expected(prevalence)
        if 0 < row.auroc < 1:
            assert row.needed.c_statistic == sample_size.c_statistic(prevalence, row.auroc)
        assert math.isnan(row.needed.net_benefit) or study.task == "multilabel"


def test_one_seed_tells_of_no_margin_and_no_seeds(make):
    study = load_study(make(replicates=()))
    text = page(study)
    assert "Every configuration was trained once" in text
    assert "Proposed" not in text
    assert "### Seeds" not in text
    assert "| networks |" in text
    without = replace(study, comparisons=NO_TABLE, class_comparisons=NO_TABLE)
    assert "No pair was tested" in page(without)


def test_comparisons_of_an_older_study_have_no_error(here):
    study = load_once(here)
    older = replace(study, comparisons=study.comparisons.drop(columns=["error", "freedom"]))
    assert math.isnan(claims.claims(older).error)
    assert "What a study of this size can see" not in page(older)
    assert verdict.comparison(older).pairs[0].false_claim == verdict.comparison(study).pairs[0].false_claim
