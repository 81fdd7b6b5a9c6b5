"""Every registered loss against float64 references that are written without the tricks of the implementation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from pipeline.learning import losses
from pipeline.study.params import ParamsError
from tests.learning import loss_references_multiclass as multiclass
from tests.learning import loss_references_multilabel as multilabel

REFERENCES = {
    "multilabel": multilabel.REFERENCES,
    "multiclass": multiclass.REFERENCES | multilabel.REFERENCES_SHARED_MULTICLASS,
}
SETTINGS = {
    "multilabel": multilabel.SETTINGS,
    "multiclass": multiclass.SETTINGS | multilabel.SETTINGS_SHARED_MULTICLASS,
}
# Those of masks and of numbers: tests/learning/test_losses_of_masks.py, test_losses_regression.py.
CASES = [
    (kind, task) for kind in losses.available() for task in sorted(losses.loss_class(kind).tasks & REFERENCES.keys())
]
SETTLED = [
    pytest.param(kind, task, settings, id="-".join([kind, task, *(f"{k}={v}" for k, v in settings.items())]))
    for kind, task in CASES
    for settings in SETTINGS[task].get(kind, [{}])
]
REWARDS_ENTROPY = {"entropy_regularized", "calibrated_negative_entropy"}  # may fall below 0


def batch(task, n=7, k=5, seed=0, scale=3.0):
    """Logits and targets, float64 [n, k]; of multi-label images one has no class and one has all, if n > 2."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, k))
    targets = rng.random((n, k)) < 0.4 if task == "multilabel" else np.eye(k)[rng.integers(0, k, n)]
    if task == "multilabel" and n > 2:
        targets[0], targets[1] = 0, 1
    return torch.tensor(logits), torch.tensor(np.asarray(targets, float))


def frequencies(task, k):
    """Positives of each class, all of them different, and the total."""
    if task == "multiclass":
        positives = [5 * 3**i for i in range(k)]
        return positives, sum(positives)
    return [6 + 150 * i // k for i in range(k)], 200


def ready(kind, settings, task, k=5):
    """The loss, as a training part with the frequencies above makes it."""
    return losses.create(kind, settings, task, losses.loss_class(kind).ordered).counted(*frequencies(task, k))


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_every_loss_has_a_reference_and_is_tried_with_its_defaults(kind, task):
    assert kind in REFERENCES[task]
    assert {} in SETTINGS[task].get(kind, [{}])


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_every_reference_is_that_of_a_loss(task):
    assert {(kind, task) for kind in [*REFERENCES[task], *SETTINGS[task]]} <= set(CASES)


@pytest.mark.parametrize(("kind", "task", "settings"), SETTLED)
def test_value_equals_a_float64_reference(kind, task, settings):
    logits, targets = batch(task)
    positives, total = frequencies(task, 5)
    value = ready(kind, settings, task)(logits, targets)
    expected = REFERENCES[task][kind](logits.numpy(), targets.numpy(), positives=positives, total=total, **settings)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("kind", "task", "settings"), SETTLED)
def test_gradient_equals_finite_differences(kind, task, settings):
    logits, targets = batch(task, n=5, seed=1)
    loss = ready(kind, settings, task)
    torch.autograd.gradcheck(lambda z: loss(z, targets), logits.requires_grad_())


def assert_finite(loss, logits, targets, lowest=-1e-6):
    logits = logits.clone().requires_grad_()
    value = loss(logits, targets)
    value.backward()
    assert torch.isfinite(value)
    assert value >= lowest
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(("kind", "task", "settings"), SETTLED)
def test_extreme_logits_give_finite_values_and_gradients(kind, task, settings):
    one = torch.eye(4)[1]
    rows = [one] if task == "multiclass" else [torch.zeros(4), torch.ones(4), one]
    loss = ready(kind, settings, task, 4)
    lowest = float("-inf") if kind in REWARDS_ENTROPY else -1e-6
    signs = torch.tensor([1.0, -1, 1, -1])
    for size in (0.0, 1e2, 1e4, -1e2, -1e4):
        for row in rows:
            for n in (1, 4):
                assert_finite(loss, (size * signs).repeat(n, 1), row.repeat(n, 1), lowest)


