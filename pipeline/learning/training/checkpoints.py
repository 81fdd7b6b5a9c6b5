"""Scratch checkpoints from which a killed training run resumes, and which a changed study never meets."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
import zlib
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
    for found in code.digests_of(map(Path, modules)):  # a comment does not make it another program
        digest.update(found.encode())
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None.

    Its parts are held to their checksums, which `torch.load` does not look at (2.14): a hole in the weights, as a power
    cut leaves it, would go unnoticed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, zlib.error):
        return "is not whole"
    return f"is damaged in its part {part}" if part else None


def _size(content: Any) -> int:
    """Bytes of the tensors in nested dicts and lists."""
    if isinstance(content, torch.Tensor):
        return content.nbytes
    inside = content.values() if isinstance(content, dict) else content if isinstance(content, list | tuple) else ()
    return sum(map(_size, inside))


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
        with replaced(self.path, _size(state)) as partial, open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave the new name with half of the content

    def load(self) -> dict[str, Any] | None:
        """Read the last state, or None: also where the file is cut or altered, which is said."""
        if not self.path.exists():
            return None
        if (what := damage(self.path)) is None:
            try:
                return dict(torch.load(self.path, map_location="cpu", weights_only=True))
            except Exception as error:  # whatever torch raises on a file that is none of its own, or that holds code
                what = f"cannot be read as a checkpoint ({type(error).__name__})"
        print(f"note: {self.path} {what}: this training run begins anew", file=sys.stderr, flush=True)
        return None

    def delete(self) -> None:
        """Remove the file, and what a kill while writing left of it."""
        for leftover in self.path.parent.glob(f"*{self.path.name}"):
            leftover.unlink(missing_ok=True)
