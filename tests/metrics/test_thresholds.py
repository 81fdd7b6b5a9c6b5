"""Probabilities, and the threshold that a validation part chooses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import f1_score

from pipeline.metrics.thresholds import (
    MAX_F1,
    MISSING,
    POOLED,
    best_f1_thresholds,
    operating_points,
    pooled_f1_threshold,
    probabilities,
    specificity_thresholds,
)


def column(*values):
    return np.array(values, dtype=float)[:, None]


def test_midpoint_between_neighbours():
    assert best_f1_thresholds(column(0, 0, 1, 1), column(0.1, 0.3, 0.5, 0.9)).tolist() == [0.4]


def test_below_the_lowest_score_the_neighbour_is_0():
    assert best_f1_thresholds(column(1, 1), column(0.5, 0.9)).tolist() == [0.25]


def test_among_equal_f1_the_fewest_are_called_positive():
    # Cut above 0.6: 1 hit of 1, F1 = 2 / (1 + 2); cut above 0.2: 2 hits of 4, F1 = 4 / (4 + 2): both 2/3.
    assert best_f1_thresholds(column(1, 0, 0, 1), column(0.8, 0.6, 0.4, 0.2)).tolist() == [0.7]


def test_tied_scores_are_never_divided():
    threshold = best_f1_thresholds(column(1, 0, 1, 0), column(0.5, 0.5, 0.5, 0.1))
    assert threshold.tolist() == [0.3]


def test_without_a_positive_there_is_no_threshold():
    targets = np.array([[0, 1], [0, 0]])
    chosen = best_f1_thresholds(targets, np.array([[0.4, 0.8], [0.6, 0.2]]))
    assert np.isnan(chosen[0])
    assert chosen[1] == 0.5


def test_neighbouring_floats_are_told_apart():
    low = 0.5
    high = np.nextafter(low, 1)
    for a, b in ((low, high), (high, np.nextafter(high, 1))):
        assert best_f1_thresholds(column(1, 0), column(b, a))[0] == b


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.one_of(st.integers(0, 6).map(lambda v: v / 6), st.floats(0, 1))),
        min_size=1,
        max_size=12,
    )
)
def test_no_other_cut_is_better(rows):
    truth, scores = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    threshold = best_f1_thresholds(truth[:, None], scores[:, None])[0]
    if not truth.any():
        assert np.isnan(threshold)
        return
    f1 = {cut: f1_score(truth, scores >= cut) for cut in scores}
    best = max(f1.values())
    assert f1_score(truth, scores >= threshold) == pytest.approx(best, abs=1e-12)
    fewest = min((scores >= cut).sum() for cut, value in f1.items() if value > best - 1e-12)
    assert (scores >= threshold).sum() == fewest


def test_pooled_threshold_has_the_highest_micro_f1():
    rng = np.random.default_rng(0)
    targets = rng.random((80, 3)) < [0.5, 0.2, 0.0]
    scores = np.round(rng.random((80, 3)) * 0.7 + 0.3 * targets, 2)
    threshold = pooled_f1_threshold(targets, scores)
    best = max(f1_score(targets, scores >= cut, average="micro") for cut in np.unique(scores))
    assert f1_score(targets, scores >= threshold, average="micro") == pytest.approx(best, abs=1e-12)
    assert np.isnan(pooled_f1_threshold(np.zeros((2, 1)), np.zeros((2, 1))))


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.one_of(st.integers(0, 6).map(lambda v: v / 6), st.floats(0, 1))),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([0.3, 0.5, 0.8, 0.9, 0.95, 1.0]),
)
def test_specificity_is_reached_and_no_cut_that_reaches_it_calls_more(rows, wanted):
    truth, scores = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    threshold = specificity_thresholds(truth[:, None], scores[:, None], wanted)[0]
    if truth.all():
        assert np.isnan(threshold)
        return
    specificity = {cut: (scores[truth == 0] < cut).mean() for cut in [*scores, 2.0]}
    called = [int((scores >= cut).sum()) for cut, value in specificity.items() if value >= wanted]
    assert (scores[truth == 0] < threshold).mean() >= wanted
    assert (scores >= threshold).sum() == max(called)


def test_nine_of_ten_negatives_are_90_percent():
    scores = np.arange(1, 11) / 16
    assert specificity_thresholds(column(*[0] * 10), column(*scores), 0.9).tolist() == [9.5 / 16]


def test_operating_points_of_every_model():
    rng = np.random.default_rng(1)
    targets = (rng.random((60, 3)) < [0.5, 0.2, 0.0]).astype(int)
    logits = rng.normal(size=(3, 60, 3)) + targets
    logits[1, 5, 0] = np.inf
    chosen = operating_points("multilabel", targets, logits)
    assert list(chosen) == list(MISSING)
    for s in (0, 2):
        scores = expit(logits[s])
        np.testing.assert_array_equal(chosen[MAX_F1][s], best_f1_thresholds(targets, scores))
        assert (chosen[POOLED][s] == pooled_f1_threshold(targets, scores)).all()
        np.testing.assert_array_equal(chosen["95_specificity"][s], specificity_thresholds(targets, scores, 0.95))
        assert (chosen["90_specificity"][s] <= chosen["95_specificity"][s]).all()
    assert all(np.isnan(of[1]).all() for of in chosen.values())
    assert np.isnan(chosen[MAX_F1][0, 2])
    assert operating_points("multiclass", targets, logits) == {}


def test_probabilities_are_stable_and_in_float64():
    logits = np.array([[-800, 0, 800]], dtype=np.float32)
    assert probabilities(logits, "multilabel").tolist() == [[0, 0.5, 1]]
    assert probabilities(logits, "multiclass").tolist() == [[0, 0, 1]]
    assert probabilities(logits, "multilabel").dtype == np.float64
    np.testing.assert_allclose(probabilities(np.log([[1, 2, 5]]), "multiclass"), [[0.125, 0.25, 0.625]])


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="task"):
        probabilities(np.zeros(2), "regression")
    with pytest.raises(ValueError, match="expected"):
        best_f1_thresholds(np.zeros((2, 1)), np.zeros((2, 2)))
    for wrong in (1.5, np.nan):
        with pytest.raises(ValueError, match="not in"):
            best_f1_thresholds(np.zeros((1, 1)), np.full((1, 1), wrong))
    for wrong in (0.0, 1.1):
        with pytest.raises(ValueError, match="specificity"):
            specificity_thresholds(np.zeros((1, 1)), np.zeros((1, 1)), wrong)
