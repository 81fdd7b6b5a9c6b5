import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from pipeline.metrics.collapse import TOO_FEW, _wilson_bound, collapse_sign, too_few, unclear

RNG = np.random.default_rng(0)
TARGETS = (RNG.random((200, 5)) < 0.3).astype(np.uint8)
NOISE = RNG.random((200, 5))


def one_hot(classes, n):
    return np.eye(n, dtype=np.uint8)[classes]


def saying(chosen, n, sure=0.8):
    """Probabilities [N, n] whose largest is that of `chosen`."""
    return np.where(one_hot(chosen, n), sure, (1 - sure) / (n - 1))


def test_a_cell_that_learned_is_not_named():
    assert collapse_sign([0.6, 0.8], 0.8, TARGETS, NOISE) is None


@pytest.mark.parametrize(
    ("history", "auroc", "probabilities", "sign"),
    [
        ([0.5], float("nan"), NOISE, "undefined validation AUROC"),
        ([np.nan, np.nan], 0.8, NOISE, "undefined validation metric"),
        ([0.6, 0.8], 0.8, np.full((200, 5), 0.3), "constant predictions"),
        ([0.7, 0.7, 0.7], 0.7, NOISE, "constant validation metric: 0.700 in all 3 epochs"),
        ([0.49, 0.51], 0.51, NOISE, "chance"),
    ],
)
def test_each_sign_is_named(history, auroc, probabilities, sign):
    assert collapse_sign(history, auroc, TARGETS, probabilities).startswith(sign)


@pytest.mark.parametrize("history", [[1.0, 1.0, 1.0], [0.7], [np.nan, 0.7, 0.7, 0.71]])
def test_a_perfect_or_a_single_or_a_changing_value_is_not_constant(history):
    assert collapse_sign(history, 0.8, TARGETS, NOISE) is None


def test_one_predicted_class_is_named():
    targets = one_hot(RNG.integers(0, 3, 200), 3)
    probabilities = np.tile([0.2, 0.7, 0.1], (200, 1)) + RNG.normal(0, 0.01, (200, 1)) * [1, -1, 0]
    assert collapse_sign([0.6, 0.8], 0.8, targets, probabilities).startswith("one class")


def test_one_class_is_no_sign_where_the_truth_has_one():
    targets = np.zeros((200, 3), dtype=np.uint8)
    targets[:, 1] = 1
    probabilities = np.tile([0.2, 0.7, 0.1], (200, 1)) + RNG.normal(0, 0.01, (200, 1)) * [1, -1, 0]
    with np.errstate(invalid="ignore"):
        assert collapse_sign([0.6, 0.8], float("nan"), targets, probabilities).startswith("undefined")


def test_decisions_no_better_than_the_majority_are_named_with_their_numbers():
    truth = np.repeat([0, 1, 2], [140, 40, 20])
    chosen = np.zeros(200, dtype=int)
    chosen[[0, 1, 150]] = 1, 2, 2
    found = collapse_sign([0.6, 0.8], 0.8, one_hot(truth, 3), saying(chosen, 3))
    assert found.startswith("accuracy 0.690: the most frequent class alone has 0.700; balanced accuracy 0.329")
    assert balanced_accuracy_score(truth, chosen) == pytest.approx(0.329, abs=5e-4)


def test_a_model_that_gives_up_accuracy_for_rare_classes_is_not_named():
    truth = np.repeat([0, 1], [180, 20])
    chosen = truth.copy()
    chosen[:40] = 1  # accuracy 0.8, the majority has 0.9, balanced accuracy 0.89
    assert collapse_sign([0.6, 0.8], 0.8, one_hot(truth, 2), saying(chosen, 2)) is None


def test_an_accuracy_above_the_majority_is_not_named():
    truth = np.repeat([0, 1, 2], [140, 40, 20])
    chosen = np.zeros(200, dtype=int)
    chosen[145] = 1
    assert collapse_sign([0.6, 0.8], 0.8, one_hot(truth, 3), saying(chosen, 3)) is None


def test_random_decisions_are_named_about_as_often_as_two_standard_errors_say():
    truth = np.repeat([0, 1, 2], [240, 100, 80])  # guesses are right a third of the time, the majority 57 %
    signs = [
        collapse_sign([0.6, 0.8], 0.8, one_hot(truth, 3), saying(np.random.default_rng(seed).integers(0, 3, 420), 3))
        for seed in range(600)
    ]
    named = sum(sign is not None and sign.startswith("accuracy") for sign in signs)
    assert 0.95 < named / 600 < 0.995  # one-sided 97.7 %


