"""Networks that give a mask per class, of the package segmentation-models-pytorch with encoders of timm.

``arch: smp/unet`` is its `Unet`, and so on; ``options`` are what the package's class takes, such as ``encoder_name``
(``tu-NAME`` is timm's NAME), ``encoder_depth`` and ``decoder_channels``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.learning.networks.naming import timm_names
from pipeline.learning.settings import MASKS, Model
from pipeline.learning.weights import ModelError

PACKAGE = "segmentation_models_pytorch"
HEAD = "segmentation_head"
"""Name, in the package's networks, of the module that makes logits of features."""
_OURS = {
    "encoder_weights": "set weights to a file of the encoder's weights",
    "in_channels": "it is preprocess.channels",
    "classes": "they are those of the data set",
    "activation": "the network gives logits",
    "aux_params": "the network gives masks alone",
}
"""Options that are not the study's to set."""
_UNUSED = ("head_lr", "hidden", "dropout", "drop_path", "layer_decay")


def build_network(key: str, settings: Model, channels: int, classes: int) -> nn.Module:
    """Build a network that gives logits [N, K, H, W] of images [N, C, H, W], with new weights from torch's generator.

    Parameters
    ----------
    key : str
        Of params.yaml, for messages: ``models.NAME``.
    settings : Model
        Its settings.
    channels, classes : int
        C and K.

    Raises
    ------
    ModelError
        If there is no such architecture or encoder, or it does not take an option. Nothing is ever fetched.
    """
    from pipeline.learning import eager

    smp = eager.library(PACKAGE)

    name = settings.arch.removeprefix(MASKS)
    known = sorted(smp.MODEL_ARCHITECTURES_MAPPING)
    if name not in known:
        raise ModelError(f"{key}.arch: '{settings.arch}'; use one of: {', '.join(MASKS + each for each in known)}")
    for option, instead in _OURS.items():
        if option in settings.options:
            raise ModelError(f"{key}.options.{option}: {settings.options[option]}; must be left out: {instead}")
    check_settings(key, settings)
    options = _as_deep(name, {k: tuple(v) if isinstance(v, list) else v for k, v in settings.options.items()})
    try:
        return smp.create_model(name, in_channels=channels, classes=classes, encoder_weights=None, **options)
    except (TypeError, AssertionError, ValueError, KeyError, RuntimeError) as error:
        said = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{key}.options: {settings.options}: {said}; must be what {name} of segmentation-models-pytorch takes"
        ) from None


def _as_deep(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Leave out the first of the decoder's default channels where the encoder is less deep than the default one."""
    from pipeline.learning import eager

    smp = eager.library(PACKAGE)

    asked = inspect.signature(smp.MODEL_ARCHITECTURES_MAPPING[name]).parameters
    depth, channels = options.get("encoder_depth"), getattr(asked.get("decoder_channels"), "default", None)
    if "decoder_channels" in options or not isinstance(depth, int) or not isinstance(channels, tuple | list):
        return options
    return options | {"decoder_channels": tuple(channels[-depth:])} if 0 < depth < len(channels) else options


def check_side(key: str, settings: Model, network: nn.Module, channels: int, size: int) -> None:
    """Refuse images of a side that the network does not take: it halves them, and must come back to the same size.

    Raises
    ------
    ModelError
        If `size`, in pixels, is no multiple of what the encoder shrinks images by, or an image does not go through.
    """
    encoder: Any = network.encoder
    stride = int(encoder.output_stride)
    if getattr(network, "requires_divisible_input_shape", True) and size % stride:
        raise ModelError(
            f"{key}.arch: {settings.arch} shrinks images by {stride}, and preprocess.size {size} is no multiple of it; "
            f"must be {size // stride * stride or stride} or {(size // stride + 1) * stride}, or options.encoder_depth "
            "lower"
        )
    like = next(network.parameters())
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, channels, size, size, device=like.device))
    except NotImplementedError:  # of a step that cannot be told without numbers
        return
    except (AssertionError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{key}.arch: {settings.arch} does not take images of {size} px (preprocess.size): {said}; must be another "
            "size, or other options"
        ) from None


def check_settings(key: str, settings: Model) -> None:
    """Refuse what these networks have no meaning for."""
    if settings.pretrained:
        raise ModelError(
            f"{key}.pretrained: must be false for {settings.arch}; set weights to a file of the encoder's weights"
        )
    for name in _UNUSED:
        if (value := getattr(settings, name)) is not None:
            raise ModelError(f"{key}.{name}: {value}; must be empty for {settings.arch}, which has no such part")
    if settings.head != "linear":
        raise ModelError(f"{key}.head: {settings.head}; must be linear for {settings.arch}")
    if settings.weights and not str(settings.options.get("encoder_name", "")).startswith("tu-"):
        raise ModelError(
            f"{key}.weights: {settings.weights}: encoders of timm alone start from a file; must be empty, or "
            "options.encoder_name be tu-NAME"
        )
    if settings.trainable != "all":
        raise ModelError(f"{key}.trainable: {settings.trainable}; must be all for {settings.arch}")


def tensors_of_encoder(network: nn.Module, name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a classifier under the names that they have in timm's network of its features.

    timm cuts the classifier behind the last features and gathers what remains, for some families under other names:
    ``stages.0`` becomes ``stages_0``, or all of it stands below ``model``.

    Parameters
    ----------
    network : Module
        From `encoder_of`.
    name : str
        timm's name of the classifier.
    state : mapping of Tensor
        With or without the head.

    Returns
    -------
    dict
        What the encoder has. What the classifier has alone is left out; what neither has keeps its name, to be refused.
    """
    from pipeline.learning.eager import timm

    try:
        with torch.device("meta"):
            classifier = timm.create_model(name)
    except Exception:  # some architectures compute with numbers as they are built
        classifier = timm.create_model(name)
    there, whole = set(network.state_dict()), set(classifier.state_dict())
    found = {}
    for key, value in timm_names(classifier, state).items():
        own = next((as_ for as_ in (key, key.replace(".", "_", 1), f"model.{key}") if as_ in there), None)
        if own is not None or key not in whole:
            found[own or key] = value
    return found


def encoder_of(network: nn.Module) -> nn.Module:
    """Return timm's network in the encoder, which weights are loaded into."""
    encoder: Any = network.encoder
    return getattr(encoder, "model", encoder)
