"""Student's t as scipy.stats has it."""

import numpy as np
import pytest
from scipy.stats import t

from pipeline.uncertainty import student

FREEDOM = np.array([1, 2, 3, 7.5, 29, 1e4, np.inf, np.nan])


def test_quantiles_and_tails_are_those_of_scipy_stats():
    probability = np.linspace(0.001, 1, 500)[:, None]
    np.testing.assert_array_equal(student.quantile(probability, FREEDOM), t.ppf(probability, FREEDOM))
    value = np.concatenate([np.linspace(-40, 40, 500), [np.inf, -np.inf, np.nan]])[:, None]
    np.testing.assert_array_equal(student.upper_tail(value, FREEDOM), t.sf(value, FREEDOM))


def test_a_published_quantile():
    assert student.quantile(0.975, 2) == pytest.approx(4.3026527, abs=1e-7)  # Abramowitz & Stegun 1964, table 26.10
