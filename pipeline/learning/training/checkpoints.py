"""Scratch checkpoints that let a killed training go on, and that a changed study never meets."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch


def fingerprint(facts: Any, files: Iterable[Path]) -> str:
    """Hash everything that decides a training's result.

    Parameters
    ----------
    facts : JSON-compatible
        Parameters, seed, device, versions.
    files : iterable of Path
        Data; their content is hashed. The imported modules of this project are added.

    Returns
    -------
    str
        64 hexadecimal digits (SHA-256).
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    modules = {m.__file__ for n, m in list(sys.modules.items()) if n.split(".")[0] == "pipeline" and m is not None}
    for path in [*sorted(f for f in modules if f), *files]:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class Checkpoint:
    """One training's scratch file under ``tmp/ckpt``, replaced whole.

    Parameters
    ----------
    folder : Path
        Where checkpoints lie.
    key : str
        `fingerprint` of the training.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"{key}.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`; a kill at any moment leaves the earlier file or this one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path)

    def load(self) -> dict[str, Any] | None:
        """Read the last state, or None."""
        if not self.path.exists():
            return None
        return torch.load(self.path, map_location="cpu", weights_only=True)

    def delete(self) -> None:
        """Remove the file, and what a kill while writing left of it."""
        for leftover in self.path.parent.glob(f"{self.path.stem}.*"):
            leftover.unlink(missing_ok=True)
