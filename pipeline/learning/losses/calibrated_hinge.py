"""Categorical hinge plus the difference between confidence and accuracy."""

from __future__ import annotations

from pipeline.learning.losses._calibration import Calibrated
from pipeline.learning.losses.hinge import CategoricalHinge


class CalibratedHinge(Calibrated, CategoricalHinge):
    r"""Calibrated hinge: mean of :math:`\max(0, 1 + \max_{k \neq y} p_k - p_y)`, plus :math:`\beta` DCA.

    Rajaraman et al., PLoS ONE 16(12), 2021, e0261307, arXiv 2109.14433, with their `beta` 1 (see `CategoricalHinge`
    and `Calibrated`).
    """
