"""The network of a model, by its settings, with the head that it is to have."""

from __future__ import annotations

import difflib
import inspect
from typing import Any, cast

from torch import nn

from pipeline.learning.networks import segmentation
from pipeline.learning.networks.baseline_cnn import BaselineCNN
from pipeline.learning.networks.heads import CosineHead
from pipeline.learning.networks.origin import hub_address, hub_key, without_retries
from pipeline.learning.settings import Model
from pipeline.learning.weights import ModelError


def description(network: nn.Module) -> dict[str, Any]:
    """Return timm's own description of a network that it built: classifier, first_conv, mean, std and more."""
    return cast("dict[str, Any]", network.pretrained_cfg)  # torch types every attribute of a module as a tensor


def architecture(key: str, settings: Model, channels: int, classes: int, size: int) -> tuple[nn.Module, str]:
    """Build the network with the architecture's own head; return it and the head's name."""
    options, baseline = dict(settings.options), settings.arch == "baseline_cnn"
    if settings.gives_masks:
        return segmentation.build_network(key, settings, channels, classes), segmentation.HEAD
    if settings.dropout is not None and (baseline or settings.hidden is None):  # else it follows the hidden layer
        _add_option(key, "dropout", options, "drop_rate", settings.dropout)
    if settings.drop_path:
        if baseline:
            raise ModelError(f"{key}.drop_path: {settings.drop_path:g}; baseline_cnn has no layers to leave out")
        _add_option(key, "drop_path", options, "drop_path_rate", settings.drop_path)
    if settings.hidden is not None and baseline:
        _add_option(key, "hidden", options, "hidden", settings.hidden)
    if baseline:
        return _baseline(key, settings, options, channels, classes, size)
    return _timm(key, settings, options, channels, classes)


def _add_option(key: str, name: str, options: dict[str, Any], option: str, value: float) -> None:
    if option in options:
        raise ModelError(f"{key}.{name} = {value} and {key}.options.{option} = {options[option]}; set one of them")
    options[option] = value


def _baseline(
    key: str, settings: Model, options: dict[str, Any], channels: int, classes: int, size: int
) -> tuple[nn.Module, str]:
    if settings.pretrained:
        raise ModelError(f"{key}.pretrained: must be false for baseline_cnn, not true")
    allowed = [name for name in inspect.signature(BaselineCNN).parameters if name not in ("in_chans", "num_classes")]
    for name in options:
        if name not in allowed:
            raise ModelError(f"{key}.options.{name}: unknown key; use one of: {', '.join(allowed)}")
    filters = options.get("filters", [1])
    if not (isinstance(filters, list | tuple) and filters and all(isinstance(n, int) and n > 0 for n in filters)):
        raise ModelError(f"{key}.options.filters: {filters}; must be a list of numbers, each at least 1")
    side, most = size, 0
    while side >= 4:  # a convolution takes two pixels, pooling half of the rest, of which one must stay
        side, most = (side - 2) // 2, most + 1
    if len(filters) > most:
        raise ModelError(
            f"{key}.options.filters: {len(filters)} layers, for images of {size} px (preprocess.size); must be at most "
            f"{most}"
        )
    try:
        return BaselineCNN(channels, classes, **options).build_for(channels, size), "classifier"
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{key}.options: {options}: {error}") from None


