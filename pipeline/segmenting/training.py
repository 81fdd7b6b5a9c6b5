"""A training run of segmentation: as of classification, with masks that move with their images, chosen by Dice."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pipeline.learning import losses, session
from pipeline.learning.images import augmentation
from pipeline.learning.images.loader import PartData
from pipeline.learning.losses import Loss
from pipeline.learning.networks import models
from pipeline.learning.settings import TrainingSections, train_settings
from pipeline.learning.training.checkpoints import Checkpoint, fingerprint
from pipeline.learning.training.loop import Handling, derive, fit
from pipeline.learning.training.progress import EpochLines
from pipeline.learning.training.provenance import decisive, record
from pipeline.segmenting.data import MaskedImages
from pipeline.segmenting.probabilities import best_thresholds, dice_curves, macro, predicted
from pipeline.segmenting.use import FOUND, USE, Segmenter
from pipeline.study.files import CHECKPOINTS, MASKS, PREPARATION, read_json, write_csv, write_json
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, open_masks, read_dataset
from pipeline.study.runs import Run
from pipeline.study.trainings import run_folder, write_augmented

COLLAPSED = 0.05
"""Mean Dice on validation below which a training run is said to have learned nothing."""
_PACKAGE = "segmentation-models-pytorch"


def validated(
    model: nn.Module, loss: Loss, val: PartData, batch_size: int, precision: str
) -> tuple[float, dict[str, float]]:
    """Compute the loss and the mean Dice of a validation part, in constant memory.

    Returns
    -------
    float
        Mean loss over the images.
    dict
        val_dice: mean over the classes of their highest mean Dice over the images that have the structure, at the
        threshold that gives it; NaN where no image has any.
    """
    total, curves = 0.0, []
    for probabilities, truth, logits, masks in predicted(model, val, batch_size, precision):
        total += loss(logits, masks).item() * len(masks)
        curves.append(dice_curves(probabilities, truth))
    return total / len(val), {"val_dice": macro(best_thresholds(np.concatenate(curves))[1])}


HANDLING = Handling(augmentation.augment_with_masks, validated)


def train_segmentation(run: Run, params: TrainingSections) -> None:
    """Train `run` on the training part, choose its epoch and thresholds on the validation part, write its folder."""
    started = time.perf_counter()
    settings, described = train_settings(params, run.model), params.models[run.model]
    device = session.begin(settings.threads, settings.tf32, settings.device)
    precision = session.choose_precision(settings.precision, device)

    data, parts, images, masks = read_dataset(), read_parts(["train", "val"]), open_images(), open_masks()
    rows, draws, size = parts["train"].rows, parts["train"].draws, images.shape[1]
    loss = losses.create(run.loss, params.losses[run.loss], data.task)
    torch.manual_seed(derive(run.seed, 0))
    channels, some = 1 if images.ndim == 3 else images.shape[3], images[rows[:: 1 + len(rows) // 4096]]
    model = models.build(run.model, described, channels, len(data.classes), size, some)
    model = model.to(device).to(memory_format=torch.channels_last)
    loaded = {name: MaskedImages(images, masks, part, device, settings.residency) for name, part in parts.items()}
    print(f"{run}: {'; '.join(part.images.describe(name) for name, part in loaded.items())}", flush=True)

    facts, files = decisive(run, settings, described, loss, device)
    facts["versions"] |= {_PACKAGE: version(_PACKAGE)}
    checkpoint = Checkpoint(CHECKPOINTS, fingerprint(facts, [*files, MASKS, PREPARATION]))
    with EpochLines(str(run), settings.epochs, settings.log_every) as report:
        fitted = fit(
            model,
            loss,
            loaded["train"],
            draws,
            loaded["val"],
            lr=described.lr,
            settings=settings,
            seed=run.seed,
            checkpoint=checkpoint,
            report=report,
            handling=HANDLING,
        )
    model.load_state_dict(fitted.state)
    batches = predicted(model, loaded["val"], 4 * settings.batch_size, "float32")  # as evaluation and use will
    thresholds, dice = best_thresholds(np.concatenate([dice_curves(found, truth) for found, truth, _, _ in batches]))
    sign = f"mean Dice on validation {macro(dice):.3f}" if macro(dice) < COLLAPSED else None

    folder = run_folder(run)
    places, pictures = augmentation.examples(
        loaded["train"].images, draws, settings.augment, seed=derive(run.seed, 0, 1)
    )
    write_augmented(run, rows[places], pictures)
    models.save(folder / FOUND, fitted.state, {**run._asdict(), **asdict(data)})
    segmenter = Segmenter(
        classes=list(data.classes),
        thresholds=thresholds.tolist(),
        size=size,
        model=described.model_dump(mode="json", exclude_unset=True, exclude={"weights", "sha256"}),
        preprocess=read_json(PREPARATION, "preprocess"),
    )
    write_json(folder / USE, segmenter.record())
    write_csv(folder / "history.csv", pd.DataFrame(fitted.history))
    about: dict[str, Any] = record(
        run,
        settings,
        described,
        classes=data.classes,
        images=loaded["train"].images,
        precision=precision,
        model=model,
        loss=loss,
        fitted=fitted,
        collapsed=sign,
        seconds=time.perf_counter() - started,
    )
    about["versions"] |= {_PACKAGE: version(_PACKAGE)}
    write_json(folder / "run.json", about)
    checkpoint.delete()
    print(f"{run}: best epoch {fitted.best_epoch}{f', COLLAPSED: {sign}' if sign else ''}")
