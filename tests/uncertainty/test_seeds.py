"""Holm's correction, paired tests over seeds, and the table that the seed pages print."""

import numpy as np
import pytest

from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.multiplicity import holm, paired_p
from pipeline.uncertainty.seeds import COLUMNS, seed_table


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
