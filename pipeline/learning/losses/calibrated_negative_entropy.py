"""Cross-entropy with a confidence penalty plus the difference between confidence and accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.learning.losses._calibration import Calibrated
from pipeline.learning.losses.entropy_regularized import entropy

if TYPE_CHECKING:
    from torch import Tensor


class CalibratedNegativeEntropy(Calibrated):
    r"""Calibrated negative entropy: mean of :math:`-\sum_k y_k \log p_k - \lambda H(p)`, plus :math:`\beta` DCA.

    Rajaraman et al., PLoS ONE 16(12), 2021, e0261307, arXiv 2109.14433, with their `beta` 1 (see `Calibrated`) and
    their :math:`\lambda` 0.001, here `entropy_weight`; the sign of this entropy is that of Pereyra et al. 2017, arXiv
    1701.06548 (see `EntropyRegularized`, where the weight is called `beta`).
    """

    entropy_weight: float = Field(0.001, ge=0, le=10)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        log_p = logits.log_softmax(1)
        return -(targets * log_p).sum(1) - self.entropy_weight * entropy(log_p)
