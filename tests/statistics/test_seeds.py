"""Holm's correction, paired tests over seeds, and the table that the seed pages print."""

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.statistics.bootstrap import metric_draws, patient_draws
from pipeline.statistics.metrics import METRICS, Scored, Weighted, class_auroc, measure
from pipeline.statistics.seeds import COLUMNS, holm, paired_p, seed_table


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


def test_table_by_hand():
    values = np.array([[0.80001, 0.7, 0.75], [0.80002, 0.6, 0.70], [0.70000, 0.5, 0.60]])
    draws = values + np.random.default_rng(0).normal(size=(300, 3, 3))
    table = seed_table(["a", "b", "macro"], ["32", "42", "52"], values, draws)
    assert table.columns.tolist() == COLUMNS
    assert table["best_seeds"].tolist() == ["32/42", "32", "32"]
    np.testing.assert_allclose(table["mean"], values.mean(axis=0))
    np.testing.assert_allclose(table["sd"], values.std(axis=0, ddof=1))
    np.testing.assert_allclose(table["range"], np.ptp(values, axis=0))
    np.testing.assert_allclose(table["low"], values.min(axis=0))
    np.testing.assert_allclose(table["high"], values.max(axis=0))
    np.testing.assert_allclose(table["sampling_se"], draws.mean(axis=1).std(axis=0, ddof=1))
    _, _, p = paired_p(values, draws)
    np.testing.assert_allclose(table["p_holm"][:2], holm(p[:, :2]).min(axis=0))
    np.testing.assert_allclose(table["p_holm"][2], holm(p[:, 2]).min())


def test_the_aggregate_is_a_family_of_its_own():
    values = np.array([[0.0, 0.0], [2.5, 2.5]])
    draws = np.random.default_rng(0).normal(size=(5000, 2, 2)) / np.sqrt(2)
    alone = seed_table(["macro"], ["1", "2"], values[:, :1], draws[:, :, :1])["p_holm"][0]
    many = seed_table(
        [*"abcdefgh", "macro"],
        ["1", "2"],
        np.repeat(values[:, :1], 9, axis=1),
        np.repeat(draws[:, :, :1], 9, axis=2),
    )
    np.testing.assert_allclose(many["p_holm"], [8 * alone] * 8 + [alone])


def test_of_a_loss_the_lowest_is_best():
    values = np.array([[0.3], [0.2]])
    table = seed_table(["a"], ["1", "2"], values, np.zeros((10, 2, 1)), higher_is_better=False)
    assert table["best_seeds"].tolist() == ["2"]


def test_one_seed_has_no_spread():
    table = seed_table(["a", "macro"], ["7"], np.full((1, 2), 0.5), np.random.default_rng(0).normal(size=(20, 1, 2)))
    assert table[["sd", "range", "p_holm"]].isna().all(axis=None)
    assert table["sampling_se"].notna().all()
    assert table["best_seeds"].tolist() == ["7", "7"]
    assert table["note"].tolist() == ["one seed: no spread"] * 2
    assert not table["distinguishable"].any()


def test_a_refused_class_is_not_tested_and_not_counted():
    rng = np.random.default_rng(0)
    values, draws = rng.normal(size=(3, 2)), rng.normal(size=(50, 3, 2))
    table = seed_table(["a", "b"], ["1", "2", "3"], values, draws, ["", "fewer than 10 positive patients (7)"])
    assert np.isnan(table["p_holm"][1])
    assert np.isnan(table["sampling_se"][1])
    assert table["sd"].notna().all()
    assert table["note"].tolist() == ["", "fewer than 10 positive patients (7)"]
    assert table["p_holm"][0] == holm(paired_p(values[:, :1], draws[:, :, :1])[2]).min()


def test_undefined_for_one_seed_is_undefined():
    draws = np.random.default_rng(0).normal(size=(50, 2, 2))
    draws[:, 1, 1] = np.nan
    table = seed_table(["a", "b"], ["1", "2"], np.array([[0.5, 0.5], [0.6, np.nan]]), draws)
    row = table.iloc[1]
    assert row[["mean", "sd", "low", "high", "range", "sampling_se", "p_holm"]].isna().all()
    assert row["best_seeds"] == ""
    assert row["note"] == "undefined for 2"
    assert table.iloc[0]["note"] == ""


def simulate(seed, noise):
    """Three seeds of one recipe: the same signal, each blurred by its own `noise`."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(150), 3).astype(str)
    targets = np.repeat(rng.random((150, 4)) < 0.3, 3, axis=0).astype(np.uint8)
    shared = targets * 1.5 + rng.normal(size=targets.shape)
    logits = np.stack([shared + level * rng.normal(size=targets.shape) for level in noise])
    counts, index = patient_draws(patients, 300, seed)
    scored = Scored("multilabel", targets, logits, groups=index)
    auroc = METRICS["auroc"]
    draws = metric_draws(scored, {"auroc": auroc}, counts)["auroc"]
    return seed_table([*"abcd", "macro"], ["1", "2", "3"], measure(auroc, Weighted(scored))[0], draws)


def test_a_planted_seed_difference_is_found():
    table = simulate(0, noise=(0.1, 0.1, 2.0))
    assert table["distinguishable"].all()
    assert not table["best_seeds"].str.contains("3").any()


def test_noise_is_not_taken_for_a_difference():
    tables = [simulate(seed, noise=(0.3, 0.3, 0.3)) for seed in range(60)]
    classes = sum(table["distinguishable"][:4].any() for table in tables)
    macro = sum(table["distinguishable"][4] for table in tables)
    # Each family errs in 5 % of studies: 3 of 60 expected, 8 or more with a probability below 1 %.
    assert classes < 8
    assert macro < 8


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="expected"):
        seed_table(["a"], ["1", "2"], np.zeros((1, 1)), np.zeros((5, 1, 1)))
    with pytest.raises(ValueError, match="expected"):
        seed_table(["a"], ["1"], np.zeros((1, 1)), np.zeros((5, 2, 1)))


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
