"""Holm's correction and paired tests, by hand and in simulations."""

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.metrics.functions import class_auroc
from pipeline.uncertainty.bootstrap import patient_draws
from pipeline.uncertainty.multiplicity import holm, paired_p
from pipeline.uncertainty.seeds import seed_table


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4 x .005, 3 x .01, 2 x .03, then held at .06
        ([0.05], [0.05]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.02, np.nan, 0.03], [0.04, np.nan, 0.04]),  # NaN does not count as a comparison
        ([], []),
    ],
)
def test_holm_by_hand(given, want):
    np.testing.assert_allclose(holm(np.array(given)), want, rtol=1e-12)


def test_holm_keeps_the_shape_and_rejects_as_the_step_down_does():
    p = np.random.default_rng(0).uniform(size=(4, 5)) ** 4
    adjusted = holm(p)
    rejected, ordered = set(), np.argsort(p.ravel())
    for rank, i in enumerate(ordered):
        if p.ravel()[i] > 0.05 / (p.size - rank):
            break
        rejected.add(i)
    assert set(np.flatnonzero(adjusted.ravel() <= 0.05)) == rejected


def test_paired_p_by_hand():
    draws = np.random.default_rng(0).normal(size=(500, 3, 2))
    values = np.array([[0.0, 1.0], [0.5, 1.0], [2.0, 1.0]])
    difference, error, p = paired_p(values, draws)
    assert difference.tolist() == [[-0.5, 0], [-2, 0], [-1.5, 0]]
    want = (draws[:, 0] - draws[:, 2]).std(axis=0, ddof=1)
    np.testing.assert_allclose(error[1], want)
    np.testing.assert_allclose(p[1, 0], 2 * norm.sf(2 / want[0]))
    np.testing.assert_allclose(p[:, 1], 1)


def test_what_all_seeds_share_does_not_count_as_noise():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(400, 1, 1))
    draws = 0.8 + 0.05 * shared + 0.001 * rng.normal(size=(400, 2, 1))
    table = seed_table(["a"], ["1", "2"], np.array([[0.80], [0.81]]), draws)
    assert table["sampling_se"][0] == pytest.approx(0.05, rel=0.1)
    assert table["distinguishable"][0]


def test_equal_seeds_have_p_1_and_an_unchanging_difference_has_none():
    draws = np.repeat(np.random.default_rng(0).normal(size=(50, 1, 1)), 2, axis=1)
    assert paired_p(np.zeros((2, 1)), draws)[2].tolist() == [[1]]
    assert np.isnan(paired_p(np.array([[0.0], [1.0]]), draws)[2]).all()


def test_with_few_patients_equal_models_are_called_different_as_seldom_as_said():
    """The t distribution holds the level where the normal one calls 0.2 % differences in 0.7 % of the cases."""
    p = []
    for repeat in range(500):
        rng = np.random.default_rng(repeat)
        patients = np.repeat(np.arange(98), 4)
        truth = np.zeros(len(patients), int)
        for carrier in rng.choice(98, 12, replace=False):
            truth[4 * carrier + rng.choice(4, 2, replace=False)] = 1
        shared, own = rng.normal(size=(len(patients), 1)), rng.normal(size=(98, 2))[patients]
        scores = shared + 0.7 * own + 0.7 * rng.normal(size=(len(patients), 2)) + 1.5 * truth[:, None]
        both = np.stack([truth, truth], 1)
        counts, index = patient_draws(patients.astype(str), 200, repeat)
        values, draws = class_auroc(both, scores), class_auroc(both, scores, counts[:, index].astype(float))
        p.append(paired_p(values[:, None], draws[:, :, None], np.array([12]))[2][0, 0])
    for level in (0.05, 0.01):
        assert np.mean(np.array(p) < level) < level + 3 * np.sqrt(level * (1 - level) / 500)
    assert np.mean(np.array(p) < 0.05) > 0.015


def test_many_patients_make_it_the_normal_test():
    rng = np.random.default_rng(0)
    values, draws = rng.normal(size=(3, 2)), rng.normal(size=(200, 3, 2))
    np.testing.assert_allclose(
        paired_p(values, draws)[2], paired_p(values, draws, np.array([10**7, 10**7]))[2], rtol=1e-5
    )
    assert (paired_p(values, draws, np.array([11, 11]))[2] > paired_p(values, draws)[2]).all()
