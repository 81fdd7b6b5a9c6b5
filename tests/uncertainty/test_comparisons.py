import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score

from pipeline.metrics.registry import METRICS
from pipeline.metrics.scored import Scored
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.comparisons import (
    COLUMNS,
    IMPROVEMENT,
    Side,
    _doubt,
    compare,
    difference_error,
)
from pipeline.uncertainty.comparisons import (
    tests_of as both_tests,
)
from pipeline.uncertainty.multiplicity import holm


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
    assert table.columns.tolist() == [*COLUMNS, *IMPROVEMENT]
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
    """Configurations that differ only by the luck of their seeds are called different as seldom as stated."""
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


def test_equivalence_by_hand():
    logits, targets, patients = study(n=600, seeds=1)
    table = compare("multilabel", logits, targets, patients, draws=200, margin=0.02)
    assert (table["margin"] == 0.02).all()
    for row in table.itertuples():
        half = (row.ci_high - row.ci_low) / 2
        standard_error = half / student.ppf(0.975, 199)
        one_sided = [
            student.sf((row.difference + 0.02) / standard_error, 199),
            student.cdf((row.difference - 0.02) / standard_error, 199),
        ]
        assert row.tost_p == pytest.approx(max(one_sided), rel=1e-9)
        within = row.equivalence_low > -0.02 and row.equivalence_high < 0.02
        assert within == (row.tost_p < 0.05)
        assert row.equivalence_high - row.difference == pytest.approx(student.ppf(0.95, 199) * standard_error)
    np.testing.assert_allclose(table["tost_p_holm"], holm(table["tost_p"].to_numpy()))
    assert (table["equivalent"] == (table["tost_p_holm"] < 0.05)).all()


def test_more_data_turn_no_difference_into_equivalence():
    wide, narrow = (
        compare("multilabel", study(1, n=n, seeds=1)[0], *study(1, n=n, seeds=1)[1:], draws=100, margin=0.02)
        for n in (150, 9000)
    )
    assert not wide["distinguishable"].any()
    assert not wide["equivalent"].any()
    assert narrow["equivalent"].all()


def test_classes_are_a_family_of_their_own():
    logits, targets, patients = study(seeds=3)
    logits["a"][:, :, 1] += 2.0 * targets[:, 1]
    table = compare("multilabel", logits, targets, patients, draws=200, classes=["x", "y", "z"])
    assert table["class"].tolist() == [name for name in ("macro", "x", "y", "z") for _ in range(3)]
    alone = compare("multilabel", logits, targets, patients, draws=200)
    pd.testing.assert_frame_equal(table[:3], alone[COLUMNS])
    np.testing.assert_allclose(table["p_holm"][3:], holm(table["p"][3:].to_numpy()))
    values = {name: np.mean([roc_auc_score(targets[:, 1], z[:, 1]) for z in of]) for name, of in logits.items()}
    of_y = table[table["class"] == "y"]
    np.testing.assert_allclose(
        of_y["difference"], [values[a] - values[b] for a, b in zip(of_y["first"], of_y["second"])]
    )
    assert of_y["distinguishable"].tolist() == [True, True, False]
    assert not table[table["class"].isin(["x", "z"])]["distinguishable"].any()


def test_a_class_of_few_patients_has_no_test_and_does_not_count():
    logits, targets, patients = study(seeds=1)
    targets[:, 2] = 0
    targets[:12, 2] = 1  # 4 patients
    table = compare("multilabel", logits, targets, patients, draws=100, classes=["x", "y", "z"])
    few = table[table["class"] == "z"]
    assert few["note"].unique().tolist() == ["fewer than 10 positive patients (4)"]
    assert few[["ci_low", "p", "p_holm", "tost_p", "tost_p_holm", "equivalence_low"]].isna().all(axis=None)
    assert few["difference"].notna().all()
    assert not few[["distinguishable", "equivalent"]].any(axis=None)
    tested = table[table["class"].isin(["x", "y"])]
    np.testing.assert_allclose(tested["p_holm"], holm(tested["p"].to_numpy()))


