"""Binary cross-entropy, every label on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class BinaryCrossEntropy(Loss):
    r"""Binary cross-entropy: mean over the classes of :math:`-w_k t\log p - (1-t)\log(1-p)`, :math:`p = \sigma(z)`.

    Without `pos_weight_cap`, the default, :math:`w_k = 1`. With it a class that is positive in n of the N draws of an
    epoch has :math:`w_k = \min(\mathrm{cap}, (N-n)/n)`, the ratio at which both of its values weigh the same in an
    epoch; 10 is a customary cap, without which the few images of a rare class would rule the gradient. A side that is
    never drawn counts as drawn once. The weights move the sigmoid away from the prevalence: calibrate before use.

    In segmentation it is the mean over the pixels, which have no such weight.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel", "segmentation"})
    soft_targets: ClassVar[bool] = True

    pos_weight_cap: float | None = Field(
        None, gt=0, le=1e4, description="highest weight of positives; null = 1 for all"
    )

    def check_task(self) -> None:
        """See `Loss.check_task`."""
        if self.pos_weight_cap is not None and self.task == "segmentation":
            raise ValueError(
                f"pos_weight_cap = {self.pos_weight_cap}: it counts images of a class, not pixels; must be "
                "null (kinds dice and tversky weigh a mask whatever its size)"
            )

    @property
    def needs_counts(self) -> bool:
        """See `Loss.needs_counts`: with a cap."""
        return self.pos_weight_cap is not None

    @property
    def proper(self) -> bool:
        """See `Loss.proper`."""
        return self.pos_weight_cap is None

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`: the mean of `per_label`."""
        return self.per_label(logits, targets).mean(1)

    def per_label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_label`; targets in [0, 1]."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        weight = None
        if self.pos_weight_cap is not None:
            positives, total = self.counts(logits)
            ratio = (total - positives).clamp_min(1) / positives.clamp_min(1)
            weight = ratio.clamp_max(self.pos_weight_cap)
        return binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=weight)
