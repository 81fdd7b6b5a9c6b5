"""Which of timm's trained weights a file holds: told by config.json beside it, its name, or the names of its folders.

timm's table of weights knows for each the normalisation of its images and whether it takes one size alone. A file tells
neither: tensors fit an architecture whatever they were trained on. So the entry of the table is looked for, and what
remains unknown is asked for or said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.study.errors import UserError

_ABOVE = 3
"""Folders above a file that may be called as its weights are: hubs keep models--timm--NAME/snapshots/HASH/."""


class Known(NamedTuple):
    """What a file of weights is.

    Parameters
    ----------
    arch : str
        timm's name, with the tag of the weights if that is known.
    told_by : str
        What says so, in words.
    input : dict or None
        Mean and standard deviation per channel where the file's own description differs from timm's table.
    """

    arch: str
    told_by: str
    input: dict[str, list[float]] | None = None


def identify(file: Path, state: Mapping[str, Tensor]) -> Known | None:
    """Find the architecture, and the entry of timm's table if there is one; None where nothing tells.

    Parameters
    ----------
    file : Path
        The file itself.
    state : mapping of Tensor
        What is in it: EfficientNet-PyTorch's names mean networks that pad as TensorFlow does.
    """
    described = _described_beside(file)
    if described is not None:
        return described
    if file.name in _table().published:
        return Known(_table().published[file.name], "the name of a published file")
    for place in (file, *list(file.resolve().parents)[:_ABOVE]):
        name = place.name.rpartition("--")[2]
        if arch := _named(name, state):
            what = "its name" if place == file else f"the name of its folder, {name}"
            return Known(arch, what)
    return None


def ask_if_unclear(file: str, known: Known) -> None:
    """Refuse an architecture whose weights were trained on differently normalised images, if the tag is not known.

    Raises
    ------
    UserError
        With the tags to choose from.
    """
    from pipeline.learning.eager import timm

    arch, tag = timm.models.split_model_name_tag(known.arch)
    if tag or known.input is not None:
        return
    inputs: dict[tuple[Any, ...], list[str]] = {}
    for name in tags_of(arch):
        entry = timm.get_pretrained_cfg(name)
        if entry is not None:  # never, of a name that timm lists
            inputs.setdefault((tuple(entry.mean), tuple(entry.std)), []).append(name)
    if len(inputs) > 1:
        groups = "; ".join(f"mean {_short(mean)}: {', '.join(names)}" for (mean, _), names in inputs.items())
        raise UserError(
            f"--weights {file}: which weights of {arch} they are is not told, and timm's were trained on images of "
            f"different normalisation; name them, or others of the same: --arch NAME, with one of: {groups}"
        )


def tags_of(arch: str) -> list[str]:
    """List timm's trained weights of an architecture, ``resnet50.a1_in1k`` and so on."""
    return _table().tags.get(arch, [])


def only_size(arch: str) -> int | None:
    """Return the side in pixels of the images that a network takes, where it takes no other; else None."""
    from pipeline.learning.eager import timm

    try:
        entry = timm.get_pretrained_cfg(arch)
    except RuntimeError:  # a tag that timm does not know: refused where the network is built
        return None
    if entry is None or not entry.fixed_input_size:
        return None
    return int(entry.input_size[-1])


def input_of(arch: str) -> str:
    """Say by what timm normalises the images of an architecture or, with a tag, of its weights."""
    from pipeline.learning.eager import timm

    entry = timm.get_pretrained_cfg(arch)
    return "not known to timm" if entry is None else f"mean {_short(entry.mean)}, SD {_short(entry.std)}"


def is_converted(state: Mapping[str, Tensor]) -> bool:
    """Whether all batch norms are folded into the convolutions, as converters from other programs leave them."""
    means = [tensor for name, tensor in state.items() if name.endswith("running_mean")]
    return bool(means) and not any(bool(torch.any(mean)) for mean in means)


def _described_beside(file: Path) -> Known | None:
    """Read config.json, which timm's hub keeps beside its weights; None where it is none of timm's."""
    from pipeline.learning.eager import timm
    from pipeline.learning.networks.beside import described

    if (said := described(file)) is None:
        return None
    tagged = f"{said.arch}.{said.tag}"
    name = tagged if tagged in tags_of(said.arch) else said.arch
    given = None if said.mean is None or said.std is None else {"mean": said.mean, "std": said.std}
    listed = timm.get_pretrained_cfg(name)
    same = given is not None and listed is not None and all(given[k] == list(getattr(listed, k)) for k in given)
    return Known(name, "config.json beside it", None if same else given)


def _named(name: str, state: Mapping[str, Tensor]) -> str | None:
    """Return the architecture that a name begins with, dashes standing for underscores, and the tag if one follows."""
    from pipeline.learning.networks.naming import pads_as_tensorflow

    arch = _beginning(name.replace("-", "_"), _table().architectures)
    if arch is None:
        return None
    if pads_as_tensorflow(state) and f"tf_{arch}" in _table().architectures:
        # Of EfficientNet-PyTorch's files only those called adv-… were trained on other than ImageNet's mean.
        plain = [tagged for tagged in tags_of(f"tf_{arch}") if tagged.endswith(".aa_in1k")]
        return plain[0] if plain else f"tf_{arch}"
    return _beginning(arch + name[len(arch) :].replace("-", "_"), frozenset(tags_of(arch))) or arch


def _beginning(name: str, known: frozenset[str]) -> str | None:
    """Return the longest of `known` that `name` begins with and after which no letter or digit follows."""
    for end in range(len(name), 0, -1):
        if name[:end] in known and not name[end : end + 1].isalnum():
            return name[:end]
    return None


class _Table(NamedTuple):
    """timm's names, the tagged ones of each architecture, and those of the files that it fetches."""

    architectures: frozenset[str]
    tags: dict[str, list[str]]
    published: dict[str, str]


@cache
def _table() -> _Table:
    from pipeline.learning.eager import timm  # takes a second

    tags: dict[str, list[str]] = {}
    published = {}
    for name in timm.list_pretrained():
        tags.setdefault(timm.models.split_model_name_tag(name)[0], []).append(name)
        url = getattr(timm.get_pretrained_cfg(name), "url", None)
        if isinstance(url, str):
            published[url.rpartition("/")[2]] = name
    published.pop("", None)
    return _Table(frozenset(timm.list_models()), tags, published)


def _short(values: Iterable[float]) -> str:
    numbers = [f"{value:.3g}" for value in values]
    return numbers[0] if len(set(numbers)) == 1 else ", ".join(numbers)
