"""Heads of our own: what makes logits of features, in the place of the linear layer that ends a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.learning.metadata import Scheme
from pipeline.learning.weights import ModelError

WIDTH = 16
"""Numbers that metadata become, beside the hundreds of an image's features."""


class CosineHead(nn.Module):
    """Cosines between features and one direction per class, in [-1, 1] (Cao et al. 2019, arXiv 1906.07413, for LDAM).

    Parameters
    ----------
    features, classes : int
        Length of a feature vector, and number of logits.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(classes, features)))

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits [N, classes] of features [N, features]."""
        return functional.linear(functional.normalize(features), functional.normalize(self.weight))


class LateFusion(nn.Module):
    """Embed metadata (one linear layer and ReLU), put that beside the image's features, and hand both to the head.

    Parameters
    ----------
    key : str
        Of params.yaml, for messages.
    head : Module
        The head of the network without metadata; its first linear layer takes `WIDTH` inputs more. Their weights and
        those of the embedding are new; all others stay, so that the same seed gives the image the same first weights
        with metadata and without.
    scheme : Scheme
        What metadata are.
    at_zero : bool
        Whether the head begins with zeros, see `pipeline.learning.networks.models.build`.

    Attributes
    ----------
    scheme : Scheme
        As given.

    Raises
    ------
    ModelError
        If the head has no linear layer to begin with.

    Notes
    -----
    While training, known values are hidden at random, `Column.hidden`: so the answer for an image without a value is
    trained, too.
    """

    unknown: Tensor
    groups: Tensor
    hidden: Tensor

    def __init__(self, key: str, head: nn.Module, scheme: Scheme, at_zero: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(len(scheme.inputs), WIDTH), nn.ReLU())
        self.head = _widened(key, head, at_zero)
        self.scheme = scheme
        groups, start = torch.zeros(len(scheme.columns), len(scheme.inputs)), 0
        for i, column in enumerate(scheme.columns):
            groups[i, start : start + len(column.inputs)] = 1
            start += len(column.inputs)
        hidden = [column.hidden for column in scheme.columns]
        self._hides = any(hidden)
        unknown = torch.from_numpy(scheme.unknown(1))
        for name, values in (("groups", groups), ("unknown", unknown), ("hidden", torch.tensor(hidden))):
            self.register_buffer(name, values, persistent=False)  # the scheme says them, which is saved beside

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        """Compute logits [N, K] of features [N, F] and metadata [N, I], encoded by the scheme."""
        if self.training and self._hides:
            drawn = torch.rand(len(metadata), len(self.hidden), device=metadata.device) < self.hidden
            metadata = torch.where((drawn.float() @ self.groups) > 0, self.unknown, metadata)
        return self.head(torch.cat([features, self.embedding(metadata)], 1))


def check_widened(key: str, head: nn.Module) -> None:
    """Refuse a head that cannot take metadata; it is changed.

    Raises
    ------
    ModelError
        See `LateFusion`.
    """
    _widened(key, head, at_zero=False)


def _widened(key: str, head: nn.Module, at_zero: bool) -> nn.Module:
    """Give the first linear layer of a head `WIDTH` inputs more, whose weights begin as torch lets them begin."""
    for name, layer in head.named_modules():
        wide: nn.Linear | CosineHead
        if isinstance(layer, nn.Linear):
            features, bias = layer.in_features, layer.bias
            wide = nn.Linear(features + WIDTH, layer.out_features, bias=bias is not None)
        elif isinstance(layer, CosineHead):
            features, bias = layer.weight.shape[1], None
            wide = CosineHead(features + WIDTH, len(layer.weight))
        else:
            continue
        with torch.no_grad():
            if at_zero:
                nn.init.zeros_(wide.weight)
            wide.weight[:, :features] = layer.weight
            if isinstance(wide, nn.Linear) and bias is not None:
                wide.bias.copy_(bias)
        if not name:
            return wide
        head.set_submodule(name, wide)
        return head
    raise ModelError(f"{key}.metadata: the network ends in {type(head).__name__}; use one that ends in a linear layer")
