"""The plain convolutional network that teaching notebooks start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class BaselineCNN(nn.Module):
    """3x3 convolutions with ReLU and 2x2 max-pooling, flattened, one hidden layer with dropout, a linear head.

    Parameters
    ----------
    in_chans, num_classes : int
        Channels of the images and logits of the head.
    filters : sequence of int
        Filters of each convolution; the defaults here and below are those of a COVID-19 radiography notebook.
    hidden : int
        Units of the hidden layer.
    drop_rate : float
        Dropout before the head.
    batch_norm : bool
        Batch normalisation after each convolution, which the notebook's network lacks.

    Notes
    -----
    The hidden layer's size follows from the first image it sees, so that one name fits every image size.
    """

    def __init__(
        self,
        in_chans: int = 1,
        num_classes: int = 3,
        filters: Sequence[int] = (32, 64),
        hidden: int = 128,
        drop_rate: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.layers = len(filters)
        layers: list[nn.Module] = []
        for before, after in zip([in_chans, *filters], filters):
            norm = [nn.BatchNorm2d(after)] if batch_norm else []
            layers += [nn.Conv2d(before, after, 3, bias=not batch_norm), *norm, nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.LazyLinear(hidden)
        self.classifier = nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(drop_rate), nn.Linear(hidden, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [N, num_classes] of float images [N, in_chans, H, W]."""
        return self.classifier(self.hidden(self.features(images)))

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return what numbers the layers, by the names of their parameters, as timm's networks do."""
        per_layer = len(self.features) // self.layers

        def layer(name: str) -> int:
            part, _, rest = name.partition(".")
            return int(rest.partition(".")[0]) // per_layer if part == "features" else self.layers + (part != "hidden")

        return layer

    def build_for(self, channels: int, size: int) -> BaselineCNN:
        """Give the hidden layer its size, for images [channels, size, size]; returns self."""
        with torch.no_grad():
            self.eval()(torch.zeros(1, channels, size, size))
        return self.train()
