"""Heat maps of images: several classes from one forward pass, averaged over training runs.

The scale: the map of each training run is at least 0 and is divided by its largest value; the mean over the runs, at
the size of the image, is divided by its largest value again. So each map reaches 1 in one place and says nothing of how
strong the evidence is: only where there is most of it. A map that is 0 all over (nothing in the image speaks for the
class) stays so, and `Coarse.empty` says it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import combinations
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.explaining.cams import METHODS
from pipeline.explaining.layers import LEAST, Layer, find_layer, leaves
from pipeline.learning.networks.models import Classifier
from pipeline.study.errors import UserError

BATCH = 16
"""Images per forward pass."""


class Coarse(NamedTuple):
    """Maps at the size of the layer that they were computed at.

    Parameters
    ----------
    values : float32 [N, K, h, w]
        Mean over the training runs of maps from 0 to 1, on the finest of their grids.
    agreement : float32 [N, K]
        Mean correlation of the maps of two training runs, over all pairs of which neither is constant; NaN where there
        is none.
    runs : int64 [N, K]
        Training runs whose map is not 0 all over.
    """

    values: np.ndarray
    agreement: np.ndarray
    runs: np.ndarray

    @property
    def empty(self) -> np.ndarray:
        """Maps that are 0 all over, bool [N, K]."""
        return self.runs == 0


class Maps(Protocol):
    """What makes heat maps: `Mapper`, or what covers the image."""

    def paired(self, images: np.ndarray, classes: np.ndarray, metadata: np.ndarray | None = None) -> np.ndarray:
        """Compute the map of one class of each image, for each training run.

        Parameters
        ----------
        images : float32 [N, C, H, W]
            As the networks take them, in [0, 1].
        classes : int [N]
            Position of a class among the logits.
        metadata : float32 [N, I], optional
            Of networks that take some: they stay as they are, and the map is of the image alone.

        Returns
        -------
        float32 [S, N, h, w]
            From 0 to 1.
        """


class _Of(NamedTuple):
    """What a map is of: one class for all images, or one for each."""

    classes: int | Tensor

    def total(self, logits: Tensor) -> Tensor:
        """Add up the logits [N, K] whose gradients are asked for: images do not touch each other's."""
        if isinstance(self.classes, int):
            return logits[:, self.classes].sum()
        return logits.gather(1, self.classes[:, None]).sum()


