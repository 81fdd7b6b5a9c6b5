import math

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

from pipeline.checking.gates import (
    GATES,
    TrainedRun,
    check_run,
    check_study,
    is_majority,
    is_saturated,
    prior_loss,
    same_vectors,
)


def blind_labels():
    """Labels of a published COVID-19 notebook: 4,032 images in three equal classes, labels cut off another list.

    Returns the class of each image (0 COVID-19, 1 normal, 2 viral) and the label that it was trained with.
    """
    labels = np.array([0] * 3616 + [1] * 10192 + [2] * 1345)[: 3 * 1344]
    return np.repeat([0, 1, 2], 1344), labels


def blind_parts():
    """The notebook's split of them: image class and label of validation and test."""
    image, label = blind_labels()
    _, rest = train_test_split(np.arange(len(label)), stratify=label, test_size=0.32, random_state=1987)
    val, test = train_test_split(rest, stratify=label[rest], test_size=0.5, random_state=1987)
    return (image[val], label[val]), (image[test], label[test])


def one_hot(labels, classes=3):
    return np.eye(classes, dtype=np.uint8)[labels]


def bayes(image, spread=0.0, seed=0):
    """Logits of a network that tells viral images perfectly: 31 % of them carry a 1, and no other image does."""
    share = 416 / 1344
    likely = np.where(image == 2, share, 1e-6)
    noise = np.random.default_rng(seed).normal(0, spread, len(image)) if spread else 0
    log_odds = np.minimum(logit(likely) + noise, -0.05)
    return np.stack([np.zeros(len(image)), log_odds, np.full(len(image), -30.0)], axis=1)


def test_the_cut_labels_are_those_of_the_notebook():
    image, label = blind_labels()
    assert np.bincount(label).tolist() == [3616, 416]
    assert set(image[label == 1]) == {2}
    (_, val), (_, test) = blind_parts()
    assert (len(val), len(test)) == (645, 646)
    assert round((val == 0).mean(), 4) == 0.8977
    assert round((test == 0).mean(), 4) == 0.8963


def test_prior_and_bayes_loss_of_the_cut_labels():
    image, label = blind_labels()
    assert prior_loss(one_hot(label).mean(0), "multiclass") == pytest.approx(0.332, abs=5e-4)
    best = TrainedRun("multiclass", one_hot(label), bayes(image))
    assert best.loss == pytest.approx(0.2062, abs=1e-4)
    assert best.prior_loss == pytest.approx(log_loss(label, np.full(len(label), 416 / 4032)), abs=1e-9)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_labels_that_are_blind_to_the_class_are_seen(part, spread):
    image, label = blind_parts()[part]
    said = check_run(TrainedRun("multiclass", one_hot(label), bayes(image, spread), history=[0.8977] * 5))
    share = f"{(label == 0).mean():.4f}"
    assert share in said["majority_accuracy"]
    assert share in said["class_blind_labels"]
    assert "well below the prior's" in said["class_blind_labels"]
    assert "0.8977 in all 5 epochs" in said["constant_metric"]
    assert "class 0 is predicted for all" in said["one_prediction"]
    assert "no_better_than_prior" not in said


@pytest.mark.parametrize(("accuracy", "share", "images"), [(0.8977, 579 / 645, 645), (0.8963, 579 / 646, 646)])
def test_the_printed_accuracies_are_the_majoritys_share(accuracy, share, images):
    assert is_majority(accuracy, share, images)
    assert not is_majority(accuracy + 1.1 / images, share, images)
    assert not is_majority(581 / 646, 579 / 646, 646)  # the notebook's "89.94 % with augmentation": two images


# Accuracy (%) and loss (x 100) of collapsed trainings in a published leukaemia grid; the loss is Keras's.
PRINTED = [
    (25.00, 1208.86),
    (24.64, 1214.61),
    (24.83, 1211.54),
    (26.83, 1179.31),
    (25.18, 1205.98),
    (24.33, 1219.60),
    (24.89, 1210.58),
    (26.67, 1181.99),
    (23.83, 1227.66),
    (25.29, 1204.25),
    (23.67, 1230.35),
    (40.57, 957.46),
    (40.33, 961.71),
    (37.33, 1010.07),
]
# Of trainings in the same grid that learned.
LEARNED = [(97.57, 7.33), (97.00, 7.40), (96.67, 8.94), (99.96, 0.56), (97.67, 4.79), (99.86, 1.15), (97.83, 4.94)]


