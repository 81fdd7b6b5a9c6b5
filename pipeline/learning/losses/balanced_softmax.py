"""Cross-entropy of a softmax that accounts for how frequent each class is in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class BalancedSoftmax(Loss):
    r"""Balanced softmax: :math:`-\sum_k y_k \log q_k`, :math:`q_k = n_k e^{z_k} / \sum_j n_j e^{z_j}`.

    Ren et al., "Balanced meta-softmax for long-tailed visual recognition", NeurIPS 2020, arXiv 2007.10740: n_k is
    how often class k is drawn in an epoch. The softmax of the bare logits, which is what predicts, then estimates
    the classes as if all were equally frequent: good for balanced accuracy, but too high for rare classes where test
    images have the frequencies of training. It has no settings. A class that is never drawn counts as drawn once, so
    that the validation loss is finite; balanced class weights beside it would correct the same imbalance twice.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    soft_targets: ClassVar[bool] = True

    @property
    def needs_counts(self) -> bool:
        """See `Loss.needs_counts`."""
        return True

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        drawn, _ = self.counts(logits)
        return -(targets * (logits + drawn.clamp_min(1).log()).log_softmax(1)).sum(1)
