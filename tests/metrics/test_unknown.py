"""Labels that are not known: every statistic of a class is that of the images whose label is known."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

from pipeline.metrics import calibration, collapse
from pipeline.metrics.functions import class_auroc, rank_auroc
from pipeline.metrics.logistic import fit_logistics
from pipeline.metrics.recalibration import recalibration, recalibrations
from pipeline.metrics.registry import measure, metrics_of
from pipeline.metrics.scored import Scored, Weighted
from pipeline.metrics.thresholds import operating_points
from pipeline.scoring.evaluation import evaluate
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.delong import delong

N, K, S = 90, 4, 2


def data(seed=0, share=0.7):
    """Truth 0/1 [N, K], which of it is known, logits [S, N, K] and patients [N]."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((N, K)) < 0.4).astype(np.float32)
    logits = (rng.normal(0, 1.2, (S, N, K)) + truth - 0.5).round(1)  # with ties
    return truth, rng.random((N, K)) < share, logits, np.array([f"p{i // 2:02d}" for i in range(N)])


TRUTH, KNOWN, LOGITS, PATIENTS = data()
HIDDEN = np.where(KNOWN, TRUTH, np.nan)


def of_class(k, values, axis):
    """`values` of the images whose label of class k is known, and of that class alone."""
    return np.take(np.take(values, np.flatnonzero(KNOWN[:, k]), axis=axis), [k], axis=-1)


@pytest.mark.parametrize("key", metrics_of("multilabel"))
def test_every_metric_and_its_draws_are_those_of_the_known_images(key):
    points = operating_points("multilabel", TRUTH, LOGITS)
    counts, index = patient_draws(PATIENTS, 40, 0)
    metric = {key: metrics_of("multilabel")[key]}
    whole = Scored("multilabel", HIDDEN, LOGITS, points, index, counts.shape[1])
    values, draws = measure(metric[key], Weighted(whole))[0], metric_draws(whole, metric, counts)[key]
    for k in range(K):
        alone = Scored(
            "multilabel",
            of_class(k, TRUTH, 0),
            of_class(k, LOGITS, 1),
            {point: chosen[:, [k]] for point, chosen in points.items()},
            index[KNOWN[:, k]],
            counts.shape[1],
        )
        assert values[:, k] == pytest.approx(measure(metric[key], Weighted(alone))[0, :, 0], rel=1e-12)
        assert draws[:, :, k] == pytest.approx(
            metric_draws(alone, metric, counts)[key][:, :, 0], rel=1e-12, nan_ok=True
        )
    assert values[:, -1] == pytest.approx(values[:, :-1].mean(axis=1))


def test_values_are_those_of_sklearn():
    scored = Scored("multilabel", HIDDEN, LOGITS, np.full((S, K), 0.5))
    values = {key: measure(metrics_of("multilabel")[key], Weighted(scored))[0] for key in ("auroc", "f1", "brier")}
    values["average_precision"] = measure(metrics_of("multilabel")["average_precision"], Weighted(scored))[0]
    for s, k in np.ndindex(S, K):
        y, z = TRUTH[KNOWN[:, k], k], LOGITS[s, KNOWN[:, k], k]
        p = 1 / (1 + np.exp(-z))
        assert values["auroc"][s, k] == pytest.approx(roc_auc_score(y, z))
        assert values["average_precision"][s, k] == pytest.approx(average_precision_score(y, z))
        assert values["f1"][s, k] == pytest.approx(f1_score(y, p >= 0.5))
        assert values["brier"][s, k] == pytest.approx(brier_score_loss(y, p))


def test_aurocs_of_bare_arrays_agree():
    expected = [roc_auc_score(TRUTH[KNOWN[:, k], k], LOGITS[0, KNOWN[:, k], k]) for k in range(K)]
    assert rank_auroc(HIDDEN, LOGITS[0]) == pytest.approx(expected)
    assert class_auroc(HIDDEN, LOGITS[0]) == pytest.approx(expected)
    assert delong(HIDDEN, LOGITS).auroc[0] == pytest.approx(expected)


def test_covariance_of_delong_is_that_of_the_known_images():
    for k in range(K):
        alone = delong(of_class(k, TRUTH, 0), of_class(k, LOGITS, 1))
        assert delong(HIDDEN, LOGITS).covariance[k] == pytest.approx(alone.covariance[0])


def test_thresholds_are_chosen_on_the_known_images():
    chosen = operating_points("multilabel", HIDDEN, LOGITS)
    for k in range(K):
        alone = operating_points("multilabel", of_class(k, TRUTH, 0), of_class(k, LOGITS, 1))
        for point in chosen.keys() - {"pooled"}:
            assert chosen[point][:, k].tolist() == alone[point][:, 0].tolist()
    # The pooled one has one sample of all known pairs of image and class.
    pooled = operating_points("multilabel", TRUTH[KNOWN][:, None], LOGITS[:, KNOWN][:, :, None])["pooled"]
    assert chosen["pooled"][:, 0].tolist() == pooled[:, 0].tolist()


