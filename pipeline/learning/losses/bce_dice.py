"""Binary cross-entropy of the pixels and soft Dice loss of the masks, added."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss
from pipeline.learning.losses._overlap import soft_dice

if TYPE_CHECKING:
    from torch import Tensor


class BinaryCrossEntropyDice(Loss):
    r"""Sum of two losses: :math:`w_b\,\mathrm{BCE} + w_d\,\mathrm{Dice}`.

    The mean over the pixels of :math:`-t\log p - (1-t)\log(1-p)`, and kind ``dice``. With both weights 1, the defaults,
    it is the loss of nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z) for masks that may overlap.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"segmentation"})

    bce: float = Field(1.0, ge=0, le=100, description="weight of the cross-entropy")
    dice: float = Field(1.0, gt=0, le=100, description="weight of the Dice loss")
    smooth: float = Field(1.0, gt=0, le=1000, description="of kind dice")

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; [N, K, H, W]."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        pixels = binary_cross_entropy_with_logits(logits, targets, reduction="none").flatten(1).mean(1)
        return self.bce * pixels + self.dice * soft_dice(logits, targets, self.smooth)
