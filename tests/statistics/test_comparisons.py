import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.statistics.comparisons import COLUMNS, compare
from pipeline.statistics.seeds import holm


def study(seed=0, n=300, gain=0.0, seeds=2):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 3)) < 0.3).astype(np.uint8)
    patients = np.array([f"p{i // 3}" for i in range(n)])
    shared = rng.normal(size=(n, 3))
    make = {"a": 1.0, "b": 1.0 + gain, "c": 1.0}
    logits = {
        name: np.stack([signal * targets + shared + 0.5 * rng.normal(size=(n, 3)) for _ in range(seeds)])
        for name, signal in make.items()
    }
    return logits, targets, patients


def test_differences_are_those_of_the_means_over_seeds_by_sklearn():
    logits, targets, patients = study()
    table = compare("multilabel", logits, targets, patients, draws=100)
    assert table.columns.tolist() == COLUMNS
    assert table[["first", "second"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    means = {name: np.mean([roc_auc_score(targets, z) for z in of]) for name, of in logits.items()}
    for row in table.itertuples():
        assert row.difference == pytest.approx(means[row.first] - means[row.second], abs=1e-12)
        assert row.ci_low < row.difference < row.ci_high
    np.testing.assert_allclose(table["p_holm"], holm(table["p"].to_numpy()))


def test_two_recipes_count_their_seeds_and_a_single_training_cannot():
    logits, targets, patients = study(seeds=4)
    vary = compare("multilabel", logits, targets, patients, draws=200)
    assert set(vary["seeds"]) == {"vary"}
    fixed = compare("multilabel", {"a": logits["a"], "b": logits["b"][:1]}, targets, patients, draws=200)
    assert fixed["seeds"].tolist() == ["fixed"]
    values = {name: np.array([roc_auc_score(targets, z) for z in of]) for name, of in logits.items()}
    row = vary.iloc[0]
    half = (row["ci_high"] - row["ci_low"]) / 2
    seeds_alone = np.sqrt(values["a"].var(ddof=1) / 4 + values["b"].var(ddof=1) / 4)
    assert half > 1.96 * seeds_alone


def test_a_lucky_seed_makes_no_recipe():
    """Recipes that are alike but for the luck of their seeds are told apart as seldom as said."""
    called, with_fixed_seeds = 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        targets = (rng.random((400, 2)) < 0.3).astype(np.uint8)
        shared, patients = rng.normal(size=(400, 2)), np.arange(400).astype(str)
        logits = {
            name: np.stack([rng.normal(1, 0.3) * targets + shared + 0.1 * rng.normal(size=(400, 2)) for _ in range(3)])
            for name in "ab"
        }
        called += compare("multilabel", logits, targets, patients, draws=100)["distinguishable"][0]
        means = {name: of.mean(axis=0, keepdims=True) for name, of in logits.items()}
        with_fixed_seeds += compare("multilabel", means, targets, patients, draws=100)["distinguishable"][0]
    assert called / 200 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert with_fixed_seeds / 200 > 0.3  # what patients alone would have called a difference


def test_a_real_difference_is_found_and_equal_recipes_are_not_told_apart():
    logits, targets, patients = study(gain=1.0)
    table = compare("multilabel", logits, targets, patients, draws=300)
    assert table["distinguishable"].tolist() == [True, False, True]
    assert table["difference"][0] < 0


def test_equal_recipes_are_called_different_as_seldom_as_said():
    called = 0
    for seed in range(200):
        logits, targets, patients = study(seed, seeds=1, n=240)
        called += compare("multilabel", logits, targets, patients, draws=100)["distinguishable"].any()
    assert called / 200 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_multiclass_and_a_single_competitor():
    rng = np.random.default_rng(0)
    targets = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, 90)]
    patients = np.arange(90).astype(str)
    logits = {"x": rng.normal(size=(1, 90, 3)), "y": rng.normal(size=(2, 90, 3))}
    assert len(compare("multiclass", logits, targets, patients, draws=50)) == 1
    assert compare("multiclass", {"x": logits["x"]}, targets, patients, draws=50).empty
