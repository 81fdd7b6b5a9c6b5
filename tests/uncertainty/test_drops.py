"""Differences of independent samples, against closed forms and simulated truth."""

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.drops import Measured, difference
from pipeline.uncertainty.support import support


def measured(key, targets, logits, draws=400, task="multilabel"):
    counts, index = patient_draws(np.arange(len(targets)), draws, 0)
    scored = Scored(task, targets, logits, None, index, counts.shape[1])
    metric = METRICS[key]
    return Measured(
        measure(metric, Weighted(scored))[0], metric_draws(scored, {key: metric}, counts)[key], support(metric, scored)
    )


def accuracies(n, right):
    """A single-label model of which the first `right` of `n` images are right."""
    targets = np.eye(2, dtype=np.uint8)[np.arange(n) % 2]
    truth = targets.argmax(axis=1)
    decided = np.where(np.arange(n) < right, truth, 1 - truth)
    return targets, (2.0 * np.eye(2)[decided])[None]


@pytest.mark.parametrize(("here", "there"), [((400, 340), (300, 210)), ((1000, 820), (120, 70))])
def test_the_difference_of_two_proportions_is_that_of_the_closed_form(here, there):
    sides = [measured("overall_accuracy", *accuracies(*side), 2000, "multiclass") for side in (here, there)]
    value, low, high = (float(each[0]) for each in difference(METRICS["overall_accuracy"], *sides, 0.95))
    p, q = here[1] / here[0], there[1] / there[0]
    reach = norm.ppf(0.975) * np.sqrt(p * (1 - p) / here[0] + q * (1 - q) / there[0])
    assert value == pytest.approx(q - p)
    assert high - low == pytest.approx(2 * reach, rel=0.06)
    assert (low + high) / 2 == pytest.approx(q - p, abs=0.15 * reach)


def test_a_side_at_the_end_of_its_range_has_an_interval_that_leans():
    """By Newcombe's method 10, of Wilson limits, 45 of 50 less 50 of 50 is -0.1 [-0.214, -0.004]."""
    sides = [measured("overall_accuracy", *accuracies(50, right), 2000, "multiclass") for right in (50, 45)]
    value, low, high = (float(each[0]) for each in difference(METRICS["overall_accuracy"], *sides, 0.95))
    assert value == pytest.approx(-0.1)
    assert low == pytest.approx(-0.214, abs=0.03)
    assert -0.05 < high < 0.0


def binormal(rng, n, seeds, gain, of_seed):
    """Logits of models whose separation differs by seed, of n images, half of them positive."""
    targets = (np.arange(n) % 2).astype(np.uint8)[:, None]
    case = rng.normal(size=n)
    return targets, np.stack([(targets[:, 0] * (gain + s) + case)[:, None] for s in of_seed[:seeds]])


def test_the_interval_covers_the_true_drop_as_often_as_it_says():
    rng, metric, inside, widths = np.random.default_rng(3), METRICS["auroc"], 0, []
    true = norm.cdf(0.8 / np.sqrt(2)) - norm.cdf(1.5 / np.sqrt(2))
    trials = 100
    for _ in range(trials):
        sides = [measured("auroc", *binormal(rng, 100, 1, gain, [0.0]), 120) for gain in (1.5, 0.8)]
        _, low, high = (float(each[0]) for each in difference(metric, *sides, 0.95))
        inside += low <= true <= high
        widths.append(high - low)
    assert 89 <= inside <= 99  # 95 % of 100 with an SD of 2.2
    assert np.mean(widths) < 0.30


def test_what_a_seed_does_to_both_sides_cancels_and_what_it_does_to_one_does_not():
    rng, metric = np.random.default_rng(5), METRICS["auroc"]
    both = np.array([-0.6, 0.0, 0.6])
    here = measured("auroc", *binormal(rng, 600, 3, 1.0, both))
    there = measured("auroc", *binormal(rng, 600, 3, 1.0, both))
    alone = measured("auroc", *binormal(rng, 600, 3, 1.0, both[::-1]))
    spans = [np.ptp([float(each[0]) for each in difference(metric, here, side, 0.95)[1:]]) for side in (there, alone)]
    assert spans[1] > 2 * spans[0]


def test_draws_of_two_equal_samples_are_not_taken_for_pairs():
    rng = np.random.default_rng(7)
    same = measured("auroc", *binormal(rng, 200, 2, 1.0, [0.0, 0.3]))
    value, low, high = (float(each[0]) for each in difference(METRICS["auroc"], same, same, 0.95))
    assert value == 0
    assert high - low > 1.3 * 2 * 1.96 * same.draws.mean(axis=1).std()


def test_too_few_patients_on_one_side_give_no_interval():
    rng = np.random.default_rng(0)
    here, there = (measured("auroc", *binormal(rng, n, 1, 1.0, [0.0])) for n in (100, 12))
    value, low, high = difference(METRICS["auroc"], here, there, 0.95)
    assert np.isfinite(value).all()
    assert np.isnan([low, high]).all()
