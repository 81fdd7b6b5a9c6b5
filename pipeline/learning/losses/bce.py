"""Binary cross-entropy, every label on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class BinaryCrossEntropy(Loss):
    r"""Binary cross-entropy: mean over the classes of :math:`-t\log p - (1-t)\log(1-p)`, :math:`p = \sigma(z)`."""

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel"})

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; targets in [0, 1]."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)
