"""Slope and intercept against statsmodels' logistic regression, and the floor of the calibration error by drawing."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from pipeline.metrics.calibration import ECE_BINS, equal_mass_bins
from pipeline.metrics.recalibration import error_floor, group_errors, recalibration


def forecasts(n=400, seed=0, images=2):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.5, n)
    truth = rng.random(n) < expit(0.7 * logits + 0.4)
    return logits, truth, np.arange(n) // images


def test_the_line_is_scikit_learns():
    logits, truth, groups = forecasts()
    line = recalibration(logits, truth, groups, groups.max() + 1)
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(logits[:, None], truth)
    np.testing.assert_allclose([line.slope, line.intercept], [model.coef_[0, 0], model.intercept_[0]], rtol=1e-6)


def test_the_errors_are_those_of_the_sandwich_written_out():
    logits, truth, groups = forecasts()
    line = recalibration(logits, truth, groups, groups.max() + 1)
    design = np.stack([logits, np.ones(len(logits))], axis=1)
    p = expit(design @ [line.slope, line.intercept])
    bread = np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)
    scores = np.add.reduceat(design * (truth - p)[:, None], np.arange(0, len(logits), 2))
    meat = scores.T @ scores * len(scores) / (len(scores) - 1)
    np.testing.assert_allclose(line.errors, np.sqrt(np.diag(bread @ meat @ bread)), rtol=1e-6)
    np.testing.assert_allclose(group_errors(line.influence), line.errors)


def test_the_intervals_cover_what_was_drawn():
    held = []
    for seed in range(200):
        logits, truth, groups = forecasts(seed=seed, images=1)
        line = recalibration(logits, truth, groups, 400)
        held.append(np.abs([line.slope - 0.7, line.intercept - 0.4]) < 1.96 * line.errors)
    assert np.mean(held, axis=0) == pytest.approx([0.95, 0.95], abs=3 * np.sqrt(0.95 * 0.05 / 200))


@pytest.mark.parametrize(
    ("logits", "truth", "note"),
    [
        ([1, 2, 3], [0, 0, 0], "no positive"),
        ([1, 2, 3], [1, 1, 1], "no negative"),
        ([2, 2, 2], [0, 1, 0], "one logit"),
        ([1, 2, 3], [0, 0, 1], "no finite slope"),
        ([1, 2, 3], [1, 0, 0], "no finite slope"),
        ([1, np.inf, 3], [1, 0, 1], "not finite"),
    ],
)
def test_what_has_no_line_says_why(logits, truth, note):
    line = recalibration(np.array(logits, float), np.array(truth), np.arange(3), 3)
    assert np.isnan([line.slope, line.intercept, *line.errors]).all()
    assert note in line.note


@pytest.mark.parametrize(("prevalence", "within"), [(0.03, 0.06), (0.3, 0.02)])
def test_the_floor_is_the_error_of_truths_drawn_from_the_forecast(prevalence, within):
    rng = np.random.default_rng(0)
    p = np.clip(rng.beta(2, 2 / prevalence - 2, 384), 1e-4, 1 - 1e-4)
    place = equal_mass_bins(p)
    drawn = [np.abs(np.bincount(place, (rng.random(384) < p) - p, ECE_BINS)).sum() / 384 for _ in range(2000)]
    assert error_floor(p) == pytest.approx(np.mean(drawn), rel=within)
