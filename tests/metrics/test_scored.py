"""What predictions are turned into, and what is refused."""

import numpy as np
import pytest
from scipy.special import log_softmax

from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted
from pipeline.metrics.thresholds import ZERO


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_large_logits_neither_overflow_nor_tie(task):
    targets = np.eye(2, dtype=int)[[0, 0, 1, 1]]
    logits = np.array([[[80.0, 0], [70, 0], [60, 0], [50, 0]]])  # probability of class 0 is 1.0 for all in float64
    once = Weighted(Scored(task, targets, logits, np.full((1, 2), 0.5)))
    assert measure(METRICS["auroc"], once)[0, 0, 0] == 1
    key = "log_loss" if task == "multilabel" else "overall_log_loss"
    value = measure(METRICS[key], once)[0, 0, 0]
    assert value == pytest.approx((60 + 50) / 4)


def test_multiclass_ranking_has_the_order_of_the_softmax():
    logits = np.random.default_rng(0).normal(size=(1, 50, 4))
    scored = Scored("multiclass", np.eye(4, dtype=int)[np.arange(50) % 4], logits)
    softmax = np.exp(log_softmax(logits, axis=-1))
    np.testing.assert_array_equal(scored.ranked_by.argsort(axis=1), softmax.argsort(axis=1))


def test_an_argmax_tie_goes_to_the_first_class():
    scored = Scored("multiclass", np.array([[0, 1]]), np.zeros((1, 1, 2)))
    assert scored.decisions().tolist() == [[[True, False]]]


def test_a_probability_at_the_threshold_is_called_positive():
    scored = Scored("multilabel", np.array([[1], [0]]), np.array([[[0.0], [-1.0]]]), np.array([[0.5]]))
    assert scored.decisions().tolist() == [[[True], [False]]]


def test_the_zero_rule_is_above_0_and_needs_no_threshold():
    scored = Scored("multilabel", np.array([[1], [1], [0]]), np.array([[[1e-30], [0.0], [-1e-30]]]))
    assert scored.decisions(ZERO).tolist() == [[[True], [False], [False]]]
    assert not scored.undecided(ZERO).any()
    assert measure(METRICS["sensitivity_zero"], Weighted(scored))[0, 0].tolist() == [0.5, 0.5]
    assert np.isnan(measure(METRICS["sensitivity_pooled"], Weighted(scored))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "regression"}, "must be one of multilabel, multiclass"),
        ({"targets": np.full((3, 2), 2)}, "neither 0 nor 1"),
        ({"targets": np.ones((4, 2))}, "expected"),
        ({"logits": np.zeros((3, 2))}, "expected"),
        ({"task": "multiclass"}, "exactly one 1"),
        ({"thresholds": np.zeros(2)}, "thresholds"),
        ({"thresholds": {"pooled": np.zeros((2, 1))}}, "thresholds of pooled"),
        ({"groups": np.zeros(2, dtype=int)}, "groups"),
        ({"targets": np.zeros((0, 2)), "logits": np.zeros((1, 0, 2))}, "expected"),
    ],
)
def test_refuses_what_does_not_fit(change, message):
    given = {"task": "multilabel", "targets": np.ones((3, 2)), "logits": np.zeros((1, 3, 2)), **change}
    with pytest.raises(ValueError, match=message):
        Scored(**given)


def test_refuses_weights_and_metrics_that_do_not_fit():
    scored = Scored("multilabel", np.ones((3, 2)), np.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match="weights"):
        Weighted(scored, np.ones((1, 2)))
    with pytest.raises(ValueError, match="does not fit"):
        measure(METRICS["overall_accuracy"], Weighted(scored))
