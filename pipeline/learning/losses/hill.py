"""Hill loss: negatives that look positive are let go, for labels of which some are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class Hill(Loss):
    r"""Hill loss (Zhang et al. 2021, arXiv 2112.07368), mean over the classes.

    .. math:: L_+ = -\log p, \qquad L_- = (\lambda - p)\,p^2, \qquad p = \sigma(z)

    A negative pulls at its logit with :math:`p^2 (1-p)(2\lambda - 3p)`: at the paper's :math:`\lambda = 1.5`, the
    default of `lam`, that is :math:`3p^2(1-p)^2`, strongest at p = 1/2 and vanishing at 1, where a confident positive
    is taken for one whose label is missing. Below 1.5 such a negative is even pulled up. The authors' code sharpens
    the positives too, by a margin and focusing of its own; here they are those of binary cross-entropy.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel"})
    soft_targets: ClassVar[bool] = True

    lam: float = Field(1.5, ge=1, le=10, description="lambda; below 1 the loss of a negative could be negative")

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`: the mean of `per_label`."""
        return self.per_label(logits, targets).mean(1)

    def per_label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_label`; targets in [0, 1]."""
        from torch.nn.functional import softplus

        p = logits.sigmoid()
        return targets * softplus(-logits) + (1 - targets) * (self.lam - p) * p**2
