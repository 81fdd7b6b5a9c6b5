"""Settings of torch that the bits of a result depend on, and compilation."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn


def set_arithmetic(threads: int, tf32: bool) -> None:
    """Set the CPU threads of torch, and whether float32 products on CUDA are computed in TF32 (19 bits).

    TF32 is set both ways, because torch's defaults are off for matrix products and on for convolutions.

    Parameters
    ----------
    threads : int
        At least 1. Sums are split by it, so that the last digits of a result depend on it.
    tf32 : bool
        Of matrix products and convolutions alike.
    """
    torch.set_num_threads(threads)
    # torch 2.9 began to replace these switches by `fp32_precision` and to warn of them. The old ones keep the new ones
    # in step; after the new ones alone, reading the old ones raises, and torch.compile reads them still (2.14).
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.backends.cuda.matmul.allow_tf32 = tf32
            torch.backends.cudnn.allow_tf32 = tf32
        except AttributeError:  # a torch that has the new ones alone
            torch.backends.cuda.matmul.fp32_precision = "tf32" if tf32 else "ieee"
            torch.backends.cudnn.conv.fp32_precision = "tf32" if tf32 else "ieee"


def compiled(model: nn.Module, wish: bool, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return what to call in place of `model` while it trains: itself, or its compilation on CUDA.

    The compilation shares the model's weights; state dicts are taken of the model, whose keys do not change. Each shape
    of batch is compiled for itself, so that the bits of a step do not depend on which batches came before it.
    """
    if not wish:
        return model
    if device.type != "cuda":
        print(f"train.compile: off on {device.type}, where compiling takes longer than it saves", flush=True)
        return model
    return torch.compile(model, dynamic=False)
