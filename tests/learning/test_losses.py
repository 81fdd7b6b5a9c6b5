"""Every registered loss against float64 references that are written without the tricks of the implementation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.learning import losses
from pipeline.params import ParamsError

CASES = [(kind, task) for kind in losses.available() for task in sorted(losses.loss_class(kind).tasks)]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def reference_bce(z, t, task, **_):
    p = sigmoid(z)
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()


def reference_ce(z, t, task, **_):
    return -np.log(softmax(z)[t == 1]).mean()


def reference_focal(z, t, task, alpha=1.0, gamma=2.0):
    p = np.where(t == 1, sigmoid(z), 1 - sigmoid(z)) if task == "multilabel" else softmax(z)[t == 1]
    return (-alpha * (1 - p) ** gamma * np.log(p)).mean()


def reference_zlpr(z, t, task, **_):
    positive = np.array([np.exp(-row[labels == 1]).sum() for row, labels in zip(z, t)])
    negative = np.array([np.exp(row[labels == 0]).sum() for row, labels in zip(z, t)])
    return (np.log(1 + positive) + np.log(1 + negative)).mean()


REFERENCES = {"bce": reference_bce, "ce": reference_ce, "focal": reference_focal, "zlpr": reference_zlpr}
SETTINGS = {"focal": [{}, {"alpha": 0.25, "gamma": 0.5}, {"gamma": 0.0}]}


def batch(task, n=7, k=5, seed=0, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, k))
    targets = rng.random((n, k)) < 0.4 if task == "multilabel" else np.eye(k)[rng.integers(0, k, n)]
    return torch.tensor(logits), torch.tensor(np.asarray(targets, float))


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_value_equals_a_float64_reference(kind, task):
    for given_settings in SETTINGS.get(kind, [{}]):
        logits, targets = batch(task)
        value = losses.create(kind, given_settings, task)(logits, targets)
        expected = REFERENCES[kind](logits.numpy(), targets.numpy(), task, **given_settings)
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_gradient_equals_finite_differences(kind, task):
    for given_settings in SETTINGS.get(kind, [{}]):
        logits, targets = batch(task, seed=1)
        loss = losses.create(kind, given_settings, task)
        torch.autograd.gradcheck(lambda z, loss=loss, t=targets: loss(z, t), logits.requires_grad_())


@pytest.mark.parametrize(("kind", "task"), CASES)
@pytest.mark.parametrize("size", [0.0, 1e2, 1e4])
@pytest.mark.parametrize("n", [1, 4])
def test_extreme_logits_give_finite_values_and_gradients(kind, task, size, n):
    k = 4
    rows = [torch.eye(k)[0]] if task == "multiclass" else [torch.zeros(k), torch.ones(k), torch.eye(k)[1]]
    for given_settings in SETTINGS.get(kind, [{}]):
        loss = losses.create(kind, given_settings, task)
        for row in rows:
            for sign in (1, -1):
                logits = (sign * size * torch.tensor([1.0, -1, 1, -1])).repeat(n, 1).requires_grad_()
                value = loss(logits, row.repeat(n, 1))
                value.backward()
                assert torch.isfinite(value)
                assert value >= -1e-6
                assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_computed_in_float32_under_autocast_and_blind_to_the_order_of_the_batch(kind, task):
    logits, targets = (x.float() for x in batch(task, n=16))
    loss = losses.create(kind, {}, task)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(logits, targets)
    assert inside.dtype == torch.float32
    assert inside.item() == loss(logits, targets).item()
    assert loss(logits.flip(0), targets.flip(0)).item() == pytest.approx(inside.item(), rel=1e-6)


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_shapes_are_checked(kind, task):
    with pytest.raises(ValueError, match=r"\[N, K\]"):
        losses.create(kind, {}, task)(torch.zeros(3, 2), torch.zeros(3, 4))


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_zlpr_with_one_class_is_bce_and_bounded_in_gradient(seed, n):
    logits, targets = batch("multilabel", n=n, k=1, seed=seed)
    bce, zlpr = losses.create("bce", {}, "multilabel"), losses.create("zlpr", {}, "multilabel")
    assert zlpr(logits, targets).item() == pytest.approx(bce(logits, targets).item(), rel=1e-10)
    logits, targets = batch("multilabel", n=1, k=14, seed=seed)
    logits.requires_grad_()
    zlpr(logits, targets).backward()
    assert logits.grad.clamp_min(0).sum() <= 1 + 1e-12  # the pull on the negatives, whatever their number


def test_zlpr_of_zero_logits_without_a_positive_is_log_k_plus_1():
    value = losses.create("zlpr", {}, "multilabel")(torch.zeros(3, 14), torch.zeros(3, 14))
    assert value.item() == pytest.approx(np.log(15), rel=1e-6)  # 2.708, arXiv 2208.02955


def test_zlpr_with_soft_targets_equals_its_definition():
    logits, _ = batch("multilabel")
    soft = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (1 + (soft * (-logits).exp()).sum(1)).log() + (1 + ((1 - soft) * logits.exp()).sum(1)).log()
    assert losses.create("zlpr", {}, "multilabel")(logits, soft).item() == pytest.approx(expected.mean().item())


@pytest.mark.parametrize(("task", "base"), [("multilabel", "bce"), ("multiclass", "ce")])
def test_focal_with_gamma_0_is_cross_entropy(task, base):
    logits, targets = batch(task, seed=3)
    focal = losses.create("focal", {"gamma": 0.0}, task)(logits, targets)
    assert focal.item() == pytest.approx(losses.create(base, {}, task)(logits, targets).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "given_settings", "task", "said"),
    [
        ("ce", {}, "multilabel", ["study.losses", "'ce'", "multilabel", "bce, focal, zlpr"]),
        ("zlpr", None, "multiclass", ["study.losses", "'zlpr'", "multiclass", "ce, focal"]),
        ("focal", {"gama": 1.0}, "multilabel", ["losses.focal.gama", "unknown key", "did you mean 'gamma'"]),
        ("focal", {"gamma": -1.0}, "multilabel", ["losses.focal.gamma", "-1.0", "greater than or equal to 0"]),
        ("mine", {}, "multilabel", ["losses.mine.kind", "'mine'", "bce, ce, focal, zlpr"]),
    ],
)
def test_settings_that_cannot_be_are_refused_with_key_value_and_what_is_allowed(name, given_settings, task, said):
    with pytest.raises(ParamsError) as error:
        losses.create(name, given_settings, task)
    for part in said:
        assert part in str(error.value)


def test_a_second_configuration_of_a_kind_has_its_own_name():
    assert losses.create("focal_g5", {"kind": "focal", "gamma": 5.0}, "multiclass").gamma == 5


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(10, 200))
@settings(max_examples=50, deadline=None)
def test_balanced_weights_are_those_of_scikit_learn_and_average_to_1(seed, k, n):
    from sklearn.utils.class_weight import compute_class_weight

    rng = np.random.default_rng(seed)
    label = rng.choice(k, n, p=rng.dirichlet(np.ones(k)))
    copies = rng.integers(0, 4, n)
    copies[0] = 1
    weights = losses.balanced_weights(np.eye(k, dtype=np.uint8)[label], copies, "multiclass")
    drawn = np.repeat(label, copies)
    present = np.unique(drawn)
    expected = compute_class_weight("balanced", classes=present, y=drawn)
    np.testing.assert_allclose(weights[present], expected, rtol=1e-12)
    assert (np.delete(weights, present) == 1).all()
    assert weights[drawn].mean() == pytest.approx(1)


@pytest.mark.parametrize("kind", [kind for kind, task in CASES if task == "multiclass"])
def test_weighted_loss_is_the_mean_of_the_weighted_losses_of_the_samples(kind):
    logits, targets = batch("multiclass", n=12, k=3)
    loss, weights = losses.create(kind, {}, "multiclass"), (0.4, 3.0, 1.5)
    weighted = loss.weighted(weights)
    each = np.array([loss(z[None], t[None]).item() for z, t in zip(logits, targets)])
    expected = (each * np.array(weights)[targets.argmax(1)]).mean()
    assert weighted(logits, targets).item() == pytest.approx(expected, rel=1e-12)
    assert (weighted.class_weights, loss.class_weights, weighted.task) == (weights, None, "multiclass")
    assert loss(logits, targets).item() == pytest.approx(each.mean(), rel=1e-12)


def test_weighted_cross_entropy_is_torchs_up_to_the_weights_of_the_batch():
    logits, targets = batch("multiclass", n=12, k=3)
    weights = torch.tensor([0.4, 3.0, 1.5], dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(logits, targets.argmax(1), weight=weights, reduction="sum") / 12
    loss = losses.create("ce", {}, "multiclass").weighted(weights.tolist())
    assert loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-12)


def test_class_weights_of_multi_label_data_are_refused_with_the_way_out():
    with pytest.raises(ParamsError, match=r"train\.class_weights.*allowed: none \(split\.balance\.method: oversample"):
        losses.balanced_weights(np.ones((3, 2), np.uint8), np.ones(3, int), "multilabel")
