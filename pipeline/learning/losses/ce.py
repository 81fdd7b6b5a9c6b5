"""Cross-entropy over classes of which one is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(Loss):
    r"""Categorical cross-entropy: :math:`-\sum_k y_k \log p_k`, :math:`p = \mathrm{softmax}(z)`."""

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        return -(targets * logits.log_softmax(1)).sum(1)