def test_noise_is_called_chance_about_as_often_as_two_standard_errors_say():
    from pipeline.metrics.functions import class_auroc, macro

    called = 0
    for seed in range(400):
        scores = np.random.default_rng(seed).random(TARGETS.shape)
        auroc = float(macro(class_auroc(TARGETS, scores)))
        called += collapse_sign([auroc - 0.1, auroc], auroc, TARGETS, scores) is not None
    assert 0.95 < called / 400 < 0.995  # one-sided 97.7 %


def test_twelve_validation_images_are_too_few_to_tell():
    targets = one_hot(np.repeat([0, 1], 6), 2)
    said = too_few(targets)
    reached = 0.5 + 2 * np.sqrt(13 / (12 * 6 * 6))  # Mann & Whitney; the AUROC of one class is that of the other
    assert said == f"12 images, on which the AUROC of noise reaches {reached:.3f}: too few to tell"
    chosen = np.zeros(12, int)
    assert collapse_sign([0.6, 0.6], 0.6, targets, saying(chosen, 2) + RNG.normal(0, 1e-3, (12, 2))) is None
    assert collapse_sign([0.6, 0.6], 0.6, targets, np.full((12, 2), 0.5)) == "constant predictions"


@pytest.mark.parametrize("positives", range(2, 21))
def test_too_few_begins_where_noise_reaches_a_useful_auroc(positives):
    """Drawn, not computed: the AUROC of noise, 2.3 % of which lies above two standard errors."""
    rng = np.random.default_rng(positives)
    truth = np.repeat([0, 1], positives)
    noise = rng.random((400, 2 * positives))
    # SciPy's U counts pairs in the right order, for all draws at once; over the number of pairs it is the AUROC.
    right = mannwhitneyu(noise[:, positives:], noise[:, :positives], axis=1, method="asymptotic").statistic
    assert roc_auc_score(truth, noise[0]) == pytest.approx(right[0] / positives**2)
    highest = np.quantile(right / positives**2, 0.977)
    said = too_few(truth[:, None]) is not None
    assert said == (highest > TOO_FEW) or abs(highest - TOO_FEW) < 0.05


def test_without_positives_few_is_not_what_is_wrong():
    assert too_few(np.zeros((12, 2), np.uint8)) is None


@pytest.mark.parametrize(
    ("images", "auroc", "told"),
    [(45, 0.50, False), (45, 0.58, False), (45, 0.42, True), (45, 0.70, True), (150, 0.50, True), (150, 0.56, False)],
)
def test_within_noise_is_no_evidence_for_nothing_learned(images, auroc, told):
    """Of half positives the standard error of noise is sqrt((n + 1) / (3 n^2)): .087 for 45, .047 for 150."""
    targets = (np.arange(images) % 2)[:, None].astype(np.uint8)
    error = np.sqrt((images + 1) / (12 * targets.sum() * (images - targets.sum())))
    chance = auroc <= 0.5 + 2 * error and auroc + 2 * error < 0.6
    said = unclear(targets, auroc)
    assert (said is None) == told
    assert (collapse_sign([0.4, auroc], auroc, targets, RNG.random((images, 1))) is not None) == chance
    if said:
        assert said.startswith(f"{images} images, AUROC {auroc:.3f}: noise reaches {0.5 + 2 * error:.3f}")


@pytest.mark.parametrize(("each", "named"), [((15, 15, 15), True), ((40, 5), False), ((50, 4, 4), False)])
def test_one_class_for_all_is_no_sign_where_the_others_are_a_handful(each, named):
    """Of 5 images of which none is found, 45 % of their kind might be (1 - 0.05^(1/5), exact)."""
    targets = one_hot(np.repeat(np.arange(len(each)), each), len(each))
    chosen = saying(np.zeros(sum(each), int), len(each)) + RNG.normal(0, 1e-3, targets.shape)
    chosen /= chosen.sum(1, keepdims=True)
    assert (collapse_sign([0.8, 0.9], 0.9, targets, chosen) is not None) == named


def test_the_wilson_bound_is_that_of_scipy():
    from scipy.stats import binomtest, norm

    level = norm.cdf(2) - norm.cdf(-2)
    for hits, images in ((0, 5), (3, 5), (5, 5), (14, 90)):
        ours = _wilson_bound(np.array([hits / images]), np.array([images]))[0]
        assert ours == pytest.approx(binomtest(hits, images).proportion_ci(level, "wilson").high, abs=1e-12)
