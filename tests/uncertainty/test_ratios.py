"""Shares under draws of patients."""

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from pipeline.uncertainty.bootstrap import patient_draws
from pipeline.uncertainty.intervals import nested_error, wilson
from pipeline.uncertainty.ratios import Drawn, carriers, expected_interval, linear_draws, ratio_draws


def test_every_draw_is_the_ratio_of_what_was_drawn():
    rng = np.random.default_rng(0)
    counts, index = patient_draws(np.array([f"p{i}" for i in rng.integers(0, 20, 80)]), 30, 1)
    right, kept = rng.random((80, 2, 3)) < 0.6, rng.random((80, 2, 3)) < 0.5
    sums = [
        np.stack([x[index == g].sum(axis=0) for g in range(counts.shape[1])]).astype(float)
        for x in (right & kept, kept)
    ]
    found = ratio_draws(*sums, counts)
    assert np.allclose(found.values, (right & kept).sum(axis=0) / kept.sum(axis=0))
    for b in (0, 13, 29):
        rows = np.repeat(np.arange(80), counts[b][index])
        assert np.allclose(found.draws[b], (right & kept)[rows].sum(axis=0) / kept[rows].sum(axis=0))


def test_nobody_in_the_denominator_is_no_ratio():
    counts, _ = patient_draws(np.array(list("abcdefghijk")), 20, 0)
    found = ratio_draws(np.zeros((11, 1, 2)), np.array([0.0, 1.0]) * np.ones((11, 1, 2)), counts)
    assert np.isnan(found.values[0, 0])
    assert np.isnan(found.draws[:, 0, 0]).all()
    assert (found.draws[:, 0, 1] == 0).all()


def test_linear_draws_of_a_mean_are_its_draws():
    counts, _ = patient_draws(np.array(list("abcdefghijk")), 50, 0)
    x = np.random.default_rng(1).normal(size=(11, 1))
    found = linear_draws(x.mean(axis=0), (x - x.mean()) / 11, counts)
    assert np.allclose(found.draws[:, 0], counts @ x[:, 0] / 11)


def test_one_image_a_patient_is_the_binomial_error():
    counts, _ = patient_draws(np.arange(200).astype(str), 4000, 0)
    right = (np.arange(200) < 150).astype(float)[:, None, None]
    of = ratio_draws(right, np.ones((200, 1, 1)), counts)
    mean, low, high = expected_interval(of, 1e9, 0.95, "share")
    reach = norm.ppf(0.975) / np.sqrt(200 * 0.75 * 0.25)  # of the log-odds
    odds = np.log(3)
    assert mean[0] == 0.75
    assert np.allclose([low[0], high[0]], 1 / (1 + np.exp([reach - odds, -reach - odds])), atol=0.003)


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_the_closed_form_over_seeds_is_the_limit_of_drawing_them(seeds):
    rng = np.random.default_rng(seeds)
    values = rng.normal(size=(seeds, 4))
    draws = values + 0.5 * rng.normal(size=(60_000, 1, 4)) + 0.3 * rng.normal(size=(60_000, seeds, 4))
    error, freedom = Drawn(values, draws).error(30.0, curve=True)
    want, degrees = nested_error(values, draws, 30.0)
    assert np.allclose(error, want, rtol=0.01)
    assert np.allclose(freedom, degrees, rtol=0.06)


def test_the_end_of_a_share_has_the_bound_of_its_patients():
    of = Drawn(np.ones((3, 1)), np.ones((100, 3, 1)))
    assert np.allclose(expected_interval(of, 12, 0.95, "share", proportion=True), [[1], [wilson(12, 12, 0.95)[0]], [1]])
    assert np.isnan(expected_interval(of, 12, 0.95, None)[1])


def test_a_difference_is_symmetric():
    rng = np.random.default_rng(0)
    of = Drawn(np.array([[0.1]]), 0.1 + 0.02 * rng.normal(size=(5000, 1, 1)))
    mean, low, high = expected_interval(of, 21, 0.95, None)
    assert np.allclose(mean, (low + high) / 2)
    assert np.isclose((high - low)[0] / 2, student.ppf(0.975, 20) * of.draws.std(ddof=1))


def test_carriers_are_all_patients_or_the_few_that_make_the_error():
    rng = np.random.default_rng(0)
    even = rng.choice([-1.0, 1.0], 400)
    assert carriers(even - even.mean()) > 390
    normal = rng.normal(size=4000)
    assert np.isclose(carriers(normal - normal.mean()), 4000, rtol=0.1)  # n - 1 degrees of freedom
    rare = (np.arange(400) < 4) * 1.0
    assert 8 < carriers(rare - rare.mean()) < 10
    assert carriers(np.zeros(50)) >= 2
