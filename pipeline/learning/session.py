"""What holds while a stage uses torch: threads, TF32, cuBLAS workspace, determinism, device and precision.

One place for stages train, evaluate and fuse alike, so that none of them works under what another, or torch, has left.
Import this module before torch is used: cuBLAS reads its workspace when it starts.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before torch: without it cuBLAS does not repeat itself

import torch
import torch.utils.deterministic
from torch import Tensor, nn

from pipeline.study.errors import UserError
from pipeline.study.memory import keep_memory

SHAPES = 64
"""Shapes of batches that are compiled, each for itself; beyond torch's 8 it would go on uncompiled, without a word."""


def begin(threads: int, tf32: bool, device: str = "auto") -> torch.device:
    """Set everything that the bits of a result depend on, and return the device to work on.

    Parameters
    ----------
    threads, tf32
        As for `set_arithmetic`.
    device : {"auto", "cpu", "cuda"}
        See `choose_device`.
    """
    set_arithmetic(threads, tf32)
    # Not `use_deterministic_algorithms`: it imports the compiler, to tell it so; `compiled` does, where it is used.
    torch.set_deterministic_debug_mode("warn")
    # With it torch also writes into all memory that it takes, in case that somebody reads what nobody has written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property
    keep_memory()
    return choose_device(device)


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
            precision = "tf32" if tf32 else "ieee"
            torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]  # torch sets it up unseen


def choose_device(wish: str, asked_by: str | None = None) -> torch.device:
    """Turn "auto", "cpu" or "cuda" into a device; "auto" is CUDA where there is one.

    Parameters
    ----------
    wish : {"auto", "cpu", "cuda"}
        What is asked for.
    asked_by : str, optional
        The option of a command that asks, for the message; the key of params.yaml if not given.

    Raises
    ------
    UserError
        If there is no CUDA device and one is asked for.
    """
    if wish == "cuda" and not torch.cuda.is_available():
        if asked_by is not None:
            raise UserError(f"{asked_by}: '{wish}', and torch sees no CUDA device here; must be cpu")
        raise UserError(
            "params.yaml:\ntrain.device: 'cuda', and torch sees no CUDA device here; must be cpu, or auto, which takes "
            "one where there is one"
        )
    return torch.device("cuda" if wish == "auto" and torch.cuda.is_available() else "cpu" if wish == "auto" else wish)


def choose_precision(wish: str, device: torch.device) -> str:
    """Turn "auto" into bfloat16 on CUDA, float32 elsewhere: on a CPU it slows depthwise networks down."""
    return ("bfloat16" if device.type == "cuda" else "float32") if wish == "auto" else wish


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a model is called."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def compiled(model: nn.Module, wish: bool, device: torch.device) -> Callable[..., Tensor]:
    """Return what to call in place of `model` while it trains: itself, or its compilation on CUDA.

    The compilation shares the model's weights; state dicts are taken of the model, whose keys do not change. Each shape
    of batch is compiled for itself, so that the bits of a step do not depend on which batches came before it.
    """
    if not wish:
        return model
    if device.type != "cuda":
        print(f"train.compile: off on {device.type}, where compiling takes longer than it saves", flush=True)
        return model
    torch._dynamo.config.recompile_limit = SHAPES
    _compile_deterministically()
    return torch.compile(model, dynamic=False)


def _compile_deterministically() -> None:
    """Have the compiler choose nothing by timing: kernels that differ from run to run round differently."""
    import torch._inductor.config

    torch._inductor.config.deterministic = True
