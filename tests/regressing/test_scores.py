"""Metrics of a predicted number against scikit-learn and plain formulas, their draws, and combinations."""

import numpy as np
import pytest
import sklearn.metrics as sk

from pipeline.regressing.scores import METRICS, NO_SPREAD, NORMAL, Sums, scores
from pipeline.regressing.values import Values, mixed
from pipeline.study.files import ArtifactError


def example(n=60, s=2, seed=0, groups=20):
    rng = np.random.default_rng(seed)
    targets = rng.normal(500, 12, n)
    values = targets + rng.normal(2, 8, (s, n))
    return values, rng.uniform(4, 12, (s, n)), targets, rng.integers(0, groups, n)


def plainly(p, sd, y):
    """The metrics of one prediction, formula by formula."""
    e = p - y
    limit = NORMAL * e.std(ddof=1)
    ccc = 2 * np.cov(y, p, ddof=0)[0, 1] / (y.var() + p.var() + (y.mean() - p.mean()) ** 2)
    bias = e.mean()
    mse = sk.mean_squared_error(y, p)
    inside = np.mean((y >= p - NORMAL * sd) & (y <= p + NORMAL * sd))
    figures = (sk.mean_absolute_error(y, p), mse**0.5, sk.r2_score(y, p), bias, bias - limit, bias + limit, ccc)
    return dict(zip(METRICS, (*figures, inside, sd.mean()), strict=True))


def test_every_metric_equals_its_formula_and_scikit_learns():
    values, spreads, targets, groups = example()
    got = Sums.over(values, spreads, targets, groups, 20).measured()[0]
    for s in range(2):
        expected = plainly(values[s], spreads[s], targets)
        np.testing.assert_allclose(got[s], [expected[m] for m in METRICS], rtol=1e-9)


def test_lin_1989_agreement_is_lost_by_bias_and_by_scale():
    y = np.arange(10.0)
    nothing, alone = np.full((1, 10), np.nan), np.zeros(10, int)
    ccc = METRICS.index("ccc")
    for p, expected in ((y, 1.0), (y + 3, 2 * 8.25 / (2 * 8.25 + 9)), (-y + 9, -1.0), (np.full(10, 4.5), 0.0)):
        got = Sums.over(p[None], nothing, y, alone, 1).measured()[0, 0, ccc]
        assert got == pytest.approx(expected, abs=1e-12)


def test_a_drawn_patient_counts_as_often_as_it_was_drawn():
    values, spreads, targets, groups = example(seed=1)
    counts = np.random.default_rng(0).integers(0, 4, (3, 20))
    got = Sums.over(values, spreads, targets, groups, 20).measured(counts)
    for b, weights in enumerate(counts):
        rows = np.repeat(np.arange(len(targets)), weights[groups])
        for s in range(2):
            expected = plainly(values[s][rows], spreads[s][rows], targets[rows])
            np.testing.assert_allclose(got[b, s], [expected[m] for m in METRICS], rtol=1e-9)


def test_rows_say_what_is_missing_and_intervals_hold_the_value():
    values, _, targets, groups = example(groups=30)
    nothing = np.full(values.shape, np.nan)
    side = values, nothing, targets, groups.astype(str)
    made = scores(["1", "2"], {"val": side, "test": side}, draws=200, confidence=0.95, seed=0)
    rows = made.rows.set_index(["part", "seed", "metric"])
    assert rows.loc[("test", "mean", "coverage"), "note"] == NO_SPREAD
    for metric in METRICS[:7]:
        row = rows.loc[("test", "mean", metric)]
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert row["value"] == pytest.approx(np.mean([rows.loc[("test", s, metric), "value"] for s in "12"]))
        assert np.isnan(rows.loc[("val", "mean", metric), "ci_low"])
    assert rows.loc[("test", "mean", "r2"), "ci_high"] < 1
    few = values, nothing, targets, (groups % 5).astype(str)
    assert scores(["1", "2"], {"test": few}, draws=100, confidence=0.95, seed=0).rows["ci_low"].isna().all()


def test_intervals_of_the_mean_absolute_error_cover_as_often_as_they_say():
    """200 samples of 40 patients with 1 to 3 images; 95 % would be 190, and 3 standard errors below are 181."""
    rng = np.random.default_rng(0)
    hit = 0
    for _ in range(200):
        patients = np.repeat(np.arange(40), rng.integers(1, 4, 40))
        error = rng.normal(0, 1, 40)[patients] + rng.normal(0, 1, len(patients))
        side = error[None], np.full((1, len(error)), np.nan), np.zeros(len(error)), patients.astype(str)
        row = scores(["1"], {"test": side}, draws=100, confidence=0.95, seed=0, with_mean=False).rows.iloc[0]
        hit += row["ci_low"] < 2 / np.sqrt(np.pi) < row["ci_high"]  # mean of |N(0, 2)|
    assert hit >= 181


def test_an_equal_mixture_of_normal_distributions():
    values, spreads = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[1.0, 2.0], [1.0, 2.0]])
    value, spread = mixed(values, spreads)
    np.testing.assert_allclose(value, [2, 5])
    np.testing.assert_allclose(spread, [np.sqrt(2), 2])


def test_values_are_read_as_written_and_shapes_are_held(tmp_path):
    values, spreads, targets, groups = example()
    side = {"rows": np.arange(60), "values": values, "spreads": spreads, "targets": targets, "patients": groups}
    content = {f"{part}_{key}": value for part in ("val", "test") for key, value in side.items()}
    written = Values(names=np.array(["1", "2"]), **content)
    written.save(tmp_path / "values.npz")
    again = Values.load(tmp_path / "values.npz")
    assert all(np.array_equal(getattr(again, k), getattr(written, k)) for k in vars(written))
    with pytest.raises(ArtifactError, match=r"test values \(1, 60\); expected \(2, 60\)"):
        Values(names=np.array(["1", "2"]), **{**content, "test_values": values[:1]})
