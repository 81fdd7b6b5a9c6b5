"""Losses of segmentation against formulas in float64, mask by mask, and against the values of another library."""

import numpy as np
import pytest
import torch

from pipeline.learning import losses
from pipeline.study.params import ParamsError

TASK = "segmentation"
KINDS = [kind for kind in losses.available() if TASK in losses.loss_class(kind).tasks]


def batch(empty=True):
    """Logits and masks, float64 [2, 3, 8, 8]; one mask is empty, one full."""
    i = torch.arange(2 * 3 * 8 * 8, dtype=torch.float64).reshape(2, 3, 8, 8)
    logits, masks = 4 * torch.sin(0.7 * i) * torch.cos(0.11 * i), (torch.sin(0.05 * i + 1) > 0.2).double()
    if empty:
        masks[0, 1], masks[1, 2] = 0, 1
    return logits, masks


def counts(z, t):
    """Soft true positives, false positives, false negatives of one mask."""
    p = 1 / (1 + np.exp(-z))
    return (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()


def dice(z, t, smooth=1.0):
    p = 1 / (1 + np.exp(-z))
    return 1 - (2 * (p * t).sum() + smooth) / (p.sum() + t.sum() + smooth)


def bce(z, t):
    p = 1 / (1 + np.exp(-z))
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()


def focal(z, t, alpha=1.0, gamma=2.0, balanced_alpha=None):
    p = 1 / (1 + np.exp(-z))
    right = np.where(t == 1, p, 1 - p)
    weight = 1 if balanced_alpha is None else np.where(t == 1, balanced_alpha, 1 - balanced_alpha)
    return alpha * (weight * -((1 - right) ** gamma) * np.log(right)).mean()


def tversky(z, t, alpha=0.3, beta=0.7, smooth=1.0):
    tp, fp, fn = counts(z, t)
    return 1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)


REFERENCES = {
    "dice": dice,
    "bce": bce,
    "bce_dice": lambda z, t, bce_=1.0, dice_=1.0, smooth=1.0: bce_ * bce(z, t) + dice_ * dice(z, t, smooth),
    "focal": focal,
    "tversky": tversky,
    "focal_tversky": lambda z, t, gamma=4 / 3, **rest: tversky(z, t, **rest) ** (1 / gamma),
}
SETTINGS = [
    ("dice", {}),
    ("dice", {"smooth": 0.01}),
    ("bce", {}),
    ("bce_dice", {}),
    ("bce_dice", {"bce": 0.5, "dice": 2.0, "smooth": 3.0}),
    ("focal", {}),
    ("focal", {"alpha": 2.0, "gamma": 1.0, "balanced_alpha": 0.25}),
    ("tversky", {}),
    ("tversky", {"alpha": 0.5, "beta": 0.5, "smooth": 0.5}),
    ("focal_tversky", {}),
    ("focal_tversky", {"alpha": 0.6, "beta": 0.4, "gamma": 2.0}),
]
MONAI = [  # 1.6.1; its names: smooth_nr and smooth_dr, alpha of false positives, beta of false negatives
    ("dice", {"smooth": 1e-5}, 0.5337878550876661),  # DiceLoss(sigmoid=True)
    ("dice", {}, 0.5247209431699326),  # DiceLoss(sigmoid=True, smooth_nr=1, smooth_dr=1)
    ("bce_dice", {}, 1.576581434913848),  # that and torch's BCEWithLogitsLoss: MONAI's own weighs the two likewise
    ("tversky", {}, 0.5042135638813606),  # TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7, smooth_nr=1, smooth_dr=1)
    ("focal", {}, 0.6999483108520508),  # FocalLoss(gamma=2), computed in float32
    ("focal", {"balanced_alpha": 0.25}, 0.3649942874908447),  # FocalLoss(gamma=2, alpha=0.25), in float32
]


def test_every_loss_of_masks_has_a_reference_and_is_tried_with_its_defaults():
    assert set(REFERENCES) == set(KINDS)
    assert {kind for kind, settings in SETTINGS if not settings} == set(KINDS)


@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_value_is_the_mean_over_masks_of_the_formula(kind, settings):
    logits, masks = batch()
    own = {"bce_" if k == "bce" else "dice_" if k == "dice" else k: v for k, v in settings.items()}
    of_masks = [REFERENCES[kind](logits[i, k].numpy(), masks[i, k].numpy(), **own) for i in range(2) for k in range(3)]
    assert losses.create(kind, settings, TASK)(logits, masks).item() == pytest.approx(np.mean(of_masks), rel=1e-11)


@pytest.mark.parametrize(("kind", "settings", "value"), MONAI)
def test_value_is_that_of_monai(kind, settings, value):
    assert losses.create(kind, settings, TASK)(*batch(empty=False)).item() == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_gradient_equals_finite_differences_and_is_finite_at_the_ends(kind, settings):
    logits, masks = (each[:, :, :3, :3] for each in batch())
    loss = losses.create(kind, settings, TASK)
    torch.autograd.gradcheck(lambda z: loss(z, masks), logits.clone().requires_grad_())
    for size in (0.0, 1e2, -1e2, 1e4, -1e4):
        for truth in (masks, torch.zeros_like(masks), torch.ones_like(masks)):
            extreme = torch.full_like(masks, size).float().requires_grad_()
            value = loss(extreme, truth.float())
            value.backward()
            assert torch.isfinite(value)
            assert value >= -1e-6
            assert torch.isfinite(extreme.grad).all()


def test_a_weighted_tversky_is_dice_where_both_weights_are_a_half():
    logits, masks = batch()
    half = losses.create("tversky", {"alpha": 0.5, "beta": 0.5, "smooth": 0.5}, TASK)(logits, masks)
    assert half.item() == pytest.approx(losses.create("dice", {"smooth": 1.0}, TASK)(logits, masks).item(), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_checked_and_half_precision_is_computed_in_float32(kind):
    logits, masks = (each.float() for each in batch())
    loss = losses.create(kind, {}, TASK)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(logits.bfloat16(), masks).item() == loss(logits.bfloat16().float(), masks).item()
    with pytest.raises(ValueError, match=r"\[N, K, H, W\]"):
        loss(logits, masks[:, :2])
    with pytest.raises(ValueError, match=r"\[N, K, H, W\]"):
        loss(logits[0, 0], masks[0, 0])


def test_what_masks_have_no_meaning_for_is_refused_by_name():
    with pytest.raises(
        ParamsError, match=r"study.losses: 'asl' \(asl\) is not defined for a segmentation data set.*dice"
    ):
        losses.create("asl", {}, TASK)
    with pytest.raises(ParamsError, match=r"study.losses: 'dice' \(dice\) is not defined for a multilabel data set"):
        losses.create("dice", {}, "multilabel")
    with pytest.raises(ParamsError, match=r"losses.bce.pos_weight_cap = 10.0: it counts images of a class, not pixels"):
        losses.create("bce", {"pos_weight_cap": 10.0}, TASK)
