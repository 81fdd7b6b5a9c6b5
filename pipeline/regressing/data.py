"""Images with the number of each, as a network is trained on them and evaluated."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.learning.images.loader import ResidentImages
from pipeline.study.parts import Part


def resident(
    images: np.ndarray, part: Part, truth: np.ndarray, device: torch.device, residency: str = "auto"
) -> ResidentImages:
    """Return the entries of a part with their true values, float64 [N], as targets float32 [N, 1]."""
    return ResidentImages(images, part.rows, truth.astype(np.float32)[:, None], device, part.augmented, residency)
