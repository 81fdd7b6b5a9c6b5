"""ZLPR: a multi-label loss that ranks the labels of an image around a zero threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor

_NEVER = -1e30
"""Stands for log 0: finite, so that its gradient is 0 and not NaN."""


class ZLPR(Loss):
    r"""Zero-bounded log-sum-exp and pairwise rank-based loss (Su et al. 2022, arXiv 2208.02955).

    .. math:: \log(1 + \sum_{i \in P} e^{-s_i/\tau}) + \log(1 + \sum_{j \in N} e^{s_j/\tau})

    for logits s, positives P and negatives N of one image; a label is predicted where :math:`s_i > 0`. With soft
    targets t the sums are :math:`\sum t_i e^{-s_i/\tau}` and :math:`\sum (1-t_i) e^{s_i/\tau}`, which is the same at
    0 and 1. With one class it is binary cross-entropy. Its sigmoid is not a calibrated probability.

    `temperature` :math:`\tau` is 1 in ZLPR. Other values make it FZLPR (Hanif et al. 2025, Bioengineering 12:593, doi
    10.3390/bioengineering12060593): below 1 it dwells on the labels that are furthest on the wrong side.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel"})
    soft_targets: ClassVar[bool] = True

    temperature: float = Field(1.0, ge=0.01, le=100, description="by which the logits are divided in training")

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; targets in [0, 1]."""
        return self._both(logits, targets, 1 - targets)

    def of_known(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """See `Loss.of_known`: the sums run over the known labels of an image; the mean over images that have one."""
        absent = (1 - targets) * known
        return self._both(logits, targets, absent).sum() / self.share(known).clamp_min(1)

    def share(self, known: Tensor) -> Tensor:
        """See `Loss.share`: images with a known label."""
        return known.any(1).sum()

    def _both(self, logits: Tensor, present: Tensor, absent: Tensor) -> Tensor:
        """Compute the two terms [N] from the weights with which each label is present and absent, [N, K]."""
        import torch

        tiny = torch.finfo(logits.dtype).tiny
        zero = logits.new_zeros(len(logits), 1)
        scaled = logits / self.temperature

        def half(scores: Tensor, weights: Tensor) -> Tensor:
            terms = torch.where(weights > 0, scores + weights.clamp_min(tiny).log(), _NEVER)
            return torch.cat([zero, terms], 1).logsumexp(1)

        return half(-scaled, present) + half(scaled, absent)
