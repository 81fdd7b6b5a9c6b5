"""Probabilities at another prevalence, against Bayes' theorem, an optimiser, and a truth that was drawn."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from pipeline.metrics.prior_shift import at_prevalence, estimated_prevalence
from pipeline.metrics.thresholds import probabilities


def test_moved_probabilities_are_those_of_bayes_theorem():
    p, before, after = np.array([[0.2], [0.9]]), np.array([0.3]), np.array([0.05])
    ratio = p / (1 - p) * (1 - before) / before  # likelihood ratio of the image
    expected = ratio * after / (ratio * after + 1 - after)
    assert np.allclose(
        probabilities(at_prevalence(np.log(p / (1 - p)), "multilabel", before, after), "multilabel"), expected
    )
    p, before, after = np.array([[0.2, 0.5, 0.3]]), np.array([0.5, 0.25, 0.25]), np.array([0.1, 0.1, 0.8])
    weighed = p / before * after
    moved = probabilities(at_prevalence(np.log(p), "multiclass", before, after), "multiclass")
    assert np.allclose(moved, weighed / weighed.sum())


def draw(share, n, seed):
    """Logits that are the true log-odds at a prevalence of a half: x of a normal at 1 or -1, both of variance 1."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < share
    return 2 * (rng.normal(size=n) + np.where(truth, 1, -1)), truth


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_the_estimate_is_the_maximum_of_the_likelihood_and_near_the_truth(share):
    logits, truth = draw(share, 4000, 1)
    found = estimated_prevalence(logits[:, None], "multilabel", np.array([0.5]))[0]
    p = 1 / (1 + np.exp(-logits))
    best = minimize_scalar(
        lambda q: -np.log(q * p / 0.5 + (1 - q) * (1 - p) / 0.5).sum(), bounds=(1e-6, 1 - 1e-6), method="bounded"
    )
    assert found == pytest.approx(best.x, abs=2e-4)
    assert found == pytest.approx(truth.mean(), abs=0.02)
    two = np.stack([np.zeros(4000), logits], axis=1)  # the same as two classes
    assert estimated_prevalence(two, "multiclass", np.array([0.5, 0.5]))[1] == pytest.approx(found, abs=1e-6)


def test_an_unchanged_prevalence_is_found_unchanged_and_moves_nothing():
    logits, truth = draw(0.5, 4000, 2)
    assert estimated_prevalence(logits[:, None], "multilabel", np.array([0.5]))[0] == pytest.approx(
        truth.mean(), abs=0.02
    )
    same = np.array([0.5])
    assert np.array_equal(at_prevalence(logits[:, None], "multilabel", same, same), logits[:, None])
