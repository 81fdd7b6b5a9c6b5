"""Tversky loss, of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss
from pipeline.learning.losses._overlap import tversky_index

if TYPE_CHECKING:
    from torch import Tensor


class Tversky(Loss):
    r"""Tversky loss (Salehi et al. 2017, arXiv 1706.05721): one minus the index T, mean over the masks of an image.

    .. math:: T = \frac{TP + s}{TP + \alpha FP + \beta FN + s}

    with the soft counts of pixels of kind ``dice``, which it is, but for s, where both weights are 0.5. The defaults,
    0.3 and 0.7, are those of the paper's best result: a missed pixel costs more than a false one.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"segmentation"})

    alpha: float = Field(0.3, ge=0, le=100, description="weight of false positives")
    beta: float = Field(0.7, gt=0, le=100, description="weight of false negatives")
    smooth: float = Field(1.0, gt=0, le=1000, description="pixels, added above and below")

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; [N, K, H, W]."""
        return (1 - tversky_index(logits, targets, self.alpha, self.beta, self.smooth)).mean(1)
