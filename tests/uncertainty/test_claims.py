"""The probability of a false claim, against integrals done otherwise, published numbers and simulated studies."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from benchmarks.claims import compared
from pipeline.uncertainty.claims import false_claim, prospect


@pytest.mark.parametrize("p", [1.0, 0.5, 0.05, 0.01, 1e-6, 1e-30])
def test_both_priors_by_adaptive_quadrature(p):
    z = -norm.ppf(p / 2)
    weight = lambda b: np.sqrt(b) * np.exp(-b * z * z / 2)  # noqa: E731
    exact = {"points": [min(0.5, 5 / max(z, 1) ** 2)], "epsabs": 0, "epsrel": 1e-9}
    wrong = quad(lambda b: weight(b) * norm.cdf(-z * np.sqrt(1 - b)), 0, 1, **exact)[0]
    found = false_claim(p)
    assert found.flat == p / 2
    assert found.sceptical == pytest.approx(wrong / quad(weight, 0, 1, **exact)[0], rel=1e-5)
    assert found.flat <= found.sceptical <= 0.5


def test_no_test_no_probability_and_no_nonsense():
    found = false_claim(np.array([np.nan, 0.0]))
    assert np.isnan([found.flat[0], found.sceptical[0]]).all()
    assert found.sceptical[1] < 1e-200
    with pytest.raises(ValueError, match="outside"):
        false_claim(1.5)


def test_of_claims_called_false_with_a_probability_so_many_are_false():
    """Where the spread of true differences is as likely below the error as above, at every probability."""
    rng = np.random.default_rng(0)
    n = 400_000
    share = rng.random(n)
    truth = rng.normal(size=n) * np.sqrt(1 / share - 1)  # in standard errors
    seen = truth + rng.normal(size=n)
    false = np.sign(truth) != np.sign(seen)
    said = false_claim(2 * norm.sf(np.abs(seen))).sceptical
    for low, high in [(0, 0.01), (0.01, 0.05), (0.05, 0.15), (0.15, 0.3), (0.3, 0.5)]:
        here = (said > low) & (said <= high)
        assert false[here].mean() == pytest.approx(said[here].mean(), abs=4 * np.sqrt(0.25 / here.sum()))
    flat = np.abs(seen) > norm.ppf(0.975)
    assert false[flat].mean() > 2 * norm.sf(np.abs(seen[flat])).mean() / 2  # p / 2 is too low here, and said to be


def test_prospect_is_that_of_gelman_and_carlin():
    """Their first example: a true difference of 2 with a standard error of 8.1; and by simulation."""
    of = prospect(2.0, 8.1)
    assert of.found == pytest.approx(0.06, abs=0.005)
    assert of.exaggerated == pytest.approx(9.5, abs=0.3)  # of absolute values in their paper: 9.7
    seen = np.random.default_rng(0).normal(1.0, 0.7, 1_000_000)
    found = np.abs(seen) > norm.ppf(0.975) * 0.7
    of = prospect(1.0, 0.7)
    assert of.found == pytest.approx(found.mean(), abs=0.002)
    assert of.wrong_way == pytest.approx((seen < 0).mean(), abs=0.002)
    assert of.exaggerated == pytest.approx(np.abs(seen[found]).mean(), rel=0.01)


@pytest.mark.parametrize("wrong", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_a_prospect_needs_a_difference_and_an_error(wrong):
    with pytest.raises(ValueError, match="must be"):
        prospect(*wrong)


def test_what_is_said_of_compared_configurations_brackets_what_is_so():
    """98 patients, 3 seeds: true differences spread about as the error does; `benchmarks.claims` has every size."""
    p, truth, seen = compared(np.random.default_rng(0), 98, 3, 0.02, 400)
    said, false = false_claim(p), (np.sign(truth) != np.sign(seen)).mean()
    noise = 2 * np.sqrt(0.2 / 400)
    assert said.flat.mean() - noise < false < said.sceptical.mean() + noise
    surest = said.sceptical < 0.15
    assert (np.sign(truth) != np.sign(seen))[surest].mean() < 0.15
