"""Starting from trained weights: reading and fitting them, freezing layers, restoring folded batch norms."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.learning.networks.naming import timm_names
from pipeline.learning.weights import ModelError, checked_sha256, weights_file

_WRAPPERS = ("state_dict_ema", "state_dict", "model_state_dict", "model")
"""Keys under which training scripts put the weights in their checkpoints."""
_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Before all names: of torch's parallel wrappers, of compiled networks, and of a Lightning module."""
_POINTER = b"version https://git-lfs"


class _NoTensors(ValueError):
    """Content of a file that is no map of names to tensors."""


class Weights(NamedTuple):
    """Trained weights of a network, by its own names of tensors.

    Parameters
    ----------
    state : dict of Tensor
        Any floating-point type.
    mean, std : list of float, one per channel, or None
        By which the images were normalised, in [0, 1], where the file says so.
    """

    state: dict[str, Tensor]
    mean: list[float] | None = None
    std: list[float] | None = None


def read_weights(key: str, path: Path, sha256: str | None = None) -> Weights:
    """Read a weights file without running anything that is in it.

    Parameters
    ----------
    key : str
        Of params.yaml, for messages.
    path : Path
        A .safetensors file, one that this project wrote included, or a .pth, .pt or .bin file of torch; or a folder
        with one of them.
    sha256 : str, optional
        What the file must be.

    Raises
    ------
    ModelError
        If there is no such file, it is another one, holds anything but tensors, or NaN; with what to do.
    """
    path = weights_file(key, path)
    if sha256 is not None:
        checked_sha256(key, path, sha256)
    try:
        if path.suffix == ".safetensors":
            read = _from_safetensors(path)
        else:
            read = Weights(_from_torch(torch.load(path, map_location="cpu", weights_only=True)))
    except Exception as error:  # whatever torch and safetensors raise on a file that is none of theirs
        raise ModelError(f"{key}: {path} cannot be read as weights: {_why(path, error)}") from None
    if broken := [name for name, tensor in read.state.items() if _has_nan(tensor)]:
        names = ", ".join(broken[:5]) + (", ..." if len(broken) > 5 else "")
        raise ModelError(
            f"{key}: {path}: {len(broken)} tensors hold NaN: {names}; use weights of a training that did not diverge"
        )
    return read


def _has_nan(tensor: Tensor) -> bool:
    """Whether a number is none, as far as torch can tell of the type; infinite ones are limits of some networks."""
    return tensor.is_floating_point() and tensor.itemsize > 1 and bool(torch.isnan(tensor).any())


def _why(path: Path, error: Exception) -> str:
    """Say what a file is that holds no map of tensors, and what to do, without running anything in it."""
    if path.stat().st_size == 0:
        return "it is empty; fetch it again"
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            return "it is a pointer of Git LFS in the place of the file; git lfs pull"
    if path.suffix == ".safetensors" or isinstance(error, _NoTensors):
        return f"{' '.join(str(error).split())}; must be a whole file of tensors by their names, a state_dict"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in names):
            return (
                f"it is TorchScript, a program with its tensors; save these alone: torch.save(torch.jit.load('{path}')"
                ".state_dict(), 'weights.pth')"
            )
    try:
        objects = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # older files, and those that are none of torch's
        objects = []
    if objects or "Unsupported global" in str(error):
        found = f" ({', '.join(sorted(objects)[:5])})" if objects else ""
        return (
            f"it holds Python objects beside tensors{found}, which are not unpickled, as that can run code; where you "
            f"trust it, save its tensors alone: content = torch.load('{path}', weights_only=False), then "
            "torch.save(STATE, 'weights.pth'), where STATE is content['state_dict'] or, of a whole network, "
            "content.state_dict()"
        )
    return "it is no file of tensors that torch has saved; fetch it again, or save the state_dict of the network anew"


