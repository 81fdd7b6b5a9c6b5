"""Kullback-Leibler divergence of the prediction from the target."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class KullbackLeibler(Loss):
    r"""Kullback-Leibler divergence: :math:`\sum_k y_k \log (y_k / p_k)`, :math:`p = \mathrm{softmax}(z)`.

    Kullback & Leibler, "On information and sufficiency", Annals of Mathematical Statistics 22 (1951),
    doi 10.1214/aoms/1177729694. Terms with :math:`y_k = 0` are 0. It is cross-entropy minus the entropy of the target:
    for one-hot targets the two are equal, for soft ones their gradients are, and this one reaches 0.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    soft_targets: ClassVar[bool] = True

    @property
    def proper(self) -> bool:
        """See `Loss.proper`."""
        return self.class_weights is None

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        from torch.nn.functional import kl_div

        return kl_div(logits.log_softmax(1), targets, reduction="none").sum(1)
