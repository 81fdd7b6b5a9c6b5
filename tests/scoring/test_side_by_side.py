"""Two tables of predictions, against scikit-learn, statsmodels, DeLong's formula by hand and the study's own tests."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics as sk

from pipeline.scoring.prediction_table import Predicted, odds
from pipeline.scoring.side_by_side import side_by_side
from pipeline.uncertainty.claims import false_claim
from pipeline.uncertainty.comparisons import compare
from pipeline.uncertainty.mcnemar import mcnemar

HOW = {"draws": 300, "confidence": 0.95, "seed": 0, "margin": 0.01}
N = 240


def predicted(task, classes, targets, probabilities, binary=False, patients=None):
    of = [np.asarray(p) for p in probabilities]
    seeds = tuple(tuple(map(str, range(len(p)))) if len(p) > 1 else ("",) for p in of)
    names = np.arange(len(targets)).astype(str) if patients is None else patients
    return Predicted(task, classes, binary, seeds, tuple(of), targets, names, patients is not None, ((), ()))


@pytest.fixture(scope="module")
def ill():
    rng = np.random.default_rng(0)
    truth = rng.random(N) < 0.3
    p = [1 / (1 + np.exp(-(gain * truth + rng.normal(size=N) - 1))) for gain in (1.0, 1.6)]
    p = [np.round(x, 2) for x in p]  # ties, as in tables that people write
    both = [np.stack([1 - x, x], axis=-1)[None] for x in p]
    return truth, p, predicted("multiclass", ("well", "ill"), np.stack([~truth, truth], 1).astype(np.uint8), both, True)


def test_two_classes_by_scikit_learn(ill):
    truth, p, tables = ill
    found = side_by_side(tables, **HOW)
    of = {line.metric: line for line in (found.lead, *found.metrics)}
    for side, x in zip(("first", "second"), p):
        called = x > 0.5
        want = {
            "auroc": sk.roc_auc_score(truth, x),
            "average_precision": sk.average_precision_score(truth, x),
            "accuracy": sk.accuracy_score(truth, called),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, called),
            "mcc": sk.matthews_corrcoef(truth, called),
            "kappa": sk.cohen_kappa_score(truth, called),
            "f1": sk.f1_score(truth, called),
            "sensitivity": sk.recall_score(truth, called),
            "specificity": sk.recall_score(~truth, ~called),
            "log_loss": sk.log_loss(truth, x),
            "brier": sk.brier_score_loss(truth, x),
        }
        for name, value in want.items():
            line = getattr(of[name], side)
            assert line.value == pytest.approx(value, abs=1e-9), name
            assert line.low < value < line.high
    assert of.keys() == {*want, "ece"}
    assert found.lead.group == "ill"
    assert found.lead.positives == of["accuracy"].positives == truth.sum()
    assert found.lead.second_is_better
    assert of["brier"].second_is_better == (of["brier"].difference.value < 0)
    assert np.isnan(of["ece"].p)
    for side in (of["ece"].first, of["ece"].second):
        assert np.isfinite(side.value)
        assert side.note == "no interval: noise inflates it, and no interval holds its level"
    assert {getattr(of[name], side).note for name in want for side in ("first", "second")} == {""}


def test_delong_by_hand_and_mcnemar_by_statsmodels(ill):
    truth, p, tables = ill
    classic = side_by_side(tables, **HOW).classic
    ((name, difference, error, p_delong),) = classic.delong
    places = []
    for x in p:
        wins = (x[truth][:, None] > x[~truth]) + 0.5 * (x[truth][:, None] == x[~truth])
        places.append((wins.mean(axis=1), wins.mean(axis=0)))
    v10, v01 = (places[1][i] - places[0][i] for i in (0, 1))
    by_hand = np.sqrt(v10.var(ddof=1) / truth.sum() + v01.var(ddof=1) / (~truth).sum())
    assert (name, error) == ("ill", pytest.approx(by_hand, rel=1e-9))
    assert p_delong == pytest.approx(2 * norm.sf(abs(difference) / by_hand), rel=1e-9)
    right = [(x > 0.5) == truth for x in p]
    assert classic.mcnemar == mcnemar(*right)


@pytest.mark.parametrize(
    ("b", "c", "want"),
    [(40, 22, 0.030015864349067285), (121, 59, 4.4344492637551645e-06), (5, 0, 0.0625), (1, 3, 0.625), (12, 12, 1.0)],
)
def test_mcnemar_is_that_of_statsmodels(b, c, want):
    """statsmodels 0.15.0, contingency_tables.mcnemar(exact=True)."""
    first = np.array([True] * b + [False] * c + [True] * 7)
    second = np.array([False] * b + [True] * c + [True] * 7)
    assert mcnemar(first, second) == (b, c, pytest.approx(want, rel=1e-9))
    assert mcnemar(first, first).p == 1
    with pytest.raises(ValueError, match="twice"):
        mcnemar(first, second[:-1])


def test_three_classes_by_scikit_learn_and_ranks_as_written():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, N)
    targets = np.eye(3, dtype=np.uint8)[truth]
    p = []
    for gain in (0.8, 1.0):
        z = np.exp(rng.normal(size=(N, 3)) + gain * targets)
        p.append(np.round(z / z.sum(axis=1, keepdims=True), 2)[None])  # rows that sum to 0.99 or 1.01
    found = side_by_side(predicted("multiclass", ("a", "b", "c"), targets, p), **HOW)
    of = {line.metric: line for line in (found.lead, *found.metrics)}
    for side, x in zip(("first", "second"), (p[0][0], p[1][0])):
        value = {name: getattr(line, side).value for name, line in of.items()}
        by_class = [sk.roc_auc_score(targets[:, k], x[:, k]) for k in range(3)]
        assert value["auroc"] == pytest.approx(np.mean(by_class), abs=1e-12)
        assert [getattr(line, side).value for line in found.by_class] == pytest.approx(by_class, abs=1e-12)
        assert value["accuracy"] == pytest.approx(sk.accuracy_score(truth, x.argmax(axis=1)))
        assert value["f1"] == pytest.approx(sk.f1_score(truth, x.argmax(axis=1), average="macro"))
        scaled = x / x.sum(axis=1, keepdims=True)
        assert value["log_loss"] == pytest.approx(sk.log_loss(truth, scaled), abs=1e-9)
    assert "sensitivity" not in of


def test_findings_with_seeds_and_patients_are_tested_as_in_a_study():
    rng = np.random.default_rng(2)
    targets = (rng.random((N, 2)) < 0.3).astype(np.uint8)
    patients = np.array([f"p{i // 2}" for i in range(N)])
    shared = rng.normal(size=(1, N, 2))
    p = [1 / (1 + np.exp(-(gain * targets + shared + 0.4 * rng.normal(size=(3, N, 2)) - 1))) for gain in (1.0, 1.4)]
    found = side_by_side(predicted("multilabel", ("x", "y"), targets, p, patients=patients), **HOW)
    table = compare(
        "multilabel", {"b": odds(p[1]), "a": odds(p[0])}, targets, patients, classes=["x", "y"], **HOW
    )  # fmt: skip
    macro = table.iloc[0]
    assert found.lead.p == macro["p"]
    assert (found.lead.difference.low, found.lead.difference.high) == (macro["ci_low"], macro["ci_high"])
    assert found.lead.false_claim == false_claim(macro["p"])
    assert found.seeds == "vary"
    assert [line.p_holm for line in found.by_class] == table["p_holm"].tolist()[1:]
    assert "several seeds" in found.classic.why_not
    f1 = next(line for line in found.metrics if line.metric == "f1")
    assert f1.first.value == pytest.approx(np.mean([sk.f1_score(targets, x >= 0.5, average="macro") for x in p[0]]))
    assert found.patients == N // 2
    assert len(found.table()) == 1 + len(found.metrics) + 2
    alone = side_by_side(predicted("multilabel", ("x", "y"), targets, [x[:1] for x in p], patients=patients), **HOW)
    assert alone.seeds == "fixed"
    assert "a patient has several" in alone.classic.why_not


def test_the_same_table_twice_is_no_difference(ill):
    _, _, tables = ill
    same = Predicted(**{**vars(tables), "probabilities": (tables.probabilities[0],) * 2})
    found = side_by_side(same, **HOW)
    assert (found.lead.difference.value, found.lead.p, found.equivalent) == (0, 1, True)
    assert all(np.isnan(line.p) for line in found.metrics)
    assert found.classic.mcnemar.p == 1


def test_too_few_patients_are_not_tested():
    targets = np.array([[1], [0]] * 6, dtype=np.uint8)
    p = [np.linspace(0.1, 0.9, 12)[None, :, None], np.linspace(0.9, 0.1, 12)[None, :, None]]
    found = side_by_side(predicted("multilabel", ("x",), targets, p), **HOW)
    assert found.lead.group == "x"
    assert np.isnan(found.lead.p)
    assert "fewer than 10 positive patients (6)" in found.lead.difference.note


def test_a_class_is_compared_on_the_images_whose_truth_is_known():
    rng = np.random.default_rng(5)
    targets = (rng.random((N, 2)) < 0.4).astype(np.float32)
    p = [1 / (1 + np.exp(-(gain * (targets - 0.5) + rng.normal(size=(N, 2)))))[None] for gain in (1.0, 1.5)]
    known = rng.random(N) < 0.7
    hidden = np.where(np.stack([np.ones(N, bool), known], axis=1), targets, np.nan)
    found = side_by_side(predicted("multilabel", ("x", "y"), hidden, p), **HOW)
    alone = side_by_side(predicted("multilabel", ("y",), targets[known, 1:], [q[:, known, 1:] for q in p]), **HOW)
    of_y = next(line for line in found.by_class if line.group == "y")
    assert of_y.first.value == pytest.approx(alone.lead.first.value)
    assert of_y.positives == alone.lead.positives
    rows = {row[0]: row[1:] for row in found.classic.delong}
    assert rows["y"] == pytest.approx(alone.classic.delong[0][1:])
    table = found.table()
    assert table.loc[table["class"] == "y", "n"].unique().tolist() == [known.sum()]
    assert (found.images, found.unknown) == (N, (~known).sum())
