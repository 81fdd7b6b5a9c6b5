"""The Newton solver against scikit-learn and statsmodels' definition of the optimum."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from pipeline.metrics.logistic import fit_logistics, logistic_optimum


@pytest.mark.parametrize("rows", [40, 400])
def test_many_fits_at_once_are_those_of_scikit_learn(rows):
    rng = np.random.default_rng(rows)
    features = rng.normal(size=(5, rows, 6)) * [1, 10, 0.1, 1, 1, 0] + [0, 3, 0, 0, 0, 7]  # the last does not vary
    features[3, :, 1] = features[3, :, 0]  # two members that agree
    truth = rng.random((5, rows)) < expit(features[..., 0] - 1)
    truth[:, :2] = [0, 1]
    truth[4] = features[4, :, 0] > 0  # told apart without an error
    penalties = (1e-3, 1e-1, 1.0)
    for penalty, (weights, intercepts) in zip(penalties, fit_logistics(features, truth, penalties)):
        for p in range(5):
            mean, spread = features[p].mean(axis=0), features[p].std(axis=0)
            standard = np.where(spread > 1e-12, (features[p] - mean) / np.where(spread > 1e-12, spread, 1), 0)
            model = LogisticRegression(C=penalty, solver="newton-cholesky", tol=1e-12, max_iter=1000)
            want = model.fit(standard, truth[p]).decision_function(standard)
            np.testing.assert_allclose(features[p] @ weights[p] + intercepts[p], want, atol=1e-6)
            assert weights[p, 5] == 0


def test_the_optimum_has_no_gradient_wherever_it_starts():
    rng = np.random.default_rng(0)
    design = np.concatenate([rng.normal(size=(3, 60, 2)), np.ones((3, 60, 1))], axis=2)
    target = rng.random((3, 60))  # probabilities are targets, too
    found = logistic_optimum(design, target)
    far = logistic_optimum(design, target, start=np.full((3, 3), 8.0))
    np.testing.assert_allclose(far, found, atol=1e-8)
    likely = expit((design @ found[..., None])[..., 0])
    np.testing.assert_allclose(((likely - target)[:, None] @ design)[:, 0], 0, atol=1e-8)
