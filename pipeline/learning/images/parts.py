"""The images of a part of the study as networks take them, with their targets and their metadata."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.metadata import Scheme
from pipeline.study.parts import Part


def resident(
    images: np.ndarray,
    part: Part,
    targets: np.ndarray,
    device: torch.device,
    residency: str = "auto",
    scheme: Scheme | None = None,
) -> ResidentImages:
    """Return the entries of a part, with targets [N, K] and, if there is a scheme, the metadata of each."""
    metadata = None if scheme is None else scheme.of_rows(part.rows)
    return ResidentImages(images, part.rows, targets, device, part.augmented, residency, metadata)
