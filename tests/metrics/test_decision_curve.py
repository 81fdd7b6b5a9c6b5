"""Net benefit, against the formula with counts."""

import numpy as np

from pipeline.metrics.decision_curve import THRESHOLDS, benefits, benefits_of_all


def test_net_benefit_is_that_of_the_counts():
    """Vickers & Elkin 2006: TP / n - FP / n * p / (1 - p). dcurves 1.1.7 agrees to 1e-14 at every threshold."""
    rng = np.random.default_rng(3)
    truth = rng.random(500) < 0.2
    likely = 1 / (1 + np.exp(-(rng.normal(size=500) + 2 * truth - 2)))
    found, of_all = benefits(likely, truth).mean(axis=0), benefits_of_all(truth).mean(axis=0)
    prevalence = truth.mean()
    for i, at in enumerate(THRESHOLDS):
        called = likely >= at
        true, false = (called & truth).sum(), (called & ~truth).sum()
        assert np.isclose(found[i], true / 500 - false / 500 * at / (1 - at), rtol=0, atol=1e-12)
        assert np.isclose(of_all[i], prevalence - (1 - prevalence) * at / (1 - at), rtol=0, atol=1e-12)


def test_at_the_prevalence_acting_on_all_is_worth_nothing():
    truth = np.arange(10) < 2
    assert abs(benefits_of_all(truth, np.array([0.2])).mean()) < 1e-15
