"""Logits of trained models."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.learning.loader import ResidentImages


def choose_device(wish: str) -> torch.device:
    """Turn "auto", "cpu" or "cuda" into a device; "auto" is CUDA where there is one."""
    return torch.device("cuda" if wish == "auto" and torch.cuda.is_available() else "cpu" if wish == "auto" else wish)


def choose_precision(wish: str, device: torch.device) -> str:
    """Turn "auto" into bfloat16 on CUDA, float32 elsewhere: on a CPU it slows depthwise networks down."""
    return ("bfloat16" if device.type == "cuda" else "float32") if wish == "auto" else wish


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a model is called."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@torch.inference_mode()
def predict(model: nn.Module, data: ResidentImages, batch_size: int, precision: str) -> Tensor:
    """Compute the logits of every image, in order.

    Parameters
    ----------
    model : Module
        Is left in evaluation mode.
    data : ResidentImages
        N images, on the model's device.
    batch_size : int
        Images a call; changes the last digits only.
    precision : {"float32", "bfloat16"}
        Of the model's arithmetic.

    Returns
    -------
    Tensor, float32 [N, K]
        On the data's device.
    """
    model.eval()
    order = torch.arange(len(data))
    with autocast(data.device, precision):
        return torch.cat([model(images).float() for images, _ in data.batches(order, batch_size)])
