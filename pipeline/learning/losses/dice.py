"""Soft Dice loss, of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss
from pipeline.learning.losses._overlap import soft_dice

if TYPE_CHECKING:
    from torch import Tensor


class Dice(Loss):
    r"""Soft Dice loss (Milletari et al. 2016, arXiv 1606.04797), mean over the masks of an image.

    .. math:: 1 - \frac{2 \sum p t + s}{\sum p + \sum t + s}

    with sums over the pixels, :math:`p = \sigma(z)`. Nothing is squared, unlike in that paper, as in
    Drozdzal et al. 2016 (arXiv 1608.04117). `smooth` s keeps it defined where a mask is empty; at 1 an
    empty mask has a gradient, too.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"segmentation"})

    smooth: float = Field(1.0, gt=0, le=1000, description="pixels, added above and below")

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; [N, K, H, W]."""
        return soft_dice(logits, targets, self.smooth)
