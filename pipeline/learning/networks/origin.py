"""Where the weights that a model starts from came from, and under which licence."""

from __future__ import annotations

from importlib import metadata

from pipeline.learning.seen import trained_on
from pipeline.learning.settings import Model
from pipeline.learning.weights import PACKAGE, known_package, sha256_of, source, weights_file


def origin(settings: Model) -> dict[str, str | None] | None:
    """Say where a model's weights came from: the hub's name, or a file and its SHA-256; None from scratch.

    With the licence where timm's table or a package states one: of a file nothing does. Of a file with what is known of
    the images that it was trained on, see `pipeline.learning.seen`.
    """
    if settings.weights:
        file = weights_file("weights", source("weights", settings.weights))
        about: dict[str, str | None] = {"file": file.name, "sha256": sha256_of(file)}
        if settings.weights.startswith(PACKAGE):
            name = settings.weights.removeprefix(PACKAGE)
            about = {"package": f"{name} {metadata.version(name)}", **about}
            if licence := _licence_of_package(name):
                about["licence"] = licence
        if package := known_package(settings.weights):
            about |= {"licence": package.licence, "trained at": f"{package.size} px"}
        if not settings.weights.startswith(PACKAGE):
            about["trained on"] = trained_on(settings)
        return about
    if settings.pretrained:
        return {"hub": hub_address(settings.arch), **_licence_of_hub(settings.arch)}
    return None


def timm_name(arch: str) -> str:
    """Return the name of an architecture without the tag of its weights."""
    return arch.partition(".")[0]


def hub_address(arch: str) -> str | None:
    """Return the name or address under which timm fetches the weights of `arch`, None where it has none."""
    from pipeline.learning.eager import timm

    hub = timm.get_pretrained_cfg(arch)
    address = None if hub is None else hub.hf_hub_id or hub.url
    return None if address is None else str(address)


def _licence_of_hub(arch: str) -> dict[str, str | None]:
    """Return the licence of timm's weights of `arch`, nothing where its table has none."""
    from pipeline.learning.eager import timm

    entry = timm.get_pretrained_cfg(arch)
    licence = None if entry is None else entry.license
    return {"licence": str(licence)} if licence not in (None, "", "unknown") else {}


def _licence_of_package(name: str) -> str | None:
    """Return the licence that an installed package states for itself, in one line; None where it states none."""
    about = metadata.metadata(name)
    stated = about.get_all("License-Expression") or about.get_all("License") or [""]
    line = " ".join(str(stated[0]).split())
    # Older packages have the whole text there.
    return line if 0 < len(line) <= _LONGEST_LICENCE and line.upper() != "UNKNOWN" else None


_LONGEST_LICENCE = 60
"""Characters of the name of a licence."""