def _from_safetensors(path: Path) -> Weights:
    from safetensors import safe_open
    from safetensors.torch import load_file

    state = load_file(path)
    with safe_open(path, "pt") as file:
        ours = "medmatrix" in (file.metadata() or {})
    if not ours:
        return Weights(_from_torch(state))
    backbone = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    return Weights(backbone, state["mean"].flatten().tolist(), state["std"].flatten().tolist())


def _from_torch(content: object) -> dict[str, Tensor]:
    """Find the tensors in a checkpoint, and take off the prefixes that wrappers put before each name."""
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise _NoTensors(f"no map of names to tensors, nor one under {', '.join(_WRAPPERS)}")
    while prefix := next((p for p in _PREFIXES if all(k.startswith(p) for k in content)), None):
        content = {k.removeprefix(prefix): v for k, v in content.items()}
    return dict(content)


def check_fit(key: str, model: nn.Module, state: Mapping[str, Tensor], head: str) -> None:
    """Refuse weights that `load_key_by_key` cannot copy; `model` may lie on torch's meta device.

    Raises
    ------
    ModelError
        With the names that are missing, unknown or of another shape.
    """
    _given(key, model, state, head)


def load_key_by_key(key: str, model: nn.Module, state: Mapping[str, Tensor], head: str) -> None:
    """Copy `state` into `model`, all but the head, which the study trains anew.

    Parameters
    ----------
    key : str
        Of params.yaml, for messages.
    model : Module
        Receives the weights, in its own type.
    state : mapping of Tensor
        Must have every tensor of the model with its shape, and no other, under timm's names or those that `timm_names`
        knows; batch norms' counters may be missing.
    head : str
        Name of the model's classifier module; tensors below it are left as they are.

    Raises
    ------
    ModelError
        With the names that are missing, unknown or of another shape.
    """
    model.load_state_dict(_given(key, model, state, head), strict=False)


