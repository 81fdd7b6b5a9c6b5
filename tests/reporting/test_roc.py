import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pipeline.reporting import roc
from tests.reporting.loaded import load_once


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(50, 300), st.booleans())
def test_area_is_the_auroc(seed, n, ties):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    truth[:2] = True, False
    scores = truth + rng.normal(size=n)
    scores = scores.round(0) if ties else scores
    curve = roc.curve(scores, truth)
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == 1
    # Heights sum to 1, and a step is seen at most one point of the grid late.
    assert np.trapezoid(curve, roc.GRID) == pytest.approx(roc_auc_score(truth, scores), abs=1 / 198)


def test_a_class_without_a_positive_has_no_curve_and_does_not_count_in_the_mean():
    absent = roc.curve(np.arange(4.0), np.zeros(4, bool))
    assert np.isnan(absent).all()
    there = roc.curve(np.arange(4.0), np.array([False, False, True, True]))
    np.testing.assert_allclose(roc.mean(np.stack([absent, there]), 0), there)


def test_curves_stand_in_the_order_of_the_seeds(here):
    for results in load_once(here).configurations:
        assert list(results.seeds) == sorted(results.seeds) != results.predictions.seeds.tolist()
        for seed, curves in zip(results.seeds, results.roc):
            area = np.trapezoid(roc.mean(curves, 0), roc.GRID)
            assert area == pytest.approx(results.get("auroc", None, seed).value, abs=1 / 198)
