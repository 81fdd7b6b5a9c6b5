"""Occlusion: how much a logit falls when a patch of the image is covered. It needs no gradients, and no layer.

captum computes it. Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

import numpy as np
import torch

from pipeline.explaining.maps import inputs_of, scaled_to_one
from pipeline.learning.networks.models import Classifier

PATCHES = 8
"""Patches per side of the image; they are moved by half of their side."""
_AT_ONCE = 8
"""Covered versions of the images in one forward pass."""


class Occluder:
    """Computes heat maps by covering; used as `pipeline.explaining.maps.Mapper` is.

    Parameters
    ----------
    networks : sequence of Classifier
        Training runs with the same classes, on one device.
    shape : (int, int, int)
        Channels, height and width of the images.
    """

    def __init__(self, networks: Sequence[Classifier], shape: tuple[int, int, int]) -> None:
        self._networks = list(networks)
        self._device = next(self._networks[0].parameters()).device
        self._patch = shape[0], max(1, shape[1] // PATCHES), max(1, shape[2] // PATCHES)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Set the networks to evaluation mode."""
        for network in self._networks:
            self._stack.callback(network.train, network.training)
            network.eval()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the networks as they were."""
        self._stack.close()

    def paired(self, images: np.ndarray, classes: np.ndarray, metadata: np.ndarray | None = None) -> np.ndarray:
        """See `pipeline.explaining.maps.Maps.paired`: falls of the logit, rises left out, at the size of the image."""
        from captum.attr import Occlusion  # takes a second

        given, *known = inputs_of(images, metadata, self._device)
        target = torch.from_numpy(np.asarray(classes, np.int64)).to(self._device)
        channels, height, width = self._patch
        strides = channels, max(1, height // 2), max(1, width // 2)
        maps = []
        for network in self._networks:
            with torch.no_grad():
                fallen = Occlusion(network).attribute(
                    given,
                    sliding_window_shapes=self._patch,
                    strides=strides,
                    baselines=network.mean.reshape(1, -1, 1, 1).expand_as(given[:1]).to(given),
                    target=target,
                    additional_forward_args=tuple(known) or None,
                    perturbations_per_eval=_AT_ONCE,
                )
            maps.append(fallen.mean(1).relu())
        return scaled_to_one(torch.stack(maps)).cpu().numpy()
