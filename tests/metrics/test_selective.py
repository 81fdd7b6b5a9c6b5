"""The area under the risk-coverage curve and the cut for a coverage."""

import numpy as np
import pytest

from pipeline.metrics.selective import aurc, cut_for_coverage


def by_loop(certainty, wrong, weights):
    """Mean error among the images at least as certain, each image counted as often as its weight says."""
    risks = [
        np.average(wrong[certainty >= c], weights=weights[certainty >= c]) if w else 0.0
        for c, w in zip(certainty, weights)
    ]
    return np.average(risks, weights=weights)


@pytest.mark.parametrize("ties", [False, True])
def test_aurc_is_that_of_a_loop(ties):
    rng = np.random.default_rng(2)
    certainty = rng.random(150)
    if ties:
        certainty = certainty.round(1)
    wrong = rng.random(150) < 0.5 * (1 - certainty)
    assert np.isclose(aurc(certainty, wrong).value, by_loop(certainty, wrong, np.ones(150)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_the_influence_is_the_derivative(ties):
    rng = np.random.default_rng(4)
    certainty = rng.random(60)
    if ties:
        certainty = certainty.round(1)
    wrong = rng.random(60) < 0.4
    found = aurc(certainty, wrong)
    assert abs(found.influence.sum()) < 1e-12
    for i in (0, 7, 33, 59):
        step = 1e-6 * (np.arange(60) == i)
        slope = (by_loop(certainty, wrong, 1 + step) - by_loop(certainty, wrong, 1 - step)) / 2e-6
        assert np.isclose(found.influence[i], slope, rtol=1e-5, atol=1e-8)


def test_the_error_of_the_influence_is_that_of_the_bootstrap():
    rng = np.random.default_rng(6)
    certainty = rng.random(400)
    wrong = rng.random(400) < 0.6 * (1 - certainty)
    influence = aurc(certainty, wrong).influence
    draws = [by_loop(certainty, wrong, rng.multinomial(400, np.full(400, 1 / 400)).astype(float)) for _ in range(300)]
    assert np.isclose(np.std(draws), np.sqrt((influence**2).sum()), rtol=0.15)


def test_no_error_and_nothing_but_errors():
    certainty = np.linspace(0, 1, 20)
    assert aurc(certainty, np.zeros(20, bool)).value == 0
    assert aurc(certainty, np.ones(20, bool)).value == 1


@pytest.mark.parametrize(("coverage", "kept"), [(0.9, 90), (0.801, 81), (1.0, 100), (0.001, 1)])
def test_the_cut_keeps_at_least_the_share(coverage, kept):
    certainty = np.random.default_rng(0).permutation(100) / 100
    assert (certainty >= cut_for_coverage(certainty, coverage)).sum() == kept
