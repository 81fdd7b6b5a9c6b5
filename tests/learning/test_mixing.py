import numpy as np
import pytest
import torch
from timm.data.mixup import cutmix_bbox_and_lam

from pipeline.learning import losses
from pipeline.learning.images.mixing import mix
from pipeline.learning.settings import Mix
from pipeline.study.params import ParamsError
from tests.learning.test_losses import SETTLED, ready
from tests.learning.tiny_training import changed, run


def mixed(settings, n=64, height=20, width=12, seed=0):
    """Mix images of which each pixel tells image and place, and labels that tell the image."""
    images = torch.rand(n, 1, height, width, generator=torch.Generator().manual_seed(seed))
    return images, *mix(images, torch.eye(n), Mix.model_validate(settings), np.random.default_rng(seed))


def partners(targets):
    """Read partner and its share off labels that tell the image; an image itself where it is not mixed."""
    others = targets * (1 - torch.eye(len(targets)))
    return others.argmax(1), others.sum(1)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_fades_images_and_labels_alike(alpha):
    images, made, targets = mixed({"mixup": alpha})
    partner, share = partners(targets)
    expected = (1 - share)[:, None, None, None] * images + share[:, None, None, None] * images[partner]
    torch.testing.assert_close(made, expected)
    torch.testing.assert_close(targets.sum(1), torch.ones(64))


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_cutmix_replaces_a_rectangle_and_labels_count_its_pixels(alpha):
    images, made, targets = mixed({"mixup": 0.0, "cutmix": alpha})
    partner, share = partners(targets)
    replaced = (made != images)[:, 0]
    assert torch.equal(torch.where(replaced[:, None], images[partner], images), made)
    torch.testing.assert_close(replaced.float().mean((1, 2)), share)
    rectangles = replaced.any(2)[:, :, None] & replaced.any(1)[:, None, :]
    assert torch.equal(rectangles, replaced)
    assert replaced.any((1, 2)).sum() > 20


def test_shares_are_those_of_the_beta_distribution_and_of_timm():
    alpha, n = 0.4, 4000
    *_, targets = mixed({"mixup": alpha}, n, 1, 1)
    share = 1 - targets.diagonal().double().numpy()
    assert share.mean() == pytest.approx(0.5, abs=0.025)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    *_, targets = mixed({"mixup": 0.0, "cutmix": 1.0}, n, 32, 32)
    np.random.seed(1)  # timm draws from the global generator
    theirs = [1 - cutmix_bbox_and_lam((1, 1, 32, 32), lam)[1] for lam in np.random.beta(1.0, 1.0, n)]
    assert 1 - targets.diagonal().mean().item() == pytest.approx(np.mean(theirs), abs=0.02)


def test_each_image_gets_one_of_both_or_none():
    images, made, targets = mixed({"mixup": 1.0, "cutmix": 1.0, "probability": 0.6}, n=600)
    partner, share = partners(targets)
    faded = (1 - share)[:, None, None, None] * images + share[:, None, None, None] * images[partner]
    untouched = (made == images).all(1).all(1).all(1)
    by_mixup = torch.isclose(made, faded, atol=1e-6).all(1).all(1).all(1) & ~untouched
    by_cutmix = ~untouched & ~by_mixup
    assert 0.34 < untouched.float().mean() < 0.50  # a rectangle may be empty, a partner the image itself
    assert 0.24 < by_mixup.float().mean() < 0.36
    assert 0.20 < by_cutmix.float().mean() < 0.36
    assert torch.equal(made[by_cutmix], torch.where(made == images, images, images[partner])[by_cutmix])


def test_the_input_is_left_as_it_is_and_colours_are_mixed_alike():
    images, targets = torch.rand(8, 3, 6, 6), torch.eye(8)
    before = images.clone()
    made, _ = mix(images, targets, Mix(mixup=1.0, cutmix=1.0), np.random.default_rng(0))
    assert torch.equal(images, before)
    assert made.shape == images.shape
    assert not torch.equal(made, images)