@pytest.mark.parametrize(("kind", "task", "settings"), SETTLED)
def test_classes_that_are_never_or_always_positive_give_finite_values_and_gradients(kind, task, settings):
    logits, targets = (x.float() for x in batch(task, k=3))
    loss = losses.create(kind, settings, task, losses.loss_class(kind).ordered).counted([0.0, 90.0, 0.0], 90)
    for epoch in (1, 10):
        assert_finite(loss.at_epoch(epoch, 10), logits, targets, lowest=float("-inf"))


@pytest.mark.parametrize(("kind", "task", "settings"), SETTLED)
def test_frequencies_are_asked_for_exactly_where_they_matter(kind, task, settings):
    logits, targets = batch(task)
    loss = losses.create(kind, settings, task, losses.loss_class(kind).ordered)
    if loss.needs_counts:
        with pytest.raises(ValueError, match=r"class frequencies.*counted\(\)"):
            loss(logits, targets)
    else:
        assert loss(logits, targets).item() == ready(kind, settings, task)(logits, targets).item()


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_computed_in_float32_under_autocast_and_blind_to_the_order_of_the_batch(kind, task):
    logits, targets = (x.float() for x in batch(task, n=16))
    loss = ready(kind, {}, task)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(logits, targets)
        of_half = loss(logits.bfloat16(), targets)
    assert inside.dtype == of_half.dtype == torch.float32
    assert inside.item() == loss(logits, targets).item()
    assert of_half.item() == loss(logits.bfloat16().float(), targets).item()
    assert loss(logits.flip(0), targets.flip(0)).item() == pytest.approx(inside.item(), rel=1e-6)


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_shapes_are_checked(kind, task):
    with pytest.raises(ValueError, match=r"\[N, K\]"):
        ready(kind, {}, task)(torch.zeros(3, 2), torch.zeros(3, 4))


@pytest.mark.parametrize(("positives", "total"), [([3, 11], 10), ([3, -1], 10), ([0, 0], 0), ([float("nan"), 1], 10)])
def test_frequencies_that_cannot_be_are_refused(positives, total):
    with pytest.raises(ValueError, match="draws"):
        losses.create("logit_adjusted", {}, "multilabel").counted(positives, total)


LIMITS = [
    ("focal", {"gamma": 0.0}, "multilabel", "bce", {}),
    ("focal", {"gamma": 0.0}, "multiclass", "ce", {}),
    ("focal", {"alpha": 2.0, "balanced_alpha": 0.5}, "multilabel", "focal", {}),
    ("asl", {"gamma_negative": 0.0, "gamma_positive": 0.0, "margin": 0.0}, "multilabel", "bce", {}),
    ("asl", {"gamma_negative": 3.0, "gamma_positive": 3.0, "margin": 0.0}, "multilabel", "focal", {"gamma": 3.0}),
    ("class_balanced", {"beta": 0.0}, "multilabel", "bce", {}),
    ("class_balanced", {"beta": 0.0}, "multiclass", "ce", {}),
    ("class_balanced", {"beta": 0.0, "gamma": 2.0}, "multilabel", "focal", {}),
    ("class_balanced", {"beta": 0.0, "gamma": 2.0}, "multiclass", "focal", {}),
    ("logit_adjusted", {"tau": 0.0}, "multilabel", "bce", {}),
    ("logit_adjusted", {"tau": 0.0}, "multiclass", "ce", {}),
    ("logit_adjusted", {"tau": 1.0}, "multiclass", "balanced_softmax", {}),
    ("ldam", {"max_margin": 0.0, "scale": 1.0}, "multilabel", "bce", {}),
    ("ldam", {"max_margin": 0.0, "scale": 1.0}, "multiclass", "ce", {}),
]


