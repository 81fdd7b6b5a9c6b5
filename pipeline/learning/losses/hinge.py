"""Categorical hinge loss on probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class CategoricalHinge(Loss):
    r"""Categorical hinge: :math:`\max(0, 1 + \max_{k \neq y} p_k - p_y)`, :math:`p = \mathrm{softmax}(z)`.

    The margin of Crammer & Singer, "On the algorithmic implementation of multiclass kernel-based vector machines",
    JMLR 2 (2001), in Keras's form and on probabilities, as Rajaraman et al. use it (PLoS ONE 16(12), 2021, e0261307,
    arXiv 2109.14433). In [0, 2]. Being bounded it forgives wrong labels; but where the softmax is sure of a wrong
    class its gradient vanishes, so that a network can be stuck in one class from which cross-entropy would move it.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1."""
        p = logits.softmax(1)
        # The outer max never binds: 1 - p_y is not below 0.
        return 1 + ((1 - targets) * p).amax(1) - (targets * p).sum(1)
