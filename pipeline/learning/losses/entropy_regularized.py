"""Cross-entropy that penalises confident predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


def entropy(log_p: Tensor) -> Tensor:
    """Compute the entropy of each row of log-probabilities [N, K], in nats: [N], from 0 to log K."""
    return -(log_p.exp() * log_p).sum(1)


class EntropyRegularized(Loss):
    r"""Cross-entropy with a confidence penalty: :math:`-\sum_k y_k \log p_k - \beta H(p)`.

    Here :math:`H(p) = -\sum_k p_k \log p_k` and :math:`p = \mathrm{softmax}(z)`: an uncertain prediction is rewarded,
    as in Pereyra et al., "Regularizing neural networks by penalizing confident output distributions", 2017, arXiv
    1701.06548. The loss falls slightly below 0 for predictions that are right and nearly sure.

    Rajaraman et al. (PLoS ONE 16(12), 2021, e0261307, arXiv 2109.14433) name this loss too, but the term in their
    released code has the opposite sign, which rewards confidence, and its function returns nothing, so that their
    models were trained with plain cross-entropy. This is the loss of Pereyra et al.

    `beta` 0.1 is the weight that served Pereyra et al. for images. Rajaraman's 2 multiplies a mean over K = 3 classes,
    which is 0.67 here. The least loss for an image without doubt is where
    :math:`\log(p_y / p_k) = 1 / (\beta p_y)`: with three classes at p_y = 0.9999 for 0.1, but at 0.78 for 0.67, which
    no longer regularises but decides the probabilities.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    soft_targets: ClassVar[bool] = True

    beta: float = Field(0.1, ge=0, le=10)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        log_p = logits.log_softmax(1)
        return -(targets * log_p).sum(1) - self.beta * entropy(log_p)
