"""Class-balanced loss: cross-entropy weighed by the effective number of samples of a class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss
from pipeline.learning.losses.focal import binary_focal, categorical_focal

if TYPE_CHECKING:
    from torch import Tensor


class ClassBalanced(Loss):
    r"""Class-balanced loss (Cui et al. 2019, arXiv 1901.05555).

    .. math:: w_k \propto \frac{1-\beta}{1-\beta^{n_k}}, \qquad \sum_k w_k = K

    for class k with :math:`n_k` draws per epoch: 1 for all at `beta` 0, in proportion to :math:`1/n_k` as it nears 1.
    Single-label: cross-entropy times the weight of the true class. The paper's sigmoid form weighs all the terms of an
    image by that one class, which a radiograph with several findings or none does not have. Multi-label therefore takes
    "k is present" and "k is absent" of the K labels for the 2K classes of the formula, with n and N-n draws, and the
    weights sum to 2K: a rare finding outweighs frequent ones and all that is absent, an image without any finding has
    its weight, and no label counts for less as a whole because it is rare, as it would if the two weights of each
    label were normalised by themselves. It is the mean over the labels. What is never drawn has weight 1.

    `beta` 0.9999 is the paper's for large data sets, for which its grid is 0.9 to 0.9999. `gamma` above 0 makes the
    base a focal loss (see kind focal), as in the paper's focal form; by default, 0, it is plain cross-entropy.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel", "multiclass"})

    beta: float = Field(0.9999, ge=0, lt=1)
    gamma: float = Field(0.0, ge=0, le=20, description="focusing; 0 = none")

    @property
    def needs_counts(self) -> bool:
        """See `Loss.needs_counts`: always."""
        return True

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; targets are 0 or 1."""
        if self.task == "multiclass":
            weights = effective_number_weights(self.counts(logits)[0], self.beta)
            return (targets @ weights) * categorical_focal(logits, targets, self.gamma)
        return self.per_label(logits, targets).mean(1)

    def per_label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_label`; targets are 0 or 1."""
        import torch

        positives, total = self.counts(logits)
        present, absent = effective_number_weights(torch.stack([positives, total - positives]), self.beta)
        weights = targets * present + (1 - targets) * absent
        return weights * binary_focal(logits, targets, self.gamma)


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    r"""Compute weights in proportion to :math:`(1-\beta)/(1-\beta^n)`, of mean 1 over what is drawn at all.

    Parameters
    ----------
    counts : Tensor, float, any shape
        Draws n of each class, at least 0.
    beta : float
        In [0, 1).

    Returns
    -------
    Tensor, shape and type of `counts`
        Above 0; 1 where the count is 0.
    """
    import torch

    drawn = counts > 0
    rate = math.log(beta) if beta > 0 else -math.inf
    inverse = -1 / (counts.clamp_min(1) * rate).expm1()  # 1-beta cancels; expm1 as beta^n may be near 1
    inverse = torch.where(drawn, inverse, 0.0)
    return torch.where(drawn, inverse * (drawn.sum() / inverse.sum()), 1.0)
