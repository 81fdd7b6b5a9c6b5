"""Calibration: known parameters found again, optima against other solvers, and where nothing can be fitted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator

from pipeline.metrics.calibration import RELIABILITY_COLUMNS, Calibration, equal_mass_bins, fit, reliability
from pipeline.metrics.functions import class_auroc


class Logit(ClassifierMixin, BaseEstimator):
    """Takes its only feature for its decision value, so that scikit-learn calibrates that."""

    def __init__(self):
        self.classes_ = np.array([0, 1])

    def fit(self, X, y):
        return self

    def decision_function(self, X):
        return X[:, 0]

    def predict(self, X):
        return (X[:, 0] > 0).astype(int)


def multilabel(seed=0, n=400, k=3):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, k)) < np.geomspace(0.5, 0.05, k)).astype(int)
    return 2 * rng.normal(size=(n, k)) + 1.5 * targets - 1, targets


def multiclass(temperature, seed=0, n=20_000, k=4):
    """Logits that are right once divided by `temperature`."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, k)) * 2
    drawn = (true + rng.gumbel(size=(n, k))).argmax(axis=1)
    return true * temperature, np.eye(k, dtype=int)[drawn]


def cross_entropy(logits, targets):
    return -(log_softmax(logits, axis=1) * targets).sum(axis=1).mean()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_recovers_the_temperature(temperature):
    found = fit("multiclass", *multiclass(temperature))
    # The standard error at 20,000 images is about 1 % of the temperature.
    assert found.temperature == pytest.approx(temperature, rel=0.04)
    assert found.notes == ("",) * 4


def test_the_temperature_is_the_minimum_of_the_cross_entropy():
    logits, targets = multiclass(3.0, seed=1, n=300)
    found = fit("multiclass", logits, targets)
    free = minimize_scalar(
        lambda t: cross_entropy(logits / t, targets), bounds=(0.05, 50), method="bounded", options={"xatol": 1e-9}
    )
    assert found.temperature == pytest.approx(free.x, rel=1e-5)
    assert cross_entropy(found.apply(logits), targets) <= free.fun + 1e-14


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(2, 30), st.floats(-2, 5), st.floats(0.01, 100))
def test_the_fitted_cross_entropy_is_not_worse(seed, n, signal, scale):
    rng = np.random.default_rng(seed)
    targets = np.eye(3, dtype=int)[rng.integers(0, 3, n)]
    logits = scale * (np.round(rng.normal(size=(n, 3)), 1) + signal * targets)
    found = fit("multiclass", logits, targets)
    assert found.temperature > 0
    assert cross_entropy(found.apply(logits), targets) <= cross_entropy(logits, targets) + 1e-12


def test_recovers_slope_and_intercept():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(40_000, 2)) * 3
    slope, intercept = np.array([0.4, 1.7]), np.array([-1.0, 0.5])
    targets = (rng.random(logits.shape) < expit(slope * logits + intercept)).astype(int)
    found = fit("multilabel", logits, targets)
    np.testing.assert_allclose(found.slope, slope, rtol=0.05)
    np.testing.assert_allclose(found.intercept, intercept, atol=0.06)
    np.testing.assert_allclose(found.apply(logits), logits * found.slope + found.intercept)


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_platt_equals_scikit_learn(scale):
    logits, targets = multilabel()
    logits = scale * logits + 3
    found = fit("multilabel", logits, targets)
    for k in range(3):
        model = CalibratedClassifierCV(FrozenEstimator(Logit()), method="sigmoid")
        calibrator = model.fit(logits[:, [k]], targets[:, k]).calibrated_classifiers_[0].calibrators[0]
        # theirs: 1 / (1 + exp(a f + b)), to the tolerance of its solver
        assert found.slope[k] == pytest.approx(-calibrator.a_, rel=2e-3)
        assert found.intercept[k] == pytest.approx(-calibrator.b_, rel=2e-3, abs=2e-3)


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(2, 30), st.floats(-1, 20), st.floats(0.01, 100))
def test_platts_gradient_is_0_unless_it_says_why_not(seed, n, signal, scale):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 1)) < 0.4).astype(int)
    logits = scale * (np.round(rng.normal(size=(n, 1)), 1) + signal * targets)
    found = fit("multilabel", logits, targets)
    assert found.slope[0] > 0
    if found.notes[0]:
        assert (found.slope[0], found.intercept[0]) == (1, 0)
        return
    positives = targets.sum()
    smoothed = np.where(targets, (positives + 1) / (positives + 2), 1 / (n - positives + 2))
    residual = expit(found.apply(logits)) - smoothed
    assert abs(residual.mean()) < 1e-7
    assert abs((residual * (logits - logits.mean()) / logits.std()).mean()) < 1e-7


def test_order_and_decisions_stay():
    logits, targets = multilabel(3)
    np.testing.assert_array_equal(
        class_auroc(targets, fit("multilabel", logits, targets).apply(logits)), class_auroc(targets, logits)
    )
    logits, targets = multiclass(4.0, seed=4, n=500)
    calibrated = fit("multiclass", logits, targets).apply(logits)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), logits.argmax(axis=1))


