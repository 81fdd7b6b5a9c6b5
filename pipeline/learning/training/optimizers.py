"""Optimizers, and which parameters they move at which rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer

from pipeline.learning.settings import Train


class _Uncompiled(Optimizer):
    """An optimizer that is not compiled: torch's imports the compiler at a first call, to leave itself out of it."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)


class _AdamW(_Uncompiled, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class _SGD(_Uncompiled, torch.optim.SGD):
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


def create(model: nn.Module, lr: float, head_lr: float | None, settings: Train) -> Optimizer:
    """Build the optimizer that ``train.optimizer`` names.

    ===== ==========================================================================================================
    adamw Loshchilov & Hutter, ICLR 2019, arXiv 1711.05101; torch's betas and eps; fused: one pass per tensor.
    sgd   With Nesterov's momentum (Sutskever et al., ICML 2013), without any where ``train.momentum`` is 0; weight
          decay is added to the gradient.
    ===== ==========================================================================================================

    Parameters
    ----------
    model : Module
        Parameters that need no gradient are left out; biases, norms and other vectors are not decayed.
    lr : float
        Highest rate of the body; with ``train.layer_decay`` d, of its layers lr, lr d, lr d^2, ... from the head down.
    head_lr : float or None
        Highest rate of `model.head_parameters()`; None = `lr`.
    settings : Train
        optimizer, momentum, weight_decay, layer_decay.

    Returns
    -------
    Optimizer
        Every group has `lr`; those of a head with a rate of its own have `lr_scale` = head_lr / lr beside it, and stand
        last. Groups of layers have theirs, the highest first.

    References
    ----------
    Layer-wise decay: Howard & Ruder, ACL 2018, arXiv 1801.06146 (discriminative fine-tuning); of images: Bao et al.,
    BEiT, ICLR 2022, arXiv 2106.08254, whose layers timm has for every architecture.
    """
    from pipeline.learning.training.libraries import optim

    if settings.layer_decay is None:
        groups = optim.param_groups_weight_decay(model, settings.weight_decay)
    else:
        groups = _by_layer(model, settings.weight_decay, settings.layer_decay)
    if head_lr is not None:
        head_parameters = cast("Callable[[], Iterable[nn.Parameter]]", model.head_parameters)
        groups = _with_head_apart(groups, {id(p) for p in head_parameters()}, head_lr / lr)
    if settings.optimizer == "sgd":
        return _SGD(groups, lr=lr, momentum=settings.momentum, nesterov=settings.momentum > 0)
    devices = {p.device.type for p in model.parameters()}
    return _AdamW(groups, lr=lr, fused=True if devices in ({"cpu"}, {"cuda"}) else None)


def _by_layer(model: nn.Module, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Group parameters by timm's layers of the network, each with its share of the rate, the highest first."""
    from pipeline.learning.training.libraries import optim

    network, late = getattr(model, "backbone", model), getattr(model, "late", None)
    head = cast(str, getattr(model, "head", ""))
    if late is not None:  # for the while: timm numbers the layers from the head
        network.set_submodule(head, late.head)
    groups: list[dict[str, Any]] = optim.param_groups_layer_decay(network, weight_decay, layer_decay=layer_decay)
    if late is not None:
        network.set_submodule(head, nn.Identity())
        for group in optim.param_groups_weight_decay(late.embedding, weight_decay):
            groups.append({**group, "lr_scale": 1.0})
    output = getattr(model, "output", None)
    if output is not None and (after := list(output.parameters())):
        groups.append({"params": after, "weight_decay": 0.0, "lr_scale": 1.0})
    return sorted(groups, key=lambda group: -group["lr_scale"])


def _with_head_apart(groups: list[dict[str, Any]], head: set[int], scale: float) -> list[dict[str, Any]]:
    """Split each group into what is not in `head` (ids of parameters) and what is; groups without any are left out."""
    body = [{**g, "params": [p for p in g["params"] if id(p) not in head]} for g in groups]
    apart = [{**g, "params": [p for p in g["params"] if id(p) in head], "lr_scale": scale} for g in groups]
    return [g for g in (*body, *apart) if g["params"]]
