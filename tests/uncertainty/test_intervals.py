"""Intervals against numpy, scipy and simulations."""

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy import stats

from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws, nested_draws, patient_draws
from pipeline.uncertainty.intervals import (
    mean_freedom,
    nested_error,
    one_sided,
    percentiles,
    score_interval,
    t_interval,
    wilson,
)
from pipeline.uncertainty.metric_intervals import metric_intervals, share_interval, total_intervals
from pipeline.uncertainty.support import class_refusals, mean_refusal, support


def test_intervals_are_numpys_percentiles_of_what_is_defined():
    draws = np.random.default_rng(0).normal(size=(400, 3, 2))
    draws[:50, 1, 1] = np.nan
    draws[:201, 2, 0] = np.nan
    draws[:, 2, 1] = np.nan
    low, high = percentiles(draws, 0.9)
    np.testing.assert_allclose(low[:2, 0], np.percentile(draws[:, :2, 0], 5, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high[0], np.percentile(draws[:, 0], 95, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high[1, 1], np.percentile(draws[50:, 1, 1], 95), rtol=1e-12)
    assert np.isnan(low[2]).all()
    assert np.isnan(high[2]).all()


def test_too_few_patients_are_named():
    patients = np.repeat(np.arange(40), 2)
    targets = np.zeros((80, 3), dtype=int)
    targets[:14, 0] = 1  # 7 patients, 14 images
    targets[:20, 1] = 1  # 10 patients
    targets[:72, 2] = 1  # 4 patients without
    scored = Scored("multilabel", targets, np.zeros((1, 80, 3)), groups=patients)
    assert class_refusals(scored) == ["fewer than 10 positive patients (7)", "", "fewer than 10 negative patients (4)"]


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
            low, high = percentiles(drawn["auroc"][:, 0, 0], 0.95)
            covered[unit] += low <= truth <= high
    assert 0.90 <= covered["patients"] / repeats <= 0.99
    assert covered["images"] / repeats < 0.75


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_is_scipys(confidence):
    k, n = np.array([0, 1, 30, 586, 624]), np.array([10, 10, 60, 624, 624])
    low, high = wilson(k, n, confidence)
    for i in range(len(k)):
        want = stats.binomtest(int(k[i]), int(n[i])).proportion_ci(confidence, method="wilson")
        np.testing.assert_allclose([low[i], high[i]], want, rtol=1e-12, atol=1e-15)
    assert np.isnan(wilson(0, 0, 0.95)).all()


def test_the_interval_of_a_correlation_is_scipys():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    found = stats.pearsonr(x, x + rng.normal(size=40))
    r = np.asarray(found.statistic)
    got = t_interval(r, (1 - r**2) / np.sqrt(37), np.inf, 0.95, "correlation")
    np.testing.assert_allclose(got, found.confidence_interval(0.95), rtol=1e-9)


def test_the_intervals_of_a_share_and_of_a_loss_by_hand():
    t = stats.t.ppf(0.975, 9)
    odds, reach = np.log(0.9 / 0.1), t * 0.05 / (0.9 * 0.1)
    want = [1 / (1 + np.exp(reach - odds)), 1 / (1 + np.exp(-reach - odds))]
    np.testing.assert_allclose(t_interval(np.asarray(0.9), np.asarray(0.05), 9, 0.95, "share"), want, rtol=1e-12)
    want = [0.4 * np.exp(-t * 0.1 / 0.4), 0.4 * np.exp(t * 0.1 / 0.4)]
    np.testing.assert_allclose(t_interval(np.asarray(0.4), np.asarray(0.1), 9, 0.95, "loss"), want, rtol=1e-12)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_a_share_of_independent_decisions_has_scipys_interval_of_wilson(confidence):
    k, n = np.array([1, 12, 30, 586, 623]), np.array([10, 13, 60, 624, 624])
    share = k / n
    low, high = score_interval(share, np.sqrt(share * (1 - share) / n), np.inf, confidence)
    for i in range(len(k)):
        want = stats.binomtest(int(k[i]), int(n[i])).proportion_ci(confidence, method="wilson")
        np.testing.assert_allclose([low[i], high[i]], want, rtol=1e-9)
    ends = score_interval(np.array([0.0, 1.0, 0.5, np.nan, 0.5]), np.array([0.1, 0.1, 0, 0.1, np.nan]), 9, 0.95)
    assert np.isnan(ends).all()
    low, high = score_interval(np.asarray(0.5), np.asarray(0.4), 1, 0.95)
    assert 0 <= low < 0.02
    assert 0.98 < high <= 1


def test_one_wrong_decision_of_one_seed_does_not_undo_all_others():
    """Sensitivities of 13, 13 and 12 of 13, specificities of 98, 98 and 97 of 98: it was from 0.14 and from 0.65."""
    targets = np.array([[1]] * 13 + [[0]] * 98)
    logits = np.repeat(np.where(targets, 2.0, -2.0)[None], 3, axis=0)
    logits[2, 0], logits[1, 50] = -1, 1
    thresholds = np.full((3, 1), 0.5)
    for key, n in (("sensitivity", 13), ("specificity", 98)):
        metric, values, draws, rests_on = drawn(targets, logits, key, thresholds, 2000)
        low, high = (ends[0] for ends in total_intervals(metric, values, draws, rests_on, 0.95))
        mean = values[:, 0].mean()
        assert mean == pytest.approx(1 - 1 / (3 * n))
        assert wilson(n - 1, n, 0.95)[0] - 0.1 < low < wilson(n, n, 0.95)[0]
        assert mean < high < 1


@pytest.mark.parametrize(("n", "share"), [(13, 0.97), (40, 0.9), (100, 0.97)])
def test_means_over_three_seeds_of_decisions_are_covered(n, share):
    """Decisions of the seeds resemble each other; their quality differs, too, with a standard deviation of 0.3."""
    rng = np.random.default_rng(0)
    middle, covered, widths = stats.norm.ppf(share) * np.sqrt(1.09), 0, []
    for _ in range(200):
        of_seeds, of_images = rng.normal(0, 0.3, (3, 1)), rng.normal(size=n)
        right = (middle + of_seeds + 0.8 * of_images + 0.6 * rng.normal(size=(3, n)) > 0).astype(float)
        values, draws = right.mean(axis=1), rng.multinomial(n, np.full(n, 1 / n), 200) / n @ right.T
        error, freedom = nested_error(values, draws, n - 1.0)
        low, high = score_interval(values.mean(), error, freedom, 0.95)
        if np.isnan(low):
            low, high = one_sided(values.mean(), np.asarray(n), 0.95, "share", proportion=True)
        else:
            widths.append((high - low) / np.subtract(*t_interval(values.mean(), error, freedom, 0.95, "share")[::-1]))
        covered += low <= share <= high
    assert covered >= 0.93 * 200
    assert np.mean(widths) < 0.95


@pytest.mark.parametrize("scale", ["share", "correlation", "loss"])
def test_an_interval_holds_its_value_and_stays_in_range_or_is_none(scale):
    rng = np.random.default_rng(1)
    bottom, top = {"share": (0, 1), "correlation": (-1, 1), "loss": (0, np.inf)}[scale]
    value = rng.uniform(bottom, min(top, 3), 300)
    value[:3] = [bottom, min(top, 1), np.nan]
    error = rng.gamma(1, 0.3, 300)
    error[3:6] = [0, np.nan, 1e-300]
    low, high = t_interval(value, error, rng.integers(1, 50, 300), 0.95, scale)
    none = np.isnan(low)
    assert np.array_equal(none, np.isnan(high))
    assert none[[0, 2, 3, 4, 5]].all()
    assert none.sum() <= 6
    assert ((low <= value) & (value <= high) & (low >= bottom) & (high <= top))[~none].all()


def test_what_no_draw_moves_has_the_bound_of_its_number_of_patients():
    low, high = one_sided(np.array([1.0, 1.0, 0.0, 0.5]), np.array([12, 30, 12, 12]), 0.95, "share", proportion=True)
    np.testing.assert_allclose(low, [0.758, 0.886, 0, np.nan], atol=6e-4)
    np.testing.assert_allclose(high, [1, 1, 0.242, np.nan], atol=6e-4)
    low, high = one_sided(np.array([1.0, 0.0]), np.array([12, 12]), 0.95, "share", proportion=False)
    exact = stats.binomtest(12, 12).proportion_ci(0.95, method="exact").low
    np.testing.assert_allclose([low[0], 1 - high[1]], [exact, exact], rtol=1e-12)
    low, high = one_sided(np.array([1.0, -1.0]), np.array([12, 12]), 0.95, "correlation", proportion=False)
    np.testing.assert_allclose([low[0], high[1]], [2 * exact - 1, 1 - 2 * exact], rtol=1e-12)
    assert np.isnan(one_sided(np.zeros(1), np.ones(1), 0.95, "loss", proportion=False)).all()


def drawn(targets, logits, key="auroc", thresholds=None, draws=300):
    """Return a metric's name, its values, draws and support, each image a patient."""
    counts, index = patient_draws(np.arange(len(targets)).astype(str), draws, 0)
    scored = Scored("multilabel", targets, logits, thresholds, groups=index)
    metric = METRICS[key]
    values = measure(metric, Weighted(scored))[0]
    return metric, values, metric_draws(scored, {key: metric}, counts)[key], support(metric, scored)


@pytest.mark.parametrize("key", ["auroc", "average_precision", "f1", "sensitivity", "specificity", "precision", "mcc"])
def test_a_perfect_classifier_of_few_patients_is_not_certain(key):
    targets = np.repeat([[1, 0], [0, 1]], 12, axis=0)
    logits = np.where(targets, 2.0, -2.0)[None] + np.random.default_rng(0).normal(0, 0.1, (2, 24, 2))
    metric, values, draws, rests_on = drawn(targets, logits, key, np.full((2, 2), 0.5))
    low, high = metric_intervals(metric, values, draws, rests_on, 0.95)
    assert (values == 1).all()
    bound = 0.758 if metric.proportion else 0.025 ** (1 / 12)
    np.testing.assert_allclose(low, bound if metric.scale == "share" else 2 * bound - 1, atol=6e-4)
    assert (high == 1).all()
    total = total_intervals(metric, values, draws, rests_on, 0.95)
    np.testing.assert_allclose(total, [low[0], high[0]])


def test_a_mean_over_classes_is_of_the_same_classes_in_every_draw():
    """Three classes, one of two positives: a draw that loses it says nothing of their mean."""
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 3)) < [0.3, 0.3, 0.0]).astype(int)
    targets[:2, 2] = 1
    logits = (3 * targets + rng.normal(size=(200, 3)))[None]
    logits[0, :2, 2] = -1
    metric, values, draws, rests_on = drawn(targets, logits)
    lost = np.isnan(draws[:, 0, 2])
    assert 0.05 < lost.mean() < 0.3
    assert np.array_equal(np.isnan(draws[:, 0, 3]), lost)
    low, high = metric_intervals(metric, values, draws, rests_on, 0.95)
    assert low[0, 3] < values[0, 3] < high[0, 3]