@pytest.mark.parametrize(("accuracy", "loss"), PRINTED)
def test_printed_losses_of_saturated_trainings_are_seen(accuracy, loss):
    assert loss == pytest.approx((100 - accuracy) * 16.118, rel=1e-3)
    assert is_saturated(accuracy / 100, loss / 100)


@pytest.mark.parametrize(("accuracy", "loss"), LEARNED)
def test_printed_losses_of_good_trainings_are_not(accuracy, loss):
    assert not is_saturated(accuracy / 100, loss / 100)


def test_a_saturated_softmax_is_seen():
    targets = one_hot(np.repeat(np.arange(4), 150), 4)
    logits = np.tile([900.0, 0.0, -50.0, 3.0], (600, 1))
    cell = TrainedRun("multiclass", targets, logits)
    assert cell.accuracy == 0.25
    assert cell.loss == pytest.approx(0.75 * -math.log(1e-7), rel=1e-6)
    said = check_run(cell)
    assert "12.08" in said["saturated_loss"]
    assert set(said) >= {"one_prediction", "majority_accuracy", "saturated_loss", "no_better_than_prior"}


def test_a_saturated_softmax_of_several_classes_is_seen():
    """40.57 % right: more than one class is predicted, and every wrong one with certainty."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 150)
    chosen = np.where(rng.random(600) < 0.2, truth, rng.integers(0, 2, 600))
    said = check_run(TrainedRun("multiclass", one_hot(truth, 4), 500.0 * one_hot(chosen, 4)))
    assert "saturated_loss" in said
    assert "one_prediction" not in said


def test_a_saturated_sigmoid_is_seen():
    targets = (np.random.default_rng(0).random((200, 3)) < 0.3).astype(np.uint8)
    said = check_run(TrainedRun("multilabel", targets, np.full((200, 3), -400.0)))
    assert set(said) == {"one_prediction", "saturated_loss", "chance_auroc", "no_better_than_prior"}


def test_accuracy_and_loss_are_scikit_learns():
    cell = good_cell("multiclass", 3)
    assert cell.accuracy == accuracy_score(cell.targets.argmax(1), np.asarray(cell.logits).argmax(1))
    assert cell.loss == pytest.approx(log_loss(cell.targets, cell.likely), rel=1e-6)
    several = good_cell("multilabel", 3)
    losses = [log_loss(several.targets[:, k], several.likely[:, k]) for k in range(5)]
    assert several.loss == pytest.approx(np.mean(losses), rel=1e-6)


def test_noise_is_seen_as_often_as_two_standard_errors_say():
    """All classes inside at once: 95.4 %, whatever their number."""
    seen = 0
    for seed in range(600):
        rng = np.random.default_rng(seed)
        targets = (rng.random((200, 8)) < 0.2).astype(np.uint8)
        seen += GATES["chance_auroc"](TrainedRun("multilabel", targets, rng.normal(size=(200, 8)))) is not None
    assert 0.925 < seen / 600 < 0.98  # 0.9545 within 3 standard errors of 600 draws


def test_one_class_that_learned_lifts_the_chance_alarm():
    rng = np.random.default_rng(1)
    targets = (rng.random((300, 4)) < 0.3).astype(np.uint8)
    logits = rng.normal(size=(300, 4))
    assert "AUROC of 4 classes" in GATES["chance_auroc"](TrainedRun("multilabel", targets, logits))
    logits[:, 2] += targets[:, 2]
    assert GATES["chance_auroc"](TrainedRun("multilabel", targets, logits)) is None


def test_a_loss_of_the_priors_or_above_is_seen_where_it_means_something():
    rng = np.random.default_rng(0)
    targets = (rng.random((300, 3)) < 0.2).astype(np.uint8)
    constant = np.tile(logit(targets.mean(0)), (300, 1))
    learned = TrainedRun("multilabel", targets, constant + 0.5 * targets)
    assert GATES["no_better_than_prior"](learned) is None
    shifted = TrainedRun("multilabel", targets, constant + 4)
    assert "is not below that of the classes' shares" in GATES["no_better_than_prior"](shifted)
    ranked_only = TrainedRun("multilabel", targets, constant + 4, calibrated=False)
    assert GATES["no_better_than_prior"](ranked_only) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_seen_and_hides_nothing_else_behind_an_error(bad):
    cell = good_cell("multilabel", 0)
    logits = np.array(cell.logits)
    logits[3, 1] = bad
    assert check_run(TrainedRun("multilabel", cell.targets, logits)) == {
        "not_finite": "1 of 2000 logits are not finite"
    }
    said = check_run(TrainedRun("multilabel", cell.targets, cell.logits, history=[0.6, math.nan, 0.7]))
    assert said["not_finite"] == "the validation metric is not finite in epochs 2"


@pytest.mark.parametrize(
    ("history", "seen"),
    [([0.7, 0.7, 0.7], True), ([0.7], False), ([], False), ([0.7, 0.71], False), ([1.0, 1.0], False)],
)
def test_a_constant_validation_metric_is_seen(history, seen):
    cell = good_cell("multiclass", 0, history)
    assert ("constant_metric" in check_run(cell)) == seen


def test_two_cells_with_the_same_metrics_are_seen():
    cells = {f"seed {i}": good_cell("multiclass", i) for i in range(3)}
    targets = cells["seed 0"].targets
    cells = {
        name: TrainedRun("multiclass", targets, targets * 2 + np.asarray(c.logits) / 9) for name, c in cells.items()
    }
    assert check_study(cells) == []
    cells["copy"] = TrainedRun("multiclass", targets, cells["seed 1"].logits)
    ((name, gate, text),) = check_study(cells)
    assert (name, gate) == ("copy", "identical_metrics")
    assert text.endswith("metrics are those of seed 1")


def test_the_row_that_a_published_table_holds_twice_is_seen():
    table = {
        "0.001, 0": [0.99, 0.99, 0.99, 99.86, 1.15, 98.67, 4.00, 97.50, 5.40],
        "0.0001, 0.4": [0.99, 0.99, 0.99, 99.86, 1.15, 98.67, 4.00, 97.50, 5.40],
        "0.0001, 0": [0.99, 0.99, 0.99, 99.43, 3.41, 99.00, 3.65, 97.83, 4.94],
    }
    assert same_vectors({k: np.array(v) for k, v in table.items()}) == [("0.001, 0", "0.0001, 0.4")]


def test_undefined_metrics_are_not_equal_to_anything():
    nothing = np.full(4, np.nan)
    assert same_vectors({"a": nothing, "b": nothing}) == []
    assert same_vectors({"a": np.array([0.5, np.nan, 0.1]), "b": np.array([0.5, 0.2, 0.1])}) == []
    assert same_vectors({"a": np.array([0.5, np.nan, 0.1]), "b": np.array([0.5, np.nan, 0.1])}) == [("a", "b")]


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"expected \[N, K\] twice"):
        check_run(TrainedRun("multilabel", np.zeros((3, 2)), np.zeros((3, 1))))


def good_cell(task, seed, history=None):
    """A cell whose probabilities are true: labels are drawn from them."""
    rng = np.random.default_rng([9, seed])
    if task == "multilabel":
        logits = rng.normal([-3, -2.5, -2, -1, 0], 1.5, (400, 5))
        targets = (rng.random(logits.shape) < expit(logits)).astype(np.uint8)
    else:
        logits = rng.normal([0.8, 0.0, -0.5], 2.0, (300, 3))
        targets = one_hot((logits + rng.gumbel(size=logits.shape)).argmax(1))
    return TrainedRun(task, targets, logits, rng.uniform(0.6, 0.9, 6) if history is None else history)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_good_cells_are_left_alone(task):
    """500 cells; with none of them called, the rate of false alarms is below 1 % with a confidence of 99 %."""
    cells = {str(seed): good_cell(task, seed) for seed in range(500)}
    called = [(name, check_run(cell)) for name, cell in cells.items()]
    assert [c for c in called if c[1]] == []


def test_good_cells_that_are_overconfident_are_called_for_nothing_but_their_loss():
    for seed in range(50):
        cell = good_cell("multilabel", seed)
        said = check_run(TrainedRun("multilabel", cell.targets, 4 * np.asarray(cell.logits), cell.history))
        assert set(said) <= {"no_better_than_prior"}
        assert check_run(TrainedRun("multilabel", cell.targets, 4 * np.asarray(cell.logits), cell.history, False)) == {}


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_twelve_images_are_too_few_to_tell(task):
    """Noise raises most gates on so few; what it says then is that they say nothing."""
    targets = np.eye(2, dtype=np.uint8)[np.repeat([0, 1], 6)]
    for seed in range(20):
        logits = np.random.default_rng(seed).normal(size=(12, 2))
        said = check_run(TrainedRun(task, targets, logits, history=[0.5, 0.5]))
        assert set(said) == {"too_few_to_tell"}
        assert said["too_few_to_tell"].startswith("12 images")
