import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from pipeline.reporting import precision_recall, roc
from tests.reporting.loaded import load_once


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(50, 300), st.booleans())
def test_the_curve_is_that_of_scikit_learn_read_at_the_grid(seed, n, ties):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    truth[0] = True
    scores = truth + rng.normal(size=n)
    scores = scores.round(0) if ties else scores
    precision, recall, _ = precision_recall_curve(truth, scores)
    found = precision_recall.curve(scores, truth)
    for at, value in zip(precision_recall.GRID[1:], found[1:]):
        reaching = np.flatnonzero(recall >= at - 1e-12)  # recall falls along scikit-learn's curve
        assert value == pytest.approx(precision[reaching[-1]])
    assert found[0] == pytest.approx(precision_recall.curve(scores, truth)[1 if truth.sum() < 100 else 0])


def test_the_area_is_the_average_precision():
    rng = np.random.default_rng(0)
    truth = rng.random(5000) < 0.2
    scores = truth + rng.normal(size=5000)
    area = precision_recall.curve(scores, truth)[1:].mean()  # a step of equal width each
    assert area == pytest.approx(average_precision_score(truth, scores), abs=0.005)


def test_a_class_without_a_positive_has_no_curve():
    assert np.isnan(precision_recall.curve(np.arange(4.0), np.zeros(4, bool))).all()


def test_a_study_has_one_curve_per_seed_and_class(here):
    results = load_once(here).configurations[0]
    curves = roc.of_classes(results.predictions, precision_recall.curve)
    assert curves.shape == (len(results.seeds), len(results.predictions.classes), len(precision_recall.GRID))
    known = curves[np.isfinite(curves)]
    assert ((known > 0) & (known <= 1)).all()
    assert (roc.mean(curves, (0, 1)) > 0).all()
