"""Huber's loss: squared for small errors, absolute for large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.learning.losses._regression import RegressionLoss

if TYPE_CHECKING:
    from torch import Tensor


class Huber(RegressionLoss):
    r"""Huber's loss: :math:`\frac12 e^2` where :math:`|e| \le \delta`, else :math:`\delta (|e| - \frac12 \delta)`.

    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35(1), 1964, 73-101. `delta`
    is in standard deviations of the target.
    """

    delta: float = Field(1.0, gt=0, le=1000)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `RegressionLoss`; values and targets [N, 1] in standard deviations."""
        error = (logits - targets).abs()[:, 0]
        within = error.clamp(max=self.delta)
        return within * (error - 0.5 * within)
