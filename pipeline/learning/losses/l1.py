"""Mean absolute error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.learning.losses._regression import RegressionLoss

if TYPE_CHECKING:
    from torch import Tensor


class L1(RegressionLoss):
    r"""Absolute error :math:`|y - \hat y|`, least at the median of what is possible."""

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `RegressionLoss`; values and targets [N, 1] in standard deviations."""
        return (logits - targets).abs()[:, 0]
