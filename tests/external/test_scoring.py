"""Numbers on both sides, and the drop, against stage evaluate and against what must hold."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, precision_score, recall_score

from pipeline.external.adapting import CARRIED, COUNTED, ESTIMATED, RECALIBRATED, adapt, set_aside
from pipeline.external.evaluation import Model, score_models
from pipeline.external.scoring import comparable, on, score_pair
from pipeline.scoring.evaluation import evaluate
from pipeline.scoring.part import PartLogits
from pipeline.study.predictions import Predictions

BOOTSTRAP = {"draws": 100, "confidence": 0.95, "seed": 0}
LABELS = ["1", "2"]


def part(task, n, seed, shift=0.0, classes=3, share=None):
    """Two seeds' logits that know something of the truth, two images a patient."""
    rng = np.random.default_rng(seed)
    if task == "multiclass":
        targets = np.eye(classes, dtype=np.uint8)[rng.choice(classes, n, p=share)]
    else:
        targets = (rng.random((n, classes)) < (share or 0.3)).astype(np.uint8)
    logits = targets * 1.5 + rng.normal(size=(2, n, classes)) + shift
    return PartLogits(logits.astype(np.float32), targets, np.repeat([f"p{i:03d}" for i in range(n // 2)], 2))


def rows_of(table, side):
    kept = table[table["part"] == side].drop(columns="part")
    return kept.set_index(["seed", "class", "metric"]).sort_index()


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_a_set_that_is_the_test_part_has_its_numbers_and_no_drop(task):
    val, test = part(task, 120, 1), part(task, 160, 2)
    classes = ("a", "b", "c")
    table = score_pair(task, classes, LABELS, val, test, test, BOOTSTRAP)
    stage = evaluate(task, classes, LABELS, val, test, **BOOTSTRAP).metrics
    expected = rows_of(stage, "test")
    for side in ("here", "there"):
        found = rows_of(table, side)
        found = found.loc[found.index.intersection(expected.index)]
        assert len(found) == len(expected)
        assert found.equals(expected.loc[found.index])
    dropped = table[table["part"] == "drop"]
    assert (dropped["value"].dropna() == 0).all()
    bounded = dropped.dropna(subset=["ci_low"])
    assert len(bounded) > 20
    # The networks are the same, and so are the patients; but the interval does not know that, and stands around 0.
    assert ((bounded["ci_low"] < 0) & (bounded["ci_high"] > 0)).all()


def test_shuffled_labels_drop_to_chance_and_the_interval_says_so():
    val, here, there = (part("multilabel", 300, seed) for seed in (1, 2, 3))
    mixed = np.random.default_rng(0).permutation(300)
    table = score_pair("multilabel", "abc", LABELS, val, here, there._replace(targets=there.targets[mixed]), BOOTSTRAP)
    macro = table[(table["class"] == "macro") & (table["metric"] == "auroc") & (table["seed"] == "mean")]
    by = macro.set_index("part")
    assert 0.4 < by["value"]["there"] < 0.6
    assert by["ci_high"]["drop"] < 0
    assert by["value"]["drop"] == pytest.approx(by["value"]["there"] - by["value"]["here"])


def test_thresholds_and_calibration_are_those_of_validation():
    val, here, there = (part("multilabel", 200, seed) for seed in (1, 2, 3))
    table = score_pair("multilabel", "abc", LABELS, val, here, there, BOOTSTRAP)
    moved = score_pair("multilabel", "abc", LABELS, val, here, there._replace(logits=there.logits + 2), BOOTSTRAP)
    get = lambda of, metric: of[(of["part"] == "there") & (of["class"] == "macro") & (of["metric"] == metric)].value  # noqa: E731
    assert np.array_equal(get(table, "auroc"), get(moved, "auroc"))
    assert (get(moved, "sensitivity").to_numpy() > get(table, "sensitivity").to_numpy()).all()
    assert (get(moved, "specificity").to_numpy() < get(table, "specificity").to_numpy()).all()


def test_a_class_that_one_side_does_not_have_is_left_out_of_both():
    classes = ("a", "b", "c")
    here, there = part("multilabel", 80, 1), part("multilabel", 80, 2)
    there.targets[:, 1] = 0
    found = comparable("multilabel", classes, ("a", "b"), here.targets, there.targets)
    assert found.compared == ("a",)
    assert found.left_out == {
        "b": "no positive image in the external set",
        "c": "not in the external set",
    }
    assert on(here, "multilabel", classes, ("a",)).logits.shape == (2, 80, 1)
    single = part("multiclass", 80, 3)
    kept = on(single, "multiclass", classes, ("a", "b"))
    assert kept.targets[:, 2].sum() == 0
    assert kept.logits.shape == (2, len(kept.targets), 3)  # the model may still decide for c, and is wrong then
    assert len(kept.targets) == single.targets[:, :2].sum()


def test_means_are_over_the_classes_that_are_compared_as_sklearn_says():
    """Three classes, of which the external set has two; networks take images for the third on both sides."""
    classes, compared = ("a", "b", "c"), ("a", "b")
    val, test = part("multiclass", 200, 1), part("multiclass", 240, 2)
    here = on(test, "multiclass", classes, compared)
    there = on(part("multiclass", 240, 3, share=[0.5, 0.5, 0]), "multiclass", classes, compared)
    table = score_pair(
        "multiclass", classes, LABELS, val, here, there, BOOTSTRAP, ordered=True, compared=compared
    ).set_index(["part", "seed", "class", "metric"])
    for side, of in (("here", here), ("there", there)):
        truth, kept = of.targets.argmax(1), [0, 1]
        for label, logits in zip(LABELS, of.logits):
            decided = logits.argmax(1)
            assert (decided == 2).any()
            expected = {
                ("macro", "f1"): f1_score(truth, decided, labels=kept, average="macro"),
                ("macro", "precision"): precision_score(truth, decided, labels=kept, average="macro"),
                ("macro", "sensitivity"): recall_score(truth, decided, labels=kept, average="macro"),
                ("macro", "specificity"): np.mean([recall_score(truth != k, decided != k) for k in kept]),
                ("overall", "qwk"): cohen_kappa_score(truth, decided, labels=range(3), weights="quadratic"),
                ("overall", "grades_off"): np.abs(truth - decided).mean(),
            }
            found = {key: table.loc[(side, label, *key), "value"] for key in expected}
            assert found == pytest.approx(expected)
    assert table.loc[("there", "1", "c", "specificity"), "note"] == "not compared"
    mean = table.loc[("there", "mean", "macro", "specificity")]
    assert np.isfinite(mean["ci_low"])
    assert mean["note"] == "mean over 2 of 3 classes"  # and no word of a class with too few patients
    assert table.loc[("drop", "mean", "macro", "f1"), "value"] == pytest.approx(
        table.loc[("there", "mean", "macro", "f1"), "value"] - table.loc[("here", "mean", "macro", "f1"), "value"]
    )


def test_a_study_of_grades_of_which_a_set_has_two_is_scored_as_such():
    """As stage evaluate_external calls it: order and classes are those of the study, means of what is compared."""
    val, test, there = (
        part("multiclass", 120, 1),
        part("multiclass", 160, 2),
        part("multiclass", 120, 3, share=[0.5, 0, 0.5]),
    )
    rows = {f"{name}_rows": np.arange(len(of.targets)) for name, of in (("val", val), ("test", test))}
    of_parts = {
        f"{name}_{field}": getattr(of, field)
        for name, of in (("val", val), ("test", test))
        for field in ("logits", "targets", "patients")
    }
    labels = Predictions("multiclass", np.array([1, 2]), np.array(["a", "b", "c"]), **rows, **of_parts, ordered=True)
    model = Model("m", "ce", LABELS, val.logits, test.logits, there.logits)
    found = score_models([model], labels, ("a", "c"), there.targets, there.patients, 0.25, BOOTSTRAP)
    table = found.metrics.set_index(["part", "seed", "class", "metric"])["value"]
    truth, decided = there.targets.argmax(1), there.logits[0].argmax(1)
    kept = {"labels": [0, 2], "average": "macro"}
    assert table["there", "1", "macro", "f1"] == pytest.approx(f1_score(truth, decided, **kept))
    assert table["there", "1", "macro", "precision"] == pytest.approx(precision_score(truth, decided, **kept))
    assert table["there", "1", "overall", "grades_off"] == pytest.approx(np.abs(truth - decided).mean())
    assert {"qwk", "within_one"} <= set(found.metrics.loc[found.metrics["part"] == "drop", "metric"])


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_what_is_adapted_is_scored_on_images_that_were_not_set_aside(task):
    share = [0.6, 0.3, 0.1] if task == "multiclass" else None
    val, there = part(task, 400, 1), part(task, 400, 2, share=share)
    adapted = adapt(task, "abc", LABELS, val, there, 0.25, BOOTSTRAP)
    aside = set_aside(there.patients, 0.25, 0)
    assert (adapted.groups, adapted.images) == (50, 100)
    assert not set(there.patients[aside]) & set(there.patients[~aside])
    assert set(adapted.metrics.loc[adapted.metrics["part"] == "there", "n"]) == {300}
    assert set(adapted.metrics["variant"]) == {CARRIED, RECALIBRATED, COUNTED, ESTIMATED}
    found = adapted.prevalence[adapted.prevalence["seed"] == "mean"].pivot(
        index="class", columns="variant", values="prevalence"
    )
    assert np.allclose(found["true"], there.targets[~aside].mean(axis=0))
    assert np.allclose(found[COUNTED], there.targets[aside].mean(axis=0))
    assert np.allclose(found[CARRIED], val.targets.mean(axis=0))


def test_a_recalibration_mends_logits_that_were_stretched():
    val, there = part("multilabel", 400, 1), part("multilabel", 600, 2)
    there = there._replace(logits=there.logits * 4 - 3)
    adapted = adapt("multilabel", "abc", LABELS, val, there, 0.4, BOOTSTRAP, with_mean=False).metrics
    loss = adapted[(adapted["metric"] == "log_loss") & (adapted["class"] == "macro") & (adapted["seed"] == "1")]
    change = loss[(loss["part"] == "change") & (loss["variant"] == RECALIBRATED)].iloc[0]
    assert change.ci_high < 0
    by = loss[loss["part"] == "there"].set_index("variant")["value"]
    assert change.value == pytest.approx(by[RECALIBRATED] - by[CARRIED])


def test_carried_thresholds_decide_as_they_did_before_calibration():
    """Beside the adapted rows they stand on the calibrated probability, which has the same order."""
    val, there = part("multilabel", 200, 1), part("multilabel", 200, 2)
    adapted = adapt("multilabel", "abc", LABELS, val, there, 0.3, BOOTSTRAP).metrics
    rest = ~set_aside(there.patients, 0.3, 0)
    left = PartLogits(there.logits[:, rest], there.targets[rest], there.patients[rest])
    direct = score_pair("multilabel", "abc", LABELS, val, left, left, BOOTSTRAP)
    for metric in ("sensitivity", "specificity"):
        ours = adapted[(adapted["variant"] == CARRIED) & (adapted["metric"] == metric)].set_index(["seed", "class"])
        theirs = direct[(direct["part"] == "there") & (direct["metric"] == metric)].set_index(["seed", "class"])
        assert np.allclose(ours["value"].sort_index(), theirs["value"].sort_index(), atol=1e-12)
