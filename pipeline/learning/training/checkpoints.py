"""Scratch checkpoints from which a killed training run resumes, and which a changed study never meets."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from pipeline.study import code
from pipeline.study.files import replaced


def fingerprint(facts: Any, files: Iterable[Path]) -> str:
    """Hash everything that decides the result of a training run.

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
    ours = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "pipeline"]
    modules = sorted({module.__file__ for module in ours if module is not None and module.__file__})
    for module in modules:  # a comment does not make it another program
        digest.update(code.digest(Path(module).read_bytes()).encode())
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class Checkpoint:
    """Scratch file of one training run under ``tmp/ckpt``, replaced whole.

    Parameters
    ----------
    folder : Path
        Where checkpoints lie.
    key : str
        `fingerprint` of the run.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"{key}.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`; a kill at any moment leaves the earlier file or this one."""
        with replaced(self.path) as partial, open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave the new name with half of the content

    def load(self) -> dict[str, Any] | None:
        """Read the last state, or None."""
        if not self.path.exists():
            return None
        return torch.load(self.path, map_location="cpu", weights_only=True)

    def delete(self) -> None:
        """Remove the file, and what a kill while writing left of it."""
        for leftover in self.path.parent.glob(f"*{self.path.name}"):
            leftover.unlink(missing_ok=True)
