"""Seeds needed, against published tables, the study's own figures and a simulated t-test."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from pipeline.uncertainty.power import COLUMNS, power_of, seeds_needed, seeds_needed_normal, seeds_table


@pytest.mark.parametrize(("sd", "want"), [(0.002, 7), (0.003, 16), (0.005, 44)])
def test_formula(sd, want):
    """15.7 (sd / delta)^2 for a difference of 0.003, rounded up."""
    assert seeds_needed_normal(sd, 0.003) == want
    assert seeds_needed_normal(sd, -0.003) == want


@pytest.mark.parametrize(("d", "power", "want"), [(0.2, 0.8, 394), (0.5, 0.8, 64), (0.8, 0.8, 26), (0.5, 0.9, 86)])
def test_exact_numbers_are_those_in_print(d, power, want):
    """Cohen 1988, table 2.4.1 (393, 64, 26, 85 by interpolation); G*Power 3 has 394, 64, 26, 86."""
    assert seeds_needed(1.0, d, power) == want


@pytest.mark.parametrize(("sd", "delta", "want"), [(0.0015, 0.005, 3), (0.001, 0.003, 4), (0.002, 0.003, 9)])
def test_few_seeds_are_counted_as_r_counts_them(sd, delta, want):
    """By R's power.t.test (8.06 of each in the third case); the normal formula gives 2, 2 and 7."""
    assert seeds_needed(sd, delta) == want


@pytest.mark.parametrize("ratio", [0.5, 1.3, 3.0, 8.0])
def test_exact_number_is_the_fewest(ratio):
    n = seeds_needed(1.0, ratio, 0.9)
    assert power_of(n, 1.0, ratio) >= 0.9
    assert n == 2 or power_of(n - 1, 1.0, ratio) < 0.9


def test_power_is_that_of_the_t_test():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 40_000))
    found = (ttest_ind(first, second + 1.5).pvalue < 0.05).mean()
    assert power_of(5, 1.0, 1.5) == pytest.approx(found, abs=3 * np.sqrt(0.25 / 40_000))


def test_no_difference_beyond_reach_and_no_spread():
    assert power_of(3, 1.0, 200.0) == 1
    assert power_of(2, 0.0, 0.001) == 1
    assert seeds_needed(0.0, 0.001) == 2
    assert power_of(10_000, 1.0, 1e-9) == pytest.approx(0.05, abs=1e-6)
    many = seeds_needed(1.0, 0.005)
    assert abs(many - seeds_needed_normal(1.0, 0.005)) <= 1


def test_table():
    table = seeds_table(0.003, [0.001, 0.003])
    assert table.columns.tolist() == COLUMNS
    assert table["seeds_normal"].tolist() == [142, 16]
    assert table["seeds_exact"].tolist() == [143, 17]
    assert (table["power_exact"] >= 0.8).all()
    single = seeds_table(np.nan, [0.001])
    assert single["seeds_exact"][0] is pd.NA
    assert np.isnan(single["power_exact"][0])


@pytest.mark.parametrize("wrong", [{"sd": -1.0}, {"delta": 0.0}, {"alpha": 1.0}, {"power": 0.04}, {"sd": np.nan}])
def test_refuses_what_makes_no_sense(wrong):
    with pytest.raises(ValueError, match="must be"):
        seeds_needed(**({"sd": 1.0, "delta": 1.0} | wrong))


def test_one_seed_makes_no_test():
    with pytest.raises(ValueError, match="2 at least"):
        power_of(1, 1.0, 1.0)
