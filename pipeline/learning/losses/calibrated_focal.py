"""Focal loss plus the difference between confidence and accuracy."""

from __future__ import annotations

from pipeline.learning.losses._calibration import Calibrated
from pipeline.learning.losses.focal import Focal


class CalibratedFocal(Calibrated, Focal):
    r"""Calibrated focal loss: mean of :math:`-\alpha (1-p_y)^\gamma \log p_y`, plus :math:`\beta` DCA.

    Rajaraman et al., PLoS ONE 16(12), 2021, e0261307, arXiv 2109.14433, with their `alpha` 1, `gamma` 2 and `beta` 1
    (see `Focal` and `Calibrated`). Single-label only: the term needs the one class that is predicted.
    """
