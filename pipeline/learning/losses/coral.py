"""CORAL: one binary cross-entropy for each cut between two neighbouring classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.learning.losses._ordered import OrderedLoss, above, log_cumulative

if TYPE_CHECKING:
    from torch import Tensor


class Coral(OrderedLoss):
    r"""Consistent rank logits: :math:`-\sum_{k=1}^{K-1} [y > k] \log P(y > k) + [y \le k] \log P(y \le k)`.

    Cao, Mirjalili & Raschka, "Rank consistent ordinal regression for neural networks with application to age
    estimation", Pattern Recognition Letters 140, 2020, 325-331, arXiv 1901.07884, with all importance weights 1, their
    default. The cuts share one score, see `pipeline.learning.networks.outputs.Cumulative`. As a function of the
    probabilities it is the logarithmic counterpart of the ranked probability score, and proper.
    """

    output: ClassVar[str] = "cumulative"

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        below, beyond = log_cumulative(logits)
        higher = above(targets)
        return -(higher * beyond + (1 - higher) * below).sum(1)