def _given(key: str, model: nn.Module, state: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    """Return the tensors of `state` that fit `model`, all but the head."""
    state = timm_names(model, state)
    wanted = {k: v for k, v in model.state_dict().items() if not k.startswith(head + ".")}
    given = {k: v for k, v in state.items() if not k.startswith(head + ".")}
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    unknown = [k for k in given if k not in wanted]
    shapes = [
        f"{k} {tuple(v.shape)} instead of {tuple(wanted[k].shape)}"
        for k, v in given.items()
        if k in wanted and v.shape != wanted[k].shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise ModelError(f"{key}: the tensors do not fit the architecture; {'; '.join(problems)}")
    return given


def layers(model: nn.Module, head: str) -> list[nn.Module]:
    """List the layers of a network below its head, first to last, as users of Keras count ``base_model.layers``.

    Convolutions, norms, activations and poolings are one each, also where timm joins norm and activation; identities
    and dropout are none. Keras also counts additions and concatenations, which are no modules here: the last 10 layers
    of Keras' ResNet-50 are its last bottleneck block, and the last 10 here hold the same parameters.

    Parameters
    ----------
    model : Module
        timm's, or `BaselineCNN`.
    head : str
        Name of the classifier module. The pooling right before it is no layer.
    """
    return [module for module in _below_the_head(model, head) if not _drops(module)]


def _below_the_head(model: nn.Module, head: str) -> Iterator[nn.Module]:
    """Yield what holds parameters of its own or holds no modules, in order, without identities."""
    parent = head.rpartition(".")[0]
    for name, module in model.named_modules():
        in_head = name == head or name.startswith((head + ".", "global_pool"))
        # Beside the classifier in a joint head module stand timm's pooling, flattening and dropout, and maybe a norm.
        beside = bool(parent) and name.startswith(parent + ".") and next(module.parameters(), None) is None
        smallest = bool(module._parameters) or not any(module.children())
        if name and smallest and not in_head and not beside and not isinstance(module, nn.Identity):
            yield module


def _drops(module: nn.Module) -> bool:
    """Say whether a module is dropout or stochastic depth, which Keras' networks without a head do not have."""
    return "Drop" in type(module).__name__


def freeze(key: str, model: nn.Module, head: str, last: int) -> list[nn.Module]:
    """Stop the training of all layers but the last `last` and the head.

    Parameters
    ----------
    key : str
        Of params.yaml, for messages.
    model : Module
        Its parameters outside the trained layers lose ``requires_grad``.
    head : str
        Name of the classifier module.
    last : int
        Number of `layers` that stay trainable, at least 0.

    Returns
    -------
    list of Module
        What is frozen with all that is in it, dropout included: to be kept in evaluation mode, so that batch norms keep
        their statistics and nothing is dropped.

    Raises
    ------
    ModelError
        If there are fewer than `last` layers.
    """
    counted = layers(model, head)
    if last > len(counted):
        raise ModelError(f"{key}: last = {last}; must be 1 to {len(counted)}, the layers of this architecture")
    trained = counted[len(counted) - last :]
    model.requires_grad_(False)
    for module in trained:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(True)
    model.get_submodule(head).requires_grad_(True)
    everything = list(_below_the_head(model, head))
    # Dropout behind the last layer works on what the head is given: it belongs to the head.
    border = everything.index(trained[0]) if trained else everything.index(counted[-1]) + 1
    still = set(everything[:border])
    moving = {*everything[border:], *model.get_submodule(head).modules()}

    def is_frozen(module: nn.Module) -> bool:
        # A block with a parameter of its own that is frozen may hold layers that are trained: it is not frozen as one.
        parts = set(module.modules())
        return bool(parts & still) and not parts & moving

    return [module for module in model.modules() if is_frozen(module)]


def unfold_batch_norms(model: nn.Module, images: Tensor, batch_size: int = 64) -> int:
    """Restore batch-norm layers that were folded into convolutions, without changing what the network computes.

    Converters fold ``w (x - m) / s + b`` into the convolution before it and leave the norm as an identity with a bias.
    Trained as it is, such a network meets statistics of the batch where none were and loses what it knew. So mean and
    deviation of each norm's input are measured on `images` and entered, and its weight and bias are set so that its
    output in evaluation mode is what it was.

    Parameters
    ----------
    model : Module
        Is left in evaluation mode. Nothing is changed unless all its batch norms are folded.
    images : Tensor, float32 [N, C, H, W]
        Training images in [0, 1]; a few hundred will do.
    batch_size : int
        Images per call.

    Returns
    -------
    int
        Number of batch norms that were unfolded.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not norms or not all(_is_folded(norm) for norm in norms):
        return 0
    measured: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {norm: [] for norm in norms}

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0].transpose(0, 1).flatten(1), 1, correction=0)
        measured[norm].append((mean.double(), variance.double()))

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    model.eval()
    with torch.no_grad():
        pieces = images.split(batch_size)
        for piece in pieces:
            model(piece)
        for hook in hooks:
            hook.remove()
        share = torch.tensor([len(piece) for piece in pieces]).double()[:, None] / len(images)
        for norm in norms:
            means, variances = (torch.stack(of_pieces) for of_pieces in zip(*measured[norm]))
            mean = (share * means).sum(0)
            variance = (share * (variances + (means - mean).square())).sum(0)
            assert norm.running_mean is not None  # a folded norm has statistics
            assert norm.running_var is not None
            slope = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            norm.bias.add_(slope * (mean - norm.running_mean))
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_(slope * (norm.running_var.double() + norm.eps).sqrt())
    return len(norms)


def _is_folded(norm: _BatchNorm) -> bool:
    """Say whether a batch norm does nothing but add its bias: mean 0 and all slopes alike."""
    if not norm.affine or norm.running_mean is None or norm.running_var is None or norm.running_mean.any():
        return False
    return bool((norm.running_var == norm.running_var[0]).all() and (norm.weight == norm.weight[0]).all())
