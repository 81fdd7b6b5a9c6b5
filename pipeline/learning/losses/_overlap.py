"""How far soft masks and true masks overlap, which the losses of segmentation are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Overlap(NamedTuple):
    """Pixels of each mask, weighted by the probability p: true positives, false positives, false negatives, [N, K]."""

    tp: Tensor
    fp: Tensor
    fn: Tensor


def overlap(logits: Tensor, targets: Tensor) -> Overlap:
    r"""Add up :math:`p t`, :math:`p (1-t)` and :math:`(1-p) t` over the pixels of each mask.

    Parameters
    ----------
    logits, targets : Tensor, float [N, K, H, W]
        Before the sigmoid; 0 or 1.

    Returns
    -------
    Overlap
        In pixels, each Tensor [N, K].
    """
    p = logits.sigmoid().flatten(2)
    t = targets.flatten(2)
    tp = (p * t).sum(2)
    return Overlap(tp, p.sum(2) - tp, t.sum(2) - tp)


def soft_dice(logits: Tensor, targets: Tensor, smooth: float) -> Tensor:
    r"""Compute :math:`1 - (2\,TP + s) / (2\,TP + FP + FN + s)` of each image, mean over its masks: [N]."""
    tp, fp, fn = overlap(logits, targets)
    return (1 - (2 * tp + smooth) / (2 * tp + fp + fn + smooth)).mean(1)


def tversky_index(logits: Tensor, targets: Tensor, alpha: float, beta: float, smooth: float) -> Tensor:
    r"""Compute :math:`(TP + s) / (TP + \alpha FP + \beta FN + s)` of each mask: [N, K]."""
    tp, fp, fn = overlap(logits, targets)
    return (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)
