"""The layer that heat maps are computed at: the last one whose output is still a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.study.errors import UserError

LEAST = 4
"""Cells per side of a map. With fewer it says which quarter of the image at best: an earlier layer is taken."""

_MORE = 256
"""Pixels by which an image is larger that shows how far apart cells are: a multiple of every stride."""


@dataclass(frozen=True)
class Layer:
    """A module of a backbone, and how its output is laid out.

    Parameters
    ----------
    name : str
        As in ``named_modules``.
    layout : {"channels first", "channels last", "tokens"}
        [N, C, h, w], [N, h, w, C] or [N, prefix + h * w, C].
    height, width : int
        Cells of the output, for the image it was found with.
    prefix : int
        Tokens before those of the image: class token, registers.
    margin : (int, int)
        Cells that are missing above and below, and left and right, before the output covers the image: convolutions
        without padding, as in ``baseline_cnn`` and in the stems of Inception networks, leave the border out.
    """

    name: str
    layout: str
    height: int
    width: int
    prefix: int = 0
    margin: tuple[int, int] = (0, 0)

    @property
    def cells(self) -> int:
        """Number of cells of the output."""
        return self.height * self.width

    @property
    def grid(self) -> tuple[int, int]:
        """Cells with the margin: they cover the image."""
        return self.height + 2 * self.margin[0], self.width + 2 * self.margin[1]

    def picture(self, output: Tensor) -> Tensor:
        """Lay an output, or its gradient, out as [N, C, h, w]."""
        if self.layout == "channels last":
            return output.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            places = output[:, self.prefix :].transpose(1, 2)
            return places.reshape(*places.shape[:2], self.height, self.width)
        return output


@contextmanager
def leaves(module: nn.Module, keep: Any) -> Iterator[None]:
    """Cut the graph at the output of `module`: gradients start there.

    Parameters
    ----------
    module : Module
        Of a network.
    keep : callable
        Is called with the output, a leaf that requires a gradient, in each forward pass.
    """

    def cut(_: nn.Module, inputs: Any, output: Any) -> Tensor:
        leaf = output.detach().requires_grad_()
        keep(leaf)
        return leaf.clone()  # what follows may work in place, which a leaf forbids

    handle = module.register_forward_hook(cut)
    try:
        yield
    finally:
        handle.remove()


def find_layer(backbone: nn.Module, channels: int, height: int, width: int, least: int = LEAST) -> Layer:
    """Find the last layer whose output is spatial, has enough cells, and on whose places the logits depend.

    Of timm's networks these are, last first: what ``forward_features`` returns, and in the order in which they are done
    the modules that ``feature_info`` names and the norms of tokens. Of a transformer that classifies by its class token
    the other tokens of the last block no longer matter; there it is the norm before the attention that reads them last.
    Any other network: its last module with a spatial output.

    Parameters
    ----------
    backbone : Module
        In evaluation mode; its parameters need no gradients.
    channels, height, width : int
        Of the images.
    least : int
        Cells per side. Where no layer has as many, it is the one with the most.

    Raises
    ------
    UserError
        If no layer's output is spatial.
    """
    device = next(backbone.parameters()).device
    example = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0)).to(device)
    # Gradients may be 0 all over for a network that has collapsed: then the layer is chosen by its shape alone. Where
    # the logits depend on the class token of a layer and on no place, there is nothing to show.
    alive: list[Layer] = []
    silent: list[Layer] = []
    for layer in _candidates(backbone, example):
        if layer.cells <= max([1, *(other.cells for other in alive)]):
            continue
        places, anything = _matters(backbone, layer, example)
        if places or not anything:
            (alive if places else silent).append(layer)
        if alive and min(alive[-1].height, alive[-1].width) >= least:
            break
    found = alive or silent
    if not found:
        raise UserError(
            f"{type(backbone).__name__}: no layer's output is a picture, so there is no heat map of it but by occlusion"
        )
    enough = [layer for layer in found if min(layer.height, layer.width) >= least]
    chosen = enough[0] if enough else max(found, key=lambda layer: layer.cells)
    return replace(chosen, margin=_margin(backbone, chosen, example))


def _margin(backbone: nn.Module, layer: Layer, example: Tensor) -> tuple[int, int]:
    """Find how many cells are missing on each side, from how many more there are of a larger image.

    Stretched over the image, cells that see its middle alone would stand too far out. Where padding is complete the
    output covers the image, and cells are where every package puts them.
    """
    if layer.layout == "tokens":
        return 0, 0
    sides = tuple(example.shape[2:])
    larger = functional.pad(example, (0, _MORE, 0, _MORE))
    kept: list[Tensor] = []
    # What follows the layer may be made for one size of images.
    expected = suppress(RuntimeError, AssertionError, ValueError)
    with torch.no_grad(), leaves(backbone.get_submodule(layer.name), kept.append), expected:
        backbone(larger)
    if not kept:
        return 0, 0
    cells = layer.picture(kept[-1]).shape[2:]
    margins = []
    for side, few, many in zip(sides, (layer.height, layer.width), cells):
        stride = _MORE / max(1, many - few)
        margins.append(max(0, round((side / stride - few) / 2)) if many > few else 0)
    return margins[0], margins[1]


def _candidates(backbone: nn.Module, example: Tensor) -> Iterator[Layer]:
    outputs, last = _outputs(backbone, example)
    if not hasattr(backbone, "forward_features"):  # not one of timm's
        named = [(name, output.shape[1]) for name, output in outputs.items() if output.ndim == 4][::-1]
    else:
        # Some modules only hand it on; of those that make it, the last without children has its final value.
        same = [name for name, output in outputs.items() if output is last]
        makers = [name for name in same if not isinstance(backbone.get_submodule(name), nn.Identity | nn.Dropout)]
        smallest = [name for name in makers if not any(True for _ in backbone.get_submodule(name).children())]
        named = [(name, cast(int, backbone.num_features)) for name in (smallest[-1:] or makers[:1] or same[:1])]
        inner = {about["module"]: about["num_chs"] for about in getattr(backbone, "feature_info", None) or []}
        inner |= {name: output.shape[2] for name, output in outputs.items() if _norms_tokens(backbone, name, output)}
        if not hasattr(
            backbone, "reroll"
        ):  # Hiera keeps tokens of a window together, and puts them in order at its end
            named += [(name, inner[name]) for name in reversed(outputs) if name in inner]
    prefixes = dict.fromkeys((int(getattr(backbone, "num_prefix_tokens", 0)), 0))
    for name, count in named:
        # CoaT, PiT and VOLO do not say that they have one token or two in front. Behind the last norm they are read.
        unsaid = () if outputs[name] is last else (1, 2)
        if layer := _layer(backbone, name, outputs[name], count, dict.fromkeys((*prefixes, *unsaid))):
            yield layer


def _norms_tokens(backbone: nn.Module, name: str, output: Tensor) -> bool:
    """Whether a module normalises the tokens of an image: not those of a window, as TinyViT does in its attention."""
    kind, inside = type(backbone.get_submodule(name)).__name__.lower(), name.split(".")[:-1]
    known = "layernorm" in kind or "rmsnorm" in kind
    return known and output.ndim == 3 and output.shape[0] == 1 and not any(part.startswith("attn") for part in inside)


def _outputs(backbone: nn.Module, example: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return the outputs of all modules, in the order in which they are done, and that of ``forward_features``."""
    outputs: dict[str, Tensor] = {}

    def listen(name: str) -> Any:
        def note(_: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs.pop(name, None)  # a module that is called twice stands where it is called last
                outputs[name] = output

        return note

    handles = [module.register_forward_hook(listen(name)) for name, module in backbone.named_modules() if name]
    try:
        with torch.no_grad():
            features = getattr(backbone, "forward_features", None)
            last = backbone(example) if features is None else cast(Any, features)(example)
    finally:
        for handle in handles:
            handle.remove()
    return outputs, last if features is not None and isinstance(last, Tensor) else None


def _layer(backbone: nn.Module, name: str, output: Tensor, channels: int, prefixes: Iterable[int]) -> Layer | None:
    """Recognise how an output with so many channels is laid out; None if it is no picture."""
    shape = tuple(output.shape)
    if output.ndim == 4:
        last = shape[3] == channels and (shape[1] != channels or getattr(backbone, "output_fmt", "") == "NHWC")
        if last:
            return Layer(name, "channels last", shape[1], shape[2])
        return Layer(name, "channels first", shape[2], shape[3])
    if output.ndim != 3 or shape[2] != channels:
        return None
    grid = getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
    for prefix in prefixes:  # CaiT and XCiT put the class token in front behind their blocks, not before
        side = math.isqrt(max(0, shape[1] - prefix))
        for height, width in ([grid] if grid else []) + [(side, side)]:
            if prefix + height * width == shape[1]:
                return Layer(name, "tokens", height, width, prefix)
    return None


def _matters(backbone: nn.Module, layer: Layer, example: Tensor) -> tuple[bool, bool]:
    """Whether the logits depend on the places of a layer's output, and on any part of it."""
    kept: list[Tensor] = []
    with torch.enable_grad(), leaves(backbone.get_submodule(layer.name), kept.append):
        logits = backbone(example)
        (gradient,) = torch.autograd.grad(logits.square().sum(), kept[-1:], allow_unused=True)
    return gradient is not None and bool(layer.picture(gradient).any()), gradient is not None and bool(gradient.any())
