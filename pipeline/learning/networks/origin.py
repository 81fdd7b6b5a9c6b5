"""Where the weights that a model starts from came from, and under which licence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from pipeline.learning.seen import trained_on
from pipeline.learning.settings import Model
from pipeline.learning.weights import HUB, PACKAGE, known_package, package_name, sha256_of, source, weights_file


def origin(settings: Model) -> dict[str, str | None] | None:
    """Say where a model's weights came from: the hub's name, or a file and its SHA-256; None from scratch.

    With the licence where timm's table or a package states one: of a file nothing does. Of a file with what is known of
    the images that it was trained on, see `pipeline.learning.seen`.
    """
    if settings.weights:
        file = weights_file("weights", source("weights", settings.weights))
        about: dict[str, str | None] = {"file": file.name, "sha256": sha256_of(file)}
        if settings.weights.startswith(PACKAGE):
            name = str(package_name(settings.weights))
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


def hub_key(key: str, arch: str) -> str:
    """Return how params.yaml may ask for weights of the hub, for messages: there are two ways."""
    return f"{key}.pretrained (or weights: {HUB}{arch})"


def in_cache(arch: str) -> bool:
    """Say whether the hub's weights of `arch` are on this machine, where they were fetched before; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    from pipeline.learning.eager import timm

    entry = timm.get_pretrained_cfg(arch)
    if entry is None:
        return False
    if not entry.hf_hub_id:
        from torch.hub import get_dir

        return (Path(get_dir()) / "checkpoints" / str(entry.url).rpartition("/")[2]).is_file()
    names = [entry.hf_hub_filename] if entry.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    repository, _, revision = entry.hf_hub_id.partition("@")
    found = [try_to_load_from_cache(repository, name, revision=revision or None) for name in names]
    return any(isinstance(path, str) for path in found)


@contextmanager
def without_retries() -> Iterator[None]:
    """Keep the hub's lines about each try to fetch something from the user: the last one is an error."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


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
