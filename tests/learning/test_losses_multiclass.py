"""What is special to the single-label losses; what all losses share is in test_losses.py."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import rel_entr
from torch.nn.functional import cross_entropy, one_hot

from pipeline.learning import losses
from pipeline.learning.losses._calibration import confidence_gap
from pipeline.learning.losses.ls_focal import log_complement
from pipeline.study.params import ParamsError
from tests.learning.loss_references_multiclass import BATCH_LEVEL, REFERENCES, SETTINGS

CASES = [(kind, given_settings) for kind in REFERENCES for given_settings in SETTINGS[kind]]
BASES = {
    "calibrated_ce": ("ce", {}),
    "calibrated_kl": ("kl", {}),
    "calibrated_focal": ("focal", {}),
    "calibrated_hinge": ("hinge", {}),
    "calibrated_negative_entropy": ("entropy_regularized", {"beta": 0.001}),
}
KERMANY = [2285, 1215, 1211]
"""Training images of bacterial pneumonia, normal lungs and viral pneumonia in arXiv 2109.14433."""


def batch(n=7, k=5, seed=0, scale=3.0):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(0, scale, (n, k))), torch.tensor(np.eye(k)[rng.integers(0, k, n)])


def create(kind, positives=None, **given_settings):
    """Build a loss; `positives` are the draws of each class."""
    loss = losses.create(kind, given_settings, "multiclass", losses.loss_class(kind).ordered)
    return loss.counted(positives, sum(positives)) if positives is not None else loss


def from_probabilities(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def classes(*indices, k):
    return one_hot(torch.tensor(indices), k).double()


def away_from_kinks(z, t):
    """Whether finite differences of 1e-6 see no kink: of the max over classes, or where accuracy is confidence."""
    p = z.softmax(1)
    top = p.sort(1, descending=True).values
    gap = (p.argmax(1) == t.argmax(1)).double().mean() - top[:, 0].mean()
    wrong = (p - t).sort(1, descending=True).values
    return (
        min((top[:, 0] - top[:, 1]).min(), gap.abs(), *((wrong[:, 0] - wrong[:, 1]) if z.shape[1] > 2 else [1.0]))
        > 1e-4
    )


@pytest.mark.parametrize(("kind", "given_settings"), CASES)
@pytest.mark.parametrize(("n", "k"), [(1, 2), (1, 3), (9, 3), (6, 7)])
def test_value_and_gradient(kind, given_settings, n, k):
    seeds = [seed for seed in range(20) if away_from_kinks(*batch(n, k, seed))][:2]
    positives = [3.0 * i**2 for i in range(k)]
    loss = create(kind, positives, **given_settings)
    for seed in seeds:
        z, t = batch(n, k, seed)
        expected = REFERENCES[kind](z.numpy(), t.numpy(), positives=positives, total=sum(positives), **given_settings)
        assert loss(z, t).item() == pytest.approx(expected, rel=1e-11)
        torch.autograd.gradcheck(lambda z, t=t: loss(z, t), z.requires_grad_())
    assert len(seeds) == 2


@pytest.mark.parametrize(("kind", "given_settings"), CASES)
@pytest.mark.parametrize("k", [2, 3])
def test_certainty_right_or_wrong_gives_finite_values_and_gradients(kind, given_settings, k):
    loss = create(kind, [0.0, *[50.0] * (k - 1)], **given_settings)
    for size in (0.0, 30.0, 1e2, 1e4):
        for likely in range(k):
            for n in (1, 3):
                z = torch.full((n, k), -size)
                z[:, likely] = size
                z.requires_grad_()
                value = loss(z, one_hot(torch.zeros(n, dtype=torch.long), k).float())
                value.backward()
                assert torch.isfinite(value)
                assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize(
    ("kind", "given_settings", "key"),
    [
        ("ce", {"class_weights": [1.0, 0.0]}, "losses.ce.class_weights.1"),
        ("ce", {"class_weights": [1.0]}, "losses.ce.class_weights"),
        ("label_smoothing", {"epsilon": 1.0}, "losses.label_smoothing.epsilon"),
        ("ls_focal", {"gamma": -1.0}, "losses.ls_focal.gamma"),
        ("entropy_regularized", {"beta": -0.1}, "losses.entropy_regularized.beta"),
        ("calibrated_kl", {"beta": -1.0}, "losses.calibrated_kl.beta"),
        ("calibrated_negative_entropy", {"entropy_weight": -1.0}, "losses.calibrated_negative_entropy.entropy_weight"),
        ("balanced_softmax", {"tau": 1.0}, "losses.balanced_softmax.tau"),
    ],
)
def test_settings_out_of_range_are_refused_by_their_key(kind, given_settings, key):
    with pytest.raises(ParamsError, match=key.replace(".", r"\.")):
        create(kind, **given_settings)


# Cross-entropy and its class weights


def test_cross_entropy_with_class_weights_is_torchs_over_the_number_of_samples():
    z, t = batch(n=12, k=3)
    weights = torch.tensor([0.4, 3.0, 1.5], dtype=torch.float64)
    expected = cross_entropy(z, t.argmax(1), weight=weights, reduction="sum") / 12
    assert create("ce", class_weights=weights.tolist())(z, t).item() == pytest.approx(expected.item(), rel=1e-12)


def test_class_weights_of_the_loss_and_of_the_training_part_multiply():
    z, t = batch(n=12, k=3)
    both = create("ce", class_weights=[0.4, 3.0, 1.5]).weighted((2.0, 0.5, 7.0))
    assert both.class_weights == (2.0, 0.5, 7.0)
    product = create("ce", class_weights=[0.8, 1.5, 10.5])
    assert both(z, t).item() == pytest.approx(product(z, t).item(), rel=1e-12)


@pytest.mark.parametrize("kind", ["ce", "calibrated_ce"])
def test_class_weights_of_another_number_of_classes_are_refused_with_both_numbers(kind):
    with pytest.raises(ValueError, match=r"class_weights.* 2 values.* 5 classes"):
        create(kind, class_weights=[1.0, 2.0])(*batch(k=5))


def test_published_balanced_weights_leave_the_loss_of_ignorance_at_log_k():
    t = torch.eye(3, dtype=torch.float64).repeat_interleave(torch.tensor(KERMANY), 0)
    loss = create("ce", class_weights=[0.687236, 1.292455, 1.296724])  # as printed by the released code
    assert loss(torch.zeros(len(t), 3), t).item() == pytest.approx(np.log(3), rel=1e-6)


# Kullback-Leibler divergence


def test_kl_of_one_hot_targets_is_cross_entropy():
    z, t = batch(seed=4)
    assert create("kl")(z, t).item() == pytest.approx(create("ce")(z, t).item(), rel=1e-12)


def test_kl_of_soft_targets_is_scipys_and_has_the_gradient_of_cross_entropy():
    z, _ = batch(seed=5)
    soft = batch(seed=6)[0].softmax(1)
    soft[0] = torch.tensor([0.5, 0.5, 0, 0, 0])
    z.requires_grad_()
    value = create("kl")(z, soft)
    assert value.item() == pytest.approx(rel_entr(soft.numpy(), z.detach().softmax(1).numpy()).sum(1).mean(), rel=1e-12)
    assert create("kl")(soft.clamp_min(1e-300).log(), soft).item() == pytest.approx(0, abs=1e-15)
    (gradient,) = torch.autograd.grad(value, z)
    (expected,) = torch.autograd.grad(create("ce")(z, soft), z)
    torch.testing.assert_close(gradient, expected)


# Smoothed labels


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.2, 0.9])
def test_label_smoothing_is_torchs_and_without_it_cross_entropy(epsilon):
    z, t = batch(n=12, k=3)
    expected = cross_entropy(z, t.argmax(1), label_smoothing=epsilon)
    assert create("label_smoothing", epsilon=epsilon)(z, t).item() == pytest.approx(expected.item(), rel=1e-12)


def test_label_smoothing_is_least_where_the_prediction_is_the_smoothed_label():
    z = from_probabilities([0.9 + 0.1 / 4, 0.1 / 4, 0.1 / 4, 0.1 / 4]).requires_grad_()
    create("label_smoothing")(z, classes(0, k=4)).backward()
    assert z.grad.abs().max() < 1e-15


def test_smoothed_focal_without_focus_is_label_smoothing_and_without_smoothing_focal():
    z, t = batch(n=12, k=3)
    smoothing = create("label_smoothing", epsilon=0.2)(z, t).item()
    assert create("ls_focal", gamma=0.0)(z, t).item() == pytest.approx(smoothing, rel=1e-12)
    assert create("ls_focal", epsilon=0.0)(z, t).item() == pytest.approx(create("focal")(z, t).item(), rel=1e-12)


@pytest.mark.parametrize("k", [2, 3, 14])
def test_smoothed_focal_labels_sum_to_1_whatever_the_number_of_classes(k):
    value = create("ls_focal")(torch.zeros(1, k), classes(0, k=k))  # epsilon / 2 would give 1.1 times this at k = 3
    assert value.item() == pytest.approx((1 - 1 / k) ** 2 * np.log(k), rel=1e-6)


@pytest.mark.parametrize("size", [5.0, 20.0, 40.0, 80.0])
def test_smoothed_focal_keeps_its_digits_in_float32_where_a_probability_is_nearly_1(size):
    z = torch.tensor([[size, 0.0, 0.0]], requires_grad=True)
    value = log_complement(z)[0, 0]  # log(2 / (2 + e^size))
    assert value.item() == pytest.approx(np.log(2) - np.logaddexp(np.log(2), size), rel=1e-6)
    value.backward()
    assert z.grad[0, 0].item() == pytest.approx(-1 / (1 + 2 * np.exp(-size)), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_smoothed_focal_of_a_single_class_is_finite(gamma):
    z = torch.zeros(2, 1, requires_grad=True)
    value = create("ls_focal", gamma=gamma)(z, torch.ones(2, 1))
    value.backward()
    assert value.item() == 0
    assert (z.grad == 0).all()


# Hinge


def test_hinge_of_examples_by_hand():
    z = from_probabilities([0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.25, 0.5, 0.25])
    t = classes(0, 0, 2, 2, k=3)
    each = [create("hinge")(z[i : i + 1], t[i : i + 1]).item() for i in range(4)]
    assert each == pytest.approx([0.5, 1.5, 0.8, 1.25], rel=1e-12)
    assert create("hinge")(z, t).item() == pytest.approx(4.05 / 4, rel=1e-12)


@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from([0.1, 3.0, 100.0, 1e4]))
@settings(max_examples=40)
def test_hinge_lies_between_0_and_2_and_says_who_is_right(seed, k, scale):
    z, t = batch(n=1, k=k, seed=seed, scale=scale)
    value = create("hinge")(z.float(), t.float()).item()
    assert 0 <= value <= 2
    p = z.float().double().softmax(1)
    margin = p[t > 0.5].item() - p[t < 0.5].max().item()
    assert value == pytest.approx(1 - margin, abs=1e-6 + 2e-7 * scale)  # differences of logits are rounded, too


# Entropy


@pytest.mark.parametrize("kind", ["entropy_regularized", "calibrated_negative_entropy"])
def test_of_two_equally_wrong_predictions_the_more_confident_has_the_higher_loss(kind):
    confident, uncertain = from_probabilities([0.2, 0.78, 0.02]), from_probabilities([0.2, 0.4, 0.4])
    t = classes(0, k=3)
    assert create("ce")(confident, t).item() == pytest.approx(create("ce")(uncertain, t).item())
    loss = create(kind, beta=0.0) if kind in BATCH_LEVEL else create(kind)
    weight = 0.001 if kind in BATCH_LEVEL else 0.1
    entropies = [-(p * np.log(p)).sum() for p in (np.array([0.2, 0.78, 0.02]), np.array([0.2, 0.4, 0.4]))]
    difference = loss(confident, t) - loss(uncertain, t)
    assert difference.item() == pytest.approx(weight * (entropies[1] - entropies[0]), rel=1e-9)
    assert difference.item() > 0


@pytest.mark.parametrize(("beta", "published"), [(0.1, 0.9999), (2 / 3, 0.776)])
def test_entropy_regularisation_is_least_at_the_certainty_that_beta_sets(beta, published):
    p = brentq(lambda p: np.log(p / ((1 - p) / 2)) - 1 / (beta * p), 0.4, 1 - 1e-12, xtol=1e-15)
    assert p == pytest.approx(published, abs=5e-4)
    z = from_probabilities([p, (1 - p) / 2, (1 - p) / 2]).requires_grad_()
    create("entropy_regularized", beta=beta)(z, classes(0, k=3)).backward()
    assert z.grad.abs().max() < 1e-11


# Confidence and accuracy


def test_confidence_gap_of_an_example_by_hand():
    z = from_probabilities([0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.4, 0.5], [0.05, 0.05, 0.9])
    t = classes(0, 0, 2, 1, k=3)  # 2 of 4 right; mean confidence (0.7 + 0.6 + 0.5 + 0.9) / 4 = 0.675
    ce = -np.log([0.7, 0.3, 0.5, 0.05]).mean()
    assert create("calibrated_ce")(z, t).item() == pytest.approx(ce + 0.175, rel=1e-12)
    assert create("calibrated_ce", beta=2.0)(z, t).item() == pytest.approx(ce + 0.35, rel=1e-12)
    assert create("calibrated_hinge")(z, t).item() == pytest.approx((0.5 + 1.3 + 0.9 + 1.85) / 4 + 0.175, rel=1e-12)


@pytest.mark.parametrize("kind", sorted(BATCH_LEVEL))
def test_without_beta_a_calibrated_loss_is_its_base_also_when_weighted(kind):
    z, t = batch(n=12, k=3)
    base, of_base = BASES[kind]
    ours, theirs = create(kind, beta=0.0), create(base, **of_base)
    assert ours(z, t).item() == pytest.approx(theirs(z, t).item(), rel=1e-12)
    weights = (0.4, 3.0, 1.5)
    assert ours.weighted(weights)(z, t).item() == pytest.approx(theirs.weighted(weights)(z, t).item(), rel=1e-12)


@pytest.mark.parametrize("kind", sorted(BATCH_LEVEL))
def test_class_weights_leave_the_gap_alone(kind):
    z, t = batch(n=12, k=3)
    gap = create(kind)(z, t) - create(kind, beta=0.0)(z, t)
    weighted = create(kind).weighted((0.4, 3.0, 1.5)), create(kind, beta=0.0).weighted((0.4, 3.0, 1.5))
    assert gap > 0.01
    assert (weighted[0](z, t) - weighted[1](z, t)).item() == pytest.approx(gap.item(), rel=1e-9)


def test_class_weights_given_to_calibrated_cross_entropy_are_those_of_cross_entropy():
    z, t = batch(n=12, k=3)
    weights = [0.4, 3.0, 1.5]
    gap = create("calibrated_ce")(z, t) - create("ce")(z, t)
    expected = create("ce", class_weights=weights)(z, t) + gap
    assert create("calibrated_ce", class_weights=weights)(z, t).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(("right", "sign"), [(False, 1), (True, -1)])
def test_gradient_of_the_gap_is_that_of_the_mean_confidence_alone(right, sign):
    z, _ = batch(n=6, k=3, seed=8)
    t = one_hot(z.argmax(1) if right else (z.argmax(1) + 1) % 3, 3).double().requires_grad_()
    z.requires_grad_()
    to_logits, to_targets = torch.autograd.grad(confidence_gap(z, t), (z, t), allow_unused=True)
    p = z.detach().softmax(1).numpy()
    top = p.argmax(1)
    confidence = p[np.arange(6), top][:, None]
    expected = sign * confidence * (np.eye(3)[top] - p) / 6  # overconfident: down; underconfident: up
    np.testing.assert_allclose(to_logits.numpy(), expected, rtol=1e-10, atol=1e-15)
    assert to_targets is None


@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([0.1, 3.0, 100.0]))
@settings(max_examples=30)
def test_gap_lies_between_0_and_1_and_of_a_single_sample_is_what_confidence_lacks_or_has_too_much(seed, n, scale):
    z, t = batch(n=n, k=4, seed=seed, scale=scale)
    assert 0 <= confidence_gap(z, t).item() <= 1
    confidence = z[0].softmax(0).max().item()
    expected = 1 - confidence if z[0].argmax() == t[0].argmax() else confidence
    assert confidence_gap(z[:1], t[:1]).item() == pytest.approx(expected, abs=1e-12)


def test_calibrated_losses_have_the_published_defaults():
    assert [create(kind).beta for kind in sorted(BATCH_LEVEL)] == [1.0] * 5
    assert (create("calibrated_focal").alpha, create("calibrated_focal").gamma) == (1.0, 2.0)
    assert create("calibrated_negative_entropy").entropy_weight == 0.001
    assert (create("ls_focal").alpha, create("ls_focal").gamma, create("ls_focal").epsilon) == (1.0, 2.0, 0.2)


# Balanced softmax


def test_balanced_softmax_of_an_example_by_hand():
    loss = create("balanced_softmax", [1, 3])
    assert loss(torch.zeros(1, 2).double(), classes(0, k=2)).item() == pytest.approx(np.log(4))
    assert loss(torch.zeros(1, 2).double(), classes(1, k=2)).item() == pytest.approx(np.log(4 / 3))


def test_balanced_softmax_of_equally_frequent_classes_is_cross_entropy():
    z, t = batch(seed=9)
    assert create("balanced_softmax", [40] * 5)(z, t).item() == pytest.approx(create("ce")(z, t).item(), rel=1e-12)


def test_balanced_softmax_leaves_frequency_to_the_prior_and_nothing_to_the_logits():
    t = torch.eye(3, dtype=torch.float64).repeat_interleave(torch.tensor(KERMANY), 0)
    z = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    create("balanced_softmax", KERMANY)(z.expand(len(t), 3), t).backward()
    assert z.grad.abs().max() < 1e-12
    (of_ce,) = torch.autograd.grad(create("ce")(z.expand(len(t), 3), t), z)
    assert of_ce[0].item() == pytest.approx(1 / 3 - KERMANY[0] / sum(KERMANY), rel=1e-9)


def test_balanced_softmax_takes_a_class_that_is_never_drawn_as_drawn_once():
    z, t = batch(k=3)
    never, once = create("balanced_softmax", [0, 40, 60]), create("balanced_softmax", [1, 40, 60])
    assert never(z, t).item() == once(z, t).item()


def test_balanced_softmax_says_that_it_needs_the_frequencies():
    assert create("balanced_softmax").needs_counts
    with pytest.raises(ValueError, match="class frequencies"):
        create("balanced_softmax")(*batch())


@pytest.mark.parametrize(("kind", "given_settings"), [*CASES, ("ldam", {"drw": 0}), ("logit_adjusted", {"tau": 0})])
def test_balanced_weights_are_refused_where_the_loss_balances_classes_itself(kind, given_settings):
    targets, draws = np.eye(3, dtype=np.uint8)[[0, 0, 0, 1, 2, 2]], np.ones(6, dtype=np.int64)
    seen, ordered = ({"kind": kind, **given_settings}, "multiclass", targets, draws), losses.loss_class(kind).ordered
    assert losses.for_training("mine", *seen, "none", ordered).class_weights is None
    balances = {"balanced_softmax", "class_balanced", "ldam", "logit_adjusted"}
    if kind in balances and 0 not in given_settings.values():
        with pytest.raises(ParamsError, match=r"train\.class_weights: 'balanced'.*losses\.mine.*must be none"):
            losses.for_training("mine", *seen, "balanced")
    else:
        assert losses.for_training("mine", *seen, "balanced", ordered).class_weights == pytest.approx((2 / 3, 2.0, 1.0))