def test_a_mean_over_a_long_tail_of_classes_has_no_interval():
    rng = np.random.default_rng(0)
    targets = np.zeros((400, 60), int)
    for k in range(46):
        targets[rng.choice(400, max(1, int(120 / (k + 1))), replace=False), k] = 1
    logits = (targets + rng.normal(size=targets.shape))[None]
    metric, values, draws, rests_on = drawn(targets, logits, draws=60)
    low, high = metric_intervals(metric, values, draws, rests_on, 0.95)
    assert np.isnan([low[0, -1], high[0, -1]]).all()
    assert rests_on.refused[-1] == "48 of 60 classes have too few patients for an interval of their own"
    assert mean_refusal(Scored("multilabel", targets, logits), ["", "few"]) == ""
    known = ~np.isnan(low)
    assert ((low <= values) & (values <= high))[known].all()


def test_the_total_interval_by_hand():
    rng = np.random.default_rng(0)
    values = rng.normal(0.8, 0.01, size=(4, 2))
    draws = values + rng.normal(0, 0.01, size=(500, 1, 2)) + rng.normal(0, 0.002, size=(500, 4, 2))
    draws[:300, :, 1] = np.nan
    error, freedom = nested_error(values, draws, np.array([29, 29]), seed=5)
    nested = nested_draws(draws, 5)[:, 0].std(ddof=1)
    patients = draws[:, :, 0].mean(axis=1).var(ddof=1)
    assert error[0] == pytest.approx(nested)
    assert freedom[0] == pytest.approx(nested**4 / ((nested**2 - patients) ** 2 / 3 + patients**2 / 29))
    assert np.isnan(error[1])


