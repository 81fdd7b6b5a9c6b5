"""Logit-adjusted loss: cross-entropy of logits to which the prevalence is added in training, not in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class LogitAdjusted(Loss):
    r"""Logit-adjusted cross-entropy (Menon et al. 2021, arXiv 2007.07314).

    Single-label: cross-entropy of the softmax of :math:`z_k + \tau\log\pi_k`. Multi-label, each label as a problem of
    two classes: mean binary cross-entropy of the logits :math:`s_k + \tau\log\frac{\pi_k}{1-\pi_k}`.
    :math:`\pi_k` is the share of the draws of an epoch in which class k is positive. The prevalence being added here,
    the network need not learn it, and its own logits, which are what is evaluated, rank as if the classes were
    balanced (for :math:`\tau = 1`, the paper's and the default of `tau`); as probabilities they must be calibrated.
    A class that is never, or always, positive is taken to be so, or not to be so, in half a draw: the logarithm stays
    finite.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel", "multiclass"})
    soft_targets: ClassVar[bool] = True

    tau: float = Field(1.0, ge=0, le=10)

    @property
    def needs_counts(self) -> bool:
        """See `Loss.needs_counts`: always."""
        return True

    @property
    def balances(self) -> bool:
        """See `Loss.balances`: unless `tau` is 0."""
        return self.tau > 0

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; targets in [0, 1], for multiclass each row sums to 1."""
        if self.task == "multiclass":
            positives, total = self.counts(logits)
            adjusted = logits + self.tau * (positives.clamp_min(0.5) / total).log()
            return -(targets * adjusted.log_softmax(1)).sum(1)
        return self.per_label(logits, targets).mean(1)

    def per_label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_label`; targets in [0, 1]."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        positives, total = self.counts(logits)
        present = positives.clamp_min(0.5)
        adjusted = logits + self.tau * (present / (total - positives).clamp_min(0.5)).log()
        return binary_cross_entropy_with_logits(adjusted, targets, reduction="none")
