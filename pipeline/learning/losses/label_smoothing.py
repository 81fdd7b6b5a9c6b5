"""Cross-entropy with smoothed labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


def smooth(targets: Tensor, epsilon: float) -> Tensor:
    """Give the fraction `epsilon` of each row's certainty to all K classes alike: ``y (1 - epsilon) + epsilon / K``.

    Parameters
    ----------
    targets : Tensor, float [N, K]
        Each row sums to 1.
    epsilon : float
        In [0, 1).

    Returns
    -------
    Tensor, float [N, K]
        Each row sums to 1.
    """
    return targets * (1 - epsilon) + epsilon / targets.shape[1]


class LabelSmoothing(Loss):
    r"""Label-smoothed cross-entropy: :math:`-\sum_k y'_k \log p_k`, :math:`y'_k = (1-\epsilon) y_k + \epsilon / K`.

    Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016, arXiv 1512.00567, whose
    `epsilon` 0.1 is the default, being the customary one; Rajaraman et al. (PLoS ONE 16(12), 2021, e0261307, arXiv
    2109.14433) train with 0.2. The loss is not 0 at its best but the entropy of y', with p_y at 1 - epsilon +
    epsilon / K: probabilities are less certain than they could be, by intent.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    soft_targets: ClassVar[bool] = True

    epsilon: float = Field(0.1, ge=0, lt=1)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        return -(smooth(targets, self.epsilon) * logits.log_softmax(1)).sum(1)
