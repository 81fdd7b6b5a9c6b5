"""Two-way loss: ranks the labels within an image, and the images of the batch within a label."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor

_NEVER = -1e30
"""Stands for log 0: finite, so that its gradient is 0 and not NaN."""


class TwoWay(Loss):
    r"""Two-way multi-label loss (Kobayashi, "Two-Way Multi-Label Loss", CVPR 2023, pp. 7476-7485).

    .. math:: \mathrm{softplus}\Big[\log\sum_{j \in N} e^{x_j} + T \log\sum_{i \in P} e^{-x_i/T}\Big]

    over the labels of each sample, positives P and negatives N, averaged over the samples; plus the same over the
    samples of the batch within each class, averaged over the classes. The second sum is what AUROC of a class looks
    at: its positives against its negatives. `temperature` T softens the minimum over the positives; 4 is the paper's.

    As in the paper's code, samples and classes without a positive are left out of their mean, and where there is
    no negative the value is 0. A batch without any positive has loss 0 and gradient 0: images without a finding act
    through the classes alone. The sums grow with the batch, so that the loss of a training batch and that of the
    whole validation part have different scales. No logit is anchored: calibrate before reading probabilities.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel"})

    temperature: float = Field(4.0, gt=0, le=100, description="of the positives")

    def of_batch(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.of_batch`: both ways."""
        return _mean_of_those_with_a_positive(self.per_sample(logits, targets), targets) + (
            _mean_of_those_with_a_positive(self.per_sample(logits.T, targets.T), targets.T)
        )

    def of_known(self, logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """See `Loss.of_known`: each way among what is known, images and classes without a positive left out."""
        return _mean_of_those_with_a_positive(self._one_way(logits, targets, known), targets) + (
            _mean_of_those_with_a_positive(self._one_way(logits.T, targets.T, known.T), targets.T)
        )

    def share(self, known: Tensor) -> Tensor:
        """See `Loss.share`: images with a known label; as where all are known, a batch is not the sum of its parts."""
        return known.any(1).sum()

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`: the first way alone, 0 without a positive or a negative; targets are 0 or 1."""
        return self._one_way(logits, targets)

    def _one_way(self, logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
        """Compute `per_sample` of what is `known`, of everything by default."""
        from torch.nn.functional import softplus

        positive = targets > 0.5
        not_negative = positive if known is None else positive | ~known
        highest_negative = logits.masked_fill(not_negative, _NEVER).logsumexp(1)
        lowest_positive = self.temperature * (-logits / self.temperature).masked_fill(~positive, _NEVER).logsumexp(1)
        return softplus(highest_negative + lowest_positive)


def _mean_of_those_with_a_positive(values: Tensor, targets: Tensor) -> Tensor:
    """Average `values` [N] over the rows of `targets` [N, K] with a positive; 0, with a graph, if there is none."""
    return values.sum() / (targets > 0.5).any(1).sum().clamp_min(1)