def test_equal_predictions_are_equivalent():
    logits, targets, patients = study(seeds=1)
    row = compare("multilabel", {"a": logits["a"], "b": logits["a"] * 2}, targets, patients, draws=50).iloc[0]
    assert (row["difference"], row["p"], row["tost_p"]) == (0, 1, 0)
    assert row["equivalent"]
    assert not row["distinguishable"]


def test_refuses_what_does_not_fit():
    logits, targets, patients = study()
    for wrong in ({"margin": 0.0}, {"confidence": 95}):
        with pytest.raises(ValueError, match="must be in"):
            compare("multilabel", logits, targets, patients, draws=10, **wrong)
    with pytest.raises(ValueError, match="2 names for 3 classes"):
        compare("multilabel", logits, targets, patients, draws=10, classes=["x", "y"])


def test_rankings_that_no_draw_can_part_are_not_called_equal():
    """Two perfect but different rankings of 12 + 12 patients: nothing is known of how they would differ elsewhere."""
    targets = np.repeat([[1], [0]], 12, axis=0)
    rng = np.random.default_rng(0)
    logits = {name: (4 * targets + rng.random((24, 1)))[None] for name in "ab"}
    row = compare("multilabel", logits, targets, np.arange(24).astype(str), draws=50).iloc[0]
    assert row["difference"] == 0
    assert row[["p", "tost_p", "ci_low", "ci_high"]].isna().all()
    assert not row[["distinguishable", "equivalent"]].any()
    assert row["note"] == "no draw of patients changes the difference"


def test_too_few_patients_have_no_test_of_the_mean_over_classes_either():
    rng = np.random.default_rng(0)
    targets = (rng.random((70, 3)) < 0.4).astype(int)
    logits = {name: (targets + rng.normal(size=(70, 3)))[None] for name in "ab"}
    row = compare("multilabel", logits, targets, np.repeat(np.arange(7), 10).astype(str), draws=50).iloc[0]
    assert row["note"] == "fewer than 10 patients (7)"
    assert row[["p", "tost_p", "ci_low", "equivalence_low"]].isna().all()


def test_the_error_of_patients_and_seeds_written_out():
    logits, targets, patients = study(seeds=3)
    counts, index = patient_draws(patients, 200, 0)
    draws = {
        name: metric_draws(Scored("multilabel", targets, z, groups=index), {"auroc": METRICS["auroc"]}, counts)["auroc"]
        for name, z in logits.items()
    }
    a, b = (draws[name][:, :, -1] for name in "ab")
    values = [np.array([roc_auc_score(targets, z) for z in logits[name]]) for name in "ab"]
    pairs = [(0, 1), (0, 2), (1, 2)]
    within = [np.mean([np.cov(x[:, i], x[:, j])[0, 1] for i, j in pairs]) for x in (a, b)]
    between = np.mean([np.cov(a[:, i], b[:, j])[0, 1] for i in range(3) for j in range(3)])
    error, freedom = difference_error(Side(values[0], a), Side(values[1], b), 99)
    interaction = sum((np.mean(x.var(axis=0, ddof=1)) - shared) / 3 for x, shared in zip((a, b), within))
    patients_do = sum(within) - 2 * between + interaction
    assert patients_do == pytest.approx((a.mean(axis=1) - b.mean(axis=1)).var(ddof=1))
    of_seeds = sum(v.var(ddof=1) / 3 for v in values)
    assert of_seeds < interaction  # seeds of this study differ by what they make of patients alone
    assert (error**2, freedom) == pytest.approx((patients_do, 99))
    wide = [v + np.array([-0.03, 0.0, 0.03]) for v in values]
    error, freedom = difference_error(Side(wide[0], a), Side(wide[1], b), 99)
    of_seeds = sum(v.var(ddof=1) / 3 for v in wide)
    total = patients_do + of_seeds - interaction
    assert error**2 == pytest.approx(total)
    assert freedom == pytest.approx(total**2 / (patients_do**2 / 99 + of_seeds**2 / 4))
    one = difference_error(Side(wide[0], a), Side(wide[1][:2], b[:, :2]), 99)[1]
    two = wide[0].var(ddof=1) / 3, wide[1][:2].var(ddof=1) / 2
    drawn = (a.mean(axis=1) - b[:, :2].mean(axis=1)).var(ddof=1)
    own = (np.mean(b[:, :2].var(axis=0, ddof=1)) - np.cov(b[:, 0], b[:, 1])[0, 1]) / 2
    known = (np.mean(a.var(axis=0, ddof=1)) - within[0]) / 3 + own
    below = drawn**2 / 99 + two[0] ** 2 / 2 + two[1] ** 2 / 1
    assert one == pytest.approx((drawn + sum(two) - known) ** 2 / below)


