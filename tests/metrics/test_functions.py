"""Every registered metric against scikit-learn, with ties, with weights, and where it is undefined."""

import re

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from pipeline.metrics.functions import class_auroc, confusion, macro
from pipeline.metrics.registry import METRICS, measure, reasons
from pipeline.metrics.scored import Scored, Weighted
from pipeline.metrics.thresholds import MAX_F1, MISSING, POOLED

CASES = [(key, task) for key, metric in METRICS.items() for task in metric.tasks]
UNBINNED = [(key, task) for key, task in CASES if METRICS[key].name != "ece"]
"""Metrics that see no difference between a row of weight 2 and a row twice; a repeated row may move an edge of ECE."""


def binary_log_loss(truth, logits, weights):
    return sk.log_loss(truth, 1 / (1 + np.exp(-logits)), labels=[0, 1], sample_weight=weights)


def binned_error(forecast, outcome, weights):
    """Expected calibration error in 15 bins, one image after the other."""
    ordered, n = sorted(forecast), len(forecast)
    edges = [ordered[i * n // 15] for i in range(1, 15)]
    gap = [0.0] * 15
    for p, y, w in zip(forecast, outcome, weights):
        gap[sum(edge <= p for edge in edges)] += w * (y - p)
    return sum(map(abs, gap)) / sum(weights)


def highest_f1(truth, scores, weights):
    precision, recall, _ = sk.precision_recall_curve(truth, scores, sample_weight=weights)
    return max(2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precision, recall))


def binary_brier(truth, logits, weights):
    return sk.brier_score_loss(truth, 1 / (1 + np.exp(-logits)), sample_weight=weights, pos_label=1)


# name: (truth [N], scores [N], decisions [N], logits [N], weights [N]) of one class
PER_CLASS = {
    "auroc": lambda t, s, d, z, w: sk.roc_auc_score(t, s, sample_weight=w),
    "average_precision": lambda t, s, d, z, w: sk.average_precision_score(t, s, sample_weight=w),
    "f1": lambda t, s, d, z, w: sk.f1_score(t, d, sample_weight=w),
    "sensitivity": lambda t, s, d, z, w: sk.recall_score(t, d, sample_weight=w),
    "specificity": lambda t, s, d, z, w: sk.recall_score(t, d, pos_label=0, sample_weight=w),
    "mcc": lambda t, s, d, z, w: sk.matthews_corrcoef(t, d, sample_weight=w),
    "precision": lambda t, s, d, z, w: sk.precision_score(t, d, sample_weight=w),
    "log_loss": lambda t, s, d, z, w: binary_log_loss(t, z, w),
    "brier": lambda t, s, d, z, w: binary_brier(t, z, w),
    "ece": lambda t, s, d, z, w: binned_error(1 / (1 + np.exp(-z)), t, w),
    "oracle_f1": lambda t, s, d, z, w: highest_f1(t, s, w),
}


def plain(key):
    """The name of a metric without its operating point."""
    return re.sub(r"_(pooled|zero|at_9[05]_specificity)$", "", key)


def mean_recall(truth, decided, logits, weights):
    return np.nanmean(
        sk.recall_score(
            truth,
            decided,
            average=None,
            labels=range(logits.shape[1]),
            sample_weight=weights,
            zero_division=np.nan,
        )
    )


def softmax_of(logits):
    return np.exp(log_softmax(logits, axis=1))


def top_1_error(truth, logits, weights):
    forecast = softmax_of(logits)
    return binned_error(forecast.max(1), forecast.argmax(1) == truth, weights)


def multiclass_brier(truth, logits, weights):
    k = logits.shape[1]
    return sk.brier_score_loss(
        truth, softmax_of(logits), sample_weight=weights, labels=list(range(k)), scale_by_half=False
    )


# key: (class of the truth [N], class decided [N], logits [N, K], weights [N])
OVERALL = {
    "overall_accuracy": lambda t, d, z, w: sk.accuracy_score(t, d, sample_weight=w),
    "overall_balanced_accuracy": mean_recall,
    "overall_mcc": lambda t, d, z, w: sk.matthews_corrcoef(t, d, sample_weight=w),
    "overall_kappa": lambda t, d, z, w: sk.cohen_kappa_score(t, d, sample_weight=w),
    "overall_qwk": lambda t, d, z, w: sk.cohen_kappa_score(t, d, sample_weight=w, weights="quadratic"),
    "overall_grades_off": lambda t, d, z, w: sk.mean_absolute_error(t, d, sample_weight=w),
    "overall_within_one": lambda t, d, z, w: np.average(np.abs(t - d) <= 1, weights=w),
    "overall_brier": lambda t, d, z, w: multiclass_brier(t, z, w),
    "overall_ece": lambda t, d, z, w: top_1_error(t, z, w),
    "overall_log_loss": lambda t, d, z, w: np.average(-log_softmax(z, axis=1)[np.arange(len(t)), t], weights=w),
}


def example(task, seed, n=60, k=4, s=2, grid=0.5):
    """Predictions with many tied scores, some classes rare."""
    rng = np.random.default_rng(seed)
    if task == "multiclass":
        targets = np.eye(k, dtype=np.uint8)[rng.choice(k, n, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())]
    else:
        targets = (rng.random((n, k)) < np.geomspace(0.5, 0.05, k)).astype(np.uint8)
    logits = rng.normal(size=(s, n, k)) + targets
    logits = np.round(logits / grid) * grid
    return targets, logits.astype(np.float32), rng.uniform(0.2, 0.7, size=(s, k))


def expected(key, scored, s, k, weights):
    """The same value from scikit-learn; NaN where the registry says undefined."""
    truth, decided, logits = scored.truth, scored.decisions(METRICS[key].point)[s], scored.logits[s]
    if METRICS[key].aggregate == "overall":
        if key == "overall_mcc" and (
            len(np.unique(truth[weights > 0].argmax(1))) == 1 or len(np.unique(decided[weights > 0].argmax(1))) == 1
        ):
            return np.nan
        one = {*truth[weights > 0].argmax(1), *decided[weights > 0].argmax(1)}
        if key in ("overall_kappa", "overall_qwk") and len(one) == 1:
            return np.nan
        return OVERALL[key](truth.argmax(1), decided.argmax(1), logits, weights)
    t, d = truth[:, k], decided[:, k]
    here = {
        "no positive": not weights[t].sum() > 0,
        "no negative": not weights[~t].sum() > 0,
        "nothing predicted positive": not weights[d].sum() > 0,
        "everything predicted positive": not weights[~d].sum() > 0,
    }
    if any(here[c] for c in METRICS[key].undefined_when):
        return np.nan
    return PER_CLASS[plain(key)](t.astype(int), scored.ranked_by[s, :, k], d.astype(int), logits[:, k], weights)


def points(thresholds):
    """Different thresholds at every operating point."""
    return {point: np.clip(thresholds + 0.1 * i, 0, 1) for i, point in enumerate(MISSING)}


def check(key, task, targets, logits, thresholds, weights):
    metric = METRICS[key]
    scored = Scored(task, targets, logits, points(thresholds) if task == "multilabel" else None, ordered=True)
    got = measure(metric, Weighted(scored, weights))
    n_seeds, n_classes = logits.shape[0], logits.shape[2]
    assert got.shape == (len(weights), n_seeds, n_classes + 1 if metric.aggregate == "macro" else 1)
    for b, w in enumerate(weights):
        for s in range(n_seeds):
            per_class = [expected(key, scored, s, k, w) for k in range(got.shape[2] - (metric.aggregate == "macro"))]
            if metric.aggregate == "macro":
                defined = [v for v in per_class if not np.isnan(v)]
                per_class.append(np.mean(defined) if defined else np.nan)
            np.testing.assert_allclose(got[b, s], per_class, rtol=1e-12, atol=1e-12)


def test_every_metric_has_a_reference():
    assert {plain(key) for key in METRICS} == {*PER_CLASS, *OVERALL}


@pytest.mark.parametrize(("key", "task"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_equals_sklearn(key, task, seed):
    targets, logits, thresholds = example(task, seed)
    rng = np.random.default_rng(seed)
    weights = np.stack(
        [
            np.ones(len(targets)),
            rng.integers(0, 3, len(targets)),
            rng.uniform(0.1, 2, len(targets)),
            targets[:, 1] + 0.0,
        ]
    )
    check(key, task, targets, logits, thresholds, weights)


@pytest.mark.parametrize(("key", "task"), CASES)
@settings(max_examples=15, deadline=None, database=None, derandomize=True)
@given(data=st.data())
def test_equals_sklearn_on_anything(key, task, data):
    n, k = data.draw(st.integers(1, 8)), data.draw(st.integers(2, 3))
    if task == "multiclass":
        targets = np.eye(k, dtype=int)[data.draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n))]
    else:
        targets = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n * k, max_size=n * k))).reshape(n, k)
    values = data.draw(st.lists(st.integers(-3, 3), min_size=n * k, max_size=n * k))
    logits = np.array(values, dtype=float).reshape(1, n, k)
    weights = np.array([data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))], dtype=float)
    if not weights.sum():
        weights[0, 0] = 1
    check(key, task, targets, logits, np.full((1, k), 0.5), weights)