def test_the_interval_of_a_share_of_errors():
    draws = np.random.default_rng(0).normal(0.4, 0.05, 500)
    want = t_interval(np.asarray(0.4), draws.std(ddof=1), 29, 0.95, "share")
    np.testing.assert_allclose(share_interval(0.4, draws, 30, 0.95), want)
    np.testing.assert_allclose(share_interval(1.0, np.ones(500), 12, 0.95), wilson(12, 12, 0.95))
    assert np.isnan(share_interval(np.nan, np.full(500, np.nan), 0, 0.95)).all()


def test_a_mean_with_a_perfect_class_of_few_patients_is_bounded_by_that_class():
    """Four classes with an error, and one that is perfect on 12 patients: the square of its bound joins theirs."""
    rng = np.random.default_rng(0)
    targets = (rng.random((300, 5)) < 0.3).astype(int)
    targets[:, 4] = 0
    targets[:12, 4] = 1
    logits = (2 * targets + rng.normal(size=targets.shape))[None]
    logits[0, :, 4] += 20 * targets[:, 4]
    metric, values, draws, rests_on = drawn(targets, logits)
    low, high = metric_intervals(metric, values, draws, rests_on, 0.95)
    others = draws[:, 0, -1].std(ddof=1)
    freedom = mean_freedom(draws[:, 0, :-1].std(axis=0, ddof=1), rests_on.freedom[0, :-1])
    inner = t_interval(values[0, -1], others, freedom, 0.95, "share")
    reach = np.hypot(values[0, -1] - inner[0], (1 - 0.025 ** (1 / 12)) / 5)
    assert values[0, 4] == 1
    np.testing.assert_allclose([low[0, -1], high[0, -1]], [values[0, -1] - reach, inner[1]], rtol=1e-9)


