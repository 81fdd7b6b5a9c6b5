"""Cross-entropy plus the difference between confidence and accuracy."""

from __future__ import annotations

from pipeline.learning.losses._calibration import Calibrated
from pipeline.learning.losses.ce import CrossEntropy


class CalibratedCrossEntropy(Calibrated, CrossEntropy):
    r"""Calibrated cross-entropy: mean of :math:`-\sum_k w_k y_k \log p_k`, plus :math:`\beta` DCA.

    The loss of Liang et al. 2020, arXiv 2009.04057; `beta` 1 as in Rajaraman et al. 2021, arXiv 2109.14433 (see
    `Calibrated`). ``class_weights`` weigh the cross-entropy alone (see `CrossEntropy`).
    """