def test_calibration_is_fitted_on_the_known_images():
    fitted = calibration.fit("multilabel", LOGITS[0], HIDDEN)
    for k in range(K):
        alone = calibration.fit("multilabel", of_class(k, LOGITS[0], 0), of_class(k, TRUTH, 0))
        assert fitted.slope[k] == pytest.approx(alone.slope[0], rel=1e-9)
        assert fitted.intercept[k] == pytest.approx(alone.intercept[0], rel=1e-8, abs=1e-12)


def test_calibration_lines_are_those_of_the_known_images():
    groups = np.arange(N)
    lines = recalibrations(LOGITS[0].T, TRUTH.T, groups, N, KNOWN.T)
    for k, line in enumerate(lines):
        here = KNOWN[:, k]
        alone = recalibration(LOGITS[0, here, k], TRUTH[here, k], groups[here], N)
        assert [line.slope, line.intercept] == pytest.approx([alone.slope, alone.intercept], rel=1e-9)
        assert line.errors == pytest.approx(alone.errors, rel=1e-9)


def test_logistic_regressions_are_those_of_the_known_rows():
    features = LOGITS.transpose(2, 1, 0)
    truth = np.where(KNOWN, TRUTH, 0).T
    weights, intercepts = next(fit_logistics(features, truth, (0.1,), KNOWN.T))
    for k in range(K):
        x, y = features[k, KNOWN[:, k]], TRUTH[KNOWN[:, k], k]
        mean, spread = x.mean(axis=0), x.std(axis=0)
        other = LogisticRegression(C=0.1, tol=1e-12, max_iter=1000).fit((x - mean) / spread, y)
        assert weights[k] == pytest.approx(other.coef_[0] / spread, rel=1e-5)
        assert intercepts[k] == pytest.approx(other.intercept_[0] - (other.coef_[0] / spread) @ mean, rel=1e-4)


def test_a_class_without_any_known_label_has_no_value_and_harms_no_other():
    nothing = HIDDEN.copy()
    nothing[:, 2] = np.nan
    part, whole = (logits_part(t) for t in (nothing, HIDDEN))
    found = evaluate("multilabel", list("abcd"), [1, 2], part, part, draws=40)
    expected = evaluate("multilabel", list("abcd"), [1, 2], whole, whole, draws=40)
    rows = found.metrics.query("part == 'test'")
    lost = rows[rows["class"] == "c"]
    assert lost["n"].eq(0).all()
    assert lost["value"].isna().all()
    kept = rows["class"].isin(["a", "b", "d"]).to_numpy()
    other = expected.metrics.query("part == 'test'")
    same = rows["metric"].isin(["auroc", "f1", "brier"]).to_numpy() & kept
    assert rows["value"][same].to_numpy() == pytest.approx(other["value"][same].to_numpy())


def logits_part(targets):
    return LOGITS, targets, PATIENTS


def test_tables_state_how_many_labels_are_known():
    part = logits_part(HIDDEN)
    found = evaluate("multilabel", list("abcd"), [1, 2], part, part, draws=40)
    rows = found.metrics.query("metric == 'auroc' and part == 'test' and seed == 'mean'").set_index("class")
    assert rows.loc[list("abcd"), "n"].tolist() == KNOWN.sum(axis=0).tolist()
    assert rows.loc["macro", "n"] == KNOWN.any(axis=1).sum()
    assert rows.loc[list("abcd"), "n_positive"].tolist() == (HIDDEN == 1).sum(axis=0).tolist()
    clinical = found.clinical
    for table in (clinical.operating, clinical.decision_curve, clinical.selective, clinical.conformal):
        of_classes = table[table["class"].isin(list("abcd"))]
        assert of_classes.groupby("class")["n"].unique().map(list).tolist() == [[n] for n in KNOWN.sum(axis=0).tolist()]


def test_clinical_tables_of_a_class_are_those_of_its_known_images():
    whole = evaluate("multilabel", list("abcd"), [1, 2], logits_part(HIDDEN), logits_part(HIDDEN), draws=40).clinical
    k = 1
    one = (of_class(k, LOGITS, 1), of_class(k, TRUTH, 0), PATIENTS[KNOWN[:, k]])
    alone = evaluate("multilabel", ["b"], [1, 2], one, one, draws=40).clinical
    for name in ("operating", "decision_curve", "selective", "risk_coverage", "conformal"):
        first, second = (getattr(of, name) for of in (whole, alone))
        first, second = first[first["class"] == "b"].reset_index(drop=True), second[second["class"] == "b"]
        # Draws are of all patients there, and of those with a known label here: values agree, intervals nearly.
        for column in {"value", "net_benefit", "treat_all", "error", "n", "n_positive"} & set(first):
            assert first[column].to_numpy(float) == pytest.approx(second[column].to_numpy(float), rel=1e-9, nan_ok=True)


def test_signs_of_collapse_are_those_of_known_labels():
    noise = np.random.default_rng(3).normal(size=(N, K))
    few = np.full((N, K), np.nan)
    few[:6] = TRUTH[:6]
    assert collapse.too_few(few) == collapse.too_few(TRUTH[:6])
    assert collapse.too_few(few).startswith("6 images")
    assert collapse.unclear(few, 0.6) == collapse.unclear(TRUTH[:6], 0.6)
    assert collapse.too_few(HIDDEN) is None
    assert collapse.collapse_sign([0.5, 0.6], np.nan, HIDDEN, noise) == "undefined validation AUROC"
