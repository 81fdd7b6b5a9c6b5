"""The rows of metrics.csv and seeds.csv of one recipe."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
from scipy import stats
from scipy.special import expit, logit

from pipeline.metrics.calibration import RELIABILITY_COLUMNS, fit
from pipeline.metrics.registry import columns, metrics_of
from pipeline.metrics.scored import Scored
from pipeline.metrics.thresholds import best_f1_thresholds, operating_points, probabilities
from pipeline.scoring.evaluation import CONFUSION_COLUMNS, evaluate
from pipeline.scoring.part import CALIBRATED
from pipeline.scoring.rows import COLUMNS
from pipeline.scoring.subgroups import evaluate_subgroups
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.expected import COLUMNS as COLUMNS_OF_RECIPES
from pipeline.uncertainty.intervals import t_interval
from pipeline.uncertainty.metric_intervals import total_intervals
from pipeline.uncertainty.seeds import COLUMNS as SEED_COLUMNS
from pipeline.uncertainty.support import Support, support
from tests.scoring.example import CLASSES, part, pick

CHOSEN = {
    "threshold",
    "threshold_at_90_specificity",
    "threshold_at_95_specificity",
    "platt_slope",
    "platt_intercept",
}


"""What validation chooses for a class of a multi-label study."""


@pytest.fixture(scope="module", params=["multilabel", "multiclass"])
def study(request):
    val, test = part(request.param, 1), part(request.param, 2)
    return request.param, val, test, evaluate(request.param, CLASSES, [12, 22, 32], val, test, draws=200, seed=5)


def scores_of(metrics):
    """The rows that are scores, without those of what validation chose."""
    return metrics[~metrics["metric"].isin({*CHOSEN, "threshold_pooled", "temperature"})]


def test_every_metric_of_the_task_is_there_for_every_seed_class_and_part(study):
    task, _, _, evaluation = study
    table = evaluation.metrics
    assert table.columns.tolist() == COLUMNS
    keys = table[["seed", "part", "class", "metric"]]
    assert not keys.duplicated().any()
    want = {
        (label, where, name, metric.name)
        for label in ("12", "22", "32", "mean")
        for where in ("val", "test")
        for metric in (metrics_of(task) | CALIBRATED[task]).values()
        for name in columns(metric, CLASSES)
    }
    for label in ("12", "22", "32", "mean"):
        for suffix in ("", "_calibrated"):
            floors = [*CLASSES, "macro"] if task == "multilabel" else ["overall"]
            want |= {(label, "test", name, f"ece_floor{suffix}") for name in floors}
            if task == "multilabel":
                lines = (f"calibration_slope{suffix}", f"calibration_intercept{suffix}")
                want |= {(label, "test", name, metric) for name in CLASSES for metric in lines}
    for label in ("12", "22", "32"):
        if task == "multilabel":
            want |= {(label, "val", name, metric) for name in CLASSES for metric in CHOSEN}
        want.add((label, "val", "overall", "threshold_pooled" if task == "multilabel" else "temperature"))
    assert set(keys.itertuples(index=False, name=None)) == want


def test_columns_are_those_of_the_artifact(study):
    from pipeline.study.predictions import METRIC_COLUMNS

    assert [c for c in METRIC_COLUMNS if c not in ("model", "loss")] == study[3].metrics.columns.tolist()


def test_values_counts_and_means(study):
    task, (val_logits, val_targets, _), (logits, targets, _), evaluation = study
    table = evaluation.metrics
    for name, one_logits, one_targets in (("val", val_logits, val_targets), ("test", logits, targets)):
        scores = one_logits if task == "multilabel" else probabilities(one_logits, task)
        for s, label in enumerate(("12", "22", "32")):
            rows = pick(table, part=name, seed=label, metric="auroc").set_index("class")
            want = [sk.roc_auc_score(one_targets[:, k], scores[s, :, k]) for k in range(3)]
            np.testing.assert_allclose(rows.loc[CLASSES, "value"], want, rtol=1e-12)
            assert rows.loc["macro", "value"] == pytest.approx(np.mean(want), rel=1e-12)
            assert (rows["n"] == 240).all()
            assert rows["n_positive"].tolist() == [*one_targets.sum(axis=0), one_targets.sum()]
    values = scores_of(table).set_index(["part", "metric", "class", "seed"])["value"].unstack()
    np.testing.assert_allclose(values["mean"], values[["12", "22", "32"]].mean(axis=1, skipna=False), rtol=1e-12)


def test_decisions_are_at_the_thresholds_of_the_same_seed(study):
    task, (val_logits, val_targets, _), (logits, targets, _), evaluation = study
    for s, label in enumerate(("12", "22", "32")):
        f1 = pick(evaluation.metrics, part="test", metric="f1", seed=label).set_index("class")["value"]
        if task == "multilabel":
            chosen = best_f1_thresholds(val_targets, probabilities(val_logits[s], task))
            np.testing.assert_array_equal(evaluation.thresholds[s], chosen)
            rows = pick(evaluation.metrics, metric="threshold", seed=label)
            np.testing.assert_array_equal(rows["value"], chosen)
            decided = probabilities(logits[s], task) >= chosen
        else:
            assert np.isnan(evaluation.thresholds).all()
            decided = np.eye(3)[logits[s].argmax(axis=1)]
        want = [sk.f1_score(targets[:, k], decided[:, k]) for k in range(3)]
        np.testing.assert_allclose(f1[CLASSES], want, rtol=1e-12)


def test_intervals_come_from_shared_draws_of_patients(study):
    task, _, (logits, targets, patients), evaluation = study
    counts, index = patient_draws(patients, 200, 5)
    scored = Scored(task, targets, logits, evaluation.points, index)
    for key, metric in metrics_of(task).items():
        drawn = metric_draws(scored, {key: metric}, counts)[key]
        name = CLASSES[0] if metric.aggregate == "macro" else "overall"
        rows = pick(evaluation.metrics, part="test", metric=metric.name, class_=name).set_index("seed")
        patients_of = support(metric, scored).patients[:, 0]
        for label, of, n in (
            ("22", lambda x: x[:, 1, 0], patients_of[1]),
            ("mean", lambda x: x[:, :, 0].mean(axis=1), patients_of.min()),
        ):
            value = rows.loc[label, "value"]
            if metric.name == "ece":
                low, high = np.nan, np.nan
            elif label == "mean":  # allows for other seeds, too
                every = rows.loc[["12", "22", "32"], "value"].to_numpy()[:, None]
                rests_on = support(metric, scored)
                parts = rests_on.refused[:1], rests_on.remarks[:1], rests_on.patients[:, :1]
                rests_on = Support(*parts, rests_on.end)
                alone = replace(metric, aggregate="overall")
                low, high = (x[0] for x in total_intervals(alone, every, drawn[:, :, :1], rests_on, 0.95))
            else:
                error = of(drawn).std(ddof=1)
                if key == "auroc":
                    error = np.sqrt(error**2 + 4 * (2 * value - 1) ** 16 / n * (value * (1 - value)) ** 2)
                low, high = t_interval(np.asarray(value), error, n - 1, 0.95, metric.scale, metric.most(3))
                if metric.needs == "curve":  # chance raises it: twice by what draws are above their sample
                    raised = 2 * max(of(drawn).mean() - value, 0)
                    low = expit(logit(low) - raised / (value * (1 - value)))
            np.testing.assert_allclose(rows.loc[label, ["ci_low", "ci_high"]].astype(float), [low, high], rtol=1e-9)


def test_intervals_are_refused_with_a_reason(study):
    _, _, (_, targets, patients), evaluation = study
    test = evaluation.metrics[evaluation.metrics["part"] == "test"]
    test = test[~test["metric"].str.startswith("ece_floor")]  # what is expected has no interval
    n = len(np.unique(patients[targets[:, 2] == 1]))
    assert n < 10
    rows = test[test["class"] == "Hernia"]
    assert rows[["ci_low", "ci_high"]].isna().all(axis=None)
    assert rows["note"].str.contains(f"fewer than 10 positive patients ({n})", regex=False).all()
    inflated = test["metric"].str.startswith("ece")
    assert test.loc[inflated, ["ci_low", "ci_high"]].isna().all(axis=None)
    assert test.loc[inflated & (test["class"] == "Mass"), "note"].str.contains("noise inflates it").all()
    rest = test[test["class"].isin(["Mass", "macro", "overall"]) & ~inflated]
    assert rest[["ci_low", "ci_high"]].notna().all(axis=None)
    assert (rest["ci_low"] <= rest["value"]).all()
    assert (rest["value"] <= rest["ci_high"]).all()
    note = "1 of 3 classes has too few patients for an interval of its own"
    assert rest.loc[rest["class"] == "macro", "note"].str.contains(note).all()


def test_validation_rows_carry_no_interval_and_say_why(study):
    val = pick(study[3].metrics, part="val")
    assert val[["ci_low", "ci_high"]].isna().all(axis=None)
    scores = scores_of(val)
    assert scores["note"].str.endswith("used for choosing").all()


def test_every_missing_number_has_a_note(study):
    table = study[3].metrics
    assert (table.loc[table[["value", "ci_low"]].isna().any(axis=1), "note"] != "").all()


def test_seed_table_of_every_metric(study):
    task, _, _, evaluation = study
    table = evaluation.seeds
    assert table.columns.tolist() == ["metric", *SEED_COLUMNS]
    want = [(m.name, name) for m in (metrics_of(task) | CALIBRATED[task]).values() for name in columns(m, CLASSES)]
    assert list(table[["metric", "class"]].itertuples(index=False, name=None)) == want
    hernia = table[table["class"] == "Hernia"]
    assert hernia["p_holm"].isna().all()
    assert hernia["note"].str.contains("fewer than 10").all()
    auroc = pick(table, metric="auroc", class_="Mass").iloc[0]
    rows = pick(evaluation.metrics, part="test", metric="auroc", class_="Mass").set_index("seed")["value"]
    assert auroc["mean"] == pytest.approx(rows["mean"])
    assert auroc["sd"] == pytest.approx(rows[["12", "22", "32"]].std(ddof=1))
    assert auroc["best_seeds"] == rows[["12", "22", "32"]].idxmax()


def test_of_a_loss_the_lowest_seed_is_best(study):
    _, _, _, evaluation = study
    table = pick(evaluation.seeds, metric="log_loss").set_index("class")
    rows = pick(evaluation.metrics, part="test", metric="log_loss").set_index(["class", "seed"])["value"].unstack()
    best = rows[["12", "22", "32"]].idxmin(axis=1)
    assert table["best_seeds"].to_dict() == best.to_dict()


def test_the_level_of_the_seed_tests_follows_the_confidence():
    val, test = part("multilabel", 1), part("multilabel", 2)
    evaluation = evaluate("multilabel", CLASSES, [1, 2, 3], val, test, draws=100, confidence=0.5)
    p, found = evaluation.seeds["p_holm"], evaluation.seeds["distinguishable"]
    assert p.between(0.05, 0.5, inclusive="left").any()
    assert (found == (p < 0.5)).all()


def test_draws_that_are_left_out_are_counted():
    val, (logits, targets, patients) = part("multilabel", 1), part("multilabel", 2)
    logits[:, :, 0] = -20.0
    logits[:, np.flatnonzero(patients == patients[0]), 0] = 20.0  # one patient is all that is predicted positive
    evaluation = evaluate("multilabel", CLASSES, [1, 2, 3], val, (logits, targets, patients), draws=200, seed=3)
    counts, index = patient_draws(patients, 200, 3)
    drawn = int((counts[:, index[0]] > 0).sum())
    assert 100 < drawn < 200
    row = pick(evaluation.metrics, part="test", class_="Mass", metric="mcc", seed="1").iloc[0]
    assert row["note"] == f"interval from {drawn} of 200 draws"
    assert np.isfinite(row["ci_low"])


def test_the_same_input_gives_the_same_tables(study):
    task, val, test, evaluation = study
    again = evaluate(task, CLASSES, [12, 22, 32], val, test, draws=200, seed=5)
    pd.testing.assert_frame_equal(again.metrics, evaluation.metrics, check_exact=True)
    pd.testing.assert_frame_equal(again.seeds, evaluation.seeds, check_exact=True)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_test_labels_choose_nothing(task):
    val, (logits, targets, patients) = part(task, 1), part(task, 2)
    garbage = targets[np.random.default_rng(0).permutation(len(targets))]
    assert (garbage != targets).any()
    true = evaluate(task, CLASSES, [1, 2, 3], val, (logits, targets, patients), draws=100)
    false = evaluate(task, CLASSES, [1, 2, 3], val, (logits, garbage, patients), draws=100)
    np.testing.assert_array_equal(true.thresholds, false.thresholds)
    assert list(true.points) == list(false.points)
    for point, chosen in true.points.items():
        np.testing.assert_array_equal(chosen, false.points[point])
    for a, b in zip(true.calibrations, false.calibrations, strict=True):
        np.testing.assert_array_equal([a.slope, a.intercept], [b.slope, b.intercept])
        assert a.notes == b.notes
    moved = [pick(e.metrics, part="test", metric="brier_calibrated")["value"].to_numpy() for e in (true, false)]
    assert (moved[0] != moved[1]).all()
    pd.testing.assert_frame_equal(pick(true.metrics, part="val"), pick(false.metrics, part="val"), check_exact=True)


def test_a_class_without_a_positive_in_validation_is_not_decided_at_one_half():
    val, test = part("multilabel", 1), part("multilabel", 2)
    val[1][:, 1] = 0
    evaluation = evaluate("multilabel", CLASSES, [1, 2, 3], val, test, draws=100)
    assert np.isnan(evaluation.thresholds[:, 1]).all()
    rows = pick(evaluation.metrics, part="test", class_="Edema", seed="1").set_index("metric")
    for name in ("f1", "sensitivity", "specificity", "mcc"):
        assert np.isnan(rows.loc[name, "value"])
        assert rows.loc[name, "note"] == "no threshold: no positive in validation"
    assert rows.loc["auroc", "value"] > 0.5
    chosen = pick(evaluation.metrics, metric="threshold", class_="Edema")
    assert chosen["note"].tolist() == ["no positive in validation"] * 3
    assert rows.loc[["f1_zero", "f1_pooled", "sensitivity_at_95_specificity", "oracle_f1"], "value"].notna().all()
    assert (rows.loc["brier_calibrated", ["value", "ci_low"]] == rows.loc["brier", ["value", "ci_low"]]).all()
    assert rows.loc["brier_calibrated", "note"] == "not calibrated: no positive in validation"
    slope = pick(evaluation.metrics, metric="platt_slope", class_="Edema")
    assert slope["value"].tolist() == [1, 1, 1]
    assert set(slope["note"]) == {"not calibrated: no positive in validation"}
    everyone = pick(evaluation.metrics, part="test", class_="macro", metric="ece_calibrated")
    assert everyone["note"].str.startswith("1 of 3 classes not calibrated").all()
    macro = pick(evaluation.metrics, part="test", class_="macro", metric="f1", seed="1").iloc[0]
    assert macro["note"].startswith("mean over 2 of 3 classes")


def test_a_class_absent_from_the_test_part_stays_undefined():
    val, test = part("multilabel", 1), part("multilabel", 2)
    test[1][:, 0] = 0
    evaluation = evaluate("multilabel", CLASSES, [1, 2, 3], val, test, draws=100)
    rows = pick(evaluation.metrics, part="test", class_="Mass", metric="auroc").set_index("seed")
    assert rows[["value", "ci_low", "ci_high"]].isna().all(axis=None)
    assert rows.loc["2", "note"] == "no positive"
    assert rows.loc["mean", "note"] == ", ".join(f"undefined for {s} (no positive)" for s in (1, 2, 3))
    assert (rows["n_positive"] == 0).all()


def test_a_seed_that_diverged_is_not_averaged_away():
    val, test = part("multilabel", 1), part("multilabel", 2)
    val[0][1], test[0][1] = np.nan, np.nan
    evaluation = evaluate("multilabel", CLASSES, [1, 2, 3], val, test, draws=100)
    table = pick(evaluation.metrics, part="test", metric="auroc", class_="macro").set_index("seed")
    assert table.loc["2", "note"] == "logits are not finite"
    assert np.isnan(table.loc["mean", "value"])
    assert table.loc["mean", "note"] == "undefined for 2 (logits are not finite)"
    assert table.loc[["1", "3"], "value"].notna().all()
    assert pick(evaluation.metrics, metric="threshold", seed="2")["note"].tolist() == ["logits are not finite"] * 3
    assert pick(evaluation.metrics, metric="threshold_pooled", seed="2")["note"].tolist() == ["logits are not finite"]
    assert set(evaluation.reliability["seed"]) == {"1", "3"}
    parts = {name: part("multiclass", i) for i, name in ((1, "val"), (2, "test"))}
    parts["test"][0][0, 4, 1] = np.inf
    confusion = evaluate("multiclass", CLASSES, [1, 2, 3], parts["val"], parts["test"], draws=50).confusion
    assert set(confusion["seed"]) == {"2", "3"}


def test_named_columns_without_a_mean():
    val, test = part("multilabel", 1), part("multilabel", 2)
    names = ["mean", "top 3", "weighted"]
    evaluation = evaluate("multilabel", CLASSES, names, val, test, draws=100, with_mean=False)
    assert evaluation.metrics["seed"].drop_duplicates().tolist() == names
    assert set(evaluation.seeds["best_seeds"]) - {"mean", "top 3", "weighted"} <= {
        "/".join(p) for p in (names, names[:2], names[1:], names[::2])
    }


def test_one_seed_and_few_patients():
    val, test = part("multiclass", 1, s=1, n_patients=8), part("multiclass", 2, s=1, n_patients=8)
    evaluation = evaluate("multiclass", CLASSES, [7], val, test, draws=100)
    rows = pick(evaluation.metrics, part="test")
    assert rows[["ci_low", "ci_high"]].isna().all(axis=None)
    whole = pick(rows, class_="overall", seed="7")
    assert (whole.loc[~whole["metric"].str.startswith("ece_floor"), "note"] == "fewer than 10 patients (8)").all()
    assert evaluation.seeds["note"].str.endswith("one seed: no spread").all()


def test_operating_points_are_chosen_on_validation_and_scored_on_test():
    val, test = part("multilabel", 1), part("multilabel", 2)
    evaluation = evaluate("multilabel", CLASSES, [1, 2, 3], val, test, draws=50)
    chosen = operating_points("multilabel", val[1], val[0])
    for point in ("90_specificity", "95_specificity", "pooled"):
        np.testing.assert_array_equal(evaluation.points[point], chosen[point])
    scores = probabilities(test[0], "multilabel")
    table = pick(evaluation.metrics, part="test", seed="3").set_index(["metric", "class"])["value"]
    for k, name in enumerate(CLASSES):
        truth = test[1][:, k]
        called = scores[2, :, k] >= chosen["95_specificity"][2, k]
        assert table["sensitivity_at_95_specificity", name] == pytest.approx(sk.recall_score(truth, called))
        reached = sk.recall_score(truth, called, pos_label=0)
        assert table["specificity_at_95_specificity", name] == pytest.approx(reached)
        called = scores[2, :, k] >= chosen["pooled"][2, 0]
        assert table["mcc_pooled", name] == pytest.approx(sk.matthews_corrcoef(truth, called))
        assert table["f1_zero", name] == pytest.approx(sk.f1_score(truth, test[0][2, :, k] > 0))
        assert table["oracle_f1", name] >= max(table["f1", name], table["f1_zero", name])
    rows = pick(evaluation.metrics, part="val", seed="3").set_index(["metric", "class"])
    assert (rows.loc["specificity_at_95_specificity"]["value"][CLASSES] >= 0.95).all()
    assert rows.loc[("threshold_pooled", "overall"), "value"] == chosen["pooled"][2, 0]
    pooled = (val[1].sum(), val[0].shape[1])
    assert tuple(rows.loc[("threshold_pooled", "overall"), ["n_positive", "n"]]) == pooled


def test_calibration_is_fitted_on_validation_and_scored_on_test(study):
    task, val, test, evaluation = study
    table = evaluation.metrics
    for s, label in enumerate(("12", "22", "32")):
        found = fit(task, val[0][s], val[1])
        rows = pick(table, part="val", seed=label).set_index(["metric", "class"])["value"]
        if task == "multiclass":
            assert rows["temperature", "overall"] == found.temperature
        else:
            assert rows["platt_slope"][CLASSES].tolist() == found.slope.tolist()
            assert rows["platt_intercept"][CLASSES].tolist() == found.intercept.tolist()
        forecast = probabilities(found.apply(test[0][s]), task)
        rows = pick(table, part="test", seed=label).set_index(["metric", "class"])["value"]
        if task == "multiclass":
            truth = test[1].argmax(axis=1)
            want = sk.log_loss(truth, forecast, labels=[0, 1, 2])
            assert rows["log_loss_calibrated", "overall"] == pytest.approx(want, rel=1e-12)
        else:
            want = [sk.brier_score_loss(test[1][:, k], forecast[:, k]) for k in range(3)]
            np.testing.assert_allclose(rows["brier_calibrated"][CLASSES], want, rtol=1e-12)


def test_calibration_mends_what_is_out_of_scale():
    val, test = part("multiclass", 1, n=2000), part("multiclass", 2, n=2000)
    val[0][:], test[0][:] = 8 * val[0], 8 * test[0]
    table = evaluate("multiclass", CLASSES, [1, 2, 3], val, test, draws=50).metrics
    means = pick(table, part="test", seed="mean", class_="overall").set_index("metric")["value"]
    for name in ("ece", "brier", "log_loss"):
        assert means[f"{name}_calibrated"] < 0.8 * means[name]


def test_reliability_curves_hold_the_calibration_error(study):
    task, _, _, evaluation = study
    curves = evaluation.reliability
    assert curves.columns.tolist() == ["seed", "class", "calibrated", *RELIABILITY_COLUMNS]
    names = CLASSES if task == "multilabel" else ["overall"]
    assert len(curves[["seed", "class", "calibrated"]].drop_duplicates()) == 3 * len(names) * 2
    for (label, name, calibrated), curve in curves.groupby(["seed", "class", "calibrated"]):
        gap = np.average((curve["frequency"] - curve["mean_probability"]).abs(), weights=curve["n"])
        metric = "ece_calibrated" if calibrated else "ece"
        row = pick(evaluation.metrics, part="test", seed=label, class_=name, metric=metric)
        assert gap == pytest.approx(row["value"].item(), rel=1e-9)


def test_confusion_matrix_of_each_seed(study):
    task, _, (logits, targets, _), evaluation = study
    table = evaluation.confusion
    assert table.columns.tolist() == CONFUSION_COLUMNS
    if task == "multilabel":
        assert table.empty
        return
    for s, label in enumerate(("12", "22", "32")):
        want = sk.confusion_matrix(targets.argmax(1), logits[s].argmax(1))
        assert pick(table, seed=label)["n"].tolist() == want.ravel().tolist()
    first = table.iloc[1]
    assert (first["truth"], first["predicted"]) == ("Mass", "Edema")


def test_refuses_what_does_not_fit():
    val, test = part("multilabel", 1), part("multilabel", 2)
    with pytest.raises(ValueError, match="val: logits"):
        evaluate("multilabel", CLASSES, [1, 2], val, test)
    with pytest.raises(ValueError, match="test: logits"):
        evaluate("multilabel", CLASSES, [1, 2, 3], val, (test[0], test[1], test[2][:-1]))
    with pytest.raises(ValueError, match="groups"):
        evaluate_subgroups("multilabel", CLASSES, [1, 2, 3], test, ["F"])
    with pytest.raises(ValueError, match="test: logits"):
        evaluate_subgroups("multilabel", CLASSES, [1, 2], test, ["F"] * 240)


def test_a_recipe_is_summarised_over_its_seeds_and_the_patients(study):
    task, val, test, evaluation = study
    configuration = evaluation.configuration.set_index(["metric", "class"])
    assert configuration.columns.tolist() == COLUMNS_OF_RECIPES[2:]
    assert not configuration.index.duplicated().any()
    metrics = evaluation.metrics
    values = pick(metrics[metrics["seed"] != "mean"], part="test", metric="auroc", class_="macro")["value"]
    row = configuration.loc[("auroc", "macro")]
    assert row["mean"] == pytest.approx(values.mean(), rel=1e-12)
    assert row["sd"] == pytest.approx(values.std(ddof=1), rel=1e-12)
    t = stats.t.interval(0.95, 2, values.mean(), values.std(ddof=1) / np.sqrt(3))
    np.testing.assert_allclose([row["seed_low"], row["seed_high"]], t, rtol=1e-12)
    # What holds for other seeds and other patients is less sure than what holds for either alone.
    patients = pick(metrics, part="test", metric="auroc", class_="macro", seed="mean").iloc[0]
    assert row["total_high"] - row["total_low"] > 0.95 * (patients["ci_high"] - patients["ci_low"])
    assert row["low"] == values.min()
    assert row["high"] == values.max()
    assert set(evaluation.disagreement["class"]) == set(CLASSES)
    assert evaluation.suits.classes["class"].tolist() == [*CLASSES, "macro"]
    alone = evaluate(task, CLASSES, [12], *((z[:1], t, p) for z, t, p in (val, test)), draws=100)
    assert alone.suits is None
    assert alone.configuration["sd"].isna().all()
    assert alone.configuration["total_low"].isna().all()
    others = evaluate(task, CLASSES, ["a", "b", "c"], val, test, draws=100, with_mean=False)
    assert (others.configuration, others.disagreement, others.suits) == (None, None, None)
    few = evaluate(task, CLASSES, ["a", "b", "c"], val, test, draws=100, with_mean=False, metrics_alone=True)
    pd.testing.assert_frame_equal(few.metrics, others.metrics)
    for name in ("seeds", "reliability", "confusion"):
        assert getattr(few, name).empty
        assert getattr(few, name).columns.tolist() == getattr(others, name).columns.tolist()
