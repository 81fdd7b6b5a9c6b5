"""The combiners, by hand."""

import numpy as np
import pytest
from scipy.special import log_softmax, logit
from scipy.stats import spearmanr

from pipeline.ensembling.combiners import LinearPool, Places, Vote, mean_probability_logits
from pipeline.ensembling.fitting import fit
from tests.ensembling.simulated import TASKS, link, simulated


@pytest.mark.parametrize("task", TASKS)
def test_the_probability_of_the_result_is_the_mean_probability(task):
    logits = np.random.default_rng(0).normal(0, 3, (4, 50, 3)).astype(np.float32)
    result = mean_probability_logits(logits, task)
    assert result.dtype == np.float32
    np.testing.assert_allclose(link(result, task), link(logits, task).mean(0), rtol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_extreme_logits_stay_finite(task):
    logits = np.array([[[1e4, -1e4, 0.0]], [[1e4, -1e4, 0.0]]], np.float32)
    assert np.isfinite(mean_probability_logits(logits, task)).all()


def test_mean_logit_is_the_mean_of_logits_or_of_log_probabilities():
    logits, targets, patients = simulated("multilabel")
    given = fit("mean_logit", logits, targets, "multilabel", patients).val_logits
    np.testing.assert_allclose(given, logits.mean(0), rtol=1e-5, atol=1e-6)
    given = fit("mean_logit", logits, simulated("multiclass")[1], "multiclass", patients).val_logits
    np.testing.assert_allclose(given, log_softmax(logits.astype(float), -1).mean(0), rtol=1e-5, atol=1e-6)


def test_votes_count_and_the_mean_probability_breaks_ties_multiclass():
    likely = np.array([[[0.6, 0.3, 0.1]], [[0.1, 0.5, 0.4]], [[0.2, 0.1, 0.7]]])
    result = link(Vote("multiclass", np.full((3, 3), np.nan)).apply(np.log(likely)), "multiclass")
    # One vote each: the mean probabilities .3, .3, .4 decide, and (1 + p) / 4 are the probabilities.
    np.testing.assert_allclose(result, [[1.3 / 4, 1.3 / 4, 1.4 / 4]], rtol=1e-6)
    two_to_one = np.array([[[0.51, 0.49, 0.0]], [[0.51, 0.49, 0.0]], [[0.0, 1.0, 0.0]]])
    result = link(Vote("multiclass", np.full((3, 3), np.nan)).apply(np.log(two_to_one + 1e-9)), "multiclass")
    assert result.argmax() == 0  # two votes outvote the larger mean probability of class 1 (.66)


@pytest.mark.parametrize("members", [2, 3, 4, 5])
def test_votes_reach_one_half_by_a_majority_or_by_a_tie_with_likely_truth(members):
    rng = np.random.default_rng(members)
    likely, thresholds = rng.uniform(0.001, 0.999, (members, 300, 2)), rng.uniform(0.1, 0.9, (members, 2))
    result = link(Vote("multilabel", thresholds).apply(logit(likely)), "multilabel")
    votes, mean = (likely >= thresholds[:, None]).sum(0), likely.mean(0)
    expected = (votes > members / 2) | ((votes == members / 2) & (mean >= 0.5))
    assert np.array_equal(result >= 0.5, expected)
    key = votes + mean  # more votes first, then the more likely
    assert spearmanr(result[:, 0], key[:, 0]).statistic == pytest.approx(1)


def test_places_are_mid_ranks_within_and_strictly_increasing_everywhere():
    reference = np.array([1.0, 2.0, 2.0, 5.0])
    places = Places.of(reference)
    np.testing.assert_allclose(places(reference), [1 / 8, 4 / 8, 4 / 8, 7 / 8])
    grid = places(np.linspace(-9, 15, 500))
    assert (np.diff(grid) > 0).all()
    assert grid.min() > 0
    assert grid.max() < 1


def test_a_linear_pool_is_the_weighted_mean_of_probabilities():
    logits, _, _ = simulated("multiclass")
    weights = np.array([0.5, 0.25, 0.25, 0.0])
    result = link(LinearPool("multiclass", weights).apply(logits), "multiclass")
    np.testing.assert_allclose(result, np.tensordot(weights, link(logits, "multiclass"), 1), rtol=1e-5)
