"""What config.json says of a file of trained weights beside it, as timm's hub and its exports have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.learning.weights import DESCRIPTION, ModelError

_OF_THE_HEAD = ("in_chans", "num_classes", "global_pool")
"""Arguments that tensors tell, or of the head, which is trained anew. Rates of what is dropped are passed over, too."""


class Described(NamedTuple):
    """What the file says.

    Parameters
    ----------
    arch : str
        timm's name, without a tag.
    tag : str or None
        Of timm's entry of these weights.
    mean, std : list of float or None
        Per channel, of values in [0, 1].
    options : dict
        Arguments of timm's constructor by which the network was built and that tensors do not tell, JSON-compatible.
    """

    arch: str
    tag: str | None
    mean: list[float] | None
    std: list[float] | None
    options: dict[str, Any]


def described(file: Path) -> Described | None:
    """Read config.json beside a file of weights; None where there is none, or it is none of timm's."""
    from pipeline.learning.eager import timm

    try:
        content = json.loads(file.with_name(DESCRIPTION).read_text(encoding="utf-8"))
        arch, entry = content["architecture"], content.get("pretrained_cfg") or {}
        if not isinstance(arch, str) or not timm.is_model(arch):
            return None
        mean, std = ([float(v) for v in entry[key]] if entry.get(key) else None for key in ("mean", "std"))
        given = dict(content.get("model_args") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    options = {name: value for name, value in given.items() if name not in _OF_THE_HEAD and "drop" not in name}
    both = mean is not None and std is not None
    return Described(arch, entry.get("tag"), mean if both else None, std if both else None, options)


def check_described(key: str, file: Path, said: Described, arch: str, options: dict[str, Any]) -> None:
    """Refuse a network that computes something else with the same tensors than the one that was trained.

    Parameters
    ----------
    key : str
        ``models.<name>``, for messages.
    file : Path
        Of the weights.
    said : Described
        Beside it.
    arch : str
        timm's name that params.yaml has, without a tag.
    options : dict
        Those that params.yaml has.

    Raises
    ------
    ModelError
        Naming the key and what stands in config.json.
    """
    if arch != said.arch:
        raise ModelError(
            f"{key}.arch: '{arch}'; {file.with_name(DESCRIPTION)} says of these weights: must be {said.arch}"
        )
    for name, value in said.options.items():
        here = options.get(name)
        if _plain(here) != _plain(value) and not (name == "img_size" and here is not None):  # tensors tell of others
            shown, there = json.dumps(_plain(value)), file.with_name(DESCRIPTION)
            raise ModelError(
                f"{key}.options.{name}: {'not set' if here is None else here}; {there} says of these weights: "
                f"must be {shown}, as in options: {{{name}: {shown}}}"
            )


def _plain(value: Any) -> Any:
    """Return a list for a tuple, and one number for a square's two sides."""
    if not isinstance(value, list | tuple):
        return value
    values = [_plain(each) for each in value]
    return values[0] if len(values) == 2 and values[0] == values[1] else values
