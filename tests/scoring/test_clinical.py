"""Predictive values, net benefit, abstention, prediction sets and subgroup gaps of a configuration."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit, softmax
from scipy.stats import norm
from scipy.stats import t as student

from pipeline.metrics.decision_curve import THRESHOLDS
from pipeline.metrics.scored import Scored
from pipeline.metrics.thresholds import specificity_thresholds
from pipeline.scoring.decision_curves import decision_table
from pipeline.scoring.evaluation import evaluate
from pipeline.scoring.gaps import GAP_METRICS, correct_gaps
from pipeline.scoring.operating import INFINITE
from pipeline.scoring.prediction_sets import _few
from pipeline.scoring.settings import Evaluate
from pipeline.scoring.subgroups import evaluate_subgroups
from pipeline.study.params import describe
from pipeline.uncertainty.bootstrap import patient_draws
from tests.scoring.example import CLASSES, part, pick

SETTINGS = {"draws": 300, "seed": 5}


@pytest.fixture(scope="module", params=["multilabel", "multiclass"])
def study(request):
    val, test = part(request.param, 1), part(request.param, 2)
    return request.param, val, test, evaluate(request.param, CLASSES, [12, 22, 32], val, test, **SETTINGS)


def one(table, **where):
    found = pick(table, **where)
    assert len(found) == 1
    return found.iloc[0]


def test_sensitivity_and_specificity_are_those_of_metrics(study):
    task, _, _, evaluation = study
    points = {"max_f1": "", "90_specificity": "_at_90_specificity", "95_specificity": "_at_95_specificity"}
    points = points if task == "multilabel" else {"largest": ""}
    for point, suffix in points.items():
        for side in ("sensitivity", "specificity"):
            want = pick(evaluation.metrics, seed="mean", part="test", metric=side + suffix)
            want = want[want["class"].isin(CLASSES)][["value", "ci_low", "ci_high"]].to_numpy()
            found = pick(evaluation.clinical.operating, point=point, metric=side)
            assert found["class"].tolist() == CLASSES
            np.testing.assert_allclose(found[["value", "ci_low", "ci_high"]], want, rtol=1e-9)


def test_single_label_classes_have_the_threshold_of_validation_against_the_rest():
    val, test = part("multiclass", 1), part("multiclass", 2)
    table = evaluate("multiclass", CLASSES, [1, 2, 3], val, test, **SETTINGS).clinical.operating
    likely = [softmax(logits.astype(float), axis=-1) for logits in (val[0], test[0])]
    for point, aim in (("90_specificity", 0.9), ("95_specificity", 0.95)):
        cuts = np.array([specificity_thresholds(val[1], p, aim) for p in likely[0]])
        called, truth = likely[1] >= cuts[:, None], test[1].astype(bool)
        for k, name in enumerate(CLASSES):
            hits = called[:, truth[:, k], k].mean(axis=1).mean()
            spared = 1 - called[:, ~truth[:, k], k].mean(axis=1).mean()
            assert np.isclose(one(table, class_=name, point=point, metric="sensitivity").value, hits)
            assert np.isclose(one(table, class_=name, point=point, metric="specificity").value, spared)


@pytest.mark.parametrize("prevalence", [None, 0.02, {"a": 0.3}])
def test_one_image_a_patient_gives_the_closed_forms(prevalence):
    """Mercaldo, Lau & Zhou 2007 (logit of PPV and NPV), Simel, Samsa & Matchar 1991 (log of LR)."""
    rng = np.random.default_rng(0)
    truth = (np.arange(600) < 180)[:, None]
    logits = (rng.normal(size=(600, 1)) + 1.5 * truth)[None]
    of = logits, truth.astype(np.uint8), np.arange(600).astype(str)
    table = evaluate("multilabel", ["a"], [1], of, of, draws=2000, prevalence=prevalence).clinical.operating
    found = {m: one(table, point="90_specificity", metric=m) for m in table["metric"].unique()}
    se, sp = found["sensitivity"].value, found["specificity"].value
    n1, n0 = 180, 420
    at = {None: 0.3, 0.02: 0.02}.get(prevalence if not isinstance(prevalence, dict) else None, 0.3)
    at = 0.3 if isinstance(prevalence, dict) else at
    assert found["ppv"].prevalence == at
    assert found["ppv"].prevalence_from == ("test" if prevalence is None else "stated")
    z = student.ppf(0.975, n1 - 1)
    positive = (1 - se) / (se * n1) + sp / ((1 - sp) * n0)
    negative = se / ((1 - se) * n1) + (1 - sp) / (sp * n0)
    own = 1 / (600 * at * (1 - at)) if prevalence is None else 0.0
    ppv = se * at / (se * at + (1 - sp) * (1 - at))
    npv = sp * (1 - at) / (sp * (1 - at) + (1 - se) * at)
    for metric, value, variance, forward, back in (
        ("ppv", ppv, positive + own, logit, expit),
        ("npv", npv, negative + own, logit, expit),
        ("lr_positive", se / (1 - sp), positive, np.log, np.exp),
        ("lr_negative", (1 - se) / sp, negative, np.log, np.exp),
    ):
        row, reach = found[metric], z * np.sqrt(variance)
        assert np.isclose(row.value, value, rtol=1e-12)
        # 2000 draws know a standard error to about 2 %.
        ends = [forward(row.ci_low), forward(row.ci_high)]
        np.testing.assert_allclose(ends, [forward(value) - reach, forward(value) + reach], atol=0.07 * reach)
        assert np.isclose(back(forward(value)), value)
    if prevalence is None:
        metrics = evaluate("multilabel", ["a"], [1], of, of, draws=100).metrics
        precision = one(metrics, seed="1", part="test", class_="a", metric="precision")
        own_point = one(
            evaluate("multilabel", ["a"], [1], of, of, draws=100).clinical.operating, point="max_f1", metric="ppv"
        )
        assert np.isclose(own_point.value, precision.value)


def test_decisions_without_an_error_have_honest_bounds():
    """12 + 12 separated patients: no point, and no predictive value of 1 without a bound that the prevalence moves."""
    truth = (np.arange(24) < 12)[:, None]
    of = (
        np.where(truth, 3.0, -3.0)[None] + np.linspace(0, 0.1, 24)[None, :, None],
        truth.astype(np.uint8),
        np.arange(24).astype(str),
    )
    wilson = 12 / (12 + norm.ppf(0.975) ** 2)
    bounds = {}
    for prevalence in (0.5, 0.01):
        table = evaluate("multilabel", ["a"], [1], of, of, draws=100, prevalence=prevalence).clinical.operating
        row = {m: one(table, point="max_f1", metric=m) for m in table["metric"].unique()}
        assert np.isclose(row["sensitivity"].ci_low, wilson)
        assert row["ppv"].value == row["npv"].value == 1
        want = wilson * prevalence / (wilson * prevalence + (1 - wilson) * (1 - prevalence))
        assert np.isclose(row["ppv"].ci_low, want)
        assert row["lr_positive"].value == row["lr_positive"].ci_high == np.inf
        assert np.isclose(row["lr_positive"].ci_low, wilson / (1 - wilson))
        assert row["lr_positive"].note == INFINITE
        assert row["lr_negative"].value == row["lr_negative"].ci_low == 0
        assert np.isclose(row["lr_negative"].ci_high, (1 - wilson) / wilson)
        bounds[prevalence] = row["ppv"].ci_low
    assert bounds[0.01] < 0.05 < 0.7 < bounds[0.5]


def test_too_few_patients_have_values_and_no_interval(study):
    _, _, _, evaluation = study
    for table, low in (
        (evaluation.clinical.operating, "ci_low"),
        (evaluation.clinical.decision_curve, "ci_low"),
        (evaluation.clinical.decision_curve, "over_all_low"),
    ):
        rare = pick(table, class_="Hernia")
        assert rare[low].isna().all()
        assert rare["note"].str.startswith(("fewer than 10 positive patients", "nothing called")).all()


def test_intervals_hold_their_value_and_all_have_n(study):
    _, _, _, evaluation = study
    for name, table in evaluation.clinical._asdict().items():
        value = table[{"decision_curve": "net_benefit", "risk_coverage": "error"}.get(name, "value")]
        known = table["ci_low"].notna()
        assert known.any()
        assert (table["ci_low"] <= value + 1e-12)[known].all()
        assert (table["ci_high"] >= value - 1e-12)[known].all()
        assert (table["n"] == 240).all()
        assert (table["n_seeds"] == 3).all()
        if "note" in table:
            assert (known | (table["note"] != "") | (name == "decision_curve")).all()


def test_the_decision_curve_is_that_of_the_counts(study):
    task, _, test, evaluation = study
    table = evaluation.clinical.decision_curve
    calibrated = np.stack([c.apply(z) for c, z in zip(evaluation.calibrations, test[0])])
    likely = expit(calibrated) if task == "multilabel" else softmax(calibrated, axis=-1)
    truth, names = test[1].astype(bool), CLASSES
    for k, name in enumerate(names):
        for at in (THRESHOLDS[4], THRESHOLDS[25]):
            called = likely[:, :, k] >= at
            true, false = (called & truth[:, k]).mean(), (called & ~truth[:, k]).mean()
            row = pick(table, class_=name, threshold=at).iloc[0]
            assert np.isclose(row.net_benefit, true - false * at / (1 - at))
            assert np.isclose(row.treat_all, truth[:, k].mean() - (~truth[:, k]).mean() * at / (1 - at))
            assert np.isclose(row.over_all, row.net_benefit - row.treat_all)


def test_costs_that_no_image_showed_are_allowed_for():
    """30 positives that are never missed at 5 %, and nobody called falsely at 95 %: the limits say what may be."""
    rng = np.random.default_rng(2)
    truth = (np.arange(120) < 30)[:, None]
    logits = np.where(truth, 4.0, -2.5)[None] + np.clip(rng.normal(size=(1, 120, 1)), -1, 1)
    counts, index = patient_draws(np.arange(120).astype(str), 200, 0)
    scored = Scored("multilabel", truth, logits, None, index, 120)
    table = decision_table(scored, ["a"], counts, 0.95, np.array([0.1, 0.9]))
    bound = norm.ppf(0.975) ** 2 / (30 + norm.ppf(0.975) ** 2)
    low, high = table.iloc[0], table.iloc[1]
    assert low.over_all - low.over_all_low > 0.25 * bound
    assert low.over_all_high - low.over_all < low.over_all - low.over_all_low
    bound = norm.ppf(0.975) ** 2 / (90 + norm.ppf(0.975) ** 2)
    assert high.net_benefit - high.ci_low > 9 * 0.75 * bound


def calibrated(task, evaluation, *parts):
    """Return the calibrated probabilities [S, N, K] of the logits of each part."""
    squash = expit if task == "multilabel" else partial(softmax, axis=-1)
    return [squash(np.stack([c.apply(z) for c, z in zip(evaluation.calibrations, part)])) for part in parts]


def test_what_is_kept_is_more_certain_than_the_cut_of_validation(study):
    task, val, test, evaluation = study
    table = evaluation.clinical.selective
    likely = calibrated(task, evaluation, val[0], test[0])
    if task == "multilabel":
        called = [expit(z.astype(float)) >= evaluation.thresholds[:, None] for z in (val[0], test[0])]
        sure = [np.where(c, p, 1 - p)[:, :, 0] for c, p in zip(called, likely)]
        wrong, name = (called[1] != test[1])[:, :, 0], CLASSES[0]
    else:
        sure, name = [p.max(axis=-1) for p in likely], "overall"
        wrong = test[0].argmax(axis=-1) != test[1].argmax(axis=-1)
    for label, share in (("90", 0.9), ("80", 0.8)):
        cuts = np.sort(sure[0], axis=1)[:, ::-1][:, int(np.ceil(share * 240)) - 1]
        kept = sure[1] >= cuts[:, None]
        right = [(k & ~w).sum() / k.sum() for k, w in zip(kept, wrong)]
        assert np.isclose(one(table, class_=name, metric=f"coverage_{label}").value, kept.mean())
        assert np.isclose(one(table, class_=name, metric=f"accuracy_{label}").value, np.mean(right))
        assert np.isclose(one(table, class_=name, metric=f"gain_{label}").value, np.mean(right) - (~wrong).mean())
    curve = pick(evaluation.clinical.risk_coverage, class_=name)
    assert np.isclose(curve["error"].iloc[-1], wrong.mean())
    assert np.isclose(one(table, class_=name, metric="error").value, wrong.mean())


def test_sets_hold_the_truth_as_often_as_is_said(study):
    task, val, test, evaluation = study
    table = evaluation.clinical.conformal
    likely = calibrated(task, evaluation, val[0], test[0])
    if task == "multilabel":  # class-wise sets of the first class: a quantile of the images with it
        of_val, of_test = (p[:, :, 0] for p in likely)
        present, truth = val[1][:, 0].astype(bool), test[1][:, 0].astype(bool)
        covered = []
        for v, t in zip(of_val, of_test):
            strange = np.sort(1 - v[present])
            limit = strange[int(np.ceil((present.sum() + 1) * 0.9)) - 1]
            covered.append((1 - t[truth] <= limit + 1e-12).mean())
        row = one(table, method="class_wise", class_=CLASSES[0], metric="coverage_present")
        assert np.isclose(row.value, np.mean(covered))
        shares = table[table["metric"].isin(["single", "both", "empty"])].groupby(["method", "class"])["value"].sum()
    else:
        held = []
        for v, t in zip(*likely):
            limit = np.sort(1 - v[val[1].astype(bool)])[int(np.ceil(241 * 0.9)) - 1]
            held.append((1 - t[test[1].astype(bool)] <= limit + 1e-12).mean())
        assert np.isclose(one(table, method="lac", class_="overall", metric="coverage").value, np.mean(held))
        shares = table[table["metric"].isin(["single", "several", "empty"])].groupby(["method", "class"])["value"].sum()
    np.testing.assert_allclose(shares, 1)


def test_gaps_are_paired_by_patient_and_seed():
    """Patients with images on both sides: against draws of patients counted one by one."""
    logits, targets, patients = part("multilabel", 2, n=400)
    sides = np.where(np.arange(400) % 2, "AP", "PA")
    table = evaluate_subgroups(
        "multilabel", CLASSES, [1, 2, 3], (logits, targets, patients), sides, "view", draws=200, seed=4
    ).gaps
    row = one(table, class_="Mass", metric="auroc")

    def auroc(weights, side, seed):
        here = (sides == side) & (weights > 0)
        score, truth, w = logits[seed, here, 0], targets[here, 0].astype(bool), weights[here]
        above = (score[truth][:, None] > score[~truth]) * w[truth][:, None] * w[~truth]
        return above.sum() / (w[truth].sum() * w[~truth].sum())

    gap = np.mean([auroc(np.ones(400), "AP", s) - auroc(np.ones(400), "PA", s) for s in range(3)])
    assert (row["first"], row["second"]) == ("AP", "PA")
    assert np.isclose(row.difference, gap)
    counts, index = patient_draws(patients, 200, 4)
    drawn = np.array([[auroc(c[index], "AP", s) - auroc(c[index], "PA", s) for s in range(3)] for c in counts[:200]])
    of_patients = drawn.mean(axis=1).var(ddof=1)
    of_seeds = drawn.var(axis=1).mean() / 2
    z = (row.ci_high - row.ci_low) / 2 / np.sqrt(of_patients + of_seeds)
    assert 1.9 < z < 2.7  # a t value, with the noise of drawing 2 of 3 seeds
    macro = one(table, class_="macro", metric="auroc")
    assert macro.n_classes == 2  # Hernia has too few patients
    both = [one(table, class_=name, metric="auroc").difference for name in ("Mass", "Edema")]
    assert np.isclose(macro.difference, np.mean(both))
    assert "fewer than 10 positive patients" in one(table, class_="Hernia", metric="auroc").note


def test_a_subgroup_whose_value_no_draw_moves_is_not_tested():
    truth = (np.arange(80) % 2).astype(np.uint8)[:, None]
    sides = np.repeat(["F", "M"], 40)
    noise = np.random.default_rng(0).normal(size=(80, 1))
    logits = np.where(sides[:, None] == "F", 10.0 * truth, truth + noise)[None]
    table = evaluate_subgroups(
        "multilabel", ["a"], [1], (logits, truth, np.arange(80).astype(str)), sides, draws=100
    ).gaps
    row = one(table, class_="a", metric="auroc")
    assert row.difference > 0
    assert np.isnan(row.p)
    assert row.note == "no draw of patients changes the value of a subgroup"


def test_p_of_gaps_is_corrected_in_two_families():
    table = pd.DataFrame({"class": ["macro", "macro", "a", "a", "a"], "p": [0.01, 0.04, 0.01, 0.02, np.nan]})
    found = correct_gaps(table, 0.95)
    assert found["p_holm"].tolist()[:4] == pytest.approx([0.02, 0.04, 0.02, 0.02])
    assert found["distinguishable"].tolist() == [True, True, True, True, False]


def test_equal_subgroups_differ_as_often_as_the_level_allows():
    """Sex drawn by chance: about 5 % of 240 tests of classes that have nothing to do with each other."""
    rng, p = np.random.default_rng(8), []
    for i in range(6):
        truth = (rng.random((240, 40)) < 0.4).astype(np.uint8)
        logits = (rng.normal(size=(240, 40)) + truth)[None]
        patients = np.repeat(np.arange(80), 3)
        sex = rng.permutation(np.repeat(["F", "M"], 40))[patients]
        of, names = (logits, truth, patients.astype(str)), [f"c{k}" for k in range(40)]
        table = evaluate_subgroups("multilabel", names, [1], of, sex, draws=100, seed=i).gaps
        p += table[(table["metric"] == "auroc") & (table["class"] != "macro")]["p"].tolist()
    assert len(p) == 240
    assert 0.015 <= np.mean(np.array(p) < 0.05) <= 0.095


def test_every_gap_metric_is_there(study):
    task, _, test, evaluation = study
    sides = np.where(np.arange(240) % 3, "F", "M")
    table = evaluate_subgroups(task, CLASSES, [1, 2, 3], test, sides, "sex", evaluation.points, draws=50).gaps
    want = {
        "multilabel": {"auroc", "sensitivity", "specificity"},
        "multiclass": {"accuracy", "sensitivity"},
    }
    assert set(table["metric"]) == want[task]
    assert len(GAP_METRICS[task]) == len(want[task])
    assert table[table["class"].isin(["macro", "overall"])]["p"].notna().all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (1.0, "must be a number above 0 and below 1, not 1.0"),
        (True, "not True"),
        ({"Mass": -0.1, "Edema": 0.2}, "not -0.1 of 'Mass'"),
        ("often", "not 'often'"),
    ],
)
def test_a_prevalence_is_a_share(given, said):
    with pytest.raises(ValueError, match="prevalence") as error:
        Evaluate(prevalence=given)
    assert said in describe(error.value, Evaluate, "evaluate")


def test_a_prevalence_of_no_class_is_named():
    settings = Evaluate(prevalence={"Mass": 0.1, "Gout": 0.1})
    assert settings.prevalence_problems(CLASSES) == [
        "evaluate.prevalence: 'Gout' is no class of the data set; must be one of Mass, Edema, Hernia"
    ]
    assert not Evaluate(prevalence=0.1).prevalence_problems(CLASSES)


def test_one_image_of_a_class_is_one_image():
    truth = np.eye(2, dtype=np.uint8)[[0, 1, 1]]
    said = _few(Scored("multiclass", truth, np.zeros((1, 3, 2))), ("a", "b"), 0.9)
    assert said["a"] == "every set holds 'a': 1 such validation image, 9 are needed"
    assert said["b"] == "every set holds 'b': 2 such validation images, 9 are needed"
