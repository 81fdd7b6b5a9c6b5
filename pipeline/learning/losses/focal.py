"""Focal loss, multi-label and single-label."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class Focal(Loss):
    r"""Focal loss (Lin et al. 2017, arXiv 1708.02002): cross-entropy that counts what is already right less.

    Multi-label: mean over the classes of :math:`-\alpha\,a_t (1-p_t)^\gamma \log p_t`, where :math:`p_t` is the
    sigmoid's probability of the true value, 0 or 1. Single-label: :math:`-\alpha (1-p_y)^\gamma \log p_y` with the
    softmax's probability of the true class.

    `alpha` weighs positives and negatives alike; its default 1 and `gamma` 2 are those of published chest X-ray loss
    comparisons. `balanced_alpha` a is the paper's weight: :math:`a_t = a` for positives and :math:`1-a` for negatives,
    0.25 in RetinaNet; without it, the default, :math:`a_t = 1`. A softmax has no negatives to give the rest to, so
    that it is defined for multi-label data and masks only. In segmentation the multi-label loss is that of every pixel.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel", "multiclass", "segmentation"})

    alpha: float = Field(1.0, gt=0, le=100)
    gamma: float = Field(2.0, ge=0, le=20)
    balanced_alpha: float | None = Field(
        None, gt=0, lt=1, description="weight of positives, the rest of 1 of negatives"
    )

    def check_task(self) -> None:
        """See `Loss.check_task`."""
        if self.balanced_alpha is not None and self.task == "multiclass":
            raise ValueError(
                f"balanced_alpha = {self.balanced_alpha}: it weighs positives against negatives, which a {self.task} "
                "data set does not have; must be null (kind class_balanced weighs classes by their frequency)"
            )

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; targets are 0 or 1."""
        if self.task == "multiclass":
            return self.alpha * categorical_focal(logits, targets, self.gamma)
        return self.per_label(logits, targets).mean(1)

    def per_label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_label`; targets are 0 or 1."""
        terms = self.alpha * binary_focal(logits, targets, self.gamma)
        if self.balanced_alpha is not None:
            terms = terms * (self.balanced_alpha * targets + (1 - self.balanced_alpha) * (1 - targets))
        return terms


# Both write (1-p)^gamma as exp(gamma log(1-p)): neither value nor gradient breaks where p reaches 1 in floating point.


def binary_focal(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    r"""Compute :math:`-(1-p_t)^\gamma \log p_t` of every label by itself.

    Parameters
    ----------
    logits, targets : Tensor, float [N, K]
        Before the sigmoid; 0 or 1.
    gamma : float
        At least 0; at 0 it is binary cross-entropy.

    Returns
    -------
    Tensor [N, K]
        At least 0.
    """
    from torch.nn.functional import logsigmoid

    signed = logits * (2 * targets - 1)
    return -(gamma * logsigmoid(-signed)).exp() * logsigmoid(signed)


def categorical_focal(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    r"""Compute :math:`-(1-p_y)^\gamma \log p_y` of the true class y.

    Parameters
    ----------
    logits, targets : Tensor, float [N, K]
        Before the softmax; 0 or 1, one 1 per row.
    gamma : float
        At least 0; at 0 it is cross-entropy.

    Returns
    -------
    Tensor [N]
        At least 0.
    """
    log_p = (targets * logits.log_softmax(1)).sum(1)
    others = logits.masked_fill(targets > 0.5, -1e30).logsumexp(1) - logits.logsumexp(1)
    return -(gamma * others).exp() * log_p
