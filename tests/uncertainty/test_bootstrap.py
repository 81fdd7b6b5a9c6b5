"""Draws of patients as weights, against literal resampling; intervals and when they are refused."""

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.special import expit

from pipeline.metrics.registry import METRICS, measure, metrics_of
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws, nested_draws, patient_draws
from pipeline.uncertainty.intervals import nested_error, percentiles, t_interval, wilson


def example(task="multilabel", n=120, k=3, s=2, n_patients=30, seed=0):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, k)) < 0.3).astype(np.uint8)
    if task == "multiclass":
        targets = np.eye(k, dtype=np.uint8)[rng.integers(0, k, n)]
    logits = np.round(rng.normal(size=(s, n, k)) + targets, 1).astype(np.float32)
    patients = np.array([f"p{i}" for i in rng.integers(0, n_patients, n)])
    return targets, logits, patients


def resampled_rows(patients, counts):
    """The images of the drawn patients, each as often as its patient was drawn."""
    distinct = np.unique(patients)
    return np.concatenate([np.flatnonzero(patients == p) for p, c in zip(distinct, counts) for _ in range(c)])


def test_draws_are_of_patients_and_repeatable():
    patients = np.array(["b", "a", "b", "c"])
    counts, index = patient_draws(patients, 500, 3)
    assert counts.shape == (500, 3)
    assert counts.dtype == np.uint16
    assert (counts.sum(axis=1) == 3).all()
    assert index.tolist() == [1, 0, 1, 2]
    np.testing.assert_array_equal(counts, patient_draws(patients, 500, 3)[0])
    assert (counts != patient_draws(patients, 500, 4)[0]).any()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.15)
    np.testing.assert_allclose(counts.var(axis=0), 2 / 3, atol=0.15)


def test_drawing_in_pieces_changes_nothing_but_memory(monkeypatch):
    whole = patient_draws(np.arange(50).astype(str), 40, 1)[0]
    monkeypatch.setattr("pipeline.uncertainty.bootstrap._DRAW_BYTES", 8 * 50 * 7)
    np.testing.assert_array_equal(patient_draws(np.arange(50).astype(str), 40, 1)[0], whole)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_weights_equal_literal_resampling(task):
    targets, logits, patients = example(task)
    thresholds = np.full((2, 3), 0.55)
    counts, index = patient_draws(patients, 25, 0)
    # The bins of the calibration error are those of the whole sample in every draw; `test_metrics` has that.
    metrics = {key: metric for key, metric in metrics_of(task).items() if metric.name != "ece"}
    drawn = metric_draws(Scored(task, targets, logits, thresholds, index), metrics, counts)
    for b, count in enumerate(counts):
        rows = resampled_rows(patients, count)
        literal = Weighted(Scored(task, targets[rows], logits[:, rows], thresholds))
        for key, metric in metrics.items():
            np.testing.assert_allclose(drawn[key][b], measure(metric, literal)[0], rtol=1e-12, err_msg=key)


def test_weights_equal_literal_resampling_by_sklearn():
    targets, logits, patients = example()
    counts, index = patient_draws(patients, 10, 0)
    references = {
        "auroc": lambda t, z: sk.roc_auc_score(t, z),
        "average_precision": lambda t, z: sk.average_precision_score(t, z),
        "f1": lambda t, z: sk.f1_score(t, expit(z) >= 0.55),
        "sensitivity": lambda t, z: sk.recall_score(t, expit(z) >= 0.55),
        "specificity": lambda t, z: sk.recall_score(t, expit(z) >= 0.55, pos_label=0),
        "mcc": lambda t, z: sk.matthews_corrcoef(t, expit(z) >= 0.55),
        "log_loss": lambda t, z: sk.log_loss(t, expit(z)),
    }
    scored = Scored("multilabel", targets, logits, np.full((2, 3), 0.55), index)
    drawn = metric_draws(scored, {key: METRICS[key] for key in references}, counts)
    for b, count in enumerate(counts):
        rows = resampled_rows(patients, count)
        for key, reference in references.items():
            want = [[reference(targets[rows, k], logits[s, rows, k].astype(float)) for k in range(3)] for s in (0, 1)]
            np.testing.assert_allclose(drawn[key][b, :, :-1], want, rtol=1e-12, err_msg=key)


def test_chunks_change_nothing(monkeypatch):
    targets, logits, patients = example()
    counts, index = patient_draws(patients, 100, 0)
    scored = Scored("multilabel", targets, logits, np.full((2, 3), 0.5), index)
    whole = metric_draws(scored, metrics_of("multilabel"), counts)
    monkeypatch.setattr("pipeline.uncertainty.bootstrap._CHUNK_BYTES", 1)
    for key, values in metric_draws(scored, metrics_of("multilabel"), counts).items():
        np.testing.assert_allclose(values, whole[key], rtol=1e-14)


def test_a_draw_without_a_positive_is_nan_and_so_is_its_mean():
    targets = np.array([[1, 1], [0, 0], [0, 1], [0, 0]])
    scored = Scored("multilabel", targets, np.zeros((1, 4, 2)))
    drawn = metric_draws(scored, {"auroc": METRICS["auroc"]}, np.array([[0, 2, 1, 1], [1, 1, 1, 1]]))["auroc"][:, 0]
    np.testing.assert_array_equal(drawn, [[np.nan, 0.5, np.nan], [0.5, 0.5, 0.5]])


def test_nested_draws_have_the_variance_of_a_mean_over_seeds_and_patients():
    values = np.array([0.80, 0.83, 0.81])
    shared = np.random.default_rng(0).normal(0, 0.02, size=(40_000, 1))
    drawn = nested_draws(values + shared, seed=1)
    # With the same error for all seeds the two variances add up; Monte-Carlo error of a variance: sqrt(2 / 40,000).
    assert drawn.var() == pytest.approx(values.var(ddof=1) / 3 + shared.var(), rel=0.03)
    assert drawn.mean() == pytest.approx(values.mean(), abs=3e-4)
    with pytest.raises(ValueError, match="one training seed"):
        nested_draws(shared[:, None])


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="at least 1 draw"):
        patient_draws(np.array(["a"]), 0, 0)
    with pytest.raises(ValueError, match="at least 1 draw"):
        patient_draws(np.array([]), 5, 0)
    for wrong in (95, 0, 1):
        with pytest.raises(ValueError, match="confidence"):
            percentiles(np.zeros((5, 1)), wrong)
    with pytest.raises(ValueError, match="scale"):
        t_interval(np.zeros(1), np.zeros(1), 3, 0.95, "odds")
    with pytest.raises(ValueError, match="expected"):
        nested_error(np.zeros((2, 3)), np.zeros((9, 3, 2)))
    with pytest.raises(ValueError, match="successes"):
        wilson(5, 4, 0.95)


def test_auroc_alone_spares_the_curve_and_is_the_same():
    targets, logits, patients = example()
    counts, index = patient_draws(patients, 30, 0)
    scored = Scored("multilabel", targets, logits, groups=index)
    both = metric_draws(scored, {key: METRICS[key] for key in ("auroc", "average_precision")}, counts)
    np.testing.assert_array_equal(metric_draws(scored, {"auroc": METRICS["auroc"]}, counts)["auroc"], both["auroc"])
