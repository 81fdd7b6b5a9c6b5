"""Focal loss with smoothed labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss
from pipeline.learning.losses.label_smoothing import smooth

if TYPE_CHECKING:
    from torch import Tensor

_NEVER = -1e30
"""Stands for log 0: finite, so that its gradient is 0 and not NaN."""


def log_complement(logits: Tensor) -> Tensor:
    """Compute log(1 - p) for the softmax p of each class, without cancellation where p is nearly 1.

    Parameters
    ----------
    logits : Tensor, float [N, K]
        Before softmax.

    Returns
    -------
    Tensor, float [N, K]
        At most 0, and finite; with a single class, where p is 1, about -1e30.
    """
    import torch

    # Only the likeliest class can be above 1/2, where 1 - p loses digits: there the others are added up instead.
    likeliest = torch.zeros_like(logits, dtype=torch.bool).scatter(1, logits.argmax(1, keepdim=True), True)
    others = logits.masked_fill(likeliest, _NEVER).logsumexp(1, keepdim=True) - logits.logsumexp(1, keepdim=True)
    return torch.where(likeliest, others, (-logits.softmax(1).masked_fill(likeliest, 0)).log1p())


class LabelSmoothedFocal(Loss):
    r"""Label-smoothed focal loss: :math:`-\alpha \sum_k y'_k (1-p_k)^\gamma \log p_k`.

    Here :math:`y'_k = (1-\epsilon) y_k + \epsilon / K` (Szegedy et al. 2016, arXiv 1512.00567) and the rest is focal
    loss (Lin et al. 2017, arXiv 1708.02002). The defaults are those of Rajaraman et al., PLoS ONE 16(12), 2021,
    e0261307, arXiv 2109.14433: `alpha` 1, `gamma` 2, `epsilon` 0.2. Their released code adds epsilon / 2 whatever the
    number of classes, so that the labels of its three classes sum to 1.1; this is epsilon / K, which sums to 1.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    soft_targets: ClassVar[bool] = True

    alpha: float = Field(1.0, gt=0, le=100)
    gamma: float = Field(2.0, ge=0, le=20)
    epsilon: float = Field(0.2, ge=0, lt=1)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        still_wrong = (self.gamma * log_complement(logits)).exp()
        return -self.alpha * (smooth(targets, self.epsilon) * still_wrong * logits.log_softmax(1)).sum(1)
