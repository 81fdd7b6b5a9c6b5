import numpy as np
import pytest

from pipeline.statistics.collapse import collapse_sign

RNG = np.random.default_rng(0)
TARGETS = (RNG.random((200, 5)) < 0.3).astype(np.uint8)
NOISE = RNG.random((200, 5))


def test_a_cell_that_learned_is_not_named():
    assert collapse_sign([0.6, 0.8], 0.8, TARGETS, NOISE) is None


@pytest.mark.parametrize(
    ("history", "auroc", "probabilities", "sign"),
    [
        ([0.5], float("nan"), NOISE, "undefined"),
        ([0.6, 0.8], 0.8, np.full((200, 5), 0.3), "constant predictions"),
        ([0.7, 0.7, 0.7], 0.7, NOISE, "constant validation AUROC"),
        ([0.49, 0.51], 0.51, NOISE, "chance"),
    ],
)
def test_each_sign_is_named(history, auroc, probabilities, sign):
    assert collapse_sign(history, auroc, TARGETS, probabilities).startswith(sign)


def test_one_predicted_class_is_named():
    targets = np.eye(3)[RNG.integers(0, 3, 200)]
    probabilities = np.tile([0.2, 0.7, 0.1], (200, 1)) + RNG.normal(0, 0.01, (200, 1)) * [1, -1, 0]
    assert collapse_sign([0.6, 0.8], 0.8, targets, probabilities).startswith("one class")


def test_noise_is_called_chance_about_as_often_as_two_standard_errors_say():
    from pipeline.statistics.metrics import class_auroc, macro

    called = 0
    for seed in range(400):
        scores = np.random.default_rng(seed).random(TARGETS.shape)
        auroc = float(macro(class_auroc(TARGETS, scores)))
        called += collapse_sign([auroc - 0.1, auroc], auroc, TARGETS, scores) is not None
    assert 0.95 < called / 400 < 0.995  # one-sided 97.7 %