@pytest.mark.parametrize(("key", "task"), UNBINNED)
def test_a_weight_is_a_repeated_row(key, task):
    targets, logits, thresholds = example(task, 5)
    thresholds = points(thresholds)
    counts = np.random.default_rng(0).integers(0, 4, len(targets))
    rows = np.repeat(np.arange(len(targets)), counts)
    weighted = measure(METRICS[key], Weighted(Scored(task, targets, logits, thresholds, ordered=True), counts[None]))
    repeated = measure(METRICS[key], Weighted(Scored(task, targets[rows], logits[:, rows], thresholds, ordered=True)))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-13)


@pytest.mark.parametrize(("key", "task"), CASES)
def test_nothing_is_nan_without_a_reason_nor_the_other_way_round(key, task):
    metric = METRICS[key]
    targets, logits, thresholds = example(task, 1, n=30, k=3, s=4)
    if task == "multilabel":
        targets[:, 0], targets[:, 1] = 0, 1
        thresholds[1], thresholds[2], thresholds[3, 1] = 0, 1, np.nan
        logits[0, :, 0] = -1
    else:
        targets[:] = np.eye(3, dtype=np.uint8)[[2] * 15 + [0] * 15]
        logits[1] = [0, 9, 0]
    scored = Scored(task, targets, logits, thresholds, ordered=True)
    once = Weighted(scored)
    values, texts = measure(metric, once)[0], reasons(metric, once)
    if task == "multilabel" and metric.undefined_when:
        assert np.isnan(values).any()
    for s, c in np.ndindex(values.shape):
        if c < 3 and key != "overall_balanced_accuracy":
            assert bool(texts[s][c]) == bool(np.isnan(values[s, c])), (s, c, texts[s][c])
    if metric.aggregate == "macro":
        missing = np.isnan(values[:, :-1]).sum(axis=1)
        assert [row[-1] for row in texts] == [f"mean over {3 - m} of 3 classes" if m else "" for m in missing]
        np.testing.assert_array_equal(values[:, -1], macro(values[:, :-1]))


