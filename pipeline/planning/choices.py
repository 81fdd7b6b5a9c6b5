"""What a rule chooses, and the pretrained weights that it may choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Choice(NamedTuple):
    """What a rule chooses.

    Parameters
    ----------
    what : str
        The matter, for the printed table.
    seen : str
        What it rests on.
    chosen : str
        The choice in words.
    why : str
        The reason, one sentence.
    settings : dict
        Values of params.yaml by key path.
    """

    what: str
    seen: str
    chosen: str
    why: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Weights:
    """Pretrained weights that can be had: a file, or timm's hub.

    Parameters
    ----------
    file : str or None
        A .safetensors or .pth file, or a folder with one.
    hub : bool
        The user says that timm's hub can be reached.
    arch : str
        The architecture that they are of.
    extra : dict
        Further keys of the model that the weights need: input, options.
    size : int or None
        Side in pixels of the only images that the network takes.
    told_by, normalised : str
        What tells the architecture, and how the images of its training were normalised, in words.
    doubt : str or None
        What cannot be known of them.
    """

    file: str | None = None
    hub: bool = False
    arch: str = "mobilenetv2_100"
    extra: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None
    told_by: str = "--arch"
    normalised: str = ""
    doubt: str | None = None

    @property
    def known(self) -> bool:
        """Whether there are any."""
        return self.file is not None or self.hub