def test_a_loss_with_an_end_has_the_log_odds_of_its_share_of_it():
    value, error = np.array([0.3, 1.2, 1.9]), np.array([0.05, 0.1, 0.2])
    low, high = t_interval(value, error, 9, 0.95, "loss", 2.0)
    at, reach = np.log(value / (2 - value)), stats.t.ppf(0.975, 9) * error * 2 / (value * (2 - value))
    np.testing.assert_allclose(low, 2 / (1 + np.exp(reach - at)))
    np.testing.assert_allclose(high, 2 / (1 + np.exp(-reach - at)))
    # Close to 0 an end makes no difference; without one it is the logarithm.
    ends = [t_interval(np.array(1e-4), np.array(2e-5), 9, 0.95, "loss", end) for end in (2.0, np.inf)]
    np.testing.assert_allclose(*ends, rtol=1e-3)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_no_interval_goes_beyond_what_is_possible(task, seeds):
    """Few patients, and seeds that agree on nothing: t of one degree of freedom."""
    k = 3
    limits = {
        "brier": 1.0 if task == "multilabel" else 2.0,
        "grades_off": k - 1.0,
    }
    for repeat in range(6):
        rng = np.random.default_rng(repeat)
        truth = np.eye(k)[rng.integers(0, k, 40)] if task == "multiclass" else rng.random((40, k)) < 0.4
        certain = np.array([1.0, 12.0])[:seeds, None, None]
        logits = certain * (rng.normal(size=(seeds, 40, k)) + rng.choice([-1, 1]) * truth)
        counts, index = patient_draws(np.arange(40).astype(str), 100, 0)
        scored = Scored(task, truth.astype(np.uint8), logits, np.full((seeds, k), 0.5), index, 40, ordered=True)
        chosen = {
            key: m for key, m in METRICS.items() if task in m.tasks and key.count("_at_") + key.count("pooled") == 0
        }
        draws = metric_draws(scored, chosen, counts)
        for key, metric in chosen.items():
            of = metric, measure(metric, Weighted(scored))[0], draws[key], support(metric, scored), 0.95
            low, high = metric_intervals(*of) if seeds == 1 else total_intervals(*of)
            top = limits.get(metric.name, np.inf) if metric.scale == "loss" else 1.0
            assert np.nanmin(low, initial=0) >= (-1 if metric.scale == "correlation" else 0), key
            assert np.nanmax(high, initial=0) <= top, key
            assert metric.apart(k) == (2.0 if metric.scale == "correlation" else limits.get(metric.name, top)), key
