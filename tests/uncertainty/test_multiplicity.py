"""Holm's correction and paired tests, by hand and in simulations."""

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.metrics.functions import class_auroc
from pipeline.uncertainty.bootstrap import patient_draws
from pipeline.uncertainty.multiplicity import holm, holm_in_two_tiers, paired_p
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


def rejected_step_by_step(leading, groups, alpha):
    """Reject one hypothesis after the other at a level, by the weights that the docstring states."""
    tested = [[k for k, p in enumerate(group) if not np.isnan(p)] for group in groups]
    m = sum(not np.isnan(p) or bool(own) for p, own in zip(leading, tested))
    done = set()
    while True:
        open_ = [i for i, p in enumerate(leading) if not np.isnan(p) and i not in done]
        reached = {
            i: left
            for i, own in enumerate(tested)
            if i not in open_ and (left := [k for k in own if (i, k) not in done])
        }
        weight = {i: (1 - 0.5 * len(reached) / m) / len(open_) for i in open_}
        for i, left in reached.items():
            share = 0.5 / m if open_ else 1 / len(reached)
            weight |= {(i, k): share / len(left) for k in left}
        assert sum(weight.values()) < 1 + 1e-12
        p = {h: leading[h] if isinstance(h, int) else groups[h[0]][h[1]] for h in weight}
        found = next((h for h in weight if p[h] <= alpha * weight[h] * (1 + 1e-12)), None)
        if found is None:
            return done
        done.add(found)


@pytest.mark.parametrize("seed", range(40))
def test_two_tiers_reject_what_the_weights_reject_at_every_level(seed):
    rng = np.random.default_rng(seed)
    leading = rng.random(rng.integers(1, 6)) ** 4
    groups = [rng.random(rng.integers(0, 4)) ** 5 for _ in leading]
    for p in (leading, *groups):
        p[rng.random(len(p)) < 0.15] = np.nan
    adjusted, below = holm_in_two_tiers(leading, groups)
    for alpha in (0.01, 0.05, 0.3):
        found = {i for i, p in enumerate(adjusted) if p <= alpha}
        found |= {(i, k) for i, group in enumerate(below) for k, p in enumerate(group) if p <= alpha}
        assert found == rejected_step_by_step(leading, groups, alpha)


def test_two_tiers_by_hand():
    adjusted, below = holm_in_two_tiers(np.array([0.01, 0.04]), [np.array([0.004, 0.02]), np.array([0.001])])
    # .01 at 1/2; then .04 at 3/4 (a quarter is kept for its two classes), the classes at 1/8 each, then 1/4.
    assert adjusted.tolist() == pytest.approx([0.02, 0.04 / 0.75])
    assert below[0].tolist() == pytest.approx(
        [0.004 * 8, 0.04 / 0.75]
    )  # with both pairs gone, its half: .02 / .5 = .04
    assert below[1].tolist() == pytest.approx([0.04 / 0.75])  # never below its own pair
    nothing_below = np.array([0.03, 0.001, np.nan, 0.02])
    np.testing.assert_array_equal(holm_in_two_tiers(nothing_below, [np.array([])] * 4)[0], holm(nothing_below))
    with pytest.raises(ValueError, match="1 groups below"):
        holm_in_two_tiers(nothing_below, [np.array([])])


def test_two_tiers_err_in_one_study_of_twenty_where_every_way_to_the_classes_is_open():
    """Half of the pairs differ for certain; their classes, and the other pairs, do not."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(2000):
        adjusted, below = holm_in_two_tiers(np.array([0, 0, *rng.random(2)]), list(rng.random((4, 5))))
        wrong += (adjusted[2:] < 0.05).any() or any((group < 0.05).any() for group in below)
    assert wrong / 2000 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