def test_an_assumed_spread_widens_what_was_trained_once_and_nothing_else():
    logits, targets, patients = study(seeds=1)
    alone = compare("multilabel", logits, targets, patients, draws=100)
    assumed = compare("multilabel", logits, targets, patients, draws=100, seed_sd={"a": 0.02, "b": 0.02})
    assert alone["seeds"].tolist() == ["fixed"] * 3
    assert assumed["seeds"].tolist() == ["assumed", "fixed", "fixed"]
    width = [table["ci_high"] - table["ci_low"] for table in (alone, assumed)]
    assert width[1][0] > width[0][0]
    np.testing.assert_array_equal(width[0][1:], width[1][1:])


@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (5, 5), (2, 3), (5, 3)])
def test_where_patients_do_nothing_it_is_the_t_test_of_the_seeds(seeds):
    """Student's for equal numbers of seeds, Welch's for others, by scipy."""
    rng = np.random.default_rng(seeds)
    values = [rng.normal(0.8, 0.01, n) for n in seeds]
    sides = [Side(v, np.tile(v, (50, 1))) for v in values]
    error, freedom = difference_error(*sides, 99)
    found = both_tests(values[0].mean() - values[1].mean(), error, freedom, 0.95, 0.005, 1.0)
    assert found["p"] == pytest.approx(ttest_ind(*values, equal_var=seeds[0] == seeds[1]).pvalue, rel=1e-9)
    if seeds[0] == seeds[1]:
        assert freedom == pytest.approx(2 * seeds[0] - 2)  # those of power.power_of


@pytest.mark.parametrize(
    ("of_seeds", "interaction", "freedom", "doubt"),
    [
        (1.0, 2.0, 4, 0.0),  # nothing exceeds what the patients do
        (1.5, 1.0, 4, 1.0),  # .5 x 4 / 2
        (3.0, 1.0, 4, 3.0),  # 2 x 2, and no more than what was seen
        (1.5, 1.0, 8, 0.5 * 8 / 6),
        (1.5, 1.0, 2, 1.5),
        (0.5, 1.0, 2, 0.25),  # in proportion
        (1.5, 1.0, np.inf, 0.5),  # stated, so that nothing is uncertain
        (0.0, 0.0, 2, 0.0),
    ],
)
def test_seeds_are_as_uncertain_as_what_exceeds_the_patients(of_seeds, interaction, freedom, doubt):
    assert _doubt(of_seeds, interaction, freedom) == pytest.approx(doubt)


def test_no_two_aurocs_differ_by_more_than_1():
    """Twelve patients of either side, and two seeds that have nothing in common."""
    rng = np.random.default_rng(1)
    truth = np.repeat([1, 0], 12)[:, None]
    logits = {
        "a": np.stack([truth * 2.0, -truth * 2.0]) + rng.normal(size=(2, 24, 1)),
        "b": np.stack([-truth * 2.0, truth * 1.0]) + rng.normal(size=(2, 24, 1)),
    }
    table = compare("multilabel", logits, truth, np.arange(24).astype(str), draws=200).iloc[0]
    reach = student.ppf(0.975, table["freedom"]) * table["error"]
    assert table["difference"] - reach < -1 < 1 < table["difference"] + reach
    assert (table["ci_low"], table["ci_high"]) == (-1, 1)
    assert -1 <= table["equivalence_low"] < table["equivalence_high"] <= 1
    assert table["p"] == pytest.approx(2 * student.sf(abs(table["difference"]) / table["error"], table["freedom"]))
