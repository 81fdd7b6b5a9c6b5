"""Cross-entropy over classes of which one is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from pipeline.learning.constants import constant
from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor

Weight = Annotated[float, Field(gt=0, le=1000)]


class CrossEntropy(Loss):
    r"""Categorical cross-entropy: :math:`-\sum_k w_k y_k \log p_k`, :math:`p = \mathrm{softmax}(z)`.

    `weights` (in params.yaml ``class_weights``) are the w_k, in the order of the data set's classes; none by default,
    and all are 1. As everywhere here, the mean is over the samples, not over the sum of their weights. What
    ``train.class_weights: balanced`` computes multiplies them.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    soft_targets: ClassVar[bool] = True

    # `Loss.class_weights` are those that the training part decides; the user's own must not hide them.
    weights: list[Weight] | None = Field(None, alias="class_weights", min_length=2)

    @property
    def proper(self) -> bool:
        """See `Loss.proper`."""
        return self.weights is None and self.class_weights is None

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`; each row of targets sums to 1.

        Raises
        ------
        ValueError
            If there are not as many `weights` as classes.
        """
        if self.weights is not None:
            if len(self.weights) != targets.shape[1]:
                raise ValueError(
                    f"class_weights of the loss has {len(self.weights)} values, but the data set has "
                    f"{targets.shape[1]} classes; one weight per class, in the order of the classes"
                )
            targets = targets * constant(self.weights, targets)
        return -(targets * logits.log_softmax(1)).sum(1)
