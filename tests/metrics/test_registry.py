"""The registry, and the reasons for missing values."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from pipeline.metrics.registry import CONDITIONS, METRICS, columns, measure, metrics_of, reasons
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws


def reason_of(key, targets, logits, thresholds=((0.5,),), task="multilabel"):
    scored = Scored(task, np.array(targets), np.array([logits], dtype=float), np.array(thresholds))
    once = Weighted(scored)
    assert np.isnan(measure(METRICS[key], once)[0, 0, 0])
    return reasons(METRICS[key], once)[0][0]


def test_reasons_say_what_is_missing():
    assert reason_of("auroc", [[0], [0]], [[1], [2]]) == "no positive"
    assert reason_of("average_precision", [[1], [1]], [[1], [2]]) == "no negative"
    assert reason_of("sensitivity", [[0], [0]], [[1], [2]]) == "no positive"
    assert reason_of("specificity", [[1], [1]], [[1], [2]]) == "no negative"
    assert reason_of("mcc", [[1], [0]], [[-1], [-2]]) == "nothing predicted positive"
    assert reason_of("mcc", [[1], [0]], [[1], [2]]) == "everything predicted positive"
    assert reason_of("f1", [[0], [0]], [[-1], [-2]]) == "no positive"
    assert reason_of("f1", [[0], [0]], [[1], [-2]]) == "no positive"
    assert reason_of("precision", [[0], [0]], [[1], [-2]]) == "no positive"
    assert reason_of("precision", [[1], [1]], [[1], [-2]]) == "no negative"
    assert reason_of("f1", [[1], [0]], [[-1], [-2]], [[np.nan]]) == "no threshold: no positive in validation"
    for key, why in (
        ("f1_pooled", "no positive of any class in validation"),
        ("sensitivity_at_90_specificity", "no negative in validation"),
        ("specificity_at_95_specificity", "no negative in validation"),
    ):
        assert reason_of(key, [[1], [0]], [[-1], [-2]]) == f"no threshold: {why}"
    assert reason_of("mcc_zero", [[1], [0]], [[-1], [-2]]) == "nothing predicted positive"
    assert reason_of("precision", [[1], [0]], [[-1], [-2]]) == "nothing predicted positive"
    assert reason_of("oracle_f1", [[0], [0]], [[-1], [-2]]) == "no positive"
    assert reason_of("auroc", [[1], [0]], [[np.nan], [0]]) == "logits are not finite"
    one = [[np.nan, np.nan]]
    assert reason_of("overall_mcc", [[1, 0], [1, 0]], [[1, 0], [0, 1]], one, "multiclass") == (
        "one class only in the truth"
    )
    assert reason_of("overall_mcc", [[1, 0], [0, 1]], [[1, 0], [1, 0]], one, "multiclass") == "one class only predicted"
    assert reason_of("overall_kappa", [[1, 0], [1, 0]], [[1, 0], [1, 0]], one, "multiclass") == (
        "one and the same class in the truth and predicted"
    )


def test_f1_without_a_hit_is_0_where_there_are_positives():
    scored = Scored("multilabel", np.array([[1], [0]]), np.array([[[-1.0], [-2.0]]]), np.array([[0.5]]))
    assert measure(METRICS["f1"], Weighted(scored))[0, 0].tolist() == [0, 0]


def test_means_are_over_the_classes_with_an_image_whatever_is_called_falsely():
    """Two networks, one of which takes an image for a class that none has: as sklearn with `labels` says."""
    truth = np.array([0, 0, 0, 1, 1, 3, 3, 3])
    decided = np.array([[0, 0, 1, 1, 1, 3, 0, 3], [0, 2, 1, 1, 1, 3, 2, 3]])
    once = Weighted(Scored("multiclass", np.eye(4)[truth], np.eye(4)[decided]))
    for name, of in (("f1", f1_score), ("precision", precision_score), ("sensitivity", recall_score)):
        expected = [of(truth, d, labels=[0, 1, 3], average="macro") for d in decided]
        np.testing.assert_allclose(measure(METRICS[name], once)[0, :, -1], expected)
        assert reasons(METRICS[name], once)[1] == ["", "", "no positive", "", "mean over 3 of 4 classes"]


def test_a_draw_without_a_positive_is_no_f1_of_0():
    targets = np.array([[1], [0], [0], [0]])
    scored = Scored("multilabel", targets, np.array([[[1.0], [1], [-1], [-1]]]), np.array([[0.5]]))
    counts = np.array([[1, 1, 1, 1], [0, 2, 1, 1], [2, 0, 1, 1]])
    drawn = metric_draws(scored, {name: METRICS[name] for name in ("f1", "precision")}, counts)
    np.testing.assert_allclose(drawn["f1"][:, 0, 0], [2 / 3, np.nan, 1])
    np.testing.assert_allclose(drawn["precision"][:, 0, 0], [0.5, np.nan, 1])


def test_classes_that_are_not_compared_have_no_value_and_are_in_no_mean():
    truth, decided = np.array([0, 0, 1, 1]), np.array([[0, 2, 1, 0]])
    only = np.array([True, True, False])
    compared = Weighted(Scored("multiclass", np.eye(3)[truth], np.eye(3)[decided], compared=only))
    values = measure(METRICS["specificity"], compared)[0, 0]
    np.testing.assert_allclose(values, [0.5, 1, np.nan, 0.75])
    assert reasons(METRICS["specificity"], compared)[0] == ["", "", "not compared", "mean over 2 of 3 classes"]
    assert measure(METRICS["overall_accuracy"], compared).item() == 0.5
    with pytest.raises(ValueError, match="compared"):
        Scored("multiclass", np.eye(3)[truth], np.eye(3)[decided], compared=only[:2])


def test_columns_and_registry_fit_together():
    assert columns(METRICS["auroc"], ["a", "b"]) == ["a", "b", "macro"]
    assert columns(METRICS["overall_mcc"], ["a", "b"]) == ["overall"]
    for metric in METRICS.values():
        assert set(metric.undefined_when) <= set(CONDITIONS)
    for task in ("multilabel", "multiclass"):
        names = [(m.name, m.aggregate) for m in metrics_of(task).values()]
        assert len(names) == len(set(names))
