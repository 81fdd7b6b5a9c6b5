"""The best of many scores, corrected: against its definition, and against a simulation whose truth is known."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pipeline.searching.measures import of_classes
from pipeline.uncertainty import optimism
from pipeline.uncertainty.bootstrap import patient_draws


def corrected_best(task, truth, scores, patients, owners, **draws):
    return optimism.corrected_best(of_classes("auroc", task, truth, scores, patients), owners, **draws)


def made(rng, separations, n, classes=1):
    """Return truth and scores of equally correlated configurations, whose AUROC is that of two normal distributions."""
    truth = (rng.random((n, classes)) < 0.35).astype(np.uint8)
    shared = rng.normal(size=(n, classes))
    own = rng.normal(size=(len(separations), n, classes))
    return truth, separations[:, None, None] * truth + np.sqrt(0.6) * shared + np.sqrt(0.4) * own


def test_the_corrected_score_is_nearer_to_the_truth_than_the_highest():
    rng, highest, corrected, held = np.random.default_rng(0), [], [], 0
    for repeat in range(30):
        separations = rng.normal(1.0, 0.1, 12)
        truth, scores = made(rng, separations, 60)
        found = corrected_best("multilabel", truth, scores, np.arange(60).astype(str), range(12), draws=60, seed=repeat)
        best = norm.cdf(separations[np.argmax([roc_auc_score(truth, score) for score in scores])] / np.sqrt(2))
        highest.append(found.best - best)
        corrected.append(found.corrected - best)
        held += found.low <= best <= found.high
    error = np.std(corrected) / np.sqrt(30)
    assert np.mean(highest) > 0.04  # of many scores around 0.76
    assert abs(np.mean(corrected)) < 3 * error
    assert abs(np.mean(corrected)) < 0.4 * np.mean(highest)
    assert held >= 27


def test_it_is_what_its_definition_says():
    rng = np.random.default_rng(3)
    truth, scores = made(rng, np.array([0.5, 1.0, 1.2]), 40)
    patients = np.repeat(np.arange(20), 2).astype(str)
    scores = np.concatenate([scores, scores + 0.3 * rng.normal(size=scores.shape)])  # two training runs of each
    found = corrected_best("multilabel", truth, scores, patients, [0, 1, 2, 0, 1, 2], draws=50, seed=5)
    counts, index = patient_draws(patients, 50, 5)
    y, values = truth[:, 0], []
    for drawn in counts:
        weight, out = drawn[index].astype(float), drawn[index] == 0
        inside = [
            np.mean([roc_auc_score(y, scores[run, :, 0], sample_weight=weight) for run in (owner, owner + 3)])
            for owner in range(3)
        ]
        best = int(np.argmax(inside))
        values.append(np.mean([roc_auc_score(y[out], scores[run, out, 0]) for run in (best, best + 3)]))
    assert found.corrected == pytest.approx(np.mean(values), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)
    assert found.best == pytest.approx(
        max(np.mean([roc_auc_score(y, scores[run, :, 0]) for run in (owner, owner + 3)]) for owner in range(3))
    )
    assert found.chosen.sum() == 50
    assert found.left_out == pytest.approx((19 / 20) ** 20, abs=0.03)


def test_classes_that_draws_lose_are_averaged_over_those_that_have_them():
    rng = np.random.default_rng(1)
    truth, scores = made(rng, np.array([1.0, 1.5]), 80, classes=3)
    truth[:, 2] = 0
    truth[[4, 50], 1], truth[:4, 1], truth[5:50, 1], truth[51:, 1] = 1, 0, 0, 0  # two positives; no positive
    found = corrected_best("multilabel", truth, scores, np.arange(80).astype(str), [0, 1], draws=200)
    assert found.classes == 2
    assert 0 < found.corrected < 1
    assert found.refused == "2 of 3 classes have too few patients for an interval of their own"
    assert np.isnan([found.low, found.high]).all()
    whole = [np.mean([roc_auc_score(truth[:, k], score[:, k]) for k in (0, 1)]) for score in scores]
    assert found.best == pytest.approx(max(whole))


def test_one_configuration_has_nothing_to_correct_but_the_sample():
    rng = np.random.default_rng(2)
    truth, scores = made(rng, np.array([1.0]), 100)
    found = corrected_best("multilabel", truth, scores, np.arange(100).astype(str), [0], draws=300)
    assert abs(found.optimism) < 0.01


def test_a_configuration_that_is_not_finite_is_never_chosen():
    rng = np.random.default_rng(4)
    truth, scores = made(rng, np.array([1.0, 1.5]), 60)
    broken = np.concatenate([scores, np.full((1, 60, 1), np.nan)])
    patients = np.arange(60).astype(str)
    found = corrected_best("multilabel", truth, broken, patients, [0, 1, 2], draws=50)
    assert found.chosen[2] == 0
    assert found[:4] == corrected_best("multilabel", truth, scores, patients, [0, 1], draws=50)[:4]


def test_runs_without_an_owner_are_refused():
    with pytest.raises(ValueError, match="1 owners of 2 training runs"):
        corrected_best("multilabel", np.eye(2, dtype=np.uint8), np.zeros((2, 2, 2)), np.array(["a", "b"]), [0])
