"""A model of the study: a timm architecture, ``baseline_cnn`` or ``smp/NAME``, with its input normalisation inside."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.learning.metadata import Scheme
from pipeline.learning.networks import outputs, segmentation
from pipeline.learning.networks.architecture import architecture, change_head, description, start_at_zero
from pipeline.learning.networks.beside import check_described, described
from pipeline.learning.networks.heads import LateFusion, check_widened
from pipeline.learning.networks.naming import timm_names
from pipeline.learning.networks.origin import hub_address, hub_key, in_cache, timm_name
from pipeline.learning.networks.transfer import (
    Weights,
    check_fit,
    freeze,
    load_key_by_key,
    read_weights,
    unfold_batch_norms,
)
from pipeline.learning.settings import Last, Model
from pipeline.learning.weights import ModelError, known_package, source, weights_file
from pipeline.study.files import intact, replaced


class Classifier(nn.Module):
    """Normalise, then classify.

    Parameters
    ----------
    backbone : Module
        Takes normalised float images [N, C, H, W], gives logits [N, K].
    mean, std : Tensor, float32 [C]
        Of image values in [0, 1]; saved with the weights, so that a model file is complete.
    head : str
        Name, in the backbone, of the module that makes logits of features.
    frozen : sequence of Module
        Parts of the backbone that stay in evaluation mode.
    output : Module or None
        Makes the logits of what the backbone gives, see `pipeline.learning.networks.outputs`; None where it gives them.

    Attributes
    ----------
    late : LateFusion or None
        The head, where it takes metadata beside the image: the backbone then gives features.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        mean: Tensor,
        std: Tensor,
        head: str,
        frozen: Sequence[nn.Module] = (),
        output: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.frozen, self.output = backbone, head, list(frozen), output
        self.late: LateFusion | None = None
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1))
        self.register_buffer("std", std.reshape(1, -1, 1, 1))

    def take_metadata(self, key: str, scheme: Scheme, at_zero: bool = False) -> None:
        """Let the head take metadata beside the image, see `LateFusion`."""
        self.late = LateFusion(key, self.backbone.get_submodule(self.head), scheme, at_zero)
        self.backbone.set_submodule(self.head, nn.Identity())

    def forward(self, images: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Compute logits [N, K] of float images [N, 1 or C, H, W] in [0, 1], and of metadata if the network takes some.

        Grey images become as many equal channels as the network takes; colour images become grey for a network that
        takes one, by the weights of ITU-R BT.601.
        """
        if (self.late is None) != (metadata is None):
            raise TypeError("metadata are given to a network without them, or not to one that takes them")
        if images.shape[1] == 3 and self.mean.shape[1] == 1:
            images = (images * images.new_tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
        logits = self.backbone((images - self.mean) / self.std)
        if self.late is not None:
            logits = self.late(logits, metadata)
        return logits if self.output is None else self.output(logits)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def head_module(self) -> nn.Module:
        """Return what makes logits of features; those of metadata are among these features."""
        return self.backbone.get_submodule(self.head) if self.late is None else self.late.head

    def head_parameters(self) -> list[nn.Parameter]:
        """List the parameters of the modules that make logits of features."""
        last = [] if self.output is None else list(self.output.parameters())
        return list((self.late or self.head_module()).parameters()) + last

    def nothing_known(self, n: int) -> tuple[Tensor, ...]:
        """Return what `n` images without metadata come with: one Tensor [n, I], or none for a network without."""
        return () if self.late is None else (self.late.unknown.expand(n, -1),)


def build(
    name: str,
    settings: Model,
    channels: int,
    classes: int,
    size: int,
    images: np.ndarray,
    output: str = outputs.CLASSES,
    scheme: Scheme | None = None,
) -> Classifier:
    """Build the model that ``models.<name>`` describes, ready to be trained, its new weights from torch's generator.

    Parameters
    ----------
    name : str
        Key under ``models``, for messages.
    settings : Model
        Its settings.
    channels, classes, size : int
        Of the data.
    images : uint8 or uint16 array [N, H, W] or [N, H, W, 3]
        Training images: their mean and standard deviation normalise the input of a model that starts from scratch, and
        they unfold batch norms that came folded (see `transfer.unfold_batch_norms`).
    output : str
        What the loss asks the head to compute, see `pipeline.learning.networks.outputs`.
    scheme : Scheme, optional
        Metadata that the head takes beside the image.

    Raises
    ------
    ModelError
        If timm has no such architecture, refuses an option, cannot fetch the pretrained weights, or the file under
        ``weights`` does not fit.
    """
    key, computed = f"models.{name}", outputs.head_size(output, classes)
    weights = None
    if settings.weights:
        weights = _read(key, settings, size)
    taken = _channels(key, settings, weights, channels, size)
    backbone, head = architecture(key, settings, taken, computed, size)
    if weights is not None:
        load_key_by_key(f"{key}.weights: {settings.weights}", *_receiver(settings, backbone, weights, head))
    change_head(key, settings, backbone, head, computed)
    if settings.weights or settings.pretrained:
        start_at_zero(backbone.get_submodule(head))
    mean, std = _normalisation(settings, weights, backbone, taken, images)
    frozen: list[nn.Module] = []
    if settings.trainable != "all":
        last = 0 if settings.trainable == "head" else settings.trainable.last
        frozen = freeze(f"{key}.trainable", backbone, head, last)
    normalised = torch.tensor(mean).float(), torch.tensor(std).float()
    model = Classifier(backbone, *normalised, head, frozen, outputs.create(output, classes))
    if weights is not None and settings.trainable != "head":
        some = torch.from_numpy(np.array(images[:: 1 + len(images) // _UNFOLD]))
        some = (some[:, None] if some.ndim == 3 else some.permute(0, 3, 1, 2)).float() / np.iinfo(images.dtype).max
        if unfolded := unfold_batch_norms(model, some):
            print(f"{key}: {unfolded} folded batch-norm layers restored, measured on {len(some)} training images")
    if scheme is not None:
        model.take_metadata(key, scheme, at_zero=bool(settings.weights or settings.pretrained))
    return model.train()


def rebuild(name: str, settings: Model, classes: int, size: int, path: Path) -> Classifier:
    """Build the model whose trained weights `path` holds and load them; nothing else is read or fetched.

    Parameters
    ----------
    name, settings, classes, size
        As for `build`.
    path : Path
        What `save` wrote.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        channels = file.get_slice("mean").get_shape()[1]
        about = json.loads((file.metadata() or {}).get("medmatrix", "{}"))
    key, output = f"models.{name}", about.get("output", outputs.CLASSES)
    computed = outputs.head_size(output, classes)
    backbone, head = architecture(key, settings.model_copy(update={"pretrained": False}), channels, computed, size)
    change_head(key, settings, backbone, head, computed)
    normalised = torch.zeros(channels), torch.ones(channels)
    model = Classifier(backbone, *normalised, head, (), outputs.create(output, classes))
    if (scheme := _scheme(about)) is not None:
        model.take_metadata(key, scheme)
    return load_weights(model, path).eval()


def scheme_of(path: Path) -> Scheme | None:
    """Read what a model file that `save` wrote says of the metadata that its network takes; None where it takes none.

    Raises
    ------
    ArtifactError
        If the file is damaged.
    """
    from safetensors import safe_open

    with intact(path), safe_open(path, "pt") as file:
        return _scheme(json.loads((file.metadata() or {}).get("medmatrix", "{}")))


def _scheme(about: dict[str, Any]) -> Scheme | None:
    return Scheme.read(about["metadata"]) if "metadata" in about else None


def check(name: str, settings: Model, channels: int, size: int) -> None:
    """Refuse what `build` would refuse of these settings and, if there is one, of the file of weights.

    Parameters
    ----------
    name, settings
        As for `build`.
    channels, size : int
        Of the prepared images, `size` in pixels per side.

    Raises
    ------
    ModelError
        If there is no such architecture, no published weights of it or no such file, the file does not fit, it refuses
        an option, or images of this size are too small for it.
    """
    key = f"models.{name}"
    if settings.gives_masks:
        segmentation.check_settings(key, settings)
    weights = _read(key, settings, size) if settings.weights else None
    taken = _channels(key, settings, weights, channels, size)
    bare = settings if settings.arch == "baseline_cnn" else settings.model_copy(update={"pretrained": False})

    def build_bare() -> None:
        backbone, head = architecture(key, bare, taken, 2, size)
        _check_size(key, settings, backbone, taken, size)
        change_head(key, bare, backbone, head, 2)
        if bare.trainable not in ("all", "head"):
            freeze(f"{key}.trainable", backbone, head, cast(Last, bare.trainable).last)
        if settings.metadata:
            check_widened(key, backbone.get_submodule(head))

    try:
        with torch.device("meta"):  # shapes without numbers: takes no memory and hardly any time
            build_bare()
    except Exception:  # some architectures compute with numbers as they are built: is it this, or the settings?
        build_bare()
    if weights is not None:
        backbone, head = architecture(key, bare, taken, 2, size)
        check_fit(f"{key}.weights: {settings.weights}", *_receiver(settings, backbone, weights, head))
    if settings.pretrained and not hub_address(settings.arch):
        raise ModelError(
            f"{hub_key(key, settings.arch)}: timm has no weights of {settings.arch}; must be false, or name an arch "
            "with a tag (timm.list_pretrained())"
        )
    if settings.pretrained and not in_cache(settings.arch):
        print(
            f"note: {hub_key(key, settings.arch)}: not on this machine yet; it is fetched from "
            f"{hub_address(settings.arch)} when the first training run begins, which needs a network then",
            file=sys.stderr,
            flush=True,
        )


def check_smaller(name: str, settings: Model, channels: int, smallest: int, size: int) -> None:
    """Refuse a model that does not take the smaller images of ``train.progressive``, by trying it.

    Parameters
    ----------
    name, settings
        As for `build`.
    channels, smallest, size : int
        Of the prepared images, in pixels per side: in the first epoch, and in full size.

    Raises
    ------
    ModelError
        If it takes one size alone, or images of `smallest` pixels are too small for it.
    """
    key = f"models.{name}"
    channels = _channels(key, settings, None, channels, size)
    bare = settings if settings.arch == "baseline_cnn" else settings.model_copy(update={"pretrained": False})
    backbone, _ = architecture(key, bare, channels, 2, size)
    try:
        with torch.inference_mode():
            backbone.eval()(torch.zeros(1, channels, smallest, smallest))
    except (AssertionError, RuntimeError, ValueError) as error:
        first = str(error).split("\n")[0]
        raise ModelError(
            f"train.progressive: {key} ({settings.arch}) takes images of {size} px and not of {smallest}, the first "
            f"ones ({first}); must be empty for it, or start higher"
        ) from None


def _check_size(key: str, settings: Model, backbone: nn.Module, channels: int, size: int) -> None:
    """Refuse images of a size that a network does not take, by what it does: some take one, others multiples."""
    if settings.arch == "baseline_cnn":
        return
    if settings.gives_masks:
        segmentation.check_side(key, settings, backbone, channels, size)
        return
    reason = _refusal(backbone, channels, size)
    if reason is None:
        return
    about = description(backbone)
    if about.get("fixed_input_size"):
        only = about["input_size"][-1]
        raise ModelError(
            f"{key}.arch: {settings.arch} takes images of {only} px alone, not of {size} (preprocess.size); set "
            f"preprocess.size: {only}, or without weights options: {{img_size: {size}}} where it has that"
        )
    below, above = size // _STRIDE * _STRIDE - (size % _STRIDE == 0) * _STRIDE, (size // _STRIDE + 1) * _STRIDE
    tried = (below, below - _STRIDE, above, above + _STRIDE, above + 2 * _STRIDE)
    taken = [other for other in tried if other > 0 and _refusal(backbone, channels, other) is None]
    near = sorted(sorted(taken, key=lambda other: abs(other - size))[:2])
    such = f", such as {' or '.join(map(str, near))}" if near else ""
    raise ModelError(
        f"{key}.arch: {settings.arch} does not take images of {size} px (preprocess.size): {reason}; must be another "
        f"size{such}"
    )


def _refusal(backbone: nn.Module, channels: int, size: int) -> str | None:
    """Return what a network says of an image of `size` pixels; None where it takes it, or nothing can be told."""
    device = next(backbone.parameters()).device
    try:
        with torch.inference_mode():
            backbone.eval()(torch.zeros(1, channels, size, size, device=device))
    except NotImplementedError:  # of a step that cannot be told without numbers
        return None
    except Exception as error:  # every architecture has its own
        return " ".join(str(error).split())[:150] or type(error).__name__
    return None


_STRIDE = 32
"""By which most networks shrink images."""


def macs(model: nn.Module, channels: int, size: int) -> int:
    """Count the multiply-accumulate operations of one image in the forward pass.

    Parameters
    ----------
    model : Module
        Is left in evaluation mode.
    channels, size : int
        Of the image, ``size`` in pixels per side.

    Notes
    -----
    Of convolutions and matrix products, as torch's counter sees them (it counts two operations each); what is counted
    nowhere in the field (normalisation, activations, pooling) is not counted here.
    """
    from torch.utils.flop_counter import FlopCounterMode, _FlopCounterMode

    from pipeline.learning import eager

    eager.never_compiled(_FlopCounterMode.__torch_dispatch__)

    like = next(model.parameters())
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        known = model.nothing_known(1) if isinstance(model, Classifier) else ()
        model.eval()(torch.zeros(1, channels, size, size, device=like.device), *known)
    return counter.get_total_flops() // 2


def _read(key: str, settings: Model, size: int) -> Weights:
    """Read the weights that a model starts from, with the normalisation that a package or config.json beside says."""
    given = cast(str, settings.weights)
    package = known_package(given)
    arch = _encoder(settings) if settings.gives_masks else settings.arch
    if package is not None and timm_name(arch) != package.arch:
        raise ModelError(f"{key}.arch: '{arch}' with weights: {given}; must be {package.arch}")
    file = weights_file(f"{key}.weights", source(f"{key}.weights", given))
    weights = read_weights(f"{key}.weights", file, settings.sha256)
    if package is not None:
        return weights._replace(mean=[package.mean] * 3, std=[package.std] * 3)
    if weights.mean is not None or (said := described(file)) is None:  # a model file of this project is complete
        return weights
    check_described(key, file, said, timm_name(arch), {} if settings.gives_masks else settings.options)
    if said.mean is None or said.std is None:
        return weights
    if len(said.mean) == 3:  # timm has those of colours also where a network for grey images was made of it
        taken = _channels(key, settings.model_copy(update={"input": None}), weights, 3, size)
        return weights._replace(mean=_for_channels(said.mean, taken), std=_for_channels(said.std, taken))
    return weights._replace(mean=said.mean, std=said.std)


def _encoder(settings: Model) -> str:
    """Return timm's name of the encoder of a network that gives masks, as far as it is one of timm's."""
    return str(settings.options.get("encoder_name", "")).removeprefix("tu-")


def _receiver(
    settings: Model, backbone: nn.Module, weights: Weights, head: str
) -> tuple[nn.Module, dict[str, Tensor], str]:
    """Return what a file of weights is loaded into, its tensors, and the name of the head among them.

    Of a network that gives masks, weights are those of its encoder, with or without the head that they were trained
    with: what of a classifier is no part of the encoder is left out.
    """
    if not settings.gives_masks:
        return backbone, dict(weights.state), head
    network = segmentation.encoder_of(backbone)
    return network, segmentation.tensors_of_encoder(network, _encoder(settings), weights.state), head


_UNFOLD = 256
"""Training images that unfold batch norms."""


def _channels(key: str, settings: Model, weights: Weights | None, channels: int, size: int) -> int:
    """Return the channels of the network's input: those of its weights, or of the data."""
    if settings.input is not None:
        return len(settings.input.mean)
    if weights is None:
        return 3 if settings.pretrained else channels
    if weights.mean is not None:
        return len(weights.mean)
    # The first convolution, also of a ViT, stands anywhere: safetensors sorts names.
    if any(tensor.ndim == 4 and tensor.shape[1] == 3 for tensor in weights.state.values()):
        return 3
    # Depthwise convolutions look like grey, and some networks gather blocks of pixels before the first one.
    bare = settings.model_copy(update={"pretrained": False})
    return next((taken for taken in (3, 1) if _all_fit(key, bare, weights, taken, size)), channels)


def _all_fit(key: str, settings: Model, weights: Weights, channels: int, size: int) -> bool:
    """Say whether tensors have the shapes of a network for so many channels, as far as it has their names."""
    try:
        with torch.device("meta"):
            backbone, head = architecture(key, settings, channels, 2, size)
    except ModelError:
        return False
    except Exception:  # some architectures compute with numbers as they are built
        backbone, head = architecture(key, settings, channels, 2, size)
    network, given, head = _receiver(settings, backbone, weights, head)
    wanted = {name: v.shape for name, v in network.state_dict().items() if not name.startswith(f"{head}.")}
    return all(wanted.get(name, value.shape) == value.shape for name, value in timm_names(network, given).items())


def _for_channels(values: list[float], channels: int) -> list[float]:
    """Return a mean or deviation for so many channels: grey has the mean of the colours'."""
    if len(values) == channels:
        return values
    return [sum(values) / len(values)] * channels


def _normalisation(
    settings: Model, weights: Weights | None, backbone: nn.Module, channels: int, images: np.ndarray
) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and standard deviation per channel: that of params.yaml, else that of the weights."""
    if settings.input is not None:
        return settings.input.mean, settings.input.std
    if weights is not None and weights.mean is not None and weights.std is not None:
        return weights.mean, weights.std
    if (weights is not None or settings.pretrained) and settings.arch != "baseline_cnn":
        if settings.gives_masks:
            backbone = segmentation.encoder_of(backbone)
        about = description(backbone)
        mean, std = ([float(value) for value in about[name]] for name in ("mean", "std"))
        return _for_channels(mean, channels), _for_channels(std, channels)
    of_mean, of_std = moments(images)
    return of_mean.tolist(), of_std.tolist()


def moments(images: np.ndarray, most: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation per channel, of values scaled to [0, 1].

    Parameters
    ----------
    images : uint8 or uint16 array [N, H, W] or [N, H, W, C]
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
    # A histogram of the 256 or 65536 values is exact and needs no float copy of the images.
    white = int(np.iinfo(images.dtype).max)
    counts = np.stack([np.bincount(chosen[..., c].ravel(), minlength=white + 1) for c in range(chosen.shape[-1])])
    values = np.arange(white + 1) / white
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ values
    return mean, np.maximum(np.sqrt(np.maximum(share @ values**2 - mean**2, 0)), 1 / 255)


def save(path: Path, state: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights as safetensors, with `about` (JSON-compatible) in its header; the file is complete or absent."""
    from safetensors.torch import save_file

    state = {k: v.detach().to("cpu").contiguous() for k, v in state.items()}
    with replaced(path, sum(tensor.nbytes for tensor in state.values())) as partial:
        partial.touch()
        mode = partial.stat().st_mode
        save_file(state, partial, metadata={"medmatrix": json.dumps(about, sort_keys=True)})
        partial.chmod(mode)  # SafeTensors lets nobody but the owner read what it writes, unlike the files beside it


def load_weights(model: Classifier, path: Path) -> Classifier:
    """Load what `save` wrote into a model of the same build, every key; returns it."""
    from safetensors.torch import load_file

    with intact(path):
        state = load_file(path)
        model.load_state_dict(state, strict=True)
    return model
