"""Numbers that a step takes to the device, without waiting for what the device is at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def constant(values: float | Sequence[float], like: Tensor) -> Tensor:
    """Return a tensor of `values`, of the type and on the device of `like`.

    ``like.new_tensor(values)`` is the same, and has the processor wait at each call until a CUDA device has done all
    that it was asked to do: no step would be prepared while another is computed.
    """
    import torch

    return torch.tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)