def _timm(key: str, settings: Model, options: dict[str, Any], channels: int, classes: int) -> tuple[nn.Module, str]:
    from pipeline.learning.eager import timm

    if not timm.is_model(settings.arch):
        close = ", ".join(difflib.get_close_matches(settings.arch, timm.list_models(), 5)) or "see timm.list_models()"
        raise ModelError(f"{key}.arch: '{settings.arch}' is not a timm model; use baseline_cnn, or for example {close}")
    name, tag = timm.models.split_model_name_tag(settings.arch)
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise ModelError(
            f"{key}.arch: '{settings.arch}': timm has no weights of {name} by this tag; use one of: "
            f"{', '.join(tags) or 'none, the name alone'}"
        )
    entry = timm.get_pretrained_cfg(settings.arch)
    if entry is not None and entry.first_conv in ((), []) and channels != 3:  # no convolution that could take others
        raise ModelError(
            f"{key}.arch: {settings.arch} takes images in colour alone; set preprocess.channels: 3, or give it grey "
            "ones as three equal channels by an input of 3 numbers each, such as input: {mean: [0.5, 0.5, 0.5], std: "
            "[0.25, 0.25, 0.25]}"
        )
    try:
        with without_retries():
            model = timm.create_model(
                settings.arch,
                pretrained=settings.pretrained,
                in_chans=channels,
                num_classes=classes,
                **_as_tuples(options),
            )
    except (TypeError, AssertionError, ValueError) as error:
        for name, option in (("drop_path", "drop_path_rate"), ("dropout", "drop_rate")):
            value = getattr(settings, name)
            if value is not None and f"argument '{option}'" in str(error):
                raise ModelError(
                    f"{key}.{name}: {value:g}; timm's {settings.arch} has no {option}: must be empty"
                ) from None
        raise ModelError(f"{key}.options: {options}: {error}; must be what timm's {settings.arch} takes") from None
    except Exception as error:
        if not settings.pretrained:
            raise
        raise ModelError(
            f"{hub_key(key, settings.arch)}: the weights of {settings.arch} ({hub_address(settings.arch)}) could not "
            f"be fetched: {type(error).__name__}: {error}; go where there is a network once, or fetch that file by "
            f"hand and set {key}.weights to its path and pretrained: false"
        ) from None
    head = description(model).get("classifier")
    if not isinstance(head, str):
        raise ModelError(f"{key}.arch: {settings.arch} has no single classifier ({head}); use one that has")
    if head not in dict(model.named_modules()):
        raise ModelError(f"{key}.arch: {settings.arch} gives features and has no classifier; use one that has")
    return model, head


def change_head(key: str, settings: Model, backbone: nn.Module, head: str, classes: int) -> None:
    """Put a hidden layer or cosines in the place of the linear layer that ends the network."""
    if settings.arch == "baseline_cnn":  # it has its hidden layer
        if settings.head == "cosine":
            classifier = cast(BaselineCNN, backbone).classifier
            classifier[-1] = CosineHead(cast(nn.Linear, classifier[-1]).in_features, classes)
        return
    if settings.hidden is None and settings.head == "linear":
        return
    linear = backbone.get_submodule(head)
    if not isinstance(linear, nn.Linear):
        wish = f"hidden = {settings.hidden}" if settings.hidden else f"head = {settings.head}"
        raise ModelError(
            f"{key}: {wish}: {settings.arch} ends in {type(linear).__name__}; use an architecture that ends in a "
            "linear layer"
        )
    parts: list[nn.Module] = []
    features = linear.in_features
    if settings.hidden is not None:
        parts = [nn.Linear(features, settings.hidden), nn.ReLU(), nn.Dropout(settings.dropout or 0.0)]
        features = settings.hidden
    last = CosineHead(features, classes) if settings.head == "cosine" else nn.Linear(features, classes)
    backbone.set_submodule(head, nn.Sequential(*parts, last))


def start_at_zero(head: nn.Module) -> None:
    """Let a new head on trained features begin with equal logits (Kolesnikov et al. 2020, arXiv 1912.11370).

    Trained features can be large; random weights on them begin with confident nonsense that must first be unlearned.
    """
    last = list(head.modules())[-1]
    if isinstance(last, nn.Linear | nn.Conv2d):  # of DLA, DPN and big ResNets v2 a convolution of one pixel
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)


def _as_tuples(options: dict[str, Any]) -> dict[str, Any]:
    """Turn YAML's lists into tuples, which timm's constructors expect."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
