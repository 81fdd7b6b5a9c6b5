"""Kullback-Leibler divergence plus the difference between confidence and accuracy."""

from __future__ import annotations

from pipeline.learning.losses._calibration import Calibrated
from pipeline.learning.losses.kl import KullbackLeibler


class CalibratedKullbackLeibler(Calibrated, KullbackLeibler):
    r"""Calibrated KL divergence: mean of :math:`\sum_k y_k \log (y_k / p_k)`, plus :math:`\beta` DCA.

    Rajaraman et al., PLoS ONE 16(12), 2021, e0261307, arXiv 2109.14433, with their `beta` 1 (see `Calibrated`). For
    one-hot targets it equals calibrated cross-entropy: two of the study's twelve losses are one.
    """
