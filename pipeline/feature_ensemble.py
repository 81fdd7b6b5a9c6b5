"""An ensemble at the level of the models: one new linear head on the features of several trained networks.

The networks are frozen and in evaluation mode, so that an image's features never change: they are computed once, kept
in memory, and the head is trained on them by the study's own loop. That is also why nothing is augmented here: a
changed image would need its features computed anew, in every epoch and by every network.

Model-level ensembles of this kind: Rajaraman, Zamzmi, Antani, PLoS ONE 16(12):e0261307, arXiv 2109.14433, who choose
their members on the test part; here members are chosen and the head is stopped on the validation part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.losses import Loss
from pipeline.learning.networks.inference import predict
from pipeline.learning.networks.models import Classifier
from pipeline.learning.session import autocast
from pipeline.learning.settings import Augment, Train
from pipeline.learning.training.checkpoints import Checkpoint
from pipeline.learning.training.loop import FittedModel, derive, fit


class ResidentFeatures:
    """Features of one part in memory, in the place of `ResidentImages` for the training loop.

    Parameters
    ----------
    features : Tensor, float32 [n, F]
        On the device that trains.
    targets : Tensor, uint8 [n, K]
        On the same device.

    Attributes
    ----------
    images : Tensor, float32 [n, F, 1, 1]
        The features, as the loop knows images.
    targets : Tensor
        As given.
    """

    residency = "device"

    def __init__(self, features: Tensor, targets: Tensor) -> None:
        self.images, self.targets = features[:, :, None, None], targets

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.images.device

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, F, 1, 1)."""
        return tuple(self.images.shape)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features at `index` as float32 [B, F, 1, 1], and targets, float32 [B, K]."""
        index = index.to(self.device)
        return self.images.index_select(0, index), self.targets.index_select(0, index).float()

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `take` of consecutive pieces of `order`; the last may be smaller."""
        for start in range(0, len(order), size):
            yield self.take(order[start : start + size])


class FeatureHead(nn.Module):
    """Standardise features, then one linear layer.

    Parameters
    ----------
    mean, std : Tensor, float32 [F]
        Of the training part's features, so that networks of different scales have the same say; a feature that does
        not vary is 0. Saved with the weights.
    classes : int
        Logits.
    """

    def __init__(self, mean: Tensor, std: Tensor, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", torch.where(std > 1e-6, 1 / std.clamp(min=1e-6), 0.0))
        self.linear = nn.Linear(len(mean), classes)
        nn.init.zeros_(self.linear.weight)  # the loss is convex in the head: no start is better than another
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits [N, classes] of features [N, F, 1, 1]."""
        return self.linear((features.flatten(1) - self.mean) * self.scale)

    def head_parameters(self) -> list[nn.Parameter]:
        """List all trained parameters."""
        return list(self.linear.parameters())


@torch.inference_mode()
def features(model: Classifier, data: ResidentImages, batch_size: int, precision: str = "float32") -> Tensor:
    """Compute what goes into the head of `model` for every image, in order.

    Parameters
    ----------
    model : Classifier
        Is left in evaluation mode.
    data : ResidentImages
        N images, on the model's device.
    batch_size : int
        Images a call.
    precision : {"float32", "bfloat16"}
        Of the model's arithmetic.

    Returns
    -------
    Tensor, float32 [N, F]
        The input of the layer that makes the logits: the module that `Classifier.head` names, or the last one of it
        where it is a sequence. A map [N, F, H, W] is averaged over its places.
    """
    layer = model.backbone.get_submodule(model.head)
    while isinstance(layer, nn.Sequential):
        layer = layer[-1]
    caught: list[Tensor] = []

    def catch(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        value = given[0].float()
        caught.append(value.mean((2, 3)) if value.ndim == 4 else value.flatten(1))

    device = next(model.parameters()).device
    hook = layer.register_forward_pre_hook(catch)
    model.eval()
    try:
        with autocast(device, precision):
            for images, _ in data.batches(torch.arange(len(data)), batch_size):
                model(images)
    finally:
        hook.remove()
    return torch.cat(caught)


def concatenate(
    members: Sequence[Callable[[], Classifier]], parts: Mapping[str, ResidentImages], batch_size: int
) -> dict[str, ResidentFeatures]:
    """Put the features of all members side by side, for each part.

    Parameters
    ----------
    members : sequence of callable
        Each returns a trained network on the device of the data: one is in memory at a time.
    parts : mapping of str to ResidentImages
        By name.
    batch_size : int
        Images a call.

    Returns
    -------
    dict of str to ResidentFeatures
        F is the sum of the members' features.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in parts}
    for member in members:
        model = member()
        for name, data in parts.items():
            found[name].append(features(model, data, batch_size))
    return {name: ResidentFeatures(torch.cat(found[name], dim=1), data.targets) for name, data in parts.items()}


def fit_head(
    parts: Mapping[str, ResidentFeatures],
    copies: np.ndarray,
    loss: Loss,
    *,
    lr: float,
    settings: Train,
    seed: int,
    checkpoint: Checkpoint,
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> tuple[FeatureHead, FittedModel]:
    """Train a head on the training part's features, its epoch chosen on the validation part.

    Parameters
    ----------
    parts : mapping of str to ResidentFeatures
        "train" and "val"; others are not looked at.
    copies : int64 [n]
        Draws of each training image an epoch.
    loss : Loss
        What is minimised.
    lr, settings, seed, checkpoint, report
        As for `loop.fit`; ``settings.augment`` and ``settings.compile`` are off whatever they say.

    Returns
    -------
    head : FeatureHead
        With the weights of the best epoch, in evaluation mode.
    fitted : FittedModel
        What the loop returned.
    """
    train, val = parts["train"], parts["val"]
    drawn = torch.from_numpy(np.flatnonzero(copies)).to(train.device)
    known = train.images.index_select(0, drawn).flatten(1).double()
    torch.manual_seed(derive(seed, 0))
    head = FeatureHead(known.mean(0).float(), known.std(0, correction=0).float(), train.targets.shape[1])
    head = head.to(train.device)
    settings = settings.model_copy(update={"augment": Augment(horizontal_flip=0.0), "compile": False})
    fitted = fit(
        head, loss, train, copies, val, lr=lr, settings=settings, seed=seed, checkpoint=checkpoint, report=report
    )
    head.load_state_dict(fitted.state)
    return head.eval(), fitted


def head_logits(head: FeatureHead, data: ResidentFeatures, batch_size: int) -> np.ndarray:
    """Compute the logits of every image, float32 [N, K], in order."""
    return predict(head, data, batch_size, "float32").cpu().numpy()
