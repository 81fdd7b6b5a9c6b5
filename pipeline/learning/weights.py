"""Files of trained weights that models start from: which one is meant, and what lies in it. Needs no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.study.errors import UserError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


class ModelError(UserError):
    """A model of params.yaml cannot be built. The message names the key."""


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
