"""Draws of patients as weights, against literal resampling; intervals and when they are refused."""

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.special import expit

from pipeline.statistics.bootstrap import intervals, metric_draws, patient_draws, refusals
from pipeline.statistics.metrics import METRICS, Scored, Weighted, measure, metrics_of


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
    monkeypatch.setattr("pipeline.statistics.bootstrap._DRAW_BYTES", 8 * 50 * 7)
    np.testing.assert_array_equal(patient_draws(np.arange(50).astype(str), 40, 1)[0], whole)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_weights_equal_literal_resampling(task):
    targets, logits, patients = example(task)
    thresholds = np.full((2, 3), 0.55)
    counts, index = patient_draws(patients, 25, 0)
    metrics = metrics_of(task)
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
    drawn = metric_draws(scored, metrics_of("multilabel"), counts)
    assert set(references) == set(drawn)
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
    monkeypatch.setattr("pipeline.statistics.bootstrap._CHUNK_BYTES", 1)
    for key, values in metric_draws(scored, metrics_of("multilabel"), counts).items():
        np.testing.assert_allclose(values, whole[key], rtol=1e-14)


def test_a_draw_without_a_positive_is_nan_and_leaves_macro_to_the_other_classes():
    targets = np.array([[1, 1], [0, 0], [0, 1], [0, 0]])
    scored = Scored("multilabel", targets, np.zeros((1, 4, 2)))
    drawn = metric_draws(scored, {"auroc": METRICS["auroc"]}, np.array([[0, 2, 1, 1], [1, 1, 1, 1]]))["auroc"][:, 0]
    np.testing.assert_array_equal(drawn, [[np.nan, 0.5, 0.5], [0.5, 0.5, 0.5]])


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


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="at least 1 draw"):
        patient_draws(np.array(["a"]), 0, 0)
    with pytest.raises(ValueError, match="at least 1 draw"):
        patient_draws(np.array([]), 5, 0)
    with pytest.raises(ValueError, match="confidence"):
        intervals(np.zeros((5, 1)), 95)
