"""Focal Tversky loss, of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss
from pipeline.learning.losses._overlap import tversky_index

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-6
"""Of 1 - T, below which a power of less than 1 would have a gradient without bound."""


class FocalTversky(Loss):
    r"""Focal Tversky loss (Abraham & Khan 2019, arXiv 1810.07842): mean over the masks of :math:`(1 - T)^{1/\gamma}`.

    T is the index of kind ``tversky``. The paper's best :math:`\gamma`, 4/3, is the default, with its weights: 0.3 of
    false positives and 0.7 of false negatives (it calls the latter alpha).
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"segmentation"})

    alpha: float = Field(0.3, ge=0, le=100, description="weight of false positives")
    beta: float = Field(0.7, gt=0, le=100, description="weight of false negatives")
    gamma: float = Field(4 / 3, gt=0, le=10, description="above 1, masks that are nearly right count more")
    smooth: float = Field(1.0, gt=0, le=1000, description="pixels, added above and below")

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; [N, K, H, W]."""
        missing = 1 - tversky_index(logits, targets, self.alpha, self.beta, self.smooth)
        return missing.clamp_min(_LEAST).pow(1 / self.gamma).mean(1)
