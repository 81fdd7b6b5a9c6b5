"""What a training ran on: enough to say why two runs differ."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except ImportError:  # another distribution of the same module, as on a machine with its own OpenCV
            continue
    return found


def device_name(device: torch.device) -> str:
    """Name the processor: the card's name, or the CPU's architecture and instruction set."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def git_state() -> dict[str, Any]:
    """Commit of the working tree, and whether code or params differ from it; None where git cannot tell."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", "pipeline", "params.yaml", "dvc.yaml", "requirements.txt")
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": commit, "git_dirty": bool(changed)}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