class Mapper:
    """Computes heat maps; a context manager that leaves the networks as they were. Threads may share it.

    Parameters
    ----------
    networks : sequence of Classifier
        Training runs with the same classes, in evaluation mode, on one device.
    shape : (int, int, int)
        Channels, height and width of the images.
    method : {"grad-cam", "grad-cam++", "layercam"}
        See `pipeline.explaining.cams`.
    least : int
        Cells per side of a map, see `pipeline.explaining.layers.find_layer`.
    layers : sequence of Layer, optional
        One per network, in the place of what is found: those of the same networks with other weights.

    Raises
    ------
    UserError
        If there is no such method, or a network without a spatial layer.
    """

    def __init__(
        self,
        networks: Sequence[Classifier],
        shape: tuple[int, int, int],
        method: str = "grad-cam",
        least: int = LEAST,
        layers: Sequence[Layer] | None = None,
    ) -> None:
        if method not in METHODS:
            raise UserError(f"heat maps by '{method}'; use one of: {', '.join(METHODS)}")
        self._networks, self._cam = list(networks), METHODS[method]
        self._kept = threading.local()
        self._stack = ExitStack()
        for network in self._networks:
            self._stack.callback(network.train, network.training)
            network.eval()
            for parameter in network.parameters():
                if parameter.requires_grad:
                    self._stack.callback(parameter.requires_grad_, True)
                    parameter.requires_grad_(False)
        self._device = next(self._networks[0].parameters()).device
        try:
            self.layers = list(layers or (self.layer_of(network, *shape[1:], least) for network in self._networks))
        except BaseException:
            self._stack.close()
            raise
        for network, layer in zip(self._networks, self.layers):
            self._stack.enter_context(leaves(network.backbone.get_submodule(layer.name), self._keep))
        self.shape = (max(layer.grid[0] for layer in self.layers), max(layer.grid[1] for layer in self.layers))

    @staticmethod
    def layer_of(network: Classifier, height: int, width: int, least: int = LEAST) -> Layer:
        """Find the layer of a network, which may take other channels than the images have: `Classifier` turns them."""
        return find_layer(network.backbone, network.mean.shape[1], height, width, least)

    def _keep(self, leaf: Tensor) -> None:
        self._kept.leaf = leaf

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the networks as they were."""
        self._stack.close()

    def coarse(self, images: np.ndarray, classes: Sequence[int], metadata: np.ndarray | None = None) -> Coarse:
        """Compute the maps of some images in one forward pass for each training run.

        Parameters
        ----------
        images : float32 [N, C, H, W]
            As the networks take them, in [0, 1].
        classes : sequence of int [K]
            Positions of classes among the logits: a map shows what raises its logit.
        metadata
            As for `Maps.paired`.
        """
        scaled = self._scaled_maps(images, [_Of(int(k)) for k in classes], metadata)
        values = scaled.mean(0)
        runs = scaled.flatten(3).any(-1).sum(0)
        return Coarse(values.cpu().numpy(), agreement(scaled).cpu().numpy(), runs.cpu().numpy())

    def paired(self, images: np.ndarray, classes: np.ndarray, metadata: np.ndarray | None = None) -> np.ndarray:
        """See `Maps.paired`: on the finest grid of all networks."""
        of = _Of(torch.from_numpy(np.asarray(classes, np.int64)).to(self._device))
        scaled = self._scaled_maps(images, [of], metadata)
        return scaled[:, :, 0].cpu().numpy()

    def _scaled_maps(self, images: np.ndarray, asked: Sequence[_Of], metadata: np.ndarray | None) -> Tensor:
        inputs = inputs_of(images, metadata, self._device)
        return torch.stack([self._one(*each, inputs, asked) for each in zip(self._networks, self.layers)])

    def _one(self, network: nn.Module, layer: Layer, inputs: Sequence[Tensor], asked: Sequence[_Of]) -> Tensor:
        """Return maps from 0 to 1 of one training run, [N, K, h, w], on the finest grid of all."""
        with torch.enable_grad():
            logits = network(*inputs)
            leaf = self._kept.leaf
            del self._kept.leaf
            gradients = [torch.autograd.grad(of.total(logits), leaf, retain_graph=True)[0] for of in asked]
        output = layer.picture(leaf.detach()).float()
        maps = torch.stack([self._cam(output, layer.picture(each).float()) for each in gradients], 1)
        (y, x) = layer.margin
        return scaled_to_one(_resized(functional.pad(scaled_to_one(maps), (x, x, y, y)), self.shape))


def inputs_of(images: np.ndarray, metadata: np.ndarray | None, device: torch.device) -> list[Tensor]:
    """Return what networks take, on `device`: images [N, C, H, W], and metadata [N, I] where there are some."""
    arrays = [images] if metadata is None else [images, metadata]
    return [torch.from_numpy(np.ascontiguousarray(values)).to(device) for values in arrays]


def heat_maps(
    network: Classifier | Sequence[Classifier],
    images: np.ndarray,
    classes: Sequence[int],
    method: str = "grad-cam",
    least: int = LEAST,
) -> np.ndarray:
    """Compute heat maps.

    Parameters
    ----------
    network : Classifier or sequence of Classifier
        Training runs whose maps are averaged.
    images : float32 [N, C, H, W]
        As the network takes them, in [0, 1]. They are looked at `BATCH` at a time.
    classes : sequence of int [K]
        Positions of classes among the logits.
    method : {"grad-cam", "grad-cam++", "layercam"}
        See `pipeline.explaining.cams`.
    least : int
        Cells per side of a map, see `pipeline.explaining.layers.find_layer`.

    Returns
    -------
    float32 [N, K, H, W]
        From 0 to 1, on the scale that this module's docstring states.

    Raises
    ------
    UserError
        If there is no such method, or a network without a spatial layer.
    """
    networks = [network] if isinstance(network, Classifier) else network
    with Mapper(networks, tuple(images.shape[1:]), method, least) as mapper:
        maps = np.zeros((len(images), len(classes), *images.shape[2:]), np.float32)
        for place, some in in_batches(images):
            maps[place] = enlarge(mapper.coarse(some, classes).values, images.shape[2], images.shape[3])
    return maps


def enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring maps to the size of the image, and each to a largest value of 1 unless it is 0 all over.

    Parameters
    ----------
    values : float32 [N, K, h, w]
        Of `Coarse`.
    height, width : int
        Pixels of the image.

    Returns
    -------
    float32 [N, K, height, width]
        Interpolated linearly between the centres of the cells.
    """
    return scaled_to_one(_resized(torch.from_numpy(values), (height, width))).numpy()


def in_batches(images: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield `BATCH` images at a time, or of whatever there is one for each, after their places."""
    for start in range(0, len(images), BATCH):
        place = slice(start, start + BATCH)
        yield place, images[place]


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[2:]) == size:
        return maps
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def scaled_to_one(maps: Tensor) -> Tensor:
    """Divide each map of [..., ..., h, w] by its largest value; one that is 0 all over stays so."""
    largest = maps.amax((2, 3), keepdim=True)
    return torch.where(largest > 0, maps / torch.where(largest > 0, largest, 1), 0)


def paired_agreement(maps: np.ndarray) -> np.ndarray:
    """Return the mean correlation of pairs of the training runs' maps [S, N, h, w], float32 [N]; NaN without any."""
    return agreement(torch.from_numpy(maps[:, :, None]))[:, 0].numpy()


def agreement(maps: Tensor) -> Tensor:
    """Return the mean correlation of pairs of maps [M, N, K, h, w], float32 [N, K]; NaN where none of them varies."""
    flat = maps.flatten(3).double()
    flat = flat - flat.mean(-1, keepdim=True)
    length = flat.norm(dim=-1)
    # Constant but for rounding: its correlation would be noise.
    varies = length > 1e-6
    unit = flat / torch.where(varies, length, 1)[..., None]
    total, pairs = torch.zeros_like(length[0]), torch.zeros_like(length[0])
    for a, b in combinations(range(len(maps)), 2):
        both = varies[a] & varies[b]
        total += torch.where(both, (unit[a] * unit[b]).sum(-1), 0)
        pairs += both
    return torch.where(pairs > 0, total / pairs, torch.nan).float()
