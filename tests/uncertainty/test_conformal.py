"""Conformal prediction sets, against p-values counted one by one, and their coverage."""

import numpy as np
import pytest

from pipeline.uncertainty.conformal import aps_scores, conformal_quantile, lac_scores, prediction_sets


def forecast(rng, n, signal=1.5, classes=4):
    """Probabilities [n, classes] that mean what they say, and labels drawn from them."""
    logits = signal * rng.normal(size=(n, classes))
    likely = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return likely, (likely.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


def summed_one_by_one(likely):
    return np.array([[row[row >= p].sum() for p in row] for row in likely])


@pytest.mark.parametrize(("mine", "theirs"), [(lac_scores, lambda p: 1 - p), (aps_scores, summed_one_by_one)])
@pytest.mark.parametrize("by_class", [False, True])
def test_a_label_is_in_the_set_where_its_p_value_exceeds_one_minus_the_target(mine, theirs, by_class):
    rng = np.random.default_rng(3)
    (held, labels), (new, _) = forecast(rng, 120), forecast(rng, 60)
    sets = prediction_sets(mine(held), labels, mine(new), 0.9, by_class=by_class)
    true = theirs(held)[np.arange(120), labels]
    for i, scores in enumerate(theirs(new)):
        for k, score in enumerate(scores):
            among = true[labels == k] if by_class else true
            p = (1 + (among >= score - 1e-12).sum()) / (1 + len(among))
            assert sets[i, k] == (p > 0.1 + 1e-12)


@pytest.mark.parametrize(("n", "rank"), [(9, 9), (10, 10), (19, 18), (100, 91), (99, 90)])
def test_the_quantile_is_an_order_statistic(n, rank):
    scores = np.random.default_rng(0).permutation(n) + 1.0
    assert conformal_quantile(scores, 0.9) == rank


def test_too_few_held_out_images_give_the_whole_set():
    rng = np.random.default_rng(1)
    (held, labels), (new, _) = forecast(rng, 8), forecast(rng, 5)
    assert prediction_sets(lac_scores(held), labels, lac_scores(new), 0.9).all()


@pytest.mark.parametrize("scores", [lac_scores, aps_scores])
def test_coverage_over_many_held_out_parts_is_the_exact_one(scores):
    """Of n exchangeable scores without ties the expected coverage is ceil(0.9 (n + 1)) / (n + 1)."""
    rng, n, found = np.random.default_rng(5), 29, []
    for _ in range(400):
        likely, labels = forecast(rng, n + 50)
        each = scores(likely)
        sets = prediction_sets(each[:n], labels[:n], each[n:], 0.9)
        found.append(sets[np.arange(50), labels[n:]].mean())
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - 27 / 30) < 3.5 * error
