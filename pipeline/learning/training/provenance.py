"""run.json: what a training run is, how it ended and what it ran on; enough to explain why two of them differ."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.losses import Loss
from pipeline.learning.networks import models
from pipeline.learning.networks.origin import origin
from pipeline.learning.settings import Model, Teacher, Train
from pipeline.learning.teacher import digests_of, names_by_part, read_teacher, teacher_path, teacher_sha256
from pipeline.learning.training.loop import FittedModel
from pipeline.learning.weights import DESCRIPTION, source, weights_file
from pipeline.study.files import IMAGES, SAMPLES, SPLIT, null
from pipeline.study.runs import Run

PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "scikit-learn")


def record(
    run: Run,
    settings: Train,
    described: Model,
    *,
    classes: Sequence[str],
    images: ResidentImages,
    precision: str,
    model: nn.Module,
    loss: Loss,
    fitted: FittedModel,
    collapsed: str | None,
    seconds: float,
) -> dict[str, Any]:
    """Return the content of run.json.

    Parameters
    ----------
    run : Run
        The training run.
    settings : Train
        With which it was trained.
    described : Model
        Settings of its model.
    classes : sequence of str [K]
        Class names.
    images : ResidentImages
        The training part.
    precision : {"float32", "bfloat16"}
        Of the model's arithmetic.
    model : Module
        Is left in evaluation mode.
    loss : Loss
        What was minimised.
    fitted : FittedModel
        Result of the training loop.
    collapsed : str or None
        Sign that nothing was learned, see `collapse_sign`.
    seconds : float
        Wall-clock time of the whole run so far.

    Returns
    -------
    dict
        JSON-compatible; an undefined AUROC is None.
    """
    best = fitted.history[fitted.best_epoch - 1]
    speeds = pd.Series([row["images_per_second"] for row in fitted.history])
    return {
        **run._asdict(),
        "arch": described.arch,
        "weights": origin(described),
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "macs": models.macs(model, images.channels, images.shape[2]),
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.history),
        **{name: null(best[name]) for name in ("val_auroc", "val_dice", "val_mae", "val_r2") if name in best},
        "class_weights": dict(zip(classes, loss.class_weights, strict=True)) if loss.class_weights else None,
        "proper_loss": loss.proper,
        "parts": digests_of(names_by_part()),
        **({} if described.teacher is None else {"teacher": _teacher(run, described.teacher)}),
        "collapsed": collapsed,
        "device": device_name(images.device),
        "threads": settings.threads,
        "precision": precision,
        "residency": images.residency,
        "images_per_second": round(speeds.median(), 1),
        "seconds": round(seconds, 2),
        "versions": versions(images.device),
        **git_state(),
    }


def decisive(
    run: Run, settings: Train, described: Model, loss: Loss, device: torch.device
) -> tuple[dict[str, Any], list[Path]]:
    """Return facts and files that decide the result of `run`, as `checkpoints.fingerprint` takes them."""
    files = [IMAGES, SAMPLES, SPLIT]
    if described.weights:
        key = f"models.{run.model}.weights"
        file = weights_file(key, source(key, described.weights))
        files += [file, *(each for each in [file.with_name(DESCRIPTION)] if each.is_file())]
    if described.teacher:
        files.append(teacher_path(f"models.{run.model}.teacher", described.teacher.file))
    facts = {
        "run": run,
        "train": settings.deciding(),
        "model": described.deciding(),
        "loss": [type(loss).__name__, loss.task, loss.model_dump(), *(["ordered"] if loss.of_ordered else [])],
        "device": device_name(device),
        "versions": versions(device),
    }
    return facts, files


def _teacher(run: Run, settings: Teacher) -> dict[str, Any]:
    """Describe what a network has learned from beside its labels."""
    key = f"models.{run.model}.teacher"
    read = read_teacher(key, settings.file)
    about = {"name": read.name, "members": read.members.tolist(), "sha256": teacher_sha256(key, settings.file)}
    return about | {"temperature": settings.temperature, "weight": settings.weight}


def versions(device: torch.device) -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on; on a card of CUDA's libraries, too.

    The same version of torch is built with several of CUDA and cuDNN, which choose other kernels.
    """
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except ImportError:  # another distribution of the same module, as on a machine with its own OpenCV
            continue
    if device.type == "cuda":
        installed["cuda"] = str(torch.version.cuda or torch.version.hip)
        installed["cudnn"] = str(torch.backends.cudnn.version())
    return installed


def device_name(device: torch.device) -> str:
    """Name the processor: the card's name, or the CPU's architecture and instruction set."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def git_state() -> dict[str, Any]:
    """Return the commit of the working tree, and whether code or params differ from it; None where git cannot tell."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", "pipeline", "params.yaml", "dvc.yaml", "requirements.txt")
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": commit, "git_dirty": bool(changed)}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
