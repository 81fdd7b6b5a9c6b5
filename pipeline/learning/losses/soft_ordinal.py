"""Cross-entropy with labels that are shared among neighbouring classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.learning.losses._ordered import OrderedLoss

if TYPE_CHECKING:
    from torch import Tensor


class SoftOrdinal(OrderedLoss):
    r"""Soft ordinal labels (SORD): :math:`-\sum_k q_k \log p_k`, :math:`q_k \propto \exp(-\alpha\,\phi(k - y))`.

    Diaz & Marathe, "Soft labels for ordinal regression", CVPR 2019, 4738-4747. `distance` is their choice of
    :math:`\phi`: the squared or the absolute difference in grades; `alpha` its scale, 1 in their formula. The larger
    it is, the nearer the loss to plain cross-entropy. The loss is not 0 at its best but the entropy of q:
    probabilities are less certain than they could be, by intent.
    """

    distance: Literal["squared", "absolute"] = "squared"
    alpha: float = Field(1.0, gt=0, le=100)

    @property
    def proper(self) -> bool:
        """See `Loss.proper`: it is least where the probabilities are the shared labels."""
        return False

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        import torch

        grades = torch.arange(targets.shape[1], dtype=targets.dtype, device=targets.device)
        apart = (grades[:, None] - grades).abs()
        shared = (-self.alpha * (apart**2 if self.distance == "squared" else apart)).softmax(1)
        return -(targets @ shared * logits.log_softmax(1)).sum(1)
