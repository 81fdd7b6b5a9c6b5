"""Fast DeLong against the textbook's sums over all pairs, and against published arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.uncertainty.delong import delong, delong_pairs


def textbook(positive, scores):
    """AUROCs and covariance [S, S] of DeLong et al. 1988, with the kernel of every pair of images written out."""
    x, y = scores[:, positive], scores[:, ~positive]
    kernel = (x[:, :, None] > y[:, None, :]) + 0.5 * (x[:, :, None] == y[:, None, :])
    v10, v01 = kernel.mean(axis=2), kernel.mean(axis=1)
    return kernel.mean(axis=(1, 2)), np.atleast_2d(np.cov(v10)) / x.shape[1] + np.atleast_2d(np.cov(v01)) / y.shape[1]


def example(n=200, k=3, s=3, decimals=1, seed=0):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, k)) < 0.2).astype(np.uint8)
    scores = targets + rng.normal(size=(n, k)) + 0.5 * rng.normal(size=(s, n, k))
    return targets, np.round(scores, decimals)


@given(st.integers(0, 10_000), st.sampled_from([0, 1, 8]), st.integers(2, 4))
def test_equals_the_textbook_with_ties(seed, decimals, models):
    targets, scores = example(60, 2, models, decimals, seed)
    got = delong(targets, scores)
    for k in range(2):
        positive = targets[:, k].astype(bool)
        if min(positive.sum(), (~positive).sum()) < 2:
            continue
        auroc, covariance = textbook(positive, scores[:, :, k])
        np.testing.assert_allclose(got.auroc[:, k], auroc, rtol=0, atol=1e-12)
        np.testing.assert_allclose(got.covariance[k], covariance, rtol=0, atol=1e-12)


def test_auroc_is_sklearns():
    targets, scores = example()
    want = [[roc_auc_score(targets[:, k], z[:, k]) for k in range(3)] for z in scores]
    np.testing.assert_allclose(delong(targets, scores).auroc, want, rtol=1e-12)


def test_pairs_by_hand():
    targets, scores = example()
    result = delong(targets, scores)
    pairs = delong_pairs(result)
    assert pairs.p.shape == (3, 3)
    for row, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        for k in range(3):
            c = textbook(targets[:, k].astype(bool), scores[:, :, k])[1]
            error = np.sqrt(c[i, i] + c[j, j] - 2 * c[i, j])
            difference = result.auroc[i, k] - result.auroc[j, k]
            assert pairs.standard_error[row, k] == pytest.approx(error, rel=1e-10)
            assert pairs.z[row, k] == pytest.approx(difference / error, rel=1e-9)
            assert pairs.p[row, k] == pytest.approx(2 * (1 - norm.cdf(abs(difference / error))), rel=1e-9)


def test_equal_rankings_have_p_1_and_few_images_no_error():
    targets, scores = example(s=1)
    same = delong_pairs(delong(targets, np.concatenate([scores, 2 * scores + 1])))
    assert (same.p == 1).all()
    assert (same.difference == 0).all()
    targets[:, 0] = 0
    targets[:, 1] = 0
    targets[4, 1] = 1
    result = delong(targets, np.repeat(scores, 2, axis=0))
    assert np.isnan(result.auroc[:, 0]).all()
    assert np.isfinite(result.auroc[:, 1:]).all()
    assert np.isnan(result.covariance[:2]).all()
    assert np.isnan(delong_pairs(result).p[0]).tolist() == [True, True, False]


def test_size_on_independent_images_and_not_on_images_of_one_patient():
    """Each class is a repetition: two equally good models of 100 patients with one image, or with four alike."""
    rng = np.random.default_rng(0)
    ill = rng.random((100, 800)) < 0.4
    own = ill + rng.normal(size=(2, 100, 800))
    once = delong_pairs(delong(ill, own)).p
    four = np.repeat(own, 4, axis=1) + 0.3 * rng.normal(size=(2, 400, 800))
    clustered = delong_pairs(delong(np.repeat(ill, 4, axis=0), four)).p
    assert abs((once < 0.05).mean() - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 800)
    assert (clustered < 0.05).mean() > 0.2


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="expected"):
        delong(np.zeros((5, 2)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="not finite"):
        delong(np.zeros((5, 2)), np.full((1, 5, 2), np.nan))
