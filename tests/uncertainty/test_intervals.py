"""Intervals against numpy, scipy and simulations."""

from itertools import pairwise

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy import stats

from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import jackknife_counts, metric_draws, nested_draws, patient_draws
from pipeline.uncertainty.intervals import intervals, nested_intervals, reflected, refusals, wilson


def test_intervals_are_numpys_percentiles_of_what_is_defined():
    draws = np.random.default_rng(0).normal(size=(400, 3, 2))
    draws[:50, 1, 1] = np.nan
    draws[:201, 2, 0] = np.nan
    draws[:, 2, 1] = np.nan
    low, high, defined = intervals(draws, 0.9)
    np.testing.assert_allclose(low[:2, 0], np.percentile(draws[:, :2, 0], 5, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high[0], np.percentile(draws[:, 0], 95, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high[1, 1], np.percentile(draws[50:, 1, 1], 95), rtol=1e-12)
    assert defined.tolist() == [[400, 400], [400, 350], [199, 0]]
    assert np.isnan(low[2]).all()
    assert np.isnan(high[2]).all()


def test_too_few_patients_are_named():
    patients = np.repeat(np.arange(40), 2)
    targets = np.zeros((80, 3), dtype=int)
    targets[:14, 0] = 1  # 7 patients, 14 images
    targets[:20, 1] = 1  # 10 patients
    targets[:72, 2] = 1  # 4 patients without
    scored = Scored("multilabel", targets, np.zeros((1, 80, 3)), groups=patients)
    assert refusals(scored) == ["fewer than 10 positive patients (7)", "", "fewer than 10 negative patients (4)"]


def test_intervals_cover_where_images_of_a_patient_resemble_each_other():
    """Coverage of the patient bootstrap, beside one that takes images for independent."""
    rng = np.random.default_rng(7)

    def sample(n_patients, images=5):
        ill = rng.random(n_patients) < 0.4
        score = rng.normal(size=n_patients)[:, None] + 0.3 * rng.normal(size=(n_patients, images)) + ill[:, None]
        return (
            np.repeat(ill, images).astype(int)[:, None],
            score.reshape(1, -1, 1),
            np.repeat(np.arange(n_patients), images),
        )

    targets, logits, _ = sample(20_000)
    truth = sk.roc_auc_score(targets[:, 0], logits[0, :, 0])
    covered = {"patients": 0, "images": 0}
    repeats = 150
    for repeat in range(repeats):
        targets, logits, patients = sample(60)
        for unit, groups in (("patients", patients.astype(str)), ("images", np.arange(300).astype(str))):
            counts, index = patient_draws(groups, 300, repeat)
            drawn = metric_draws(
                Scored("multilabel", targets, logits, groups=index), {"auroc": METRICS["auroc"]}, counts
            )
            low, high, _ = intervals(drawn["auroc"][:, 0, 0], 0.95)
            covered[unit] += low <= truth <= high
    assert 0.90 <= covered["patients"] / repeats <= 0.99
    assert covered["images"] / repeats < 0.75


@pytest.mark.parametrize(
    ("statistic", "decimals"),
    [(np.mean, 9), (np.var, 9), (np.median, 9), (np.mean, 0)],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_bca_is_scipys(statistic, decimals):
    """With whole numbers a third of the draws tie with another, and one in 30 with the value."""
    sample = np.round(np.random.default_rng(1).gamma(1.5, size=45), decimals)
    want = stats.bootstrap((sample,), statistic, n_resamples=999, method="BCa", rng=0)
    leaving_one_out = np.array([statistic(np.delete(sample, i)) for i in range(len(sample))])
    value, draws = np.asarray(statistic(sample)), want.bootstrap_distribution
    assert decimals or (draws == value).sum() > 20
    got = intervals(draws, 0.95, "bca", value=value, jackknife=leaving_one_out)
    np.testing.assert_allclose(got[:2], want.confidence_interval, rtol=1e-9)


def test_bca_with_grouped_patients_has_nearly_the_acceleration_of_single_ones():
    sample = np.random.default_rng(0).gamma(0.5, size=3000)
    draws = np.random.default_rng(1).normal(sample.mean(), sample.std() / np.sqrt(3000), size=2000)
    ends = []
    for max_groups in (3000, 200):
        weights = jackknife_counts(3000, max_groups=max_groups)
        jackknife = weights @ sample / weights.sum(axis=1)
        ends.append(intervals(draws, 0.95, "bca", value=sample.mean(), jackknife=jackknife)[:2])
    plain = intervals(draws, 0.95)[:2]
    shift = abs(np.array(ends[0]) - plain).max()
    assert abs(np.array(ends[0]) - ends[1]).max() < 0.4 * shift


def test_bca_of_what_does_not_vary_or_is_not_defined():
    value = np.array([0.3, 1.0, np.nan, 0.5])
    draws = np.tile([0.3, 0.8, 0.5, 0.5], (200, 1))
    draws[:, 3] = np.random.default_rng(0).normal(0.5, 0.1, 200)
    draws[:120, 3] = np.nan
    jackknife = np.random.default_rng(1).normal(size=(30, 4))
    jackknife[:, 0] = 0.3
    low, high, defined = intervals(draws, 0.95, "bca", value=value, jackknife=jackknife)
    assert low[:2].tolist() == high[:2].tolist() == [0.3, 0.8]  # all draws alike, at the value and below it
    assert np.isnan([*low[2:], *high[2:]]).all()
    assert defined.tolist() == [200, 200, 200, 80]
    jackknife[:16, 1] = np.nan  # most patients cannot be left out
    assert np.isnan(intervals(draws, 0.95, "bca", value=value, jackknife=jackknife)[0][1])


def test_a_rounding_error_is_a_tie():
    draws = np.repeat([0.4, 0.5, 0.6], [10, 80, 10])
    jackknife = np.random.default_rng(0).normal(size=20)
    exact, off = (
        intervals(draws, 0.9, "bca", value=np.asarray(v), jackknife=jackknife) for v in (0.5, 0.5 * (1 + 2e-16))
    )
    assert exact == off


def test_nested_interval_by_hand():
    rng = np.random.default_rng(0)
    values = rng.normal(0.8, 0.01, size=(4, 2))
    draws = values + rng.normal(0, 0.01, size=(500, 1, 2)) + rng.normal(0, 0.002, size=(500, 4, 2))
    draws[:300, :, 1] = np.nan
    low, high, error = nested_intervals(values, draws, 0.9, patients=np.array([30, 30]), seed=5)
    nested = nested_draws(draws, 5)[:, 0].std(ddof=1)
    patients = draws[:, :, 0].mean(axis=1).var(ddof=1)
    freedom = nested**4 / ((nested**2 - patients) ** 2 / 3 + patients**2 / 29)
    reach = stats.t.ppf(0.95, freedom) * nested
    np.testing.assert_allclose([low[0], high[0]], values[:, 0].mean() + np.array([-reach, reach]), rtol=1e-12)
    assert error[0] == pytest.approx(nested)
    assert np.isnan([low[1], high[1], error[1]]).all()


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_is_scipys(confidence):
    k, n = np.array([0, 1, 30, 586, 624]), np.array([10, 10, 60, 624, 624])
    low, high = wilson(k, n, confidence)
    for i in range(len(k)):
        want = stats.binomtest(int(k[i]), int(n[i])).proportion_ci(confidence, method="wilson")
        np.testing.assert_allclose([low[i], high[i]], want, rtol=1e-12, atol=1e-15)
    assert np.isnan(wilson(0, 0, 0.95)).all()


def test_the_reflected_interval_of_the_calibration_error_covers_where_percentiles_do_not():
    rng = np.random.default_rng(3)
    held = {"percentile": 0, "reflected": 0}
    n, repeats = 500, 80
    for _ in range(repeats):
        logits = np.sort(rng.normal(size=n) * 1.5 - 2.5)
        truth = 1 / (1 + np.exp(-logits - 0.3))  # odds are higher than forecast by exp(0.3)
        scored = Scored("multilabel", (rng.random(n) < truth)[:, None], logits[None, :, None])
        true_error = sum(abs((truth - scored.probabilities[0, :, 0])[b].sum()) for b in bins_of(n)) / n
        counts = rng.multinomial(n, np.full(n, 1 / n), size=200)
        metric = METRICS["ece"]
        value = measure(metric, Weighted(scored))[0, 0, 0]
        low, high, _ = intervals(measure(metric, Weighted(scored, counts))[:, 0, 0], 0.95)
        held["percentile"] += low <= true_error <= high
        low, high = reflected(low, high, value)
        assert 0 <= low <= value <= high
        held["reflected"] += low <= true_error <= high
    assert held["percentile"] / repeats < 0.2
    assert 0.8 < held["reflected"] / repeats <= 1


def bins_of(n):
    """Ranks of the 15 bins of n different scores."""
    edges = [i * n // 15 for i in range(16)]
    return [slice(a, b) for a, b in pairwise(edges)]


def test_reflected_by_hand():
    low, high = reflected(np.array([3.0, 5, 1, np.nan]), np.array([5.0, 6, 2, np.nan]), np.array([4.0, 4, 0.5, 1]))
    np.testing.assert_array_equal(low, [3, 2, 0, np.nan])
    np.testing.assert_array_equal(high, [5, 4, 0.5, np.nan])
