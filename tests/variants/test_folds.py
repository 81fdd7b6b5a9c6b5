"""Method folds, and what is computed over folds, against scikit-learn and closed forms."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, cohen_kappa_score, f1_score, log_loss, roc_auc_score

from pipeline.metrics.thresholds import best_f1_thresholds, probabilities
from pipeline.splitting.folds import by_fold, deal
from pipeline.splitting.settings import Split
from pipeline.study.predictions import Predictions, read_metrics
from pipeline.variants.folds import Fold, nadeau_bengio, out_of_fold

CLASSES = ["a", "b", "c"]


def split(**settings):
    return Split.model_validate({"method": "folds", "validation": 0.2, "test": 0.2, "folds": 4, **settings})


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"group_id": [f"p{i}" for i in rng.integers(0, 90, 300)]})
    for name, share in zip(CLASSES, (0.3, 0.1, 0.05)):
        table[name] = (rng.random(300) < share).astype(int)
    return table


def test_every_image_is_tested_in_one_fold_of_a_deal_with_its_whole_group_and_a_share_of_its_class(samples):
    tested = np.stack([by_fold(samples, CLASSES, split(fold=i)) == "test" for i in range(1, 5)])
    assert (tested.sum(axis=0) == 1).all()
    for fold in tested:
        assert not set(samples["group_id"][fold]) & set(samples["group_id"][~fold])
        assert abs(fold.sum() - 75) <= 6
        for name in CLASSES:
            assert abs(samples.loc[fold, name].sum() - samples[name].sum() / 4) <= max(3, samples[name].sum() / 8)
    for i in range(1, 5):
        parts = by_fold(samples, CLASSES, split(fold=i))
        val, train = (set(samples["group_id"][parts == part]) for part in ("val", "train"))
        assert not val & train
        assert (parts == "val").sum() == pytest.approx(0.2 * (parts != "test").sum(), abs=6)


def test_folds_beyond_the_first_deal_are_another_deal_and_no_fold_moves_with_the_one_that_is_tested(samples):
    first = deal(samples, CLASSES, split(fold=1))
    assert (deal(samples, CLASSES, split(fold=3)) == first).all()
    second = deal(samples, CLASSES, split(fold=6))
    assert set(second) == {5, 6, 7, 8}
    assert 0.1 < (second - 4 == first).mean() < 0.5
    assert (deal(samples, CLASSES, split(fold=2, seed=1)) == second - 4).all()


def predictions(task, seed, n=120, start=0):
    rng = np.random.default_rng(seed)
    content = {}
    for part in ("val", "test"):
        if task == "multilabel":
            targets = (rng.random((n, 3)) < (0.3, 0.4, 0.2)).astype(np.uint8)
        else:
            targets = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, n)]
        content[f"{part}_rows"] = start + np.arange(n)
        content[f"{part}_targets"] = targets
        content[f"{part}_logits"] = (targets * 1.2 + rng.normal(seed, 1.0, (2, n, 3))).astype(np.float32)
        content[f"{part}_patients"] = np.array([f"p{(start + i) // 2}" for i in range(n)])
    return Predictions(task, np.array([1, 2]), np.array(CLASSES), **content)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_out_of_fold_numbers_are_those_of_scikit_learn(task):
    parts = [predictions(task, i, start=1000 * i) for i in range(3)]
    of = out_of_fold([Fold(i + 1, part) for i, part in enumerate(parts)], draws=50)
    table = of.metrics.set_index(["seed", "class", "metric"])["value"]
    for s, seed in enumerate("12"):
        for k, name in enumerate(CLASSES):
            wins = pairs = precise = positives = 0.0
            called = []
            for part in parts:
                truth, logits = part.test_targets[:, k], part.test_logits[s]
                scores = logits[:, k] if task == "multilabel" else probabilities(logits, task)[:, k]
                weight = truth.sum() * (len(truth) - truth.sum())
                wins, pairs = wins + weight * roc_auc_score(truth, scores), pairs + weight
                precise += truth.sum() * average_precision_score(truth, scores)
                positives += truth.sum()
                if task == "multilabel":
                    cut = best_f1_thresholds(part.val_targets, probabilities(part.val_logits[s], task))[k]
                    called.append(probabilities(logits, task)[:, k] >= cut)
                else:
                    called.append(logits.argmax(axis=1) == k)
            truth = np.concatenate([part.test_targets[:, k] for part in parts])
            assert table[seed, name, "auroc"] == pytest.approx(wins / pairs, abs=1e-12)
            assert table[seed, name, "average_precision"] == pytest.approx(precise / positives, abs=1e-12)
            assert table[seed, name, "f1"] == pytest.approx(f1_score(truth, np.concatenate(called)), abs=1e-12)
        for metric in ("auroc", "average_precision", "f1"):
            mean = np.mean([table[seed, name, metric] for name in CLASSES])
            assert table[seed, "macro", metric] == pytest.approx(mean, abs=1e-12)
    assert of.measured.values[:, -1].mean() == pytest.approx(table["mean", "macro", "auroc"], abs=1e-12)


def test_calibrated_probabilities_of_all_folds_are_pooled():
    from pipeline.metrics.calibration import fit

    parts = [predictions("multiclass", i, start=1000 * i) for i in range(2)]
    table = out_of_fold([Fold(i + 1, part) for i, part in enumerate(parts)], draws=20).metrics
    found = table[(table["seed"] == "1") & (table["metric"] == "log_loss_calibrated")]["value"].item()
    likely = [
        probabilities(fit("multiclass", p.val_logits[0], p.val_targets).apply(p.test_logits[0]), "multiclass")
        for p in parts
    ]
    truth = np.concatenate([p.test_targets for p in parts]).argmax(axis=1)
    assert found == pytest.approx(log_loss(truth, np.concatenate(likely), labels=[0, 1, 2]), abs=1e-9)


def test_grades_are_scored_by_their_distance():
    parts = [dataclasses.replace(predictions("multiclass", i, start=1000 * i), ordered=True) for i in range(2)]
    table = out_of_fold([Fold(i + 1, part) for i, part in enumerate(parts)], draws=20).metrics
    truth = np.concatenate([part.test_targets.argmax(axis=1) for part in parts])
    decided = np.concatenate([part.test_logits[0].argmax(axis=1) for part in parts])
    found = table[table["seed"] == "1"].set_index("metric")["value"]
    assert found["qwk"] == pytest.approx(cohen_kappa_score(truth, decided, weights="quadratic"), abs=1e-12)
    assert found["grades_off"] == pytest.approx(abs(truth - decided).mean(), abs=1e-12)
    assert found["within_one"] == pytest.approx((abs(truth - decided) <= 1).mean(), abs=1e-12)


def test_one_fold_is_the_evaluation_of_its_split_with_its_intervals(evaluated_once):
    folder = Path(evaluated_once, "evaluations/wide-bce")
    of = out_of_fold([Fold(1, Predictions.load(folder / "predictions.npz"))], draws=100)
    there = read_metrics(folder / "metrics.csv").query("part == 'test'")
    both = of.metrics.merge(there, on=["seed", "class", "metric"], suffixes=("", "_there"))
    assert len(both) == len(of.metrics) > 300
    for column in ("value", "ci_low", "ci_high", "n", "n_positive"):
        assert np.allclose(both[column], both[f"{column}_there"], rtol=0, atol=1e-12, equal_nan=True)


def test_decisions_about_an_image_are_counted_over_seeds_and_deals():
    part = predictions("multilabel", 0)
    of = out_of_fold([Fold(1, part), Fold(5, part)], draws=10)
    assert len(of.right) == 3 * 120
    assert (of.right["runs"] == 4).all()
    cuts = [best_f1_thresholds(part.val_targets, probabilities(z, "multilabel")) for z in part.val_logits]
    called = [probabilities(z, "multilabel") >= cut for z, cut in zip(part.test_logits, cuts)]
    right = 2 * sum(each == part.test_targets for each in called)
    for k, name in enumerate(CLASSES):
        assert of.right[of.right["class"] == name]["right"].tolist() == right[:, k].tolist()


def test_unknown_labels_count_for_nothing(samples):
    whole, lacking = predictions("multilabel", 0), predictions("multilabel", 1, start=500)
    targets = lacking.test_targets.astype(float)
    targets[::3, 1] = np.nan
    partly = dataclasses.replace(lacking, test_targets=targets)
    of = out_of_fold([Fold(1, whole), Fold(2, partly)], draws=20)
    row = of.metrics.set_index(["seed", "class", "metric"]).loc[("1", "b", "auroc")]
    known = ~np.isnan(targets[:, 1])
    sides = (
        (whole.test_targets[:, 1], whole.test_logits[0][:, 1]),
        (targets[known, 1], lacking.test_logits[0][known, 1]),
    )
    pairs = [truth.sum() * (1 - truth).sum() for truth, _ in sides]
    wins = [weight * roc_auc_score(*side) for weight, side in zip(pairs, sides)]
    assert row["value"] == pytest.approx(sum(wins) / sum(pairs), abs=1e-12)
    assert row["n"] == 240 - 40
    assert (of.right["class"] == "b").sum() == 200
    table = samples.assign(a=samples["a"].astype(float).mask(samples.index % 2 == 0))
    dealt = deal(table, CLASSES, split(fold=1))
    assert [abs((table["a"][dealt == i] == 1).sum() - (table["a"] == 1).sum() / 4) <= 4 for i in range(1, 5)] == [
        True
    ] * 4


def test_a_network_without_finite_logits_has_no_number_and_takes_none_from_the_others():
    whole, broken = predictions("multilabel", 0), predictions("multilabel", 1, start=500)
    broken.test_logits[1] = np.nan
    of = out_of_fold([Fold(1, whole), Fold(2, broken)], draws=20)
    means = of.metrics[(of.metrics["class"] == "macro") & (of.metrics["metric"] == "auroc")].set_index("seed")["value"]
    assert math.isnan(means["2"])
    assert math.isnan(means["mean"])
    assert means["1"] > 0.6
    assert (of.right["runs"] == 1).all()


def test_a_class_without_a_pair_in_a_fold_rests_on_the_others():
    first, second = predictions("multilabel", 0), predictions("multilabel", 1, start=500)
    second.test_targets[:, 2] = 0
    of = out_of_fold([Fold(1, first), Fold(2, second)], draws=20).metrics.set_index(["seed", "class", "metric"])
    alone = out_of_fold([Fold(1, first)], draws=20).metrics.set_index(["seed", "class", "metric"])
    assert of.loc[("1", "c", "auroc"), "value"] == alone.loc[("1", "c", "auroc"), "value"]


def test_the_mean_over_folds_has_the_corrected_variance_of_nadeau_and_bengio():
    values = np.array([0.81, 0.84, 0.79, 0.86, 0.80])
    found = nadeau_bengio(values, 1 / 4)
    error = math.sqrt((1 / 5 + 1 / 4) * values.var(ddof=1))
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=error)
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high), abs=1e-12)
    assert nadeau_bengio(values - 0.8, 1 / 4).p == pytest.approx(
        2 * stats.t.sf(abs((values - 0.8).mean()) / error, 4), abs=1e-12
    )
    # With no shared training images it is the interval of Student.
    alone = nadeau_bengio(values, 0.0)
    assert (alone.low, alone.high) == pytest.approx(stats.t.interval(0.95, 4, values.mean(), stats.sem(values)))
    assert math.isnan(nadeau_bengio(values[:1], 1 / 4).low)
    assert nadeau_bengio(np.zeros(3), 0.5).p == 1.0


def test_no_mean_over_folds_may_lie_where_none_can_be():
    values = np.array([0.98, 1.0, 0.97, 1.0, 1.0])
    plain, found = nadeau_bengio(values, 1 / 4), nadeau_bengio(values, 1 / 4, ends=(0, 1))
    assert plain.high > 1
    assert found == plain._replace(high=1.0)
    apart = nadeau_bengio(np.array([0.9, -0.9]), 1.0, ends=(-1, 1))
    assert (apart.low, apart.high) == (-1, 1)