@pytest.mark.parametrize(("key", "task"), CASES)
def test_a_model_without_finite_logits_is_undefined_and_leaves_the_others_alone(key, task):
    targets, logits, thresholds = example(task, 2)
    before = measure(METRICS[key], Weighted(Scored(task, targets, logits, thresholds, ordered=True)))
    logits[1, 3, 0] = np.inf
    once = Weighted(Scored(task, targets, logits, thresholds, ordered=True))
    after = measure(METRICS[key], once)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert np.isnan(after[:, 1]).all()
    assert set(reasons(METRICS[key], once)[1]) == {"logits are not finite"}


def test_an_array_of_thresholds_is_the_point_of_highest_f1():
    targets, logits, thresholds = example("multilabel", 4)
    named = {MAX_F1: thresholds, POOLED: thresholds[:, ::-1]}
    one, other = (Weighted(Scored("multilabel", targets, logits, t)) for t in (thresholds, named))
    np.testing.assert_array_equal(measure(METRICS["f1"], one), measure(METRICS["f1"], other))
    turned = Weighted(Scored("multilabel", targets, logits, thresholds[:, ::-1]))
    np.testing.assert_array_equal(measure(METRICS["f1_pooled"], other), measure(METRICS["f1"], turned))


def test_no_threshold_beats_the_oracle():
    targets, logits, _ = example("multilabel", 6, n=300)
    weights = np.random.default_rng(2).integers(0, 4, (20, 300))
    best = measure(METRICS["oracle_f1"], Weighted(Scored("multilabel", targets, logits), weights))
    for cut in np.linspace(0, 1, 21):
        scored = Scored("multilabel", targets, logits, np.full((2, 4), cut))
        assert (measure(METRICS["f1"], Weighted(scored, weights)) <= best + 1e-12).all()


def test_the_bins_of_ece_stay_while_weights_change():
    """What makes it linear: under two weightings the sums of the bins add up."""
    targets, logits, _ = example("multilabel", 7, n=200, grid=0.01)
    scored = Scored("multilabel", targets, logits)
    a, b = np.random.default_rng(3).uniform(0, 2, (2, 200))
    np.testing.assert_allclose(scored.bins @ (a + b), scored.bins @ a + scored.bins @ b, atol=1e-12)
    np.testing.assert_allclose(scored.bins.sum(), (targets - 1 / (1 + np.exp(-logits.astype(float)))).sum(), rtol=1e-12)


def test_confusion():
    targets, logits, _ = example("multiclass", 8)
    got = confusion(targets, logits)
    want = [sk.confusion_matrix(targets.argmax(1), z.argmax(1), labels=range(4)) for z in logits]
    np.testing.assert_array_equal(got, want)
    assert got.dtype == np.int64
    with pytest.raises(ValueError, match="not finite"):
        confusion(targets, np.full_like(logits, np.nan))


def test_bare_auroc():
    targets, logits, _ = example("multilabel", 3, n=200)
    weights = np.random.default_rng(1).integers(1, 3, (5, len(targets)))
    got = class_auroc(targets, logits[0], weights)
    want = [[sk.roc_auc_score(targets[:, k], logits[0, :, k], sample_weight=w) for k in range(4)] for w in weights]
    np.testing.assert_allclose(got, want, rtol=1e-13)
    np.testing.assert_allclose(class_auroc(targets, logits[0]), class_auroc(targets, logits[0], weights[:1] * 0 + 1)[0])


def test_without_curves_auroc_is_the_same_and_the_rest_refused():
    targets, logits, _ = example("multilabel", 9)
    scored = Scored("multilabel", targets, logits)
    weights = np.random.default_rng(4).integers(0, 3, (5, 60))
    lean = Weighted(scored, weights, curves=False)
    np.testing.assert_array_equal(measure(METRICS["auroc"], lean), measure(METRICS["auroc"], Weighted(scored, weights)))
    for key in ("average_precision", "oracle_f1"):
        with pytest.raises(ValueError, match="needs the curve"):
            measure(METRICS[key], lean)
