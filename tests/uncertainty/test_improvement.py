"""The probability of improvement."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from pipeline.uncertainty.improvement import improvement


def test_on_one_sample_it_is_the_statistic_of_mann_and_whitney():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.3, 1, 7).round(1), rng.normal(0, 1, 5).round(1)
    found = improvement(np.tile(a, (50, 1)), np.tile(b, (50, 1)), 0.95)
    assert np.isclose(found.probability, mannwhitneyu(a, b).statistic / 35)
    assert found.low <= found.probability <= found.high


def test_of_single_runs_it_is_the_share_of_draws_won():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 1000, 1))
    found = improvement(a + 0.2, b, 0.95)
    assert np.isclose(found.probability, (a + 0.2 > b).mean())
    assert found[1:] == (0, 1)
    assert np.isclose(improvement(b, a + 0.2, 0.95).probability, 1 - found.probability)


@pytest.mark.parametrize(("runs", "least"), [(1, 0.025), (3, 0.025 ** (1 / 3)), (5, 0.025**0.2)])
def test_runs_that_always_win_leave_the_room_of_their_number(runs, least):
    a = np.random.default_rng(3).normal(size=(500, runs))
    assert improvement(a + 100, a, 0.95) == pytest.approx((1, least, 1))
    assert improvement(a, a + 100, 0.95) == pytest.approx((0, 0, 1 - least))


def test_equal_runs_are_even_and_nothing_is_known():
    a = np.random.default_rng(3).normal(size=(500, 1))
    assert improvement(a, a, 0.95) == (0.5, 0, 1)


def test_draws_that_lose_a_class_count_for_nothing():
    a, b = np.random.default_rng(3).normal(size=(2, 100, 2))
    a[:40, 0] = np.nan
    assert improvement(a, b, 0.95)[0] == improvement(a[40:], b[40:], 0.95)[0]
    a[:60, 1] = np.nan
    assert np.isnan(improvement(a, b, 0.95)).all()
