"""The log-likelihood of a cumulative link model: proportional odds."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.learning.losses._ordered import OrderedLoss

if TYPE_CHECKING:
    from torch import Tensor


class CumulativeLink(OrderedLoss):
    r"""Proportional odds: :math:`-\log (\sigma(\theta_{y} - s) - \sigma(\theta_{y-1} - s))`.

    McCullagh, "Regression models for ordinal data", Journal of the Royal Statistical Society B 42(2), 1980, 109-142;
    with a network for the score s: Vargas, Gutierrez & Hervas-Martinez, Neurocomputing 401, 2020, 48-58. The thresholds
    :math:`\theta` are learned, see `pipeline.learning.networks.outputs.Cumulative`, of whose classes this is the
    cross-entropy.
    """

    output: ClassVar[str] = "cumulative"

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        return -(targets * logits.log_softmax(1)).sum(1)
