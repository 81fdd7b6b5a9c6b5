"""A model of the study: any timm architecture, or ``baseline_cnn``, with its input normalisation inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.params import Model


class ModelError(UserError):
    """A model of params.yaml cannot be built. The message names the key."""


class Classifier(nn.Module):
    """Normalise, then classify.

    Parameters
    ----------
    backbone : Module
        Takes normalised float images [N, C, H, W], gives logits [N, K].
    mean, std : Tensor, float32 [C]
        Of image values in [0, 1]; saved with the weights, so that a model file is complete.
    """

    def __init__(self, backbone: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1))
        self.register_buffer("std", std.reshape(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [N, K] of float images [N, C, H, W] in [0, 1]."""
        return self.backbone((images - self.mean) / self.std)


def build(name: str, settings: Model, channels: int, classes: int, size: int, images: np.ndarray | None) -> Classifier:
    """Build the model that ``models.<name>`` describes, with weights drawn from torch's global generator.

    Parameters
    ----------
    name : str
        Key under ``models``, for messages.
    settings : Model
        Its settings.
    channels, classes, size : int
        Of the data.
    images : uint8 array [N, H, W] or [N, H, W, 3], or None
        Training images whose mean and standard deviation normalise the input of a model that starts from scratch.
        None leaves the normalisation to the weights that are loaded next.

    Raises
    ------
    ModelError
        If timm knows no such architecture, refuses an option, or cannot fetch the pretrained weights.
    """
    if settings.arch == "baseline_cnn":
        backbone, mean, std = _baseline(name, settings, channels, classes, size), None, None
    else:
        backbone, mean, std = _timm(name, settings, channels, classes)
    if mean is None:
        mean, std = (np.zeros(channels), np.ones(channels)) if images is None else moments(images)
    return Classifier(backbone, torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32))


def _baseline(name: str, settings: Model, channels: int, classes: int, size: int) -> nn.Module:
    from pipeline.learning.baseline_cnn import BaselineCNN

    if settings.pretrained:
        raise ModelError(f"models.{name}.pretrained: true is not allowed for baseline_cnn; allowed: false")
    try:
        return BaselineCNN(channels, classes, **settings.options).build_for(channels, size)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"models.{name}.options: {settings.options}: {error}") from None


def _timm(
    name: str, settings: Model, channels: int, classes: int
) -> tuple[nn.Module, np.ndarray | None, np.ndarray | None]:
    import timm

    if not timm.is_model(settings.arch):
        close = ", ".join(timm.list_models(f"*{settings.arch.split('_')[0][:8]}*")[:8]) or "see timm.list_models()"
        raise ModelError(
            f"models.{name}.arch: '{settings.arch}' is not a timm model; allowed: baseline_cnn, or for example {close}"
        )
    try:
        model = timm.create_model(
            settings.arch,
            pretrained=settings.pretrained,
            in_chans=channels,
            num_classes=classes,
            **_as_tuples(settings.options),
        )
    except (TypeError, AssertionError, ValueError) as error:
        raise ModelError(f"models.{name}.options: {settings.options}: {error}") from None
    except Exception as error:
        if not settings.pretrained:
            raise
        hub = timm.get_pretrained_cfg(settings.arch)
        raise ModelError(
            f"models.{name}.pretrained: the weights of {settings.arch} ({hub.hf_hub_id or hub.url}) could not be "
            f"fetched: {type(error).__name__}: {error}; go where there is a network once, or set pretrained: false"
        ) from None
    if not settings.pretrained:
        return model, None, None
    mean, std = np.array(model.pretrained_cfg["mean"]), np.array(model.pretrained_cfg["std"])
    return (model, mean, std) if channels == 3 else (model, mean.mean(keepdims=True), std.mean(keepdims=True))


def _as_tuples(options: dict[str, Any]) -> dict[str, Any]:
    """Turn YAML's lists into tuples, which timm's constructors expect."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}


def moments(images: np.ndarray, most: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation a channel, of values scaled to [0, 1].

    Parameters
    ----------
    images : uint8 array [N, H, W] or [N, H, W, C]
        Training images alone.
    most : int
        At most so many, evenly spaced, are looked at.

    Returns
    -------
    mean, std : float64 [C]
        The standard deviation is at least 1/255, so that constant images do not divide by zero.
    """
    chosen = images[:: max(1, len(images) // most)]
    chosen = chosen.reshape(*chosen.shape[:3], -1)
    # A histogram of the 256 values is exact and needs no float copy of the images.
    counts = np.stack([np.bincount(chosen[..., c].ravel(), minlength=256) for c in range(chosen.shape[-1])])
    values = np.arange(256) / 255
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ values
    return mean, np.maximum(np.sqrt(np.maximum(share @ values**2 - mean**2, 0)), 1 / 255)


def save(path: Path, state: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights as safetensors, with `about` (JSON-compatible) in the file's header."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().to("cpu").contiguous() for k, v in state.items()}
    save_file(state, path, metadata={"medmatrix": json.dumps(about, sort_keys=True)})


def load_weights(model: Classifier, path: Path) -> Classifier:
    """Load what `save` wrote into a model of the same build, every key; returns it."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(path), strict=True)
    return model
