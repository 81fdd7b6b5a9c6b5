"""What losses of ordered classes share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class OrderedLoss(Loss):
    """A loss of K ordered classes, the first the lowest.

    All of them are functions of the probabilities of the classes, which `Loss.output` makes of what the head computes.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    ordered: ClassVar[bool] = True
    soft_targets: ClassVar[bool] = True

    @property
    def proper(self) -> bool:
        """See `Loss.proper`."""
        return self.class_weights is None


def above(values: Tensor) -> Tensor:
    """Sum classes above each of the K - 1 cuts between K classes: [N, K] to [N, K - 1]."""
    return values.flip(1).cumsum(1).flip(1)[:, 1:]


def log_cumulative(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Compute log P(y <= k) and log P(y > k) of the K - 1 cuts from logits [N, K], each [N, K - 1]."""
    likely = logits.log_softmax(1)
    return likely.logcumsumexp(1)[:, :-1], likely.flip(1).logcumsumexp(1).flip(1)[:, 1:]
