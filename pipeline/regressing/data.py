"""Images with the number of each, as a network is trained on them and evaluated."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.metadata import Scheme
from pipeline.study.parts import Part


def resident(
    images: np.ndarray,
    part: Part,
    truth: np.ndarray,
    device: torch.device,
    residency: str = "auto",
    scheme: Scheme | None = None,
) -> ResidentImages:
    """Return the entries of a part with their true values, float64 [N], as targets float32 [N, 1]."""
    metadata = None if scheme is None else scheme.of_rows(part.rows)
    targets = truth.astype(np.float32)[:, None]
    return ResidentImages(images, part.rows, targets, device, part.augmented, residency, metadata)
