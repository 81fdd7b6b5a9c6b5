"""Asymmetric loss: positives and negatives are focused differently, and easy negatives are dropped."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss
from pipeline.learning.losses.focal import binary_focal

if TYPE_CHECKING:
    from torch import Tensor


class Asymmetric(Loss):
    r"""Asymmetric loss, ASL (Ridnik et al. 2021, arXiv 2009.14119), mean over the classes.

    .. math:: L_+ = -(1-p)^{\gamma_+} \log p, \qquad L_- = -p_m^{\gamma_-} \log(1-p_m), \quad p_m = \max(p-m, 0)

    with :math:`p = \sigma(z)`. Negatives below the `margin` m are dropped, the others count by `gamma_negative`. The
    defaults 4, 1 and 0.05 are those of the authors' code (mrT23/ASL); their MS-COCO runs have `gamma_positive` 0.
    Two differences from that code: it sums over the batch and the classes, and it can hold the focusing factor
    constant in the gradient; here the gradient is that of the formula, as in the paper.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel"})
    soft_targets: ClassVar[bool] = True

    gamma_negative: float = Field(4.0, ge=0, le=20)
    gamma_positive: float = Field(1.0, ge=0, le=20)
    margin: float = Field(0.05, ge=0, lt=1, description="subtracted from the probability of negatives")

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`: the mean of `per_label`."""
        return self.per_label(logits, targets).mean(1)

    def per_label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_label`; targets in [0, 1]."""
        import torch
        from torch.nn.functional import logsigmoid

        log_rest = logsigmoid(-logits)  # log(1 - p_m), first without the margin
        if self.margin > 0:
            log_rest = torch.logaddexp(log_rest, log_rest.new_full((), math.log(self.margin))).clamp_max(0)
        # The floor keeps the gradient of a power below 1 finite where p_m is 0; the term itself is 0 there.
        shifted = (-log_rest.expm1()).clamp_min(torch.finfo(logits.dtype).tiny)
        positive = binary_focal(logits, torch.ones_like(targets), self.gamma_positive)
        negative = -(shifted**self.gamma_negative) * log_rest
        return targets * positive + (1 - targets) * negative
