"""Focal loss, multi-label and single-label."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class Focal(Loss):
    r"""Focal loss (Lin et al. 2017, arXiv 1708.02002): cross-entropy that counts what is already right less.

    Multi-label: mean over the classes of :math:`-\alpha (1-p_t)^\gamma \log p_t`, where :math:`p_t` is the sigmoid's
    probability of the true value, 0 or 1. Single-label: :math:`-\alpha (1-p_y)^\gamma \log p_y` with the softmax's
    probability of the true class. `alpha` weighs positives and negatives alike; its default 1 and `gamma` 2 are
    those of published chest X-ray loss comparisons (RetinaNet's alpha 0.25 balances, which this form does not).
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel", "multiclass"})

    alpha: float = Field(1.0, gt=0, le=100)
    gamma: float = Field(2.0, ge=0, le=20)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; targets are 0 or 1."""
        # (1-p)^gamma as exp(gamma log(1-p)): neither value nor gradient breaks where p reaches 1 in floating point.
        if self._task == "multilabel":
            from torch.nn.functional import logsigmoid

            signed = logits * (2 * targets - 1)
            return -self.alpha * ((self.gamma * logsigmoid(-signed)).exp() * logsigmoid(signed)).mean(1)
        log_p = (targets * logits.log_softmax(1)).sum(1)
        others = logits.masked_fill(targets > 0.5, -1e30).logsumexp(1) - logits.logsumexp(1)
        return -self.alpha * (self.gamma * others).exp() * log_p