def test_classes_that_cannot_be_fitted_keep_their_logits_and_say_why():
    logits, targets = multilabel(5, k=5)
    targets[:, 0], targets[:, 1], logits[:, 2], logits[:, 3] = 0, 1, 0.1, -3 * targets[:, 3]
    found = fit("multilabel", logits, targets)
    assert found.notes == (
        "no positive in validation",
        "no negative in validation",
        "one logit for all validation images",
        "the logit does not rise with the class in validation",
        "",
    )
    np.testing.assert_array_equal(found.apply(logits)[:, :4], logits[:, :4])
    assert found.slope[4] != 1


def test_a_separated_class_has_finite_parameters():
    targets = np.array([[0], [0], [1], [1]])
    found = fit("multilabel", np.array([[-2.0], [-1], [1], [2]]), targets)
    assert np.isfinite([found.slope, found.intercept]).all()
    assert 0 < found.slope[0] < 10
    assert found.notes == ("",)


@pytest.mark.parametrize(
    ("logits", "note"),
    [
        ([[2.0, 0], [0, 1]], "no finite temperature: every validation image is decided right"),
        ([[0.0, 2], [1, 0]], "the logit does not rise with the class in validation"),
        ([[1.0, 1], [1, 1]], "no finite temperature: every validation image is decided right"),
        ([[np.inf, 1], [1, 1]], "logits are not finite"),
    ],
)
def test_a_temperature_that_cannot_be_fitted_is_1(logits, note):
    found = fit("multiclass", np.array(logits), np.eye(2, dtype=int))
    assert found.temperature == 1
    assert found.notes == (note, note)


def test_large_logits_do_not_overflow():
    logits, targets = multiclass(1.0, n=400)
    assert fit("multiclass", logits * 1e300, targets).temperature == pytest.approx(
        1e300 * fit("multiclass", logits, targets).temperature, rel=1e-6
    )
    logits, targets = multilabel(6)
    assert fit("multilabel", logits * 1e6, targets).slope == pytest.approx(
        fit("multilabel", logits, targets).slope / 1e6, rel=1e-6
    )


def test_bins_of_distinct_scores_are_of_equal_mass():
    scores = np.random.default_rng(0).permutation(150) / 150
    blocks = np.array_split(np.sort(scores), 15)
    place = equal_mass_bins(scores, 15)
    for b, block in enumerate(blocks):
        np.testing.assert_array_equal(np.sort(scores[place == b]), block)
    assert np.bincount(equal_mass_bins(scores[:100], 15), minlength=15).min() == 6
    assert np.bincount(equal_mass_bins(scores[:100], 15), minlength=15).max() == 7


def test_equal_scores_share_a_bin():
    scores = np.array([0.1] * 40 + [0.5] * 3 + [0.9] * 17)
    place = equal_mass_bins(scores, 15)
    assert [len(set(place[scores == v])) for v in (0.1, 0.5, 0.9)] == [1, 1, 1]
    assert len(set(place)) == 3
    assert equal_mass_bins(np.array([0.3]), 15).tolist() == [14]


def test_reliability_equals_scikit_learn():
    rng = np.random.default_rng(1)
    p = rng.permutation(300) / 299
    y = (rng.random(300) < p).astype(int)
    table = reliability(p, y, bins=10)
    frequency, mean = calibration_curve(y, p, n_bins=10, strategy="quantile")
    assert table.columns.tolist() == RELIABILITY_COLUMNS
    assert table["n"].tolist() == [30] * 10
    np.testing.assert_allclose(table["frequency"], frequency, rtol=1e-12)
    np.testing.assert_allclose(table["mean_probability"], mean, rtol=1e-12)
    assert table["low"].tolist() == sorted(p)[::30]
    assert table["high"].tolist() == sorted(p)[29::30]


def test_reliability_leaves_empty_bins_out():
    table = reliability(np.array([0.2] * 30 + [0.7] * 30), np.array([0, 1, 0] * 20))
    assert table["n"].tolist() == [30, 30]
    assert table["low"].tolist() == table["high"].tolist() == [0.2, 0.7]


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="expected"):
        fit("multilabel", np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="task"):
        fit("regression", np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="expected"):
        reliability(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="not in"):
        reliability(np.array([1.2]), np.array([1]))
    with pytest.raises(ValueError, match="neither"):
        reliability(np.array([0.2]), np.array([2]))
    with pytest.raises(AttributeError, match="temperature"):
        _ = Calibration("multilabel", np.ones(2), np.zeros(2), ("", "")).temperature


def test_a_perfect_forecast_is_not_changed_much():
    logits, targets = multiclass(1.0, seed=9)
    before = softmax(logits, axis=1)
    after = softmax(fit("multiclass", logits, targets).apply(logits), axis=1)
    assert np.abs(before - after).max() < 0.02
