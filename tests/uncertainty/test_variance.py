"""Spread over seeds, its components against analysis of variance and planted ones, and disagreement by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipeline.metrics.scored import Scored
from pipeline.uncertainty.variance import (
    COMPONENT_COLUMNS,
    DISAGREEMENT_COLUMNS,
    SUMMARY_COLUMNS,
    components,
    disagreement,
    image_spread,
    over_seeds,
)


def test_interval_over_seeds_is_scipys():
    values = np.random.default_rng(0).normal(0.8, 0.01, size=(5, 2))
    values[2, 1] = np.nan
    table = over_seeds(["a", "b"], values, 0.9)
    assert table.columns.tolist() == SUMMARY_COLUMNS
    want = stats.ttest_1samp(values[:, 0], 0).confidence_interval(0.9)
    np.testing.assert_allclose(table.loc[0, ["ci_low", "ci_high"]].astype(float), want, rtol=1e-12)
    assert table["sd"][0] == pytest.approx(np.std(values[:, 0], ddof=1))
    assert table.loc[0, ["low", "high"]].tolist() == [values[:, 0].min(), values[:, 0].max()]
    assert table.loc[1, SUMMARY_COLUMNS[2:]].isna().all()
    single = over_seeds(["a"], values[:1, :1])
    assert single["mean"][0] == values[0, 0]
    assert single[["sd", "ci_low", "ci_high"]].isna().all(axis=None)


def test_components_are_those_of_an_analysis_of_variance():
    """The draws as a two-way table of draw x seed with one value a cell: mean squares of rows and of what is left."""
    rng = np.random.default_rng(0)
    n_draws, n_seeds = 300, 4
    values = rng.normal(0.8, 0.02, size=(n_seeds, 1))
    draws = values + rng.normal(0, 0.02, (n_draws, 1, 1)) + rng.normal(0, 0.005, (n_draws, n_seeds, 1))
    cells = draws[:, :, 0]
    rows, columns = cells.mean(axis=1, keepdims=True), cells.mean(axis=0, keepdims=True)
    ms_rows = n_seeds * ((rows - cells.mean()) ** 2).sum() / (n_draws - 1)
    ms_rest = ((cells - rows - columns + cells.mean()) ** 2).sum() / ((n_draws - 1) * (n_seeds - 1))
    row = components(["a"], values, draws).iloc[0]
    case, both = (ms_rows - ms_rest) / n_seeds, ms_rest
    seed = values.var(ddof=1) - both
    want = [seed, case, both, seed + case + both, seed / (seed + case + both), np.sqrt(case + (seed + both) / n_seeds)]
    np.testing.assert_allclose(row[COMPONENT_COLUMNS[2:8]].astype(float), want, rtol=1e-9)
    assert row["note"] == ""


def test_planted_components_are_found_on_average():
    """Each column is a study of its own; the estimates of 1,500 studies have the planted components as their mean."""
    rng = np.random.default_rng(0)
    n, n_seeds, seed, case, both = 1500, 5, 0.010, 0.020, 0.006
    values = rng.normal(0, seed, (n_seeds, n)) + rng.normal(0, case, (1, n)) + rng.normal(0, both, (n_seeds, n)) + 0.8
    draws = values + rng.normal(0, case, (200, 1, n)) + rng.normal(0, both, (200, n_seeds, n))
    table = components([str(i) for i in range(n)], values, draws)
    kept = table[table["note"] == ""]
    assert len(kept) > 0.9 * n
    # Estimates below 0 are raised to 0: the mean of all is a little high, never low.
    assert table["var_seed"].mean() == pytest.approx(seed**2, rel=0.08)
    assert table["var_case"].mean() == pytest.approx(case**2, rel=0.02)
    assert table["var_seed_case"].mean() == pytest.approx(both**2, rel=0.02)
    total = seed**2 + case**2 + both**2
    # The estimate of a ratio is below the ratio of the expected values where the numerator varies most: 0.17 to 0.19.
    assert table["icc_seed"].mean() == pytest.approx(seed**2 / total, rel=0.15)
    true_error = np.sqrt(case**2 + (seed**2 + both**2) / n_seeds)
    assert values.mean(axis=0).std() == pytest.approx(true_error, rel=0.06)
    assert table["se_mean"].mean() == pytest.approx(true_error, rel=0.03)


def test_what_cannot_be_split_says_why():
    rng = np.random.default_rng(0)
    values = np.full((3, 4), 0.8)
    draws = 0.8 + rng.normal(0, 0.01, (50, 3, 4))
    values[0, 1] = np.nan
    draws[:30, 2, 2] = np.nan
    table = components(list("abcd"), values, draws)
    assert "estimated below 0" in table.loc[0, "note"]
    assert "var_seed" in table.loc[0, "note"]
    assert table.loc[0, "icc_seed"] == 0
    assert table["note"].tolist()[1:3] == ["undefined for a seed", "undefined in most draws"]
    assert table.loc[1:2, COMPONENT_COLUMNS[2:8]].isna().all(axis=None)
    assert components(["a"], values[:1, :1], draws[:, :1, :1])["note"].tolist() == ["one seed: no spread"]


def test_disagreement_by_hand():
    probabilities = np.array([[[0.1], [0.6], [0.9], [0.0]], [[0.3], [0.4], [0.9], [0.0]], [[0.2], [0.8], [0.6], [0.0]]])
    decisions = probabilities >= 0.5
    row = disagreement(["a"], probabilities, decisions).iloc[0]
    sd = np.array([0.1, 0.2, np.sqrt(0.03), 0.0])
    np.testing.assert_allclose(image_spread(probabilities)[:, 0], sd, atol=1e-15)
    assert row["n"] == 4
    assert row["mean_sd"] == pytest.approx(sd.mean())
    assert row["sd_95th"] == pytest.approx(np.quantile(sd, 0.95))
    assert row["mean_cov"] == pytest.approx((0.1 / 0.2 + 0.2 / 0.6 + np.sqrt(0.03) / 0.8) / 4)
    assert row["differing"] == 1 / 4  # the second image
    assert row["pairwise"] == pytest.approx(2 / 3 / 4)  # on which 2 of 3 pairs differ


def test_pairwise_disagreement_is_the_mean_over_the_pairs_of_seeds():
    called = np.random.default_rng(0).random((4, 50, 2)) < 0.5
    want = np.mean([(called[i] != called[j]).mean(axis=0) for i, j in combinations(range(4), 2)], axis=0)
    np.testing.assert_allclose(disagreement(["a", "b"], called.astype(float), called)["pairwise"], want, rtol=1e-12)


def test_disagreement_needs_two_seeds_and_their_thresholds():
    rng = np.random.default_rng(0)
    scored = Scored(
        "multilabel", rng.integers(0, 2, (30, 2)), rng.normal(size=(2, 30, 2)), np.array([[0.5, 0.5], [0.5, np.nan]])
    )
    p, called, undecided = 1 / (1 + np.exp(-scored.logits)), scored.decisions(), scored.undecided()
    table = disagreement(["a", "b"], p, called, undecided)
    assert table.columns.tolist() == DISAGREEMENT_COLUMNS
    assert table["mean_sd"].notna().all()
    want = (called[0, :, 0] != called[1, :, 0]).mean()
    pd.testing.assert_series_equal(table["differing"], pd.Series([want, np.nan], name="differing"))
    single = disagreement(["a", "b"], p[:1], called[:1])
    assert single[DISAGREEMENT_COLUMNS[3:]].isna().all(axis=None)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="expected"):
        over_seeds(["a"], np.zeros((2, 2)))
    with pytest.raises(ValueError, match="confidence"):
        over_seeds(["a"], np.zeros((2, 1)), 95)
    with pytest.raises(ValueError, match="expected"):
        components(["a"], np.zeros((2, 1)), np.zeros((9, 3, 1)))
    with pytest.raises(ValueError, match="expected"):
        disagreement(["a"], np.zeros((2, 3, 1)), np.zeros((2, 3, 2)))