@pytest.mark.parametrize(("kind", "settings", "task", "base", "of_base"), LIMITS)
def test_a_loss_becomes_the_one_it_extends(kind, settings, task, base, of_base):
    logits, targets = batch(task, seed=3)
    value, expected = ready(kind, settings, task)(logits, targets), ready(base, of_base, task)(logits, targets)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("bce", {"pos_weight_cap": 10.0}), ("logit_adjusted", {}), ("class_balanced", {}), ("ldam", {"drw": 1.0})],
)
def test_where_every_class_is_positive_in_half_the_draws_frequencies_change_nothing(kind, settings):
    logits, targets = batch("multilabel", seed=4)
    even = losses.create(kind, settings, "multilabel").counted([50.0] * 5, 100)
    if kind == "ldam":
        expected = torch.nn.functional.softplus(-30 * ((2 * targets - 1) * logits - 0.5)).mean()
        even = even.at_epoch(1, 1)
    else:
        expected = losses.create("bce", {}, "multilabel")(logits, targets)
    assert even(logits, targets).item() == pytest.approx(expected.item(), rel=1e-12)


def test_capped_bce_is_torchs_with_positive_weights():
    logits, targets = batch("multilabel")
    loss = losses.create("bce", {"pos_weight_cap": 9.0}, "multilabel").counted([1.0, 10, 20, 50, 80], 100)
    weights = torch.tensor([9.0, 9, 4, 1, 0.25], dtype=torch.float64)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
    assert loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-12)


def test_balanced_focal_is_torchvisions():
    from torchvision.ops import sigmoid_focal_loss

    logits, targets = batch("multilabel")
    expected = sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2, reduction="mean")
    loss = losses.create("focal", {"balanced_alpha": 0.25}, "multilabel")
    assert loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize(("negative", "positive", "margin"), [(4.0, 1.0, 0.05), (3.0, 0.0, 0.2)])
def test_asl_is_timms_up_to_the_mean_over_classes(negative, positive, margin):
    from timm.loss.asymmetric_loss import AsymmetricLossMultiLabel

    logits, targets = (x.float() for x in batch("multilabel", n=1, k=40))
    settings = {"gamma_negative": negative, "gamma_positive": positive, "margin": margin}
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value = losses.create("asl", settings, "multilabel")(ours, targets)
    expected = AsymmetricLossMultiLabel(gamma_neg=negative, gamma_pos=positive, clip=margin)(theirs, targets) / 40
    value.backward()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7)


def test_asl_drops_negatives_below_its_margin():
    logits = torch.tensor([[-3.0, -9.0, 0.0]], requires_grad=True)  # sigmoid(-3) = 0.047
    value = losses.create("asl", {}, "multilabel")(logits, torch.zeros(1, 3))
    value.backward()
    assert value.item() == pytest.approx(0.45**4 * -np.log(0.55) / 3, rel=1e-5)
    assert logits.grad[0, :2].tolist() == [0, 0]


def test_hill_of_known_logits_lets_confident_negatives_go():
    logits = torch.tensor([[0.0, 0.0, 40.0]], dtype=torch.float64, requires_grad=True)
    value = losses.create("hill", {}, "multilabel")(logits, torch.tensor([[1.0, 0, 0]]))
    value.backward()
    assert value.item() == pytest.approx((np.log(2) + 0.25 + 0.5) / 3, rel=1e-12)
    # of a positive p - 1; of a negative 3 p^2 (1-p)^2, whose maximum is at 1/2
    assert logits.grad[0].tolist() == pytest.approx([-0.5 / 3, 3 / 16 / 3, 0], abs=1e-15)


