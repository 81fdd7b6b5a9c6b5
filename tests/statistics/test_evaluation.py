"""The rows of metrics.csv and seeds.csv of one recipe."""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from pipeline.statistics.bootstrap import intervals, metric_draws, patient_draws
from pipeline.statistics.evaluation import COLUMNS, evaluate
from pipeline.statistics.metrics import Scored, columns, metrics_of
from pipeline.statistics.seeds import COLUMNS as SEED_COLUMNS
from pipeline.statistics.thresholds import best_f1_thresholds, probabilities

CLASSES = ["Mass", "Edema", "Hernia"]


def part(task, seed, n=240, s=3, n_patients=60, k=3):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, k)) < [0.4, 0.2, 0.02][:k]).astype(np.uint8)
    if task == "multiclass":
        targets = np.eye(k, dtype=np.uint8)[rng.choice(k, n, p=[0.6, 0.37, 0.03])]
    shared = rng.normal(size=(n, k)) + targets
    logits = (shared + 0.3 * rng.normal(size=(s, n, k))).astype(np.float32)
    return logits, targets, np.array([f"p{i}" for i in rng.integers(0, n_patients, n)])


@pytest.fixture(scope="module", params=["multilabel", "multiclass"])
def study(request):
    val, test = part(request.param, 1), part(request.param, 2)
    return request.param, val, test, evaluate(request.param, CLASSES, [12, 22, 32], val, test, draws=200, seed=5)


def pick(metrics, **where):
    for column, value in where.items():
        metrics = metrics[metrics[column.rstrip("_")] == value]
    return metrics


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
        for metric in metrics_of(task).values()
        for name in columns(metric, CLASSES)
    }
    if task == "multilabel":
        want |= {(label, "val", name, "threshold") for label in ("12", "22", "32") for name in CLASSES}
    assert set(keys.itertuples(index=False, name=None)) == want


def test_columns_are_those_of_the_artifact(study):
    from pipeline.artifacts import METRIC_COLUMNS

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
    values = table[table["metric"] != "threshold"].set_index(["part", "metric", "class", "seed"])["value"].unstack()
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
    scored = Scored(task, targets, logits, evaluation.thresholds, index)
    for key, metric in metrics_of(task).items():
        drawn = metric_draws(scored, {key: metric}, counts)[key]
        name = CLASSES[0] if metric.aggregate == "macro" else "overall"
        rows = pick(evaluation.metrics, part="test", metric=metric.name, class_=name).set_index("seed")
        for label, values in (("22", drawn[:, 1, 0]), ("mean", drawn[:, :, 0].mean(axis=1))):
            low, high, _ = intervals(values, 0.95)
            np.testing.assert_allclose(rows.loc[label, ["ci_low", "ci_high"]].astype(float), [low, high], rtol=1e-12)


def test_intervals_are_refused_with_a_reason(study):
    _, _, (_, targets, patients), evaluation = study
    test = evaluation.metrics[evaluation.metrics["part"] == "test"]
    n = len(np.unique(patients[targets[:, 2] == 1]))
    assert n < 10
    rows = test[test["class"] == "Hernia"]
    assert rows[["ci_low", "ci_high"]].isna().all(axis=None)
    assert rows["note"].str.contains(f"fewer than 10 positive patients ({n})", regex=False).all()
    rest = test[test["class"].isin(["Mass", "macro", "overall"])]
    assert rest[["ci_low", "ci_high"]].notna().all(axis=None)
    assert (rest["ci_low"] <= rest["value"]).all()
    assert (rest["value"] <= rest["ci_high"]).all()
    note = "1 of 3 classes have too few patients for an interval of their own"
    assert rest.loc[rest["class"] == "macro", "note"].str.contains(note).all()


def test_validation_rows_carry_no_interval_and_say_why(study):
    val = pick(study[3].metrics, part="val")
    assert val[["ci_low", "ci_high"]].isna().all(axis=None)
    scores = val[val["metric"] != "threshold"]
    assert scores["note"].str.endswith("used for choosing").all()


def test_every_missing_number_has_a_note(study):
    table = study[3].metrics
    assert (table.loc[table[["value", "ci_low"]].isna().any(axis=1), "note"] != "").all()


def test_seed_table_of_every_metric(study):
    task, _, _, evaluation = study
    table = evaluation.seeds
    assert table.columns.tolist() == ["metric", *SEED_COLUMNS]
    want = [(m.name, name) for m in metrics_of(task).values() for name in columns(m, CLASSES)]
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
    assert chosen["note"].tolist() == ["no positive"] * 3
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
    assert (pick(rows, class_="overall", seed="7")["note"] == "fewer than 10 patients (8)").all()
    assert evaluation.seeds["note"].str.endswith("one seed: no spread").all()


def test_refuses_what_does_not_fit():
    val, test = part("multilabel", 1), part("multilabel", 2)
    with pytest.raises(ValueError, match="val: logits"):
        evaluate("multilabel", CLASSES, [1, 2], val, test)
    with pytest.raises(ValueError, match="test: logits"):
        evaluate("multilabel", CLASSES, [1, 2, 3], val, (test[0], test[1], test[2][:-1]))
