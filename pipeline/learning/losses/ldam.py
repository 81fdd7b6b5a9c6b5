"""LDAM: margins that are wider for rarer classes, and class weights late in training (DRW)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, PrivateAttr

from pipeline.learning.losses import Loss
from pipeline.learning.losses.class_balanced import effective_number_weights

if TYPE_CHECKING:
    from torch import Tensor

_BETA = 0.9999
"""Of the class-balanced weights of DRW, as in the authors' code."""


class LDAM(Loss):
    r"""Label-distribution-aware margin loss with deferred re-weighting (Cao et al. 2019, arXiv 1906.07413).

    Single-label, for the true class y, with scale s:

    .. math::
        -\log \frac{e^{s(z_y - \Delta_y)}}{e^{s(z_y - \Delta_y)} + \sum_{k \ne y} e^{s z_k}}, \qquad
        \Delta_k = C\,n_k^{-1/4}

    with :math:`n_k` draws per epoch and C such that the widest margin is `max_margin`. Multi-label, each label as a
    problem of two classes with the second logit 0: mean over the labels of
    :math:`\log(1 + e^{-s(z_k - \Delta_k)})` where k is present and :math:`\log(1 + e^{s(z_k + \Delta'_k)})` where it is
    absent, :math:`\Delta'_k = C (N-n_k)^{-1/4}`, one C for all 2K margins. What is never drawn has the widest margin.

    In the last `drw` share of the epochs (rounded to whole epochs; 0 = never) each term is multiplied by its
    class-balanced weight (beta 0.9999; see kind class_balanced). The mean is over the samples, not over the sum of
    their weights as in the authors' code. Early stopping may come before: compare `drw` with ``train.patience``.

    `max_margin` 0.5, `scale` 30 and `drw` 0.2 (the last 40 of 200 epochs) are the authors' defaults. Margin and scale
    are made for cosines in [-1, 1]: set ``head: cosine`` in the model, or `scale` 1 with a linear head.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel", "multiclass"})

    max_margin: float = Field(0.5, ge=0, le=10)
    scale: float = Field(30.0, gt=0, le=1000, description="30 for a cosine head, 1 for a linear one")
    drw: float = Field(0.2, ge=0, le=1, description="share of the epochs, the last ones, that are re-weighted")

    _reweighted: bool = PrivateAttr(False)

    @property
    def needs_counts(self) -> bool:
        """See `Loss.needs_counts`: always."""
        return True

    @property
    def balances(self) -> bool:
        """See `Loss.balances`: with DRW; margins alone weigh no class up, and the paper adds weights to them."""
        return self.drw > 0

    def at_epoch(self, epoch: int, epochs: int) -> Self:
        """See `Loss.at_epoch`: re-weighted in the last round(drw x epochs) epochs."""
        changed = self.model_copy()
        changed._reweighted = epochs - epoch < round(self.drw * epochs)
        return changed

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; targets are 0 or 1."""
        if self.task == "multiclass":
            positives, total = self.counts(logits)
            margins, weights = self._margins(positives, total), self._weights(positives)
            shifted = self.scale * (logits - targets * margins)
            return (targets @ weights) * -(targets * shifted.log_softmax(1)).sum(1)
        return self.per_label(logits, targets).mean(1)

    def per_label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_label`; targets are 0 or 1."""
        import torch
        from torch.nn.functional import softplus

        positives, total = self.counts(logits)
        drawn = torch.stack([positives, total - positives])
        margins, weights = self._margins(drawn, total), self._weights(drawn)
        margin, weight = (targets * present + (1 - targets) * absent for present, absent in (margins, weights))
        return weight * softplus(-self.scale * ((2 * targets - 1) * logits - margin))

    def _weights(self, drawn: Tensor) -> Tensor:
        """Compute the class-balanced weight of each count, 1 in epochs that are not re-weighted."""
        import torch

        return effective_number_weights(drawn, _BETA) if self._reweighted else torch.ones_like(drawn)

    def _margins(self, drawn: Tensor, total: Any) -> Tensor:
        """Compute the margin of each count; a count of 0 is taken for the rarest that is not."""
        rarest = drawn.where(drawn > 0, total).amin()
        return self.max_margin * (rarest / drawn.maximum(rarest)) ** 0.25