@given(st.integers(0, 10_000), st.integers(1, 6))
@examples(max_examples=30, deadline=None)
def test_zlpr_with_one_class_is_bce_and_bounded_in_gradient(seed, n):
    logits, targets = batch("multilabel", n=n, k=1, seed=seed)
    bce, zlpr = losses.create("bce", {}, "multilabel"), losses.create("zlpr", {}, "multilabel")
    assert zlpr(logits, targets).item() == pytest.approx(bce(logits, targets).item(), rel=1e-10)
    logits, targets = batch("multilabel", n=1, k=14, seed=seed)
    logits.requires_grad_()
    zlpr(logits, targets).backward()
    assert logits.grad.clamp_min(0).sum() <= 1 + 1e-12  # the pull on the negatives, whatever their number


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_zlpr_of_zero_logits_without_a_positive_is_log_k_plus_1(temperature):
    value = losses.create("zlpr", {"temperature": temperature}, "multilabel")(torch.zeros(3, 14), torch.zeros(3, 14))
    assert value.item() == pytest.approx(np.log(15), rel=1e-6)  # 2.708, arXiv 2208.02955


def test_zlpr_with_soft_targets_equals_its_definition():
    logits, _ = batch("multilabel")
    soft = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (1 + (soft * (-logits).exp()).sum(1)).log() + (1 + ((1 - soft) * logits.exp()).sum(1)).log()
    assert losses.create("zlpr", {}, "multilabel")(logits, soft).item() == pytest.approx(expected.mean().item())


def test_zlpr_with_a_temperature_is_zlpr_of_divided_logits():
    logits, targets = batch("multilabel")
    sharp, plain = (losses.create("zlpr", {"temperature": t}, "multilabel") for t in (0.25, 1.0))
    assert sharp(logits, targets).item() == pytest.approx(plain(4 * logits, targets).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([[1, 1, 0, 0, 0]], np.log(1 + 3 * 2**4)),  # classes: of two with a positive, neither has a negative
        ([[1, 0], [0, 1]], 2 * np.log(2)),
        ([[1, 0], [0, 0]], 2 * np.log(2)),  # the second image and the second class are left out
        ([[1, 1], [1, 1]], 0.0),  # no negative anywhere
        ([[1, 1], [0, 0]], np.log(2)),  # nothing to rank within the images
    ],
)
def test_two_way_loss_of_zero_logits(targets, expected):
    targets = torch.tensor(targets, dtype=torch.float64)
    value = losses.create("two_way", {}, "multilabel")(torch.zeros_like(targets), targets)
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_two_way_loss_of_a_batch_without_a_positive_is_0_and_can_be_trained_on():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    value = losses.create("two_way", {}, "multilabel")(logits, torch.zeros(4, 3))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


def test_class_balanced_weights_near_beta_1_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    counts = [400, 30, 170]
    inverse = compute_class_weight("balanced", classes=np.arange(3), y=np.repeat(np.arange(3), counts))
    loss = losses.create("class_balanced", {"beta": 1 - 1e-9}, "multiclass").counted(counts, 600)
    each = [loss(torch.zeros(1, 3).double(), row[None]).item() for row in torch.eye(3).double()]
    # one normalises the mean over the classes to 1, the other the mean over the samples
    np.testing.assert_allclose(each, inverse / inverse.mean() * np.log(3), rtol=1e-6)


def test_class_balanced_weights_leave_out_what_is_never_drawn():
    present = losses.create("class_balanced", {"beta": 0.99}, "multiclass").counted([20.0, 80.0], 100)
    absent = losses.create("class_balanced", {"beta": 0.99}, "multiclass").counted([20.0, 0.0, 80.0], 100)
    of_two = [present(torch.zeros(1, 2).double(), row[None]).item() / np.log(2) for row in torch.eye(2).double()]
    of_three = [absent(torch.zeros(1, 3).double(), row[None]).item() / np.log(3) for row in torch.eye(3).double()]
    assert of_three == pytest.approx([of_two[0], 1, of_two[1]], rel=1e-12)


