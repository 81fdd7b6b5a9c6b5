"""The term that losses of the calibrated family add: the gap between a batch's confidence and its accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


def confidence_gap(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the difference between the accuracy of a batch and its mean confidence (Liang et al. 2020).

    Parameters
    ----------
    logits : Tensor, float [N, K]
        Before softmax; the class predicted is the one of the largest, the first of them where several are.
    targets : Tensor, same type [N, K]
        Each row sums to 1. Where rows are not one-hot, the accuracy is the one expected under them.

    Returns
    -------
    Tensor []
        In [0, 1]. Its gradient flows through the confidence alone: accuracy is piecewise constant in the logits.
    """
    accuracy = targets.gather(1, logits.argmax(1, keepdim=True)).mean()
    return (accuracy.detach() - logits.softmax(1).amax(1).mean()).abs()


class Calibrated(Loss):
    r"""A single-label loss plus `beta` times the difference between confidence and accuracy (DCA) of the batch.

    .. math:: \frac1N \sum_i \ell_i + \beta \left| \frac1N \sum_i ([\hat y_i = y_i] - \max_k p_{ik}) \right|

    Liang, Zhang, Wang & Jacobs, "Improved trainable calibration method for neural networks on medical imaging
    classification", BMVC 2020, arXiv 2009.04057. `beta` 1 is that of Rajaraman, Zamzmi & Antani, PLoS ONE 16(12),
    2021, e0261307, arXiv 2109.14433, who add the term to five losses; with 0 the loss is its base. Their released
    code takes the absolute value by NumPy, which no gradient passes: as released, the term changes the reported loss
    and not the training. Here it trains.

    Class weights apply to the base alone: accuracy and confidence are those of the batch as it is. The term belongs
    to the batch, not to a sample, and small batches make it noisy: a perfectly calibrated model of accuracy a still
    has about :math:`\sqrt{2a(1-a)/(\pi N)}` of it, 0.06 for a = 0.9 in a batch of 16.

    A mixed image has no one right decision, so that soft targets are refused whatever the base takes.

    A subclass names this class first and its base loss second.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    soft_targets: ClassVar[bool] = False

    beta: float = Field(1.0, ge=0, le=100)

    @property
    def proper(self) -> bool:
        """See `Loss.proper`: the added term is least where confidence equals accuracy, whatever the truth."""
        return False

    def of_batch(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.of_batch`; each row of targets sums to 1."""
        return super().of_batch(logits, targets) + self.beta * confidence_gap(logits, targets)