def apart_and_together(kind, task, settings):
    """Losses of mixed targets: the mixture of the losses of both, and the loss of the mixture."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 4, generator=rng, dtype=torch.float64)
    one = torch.eye(4, dtype=torch.float64)
    if task == "multiclass":
        first, second = one[torch.randint(4, (40,), generator=rng)], one[torch.randint(4, (40,), generator=rng)]
    else:
        first, second = (torch.rand(2, 40, 4, generator=rng) < 0.5).double()
    loss = ready(kind, settings, task, 4)
    return 0.3 * loss(logits, first) + 0.7 * loss(logits, second), loss(logits, 0.3 * first + 0.7 * second)


@pytest.mark.parametrize(("kind", "task", "settings"), SETTLED)
def test_losses_that_take_soft_targets_are_mixed_as_their_targets(kind, task, settings):
    takes = losses.loss_class(kind).soft_targets
    if not takes or kind in ("zlpr", "kl", "corn"):  # they have tests of their own: a definition, a gradient, a sum
        assert takes or kind in {"focal", "class_balanced", "ldam", "two_way", "hinge"} or "calibrated" in kind
        return
    apart, together = apart_and_together(kind, task, settings)
    assert together.item() == pytest.approx(apart.item(), rel=1e-9)


def test_corn_is_mixed_in_its_sum_over_pairs_and_divided_by_the_pairs_of_the_mixed_labels():
    torch.manual_seed(0)
    logits, share = torch.randn(6, 4, dtype=torch.float64), 0.3
    one, other = (torch.eye(4, dtype=torch.float64)[torch.randint(4, (6,))] for _ in range(2))
    mixed = share * one + (1 - share) * other
    loss = losses.create("corn", {}, "multiclass", True)
    pairs = torch.tensor([1.0, 2.0, 3.0, 3.0], dtype=torch.float64)  # questions that an image of each grade answers
    expected = share * loss.per_sample(logits, one) + (1 - share) * loss.per_sample(logits, other)
    assert loss.of_batch(logits, mixed).item() == pytest.approx(
        (expected.sum() / (mixed @ pairs).sum()).item(), rel=1e-12
    )


@pytest.mark.parametrize(
    ("kind", "task"),
    [(kind, task) for kind in ("focal", "class_balanced", "ldam") for task in ("multilabel", "multiclass")]
    + [("two_way", "multilabel"), ("hinge", "multiclass")],
)
def test_losses_that_do_not_would_compute_something_else(kind, task):
    apart, together = apart_and_together(kind, task, {})
    assert abs(apart - together).item() > 1e-3


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_a_training_with_mixed_images_learns_and_repeats_itself(tmp_path, loss):
    from tests.learning.tiny_training import data, quadrants, same

    settings = changed(epochs=6, mix={"mixup": 0.4, "cutmix": 1.0})
    parts = {"train": quadrants(), "val": quadrants(30, 1)} if loss == "ce" else {"train": data(), "val": data(30, 1)}
    fitted = run(tmp_path / "a", settings, loss=loss, **parts)
    assert max(row["val_auroc"] for row in fitted.history) > 0.8
    assert same(fitted, run(tmp_path / "b", settings, loss=loss, **parts))


def test_losses_of_hard_labels_and_class_weights_are_refused(tmp_path):
    settings = changed(mix={})
    focal = losses.create("focal", {}, "multilabel")
    with pytest.raises(ParamsError, match=r"train\.mix: Focal is defined for labels of 0 and 1.*asl, bce, hill"):
        run(tmp_path, settings, loss=focal)
    weighted = losses.create("ce", {}, "multiclass").weighted([1.0, 2.0])
    with pytest.raises(ParamsError, match=r"train\.mix: train\.class_weights: 'balanced'"):
        run(tmp_path, settings, loss=weighted)


def test_a_data_set_without_labels_is_not_mixed_and_the_reason_says_so():
    loss = losses.create("l1", {}, "regression")
    assert losses.no_mixing(loss, "losses.l1") == "images of a regression data set are not mixed"