def test_logit_adjustment_undoes_prevalence():
    positives, total = [10.0, 100.0, 900.0], 1000
    loss = losses.create("logit_adjusted", {}, "multilabel").counted(positives, total)
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    loss(logits, torch.tensor([positives], dtype=torch.float64) / total).backward()
    assert logits.grad.abs().max() < 1e-12  # a constant 0 is the best guess for a label of any frequency


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_ldam_reweights_the_last_epochs_alone(task):
    logits, targets = batch(task, scale=0.3)
    positives, total = frequencies(task, 5)
    loss = ready("ldam", {"drw": 0.25}, task)
    arrays = {"z": logits.numpy(), "t": targets.numpy(), "positives": positives, "total": total}
    reference = REFERENCES[task]["ldam"]
    plain, late = reference(**arrays), reference(**arrays, reweighted=True)
    assert late != pytest.approx(plain, rel=0.05)
    found = [loss.at_epoch(epoch, 8)(logits, targets).item() for epoch in range(1, 9)]
    assert found == pytest.approx([plain] * 6 + [late] * 2, rel=1e-11)
    assert loss(logits, targets).item() == found[0]
    assert loss.at_epoch(8, 8).at_epoch(1, 8)(logits, targets).item() == found[0]


@pytest.mark.parametrize(
    ("drw", "epochs", "first"), [(0.2, 200, 161), (0.2, 8, 7), (0.3, 10, 8), (0.9, 10, 2), (1.0, 3, 1), (0.0, 3, None)]
)
def test_ldam_reweights_from_the_right_epoch(drw, epochs, first):
    loss = ready("ldam", {"drw": drw}, "multiclass")
    logits, targets = batch("multiclass")
    plain = loss(logits, targets).item()
    changed = [e for e in range(1, epochs + 1) if loss.at_epoch(e, epochs)(logits, targets).item() != plain]
    assert changed == ([] if first is None else list(range(first, epochs + 1)))


