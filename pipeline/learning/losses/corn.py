"""CORN: binary cross-entropies of conditional probabilities, each among the images that reach its class."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.learning.losses._ordered import OrderedLoss

if TYPE_CHECKING:
    from torch import Tensor


class Corn(OrderedLoss):
    r"""Conditional ordinal regression: the mean over all pairs of an image and a question that it answers.

    .. math:: -\frac{1}{\sum_k |S_k|} \sum_{k=1}^{K-1} \sum_{i \in S_k}
        [y_i > k] \log f_k(x_i) + [y_i \le k] \log (1 - f_k(x_i)),\quad f_k = P(y > k \mid y \ge k)

    Shi, Cao & Raschka, "Deep neural networks for rank-consistent ordinal regression based on conditional
    probabilities", Pattern Analysis and Applications 26, 2023, 941-955, arXiv 2111.08851. S_k are the images of class k
    and above: an image of class y answers min(y, K - 1) questions, counted from 1. By the chain rule its terms add up
    to :math:`-\log P(y_i)`, so that the loss is the log-likelihood of `pipeline.learning.networks.outputs.Conditional`
    in another unit: a pair in the place of an image.
    """

    output: ClassVar[str] = "conditional"

    def of_batch(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.of_batch`; the sum is over images, the mean over pairs."""
        return super().of_batch(logits, targets) / self._asked(targets).mean()

    def part_of(self, some: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.part_of`: the share of the pairs."""
        return self._asked(some).sum() / self._asked(targets).sum()

    def _asked(self, targets: Tensor) -> Tensor:
        """Count the questions that each image answers, [N]."""
        import torch

        last = targets.shape[1] - 1
        return targets @ torch.arange(1, last + 2, dtype=targets.dtype, device=targets.device).clamp_max(last)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `Loss.per_sample`: the sum over its pairs; each row of targets sums to 1."""
        return -(targets * logits.log_softmax(1)).sum(1)
