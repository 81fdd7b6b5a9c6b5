"""The log-likelihood of a normal distribution whose mean and spread are both predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.learning.losses._regression import RegressionLoss

if TYPE_CHECKING:
    from torch import Tensor


class GaussianNll(RegressionLoss):
    r"""Gaussian negative log-likelihood: :math:`\log\sigma + \frac{(y - \mu)^2}{2\sigma^2}`, without the constant.

    Nix & Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994; with the
    logarithm of the variance as what the network computes: Kendall & Gal, NeurIPS 2017, arXiv 1703.04977. The spread is
    that of the data as the network sees them; whether its intervals hold is measured, as their coverage.
    """

    output: ClassVar[str] = "gaussian"

    @property
    def proper(self) -> bool:
        """See `Loss.proper`: of the normal distribution that is predicted."""
        return True

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """See `RegressionLoss`; values and spreads [N, 2] and targets [N, 1] in standard deviations."""
        mean, spread = logits.unbind(1)
        return spread.log() + 0.5 * ((targets[:, 0] - mean) / spread) ** 2