def test_ldam_is_torchs_cross_entropy_of_logits_less_their_margin():
    logits, targets = batch("multiclass", k=3, scale=0.3)
    loss = losses.create("ldam", {}, "multiclass").counted([16.0, 81.0, 1296.0], 1393)
    margins = torch.tensor([0.5, 0.5 * 2 / 3, 0.5 * 2 / 6], dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(30 * (logits - targets * margins), targets.argmax(1))
    assert loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "given_settings", "task", "said"),
    [
        ("ce", {}, "multilabel", ["study.losses", "'ce'", "multilabel", "asl, bce, class_balanced, focal, hill, ldam"]),
        ("zlpr", None, "multiclass", ["study.losses", "'zlpr'", "multiclass", "ce, class_balanced"]),
        ("focal", {"gama": 1.0}, "multilabel", ["losses.focal.gama", "unknown key", "did you mean 'gamma'"]),
        ("focal", {"gamma": -1.0}, "multilabel", ["losses.focal.gamma", "-1.0", "at least 0"]),
        ("mine", {}, "multilabel", ["losses.mine.kind", "'mine'", "asl, balanced_softmax, bce"]),
        (
            "retina",
            {"kind": "focal", "balanced_alpha": 0.25},
            "multiclass",
            ["losses.retina.balanced_alpha = 0.25", "multiclass", "must be null"],
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_with_key_value_and_what_they_must_be(name, given_settings, task, said):
    with pytest.raises(ParamsError) as error:
        losses.create(name, given_settings, task)
    for part in said:
        assert part in str(error.value)


def test_a_second_configuration_of_a_kind_has_its_own_name():
    assert losses.create("focal_g5", {"kind": "focal", "gamma": 5.0}, "multiclass").gamma == 5


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(10, 200))
@examples(max_examples=50, deadline=None)
def test_balanced_weights_are_those_of_scikit_learn_and_average_to_1(seed, k, n):
    from sklearn.utils.class_weight import compute_class_weight

    rng = np.random.default_rng(seed)
    label = rng.choice(k, n, p=rng.dirichlet(np.ones(k)))
    draws = rng.integers(0, 4, n)
    draws[0] = 1
    weights = losses.balanced_weights(np.eye(k, dtype=np.uint8)[label], draws, "multiclass")
    drawn = np.repeat(label, draws)
    present = np.unique(drawn)
    expected = compute_class_weight("balanced", classes=present, y=drawn)
    np.testing.assert_allclose(weights[present], expected, rtol=1e-12)
    assert (np.delete(weights, present) == 1).all()
    assert weights[drawn].mean() == pytest.approx(1)


@pytest.mark.parametrize("kind", [kind for kind, task in CASES if task == "multiclass"])
def test_class_weights_multiply_the_losses_of_the_samples(kind):
    logits, targets = batch("multiclass", n=12, k=3)
    loss, weights = ready(kind, {}, "multiclass", 3), (0.4, 3.0, 1.5)
    weighted = loss.weighted(weights)
    each = loss.per_sample(logits, targets).numpy()
    of_samples = np.array(weights)[targets.argmax(1)]
    plain = loss(logits, targets).item()
    # what a loss adds for the batch as a whole is the same with and without weights
    added = (each * (of_samples - 1)).mean()
    if kind == "corn":  # its unit is a pair of image and question: one of class 0, two of each of the others
        added /= np.minimum(targets.numpy().argmax(1) + 1, 2).mean()
    assert weighted(logits, targets).item() - plain == pytest.approx(added, rel=1e-9)
    assert (weighted.class_weights, loss.class_weights, weighted.task) == (weights, None, "multiclass")
    if type(loss).of_batch is losses.Loss.of_batch:
        alone = [loss(z[None], t[None]).item() for z, t in zip(logits, targets)]
        assert weighted(logits, targets).item() == pytest.approx((alone * of_samples).mean(), rel=1e-11)
        assert plain == pytest.approx(np.mean(alone), rel=1e-11)


def test_weighted_cross_entropy_is_torchs_up_to_the_weights_of_the_batch():
    logits, targets = batch("multiclass", n=12, k=3)
    weights = torch.tensor([0.4, 3.0, 1.5], dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(logits, targets.argmax(1), weight=weights, reduction="sum") / 12
    loss = losses.create("ce", {}, "multiclass").weighted(weights.tolist())
    assert loss(logits, targets).item() == pytest.approx(expected.item(), rel=1e-12)


def test_class_weights_of_multi_label_data_are_refused_with_the_way_out():
    with pytest.raises(ParamsError, match=r"train\.class_weights.*must be none \(split\.balance\.method: oversample"):
        losses.balanced_weights(np.ones((3, 2), np.uint8), np.ones(3, int), "multilabel")


def test_only_plain_likelihoods_are_proper_scoring_rules():
    """Two images that look alike, one of each kind: the constant logit of least loss is sought on a line."""
    odds = torch.linspace(-4, 4, 801, dtype=torch.float64)
    share = 0.2
    for kind, task in CASES:
        loss = ready(kind, {}, task, k=2)
        k, n = 2, 10
        truth = torch.zeros(n, k, dtype=torch.float64)
        truth[: int(share * n), 0] = 1
        if task == "multiclass":
            truth[:, 1] = 1 - truth[:, 0]
        values = []
        for z in odds:
            logits = torch.zeros(n, k, dtype=torch.float64)
            logits[:, 0], logits[:, 1] = z, (0.0 if task == "multiclass" else -9.0)
            values.append(loss(logits, truth).item())
        best = odds[int(np.argmin(values))].item()
        found = abs(best - np.log(share / (1 - share))) < 0.02
        assert loss.proper <= found, kind
    assert losses.create("ce", {}, "multiclass").proper
    assert losses.create("bce", {}, "multilabel").proper
    assert losses.create("kl", {}, "multiclass").proper
    assert not losses.create("bce", {"pos_weight_cap": 10.0}, "multilabel").proper
    assert not losses.create("ce", {}, "multiclass").weighted([1.0, 2.0]).proper
    assert not losses.create("focal", {}, "multilabel").proper
