"""Output layers: from what a head computes to one logit per class, where a loss asks for something else.

A loss names its output layer (`pipeline.learning.losses.Loss.output`). The layer belongs to the network and is saved
with it. It gives log-probabilities of the K classes: their softmax is the probabilities, so that everything after
training (evaluation, ensembles, heat maps, exported networks) takes them for the logits of any other network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES, CUMULATIVE, CONDITIONAL = "classes", "cumulative", "conditional"
VALUE, GAUSSIAN = "value", "gaussian"
LEAST_GAP = 1e-4
"""Between two thresholds: the class between them keeps a finite log-probability."""


def _log_sigmoid(x: Tensor) -> Tensor:
    """Log of the sigmoid; not torch's own, which ONNX writes as two steps, of which the first ends at 0."""
    return -functional.softplus(-x)


class Cumulative(nn.Module):
    r"""One score s for all K classes, cut by K - 1 ordered thresholds: :math:`P(y > k) = \sigma(s - \theta_k)`.

    The proportional-odds model (McCullagh, "Regression models for ordinal data", JRSS B 42(2), 1980, doi:
    10.1111/j.2517-6161.1980.tb01109.x), and the layer of CORAL (Cao, Mirjalili & Raschka, Pattern Recognition Letters
    140, 2020, arXiv 1901.07884), whose biases are the negative thresholds. CORAL proves them ordered where its loss is
    least; here they are sums of positive gaps: they are ordered, and classes have probabilities, from the start.

    Parameters
    ----------
    classes : int
        K, at least 2. The thresholds begin where all classes are equally likely at a score of 0.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        thresholds = torch.logit(torch.arange(1, classes, dtype=torch.float64) / classes)
        gaps = thresholds.diff() - LEAST_GAP
        self.first = nn.Parameter(thresholds[:1].float())
        self.gaps = nn.Parameter(gaps.expm1().log().float())  # the inverse of softplus

    def thresholds(self) -> Tensor:
        """Compute the thresholds, ascending, [K - 1]."""
        return torch.cat([self.first, self.first + self._gaps().cumsum(0)])

    def _gaps(self) -> Tensor:
        return functional.softplus(self.gaps) + LEAST_GAP

    def forward(self, scores: Tensor) -> Tensor:
        """Compute log-probabilities [N, K] of scores [N, 1], at least in float32."""
        at = scores.to(torch.promote_types(scores.dtype, torch.float32)) - self.thresholds()
        below, above = _log_sigmoid(-at), _log_sigmoid(at)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), of which no factor is a small difference.
        between = below[:, 1:] + above[:, :-1] + torch.log(-torch.expm1(-self._gaps()))
        return torch.cat([below[:, :1], between, above[:, -1:]], 1)


class Conditional(nn.Module):
    r"""K - 1 conditional logits z_k: :math:`P(y > k \mid y \ge k) = \sigma(z_k)`, and classes by the chain rule.

    The layer of CORN (Shi, Cao & Raschka, "Deep neural networks for rank-consistent ordinal regression based on
    conditional probabilities", Pattern Analysis and Applications 26, 2023, arXiv 2111.08851).
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Compute log-probabilities [N, K] of logits [N, K - 1], at least in float32."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        reached = _log_sigmoid(logits).cumsum(1)  # log P(y > k)
        start = torch.zeros_like(reached[:, :1])
        stopped = torch.cat([_log_sigmoid(-logits), start], 1)
        return torch.cat([start, reached], 1) + stopped


class Standardised(nn.Module):
    """Numbers in the unit of the target, of what a head computes in standard deviations from the mean of the training.

    The scale is saved with the weights. Of two numbers the second is half the logarithm of the variance, of which the
    standard deviation becomes (Kendall & Gal, NeurIPS 2017, arXiv 1703.04977), within exp(-5) and exp(5).
    """

    mean: Tensor
    sd: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("sd", torch.ones(()))

    def scaled(self, mean: float, sd: float) -> None:
        """Set the mean and the standard deviation of the training part."""
        self.mean.fill_(mean)
        self.sd.fill_(sd)

    def forward(self, numbers: Tensor) -> Tensor:
        """Compute values [N, 1], or values and spreads [N, 2], of numbers of the same shape."""
        numbers = numbers.to(torch.promote_types(numbers.dtype, torch.float32))
        values = numbers[:, :1] * self.sd + self.mean
        if numbers.shape[1] == 1:
            return values
        return torch.cat([values, numbers[:, 1:].clamp(-5, 5).exp() * self.sd], 1)


def head_size(output: str, classes: int) -> int:
    """Return how many numbers the head computes for `classes` classes, or for a target."""
    return {CLASSES: classes, CUMULATIVE: 1, CONDITIONAL: classes - 1, VALUE: 1, GAUSSIAN: 2}[output]


def create(output: str, classes: int) -> nn.Module | None:
    """Build the layer that turns them into one logit per class, or into the target; None where the head does that."""
    if output in (VALUE, GAUSSIAN):
        return Standardised()
    if output == CUMULATIVE:
        return Cumulative(classes)
    return Conditional() if output == CONDITIONAL else None
