"""A new head on the joined features of trained networks: what stage `fuse` does where it is asked to.

There is no test-time augmentation here: the networks see each image once, as it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from pipeline.ensembling.settings import FeatureSections
from pipeline.feature_ensemble import ResidentFeatures, concatenate, fit_head, head_logits
from pipeline.gathered import Gathered
from pipeline.learning import losses, session
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.networks import models
from pipeline.learning.settings import Train, train_settings
from pipeline.learning.training.checkpoints import Checkpoint, fingerprint
from pipeline.learning.training.progress import EpochLines
from pipeline.learning.training.provenance import device_name, versions
from pipeline.study.files import CHECKPOINTS, IMAGES, SAMPLES, SPLIT, ArtifactError, made_by, nulls
from pipeline.study.parts import read_parts, read_split
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Run
from pipeline.study.trainings import run_folder


def rebuild(cell: Run, params: FeatureSections, classes: int, size: int, device: torch.device) -> models.Classifier:
    """Build the trained network of `cell`."""
    file = made_by(run_folder(cell) / "model.safetensors", "train")
    model = models.rebuild(cell.model, params.models[cell.model], classes, size, file)
    return model.to(device, memory_format=torch.channels_last)


def join(members: list[Run], params: FeatureSections, settings: Train, study: Gathered) -> dict[str, ResidentFeatures]:
    """Compute the members' features of all parts; those of the test part have zeros in the place of the truth."""
    device, images, classes = session.choose_device(settings.device), open_images(), len(study.labels.classes)
    parts, split = read_parts(["train", "val"]), read_split()
    given = {name: (part.rows, part.targets, device, part.augmented) for name, part in parts.items()}
    test = split[split["part"] == "test"].sort_values(["row", "augmented"])
    unknown = np.zeros((len(test), classes), np.uint8)
    given["test"] = test["row"].to_numpy(), unknown, device, test["augmented"].to_numpy()
    for name, rows in (("val", study.labels.val_rows), ("test", study.labels.test_rows)):
        if not np.array_equal(given[name][0], rows):
            raise ArtifactError(f"evaluations are of another {name} part than the split: dvc repro evaluate")
    loaded = {name: ResidentImages(images, *of, settings.residency) for name, of in given.items()}
    networks = [partial(rebuild, cell, params, classes, images.shape[1], device) for cell in members]
    return concatenate(networks, loaded, 4 * settings.batch_size)


def train_head(
    name: str, members: list[Run], params: FeatureSections, study: Gathered
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Train a head as the first member's recipe is trained; return what became of it, validation and test logits."""
    best, data, training = members[0], read_dataset(), read_parts(["train"])["train"]
    settings, described = train_settings(params, best.model), params.models[best.model]
    lr = described.head_lr or described.lr
    session.begin(settings.threads, settings.tf32, settings.device)
    features = join(members, params, settings, study)
    seen = training.targets, training.draws, settings.class_weights
    loss = losses.for_training(best.loss, params.losses[best.loss], data.task, *seen)
    decisive = {
        "members": members,
        "train": settings.model_dump(),
        "loss": [type(loss).__name__, loss.task, loss.model_dump()],
        "head": [lr, params.seed],
        "device": device_name(features["train"].device),
        "versions": versions(),
    }
    networks = [run_folder(cell) / "model.safetensors" for cell in members]
    key = fingerprint(decisive, [IMAGES, SAMPLES, SPLIT, *networks])
    checkpoint = Checkpoint(CHECKPOINTS, key)
    with EpochLines(name, settings.epochs, settings.log_every) as progress:
        of = {"lr": lr, "settings": settings, "seed": params.seed, "checkpoint": checkpoint, "report": progress}
        head, fitted = fit_head(features, training.draws, loss, **of)
    val, test = (head_logits(head, features[part], 4 * settings.batch_size) for part in ("val", "test"))
    checkpoint.delete()
    about = {"features": features["train"].shape[1], "loss": best.loss, "lr": lr, "best_epoch": fitted.best_epoch}
    return about | nulls({"val_auroc": fitted.history[fitted.best_epoch - 1]["val_auroc"]}), val, test
