"""A training run of segmentation: as of classification, with masks that move with their images, chosen by Dice."""

from __future__ import annotations

import numpy as np
from torch import nn

from pipeline.learning import losses
from pipeline.learning.images import augmentation
from pipeline.learning.images.loader import PartData
from pipeline.learning.losses import Loss
from pipeline.learning.seen import check_unseen
from pipeline.learning.settings import TrainingSections
from pipeline.learning.training.loop import Handling
from pipeline.learning.training.whole import Training
from pipeline.segmenting.data import MaskedImages
from pipeline.segmenting.probabilities import best_thresholds, dice_curves, macro, predicted
from pipeline.segmenting.use import USE, Segmenter
from pipeline.study.files import MASKS, PREPARATION, read_json, write_json
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, open_masks, read_dataset
from pipeline.study.runs import Run
from pipeline.study.trainings import run_folder

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
    training = Training(run, params, [_PACKAGE])
    settings, data, parts = training.settings, read_dataset(), read_parts(["train", "val"])
    check_unseen(run.model, training.described, data)
    images, masks = open_images(), open_masks()
    rows, draws, size = parts["train"].rows, parts["train"].draws, images.shape[1]
    loss = losses.create(run.loss, params.losses[run.loss], data.task)
    model = training.model(len(data.classes), images, rows)
    loaded = {
        name: MaskedImages(images, masks, part, training.device, settings.residency) for name, part in parts.items()
    }
    print(f"{run}: {'; '.join(part.images.describe(name) for name, part in loaded.items())}", flush=True)
    files = [MASKS, PREPARATION]
    fitted = training.fit(model, loss, loaded["train"], draws, loaded["val"], HANDLING, files)

    batches = predicted(model, loaded["val"], 4 * settings.batch_size, "float32")  # as evaluation and use will
    thresholds, dice = best_thresholds(np.concatenate([dice_curves(found, truth) for found, truth, _, _ in batches]))
    sign = f"mean Dice on validation {macro(dice):.3f}" if macro(dice) < COLLAPSED else None
    segmenter = Segmenter(
        classes=list(data.classes),
        thresholds=thresholds.tolist(),
        size=size,
        model=training.described.model_dump(mode="json", exclude_unset=True, exclude={"weights", "sha256"}),
        preprocess=read_json(PREPARATION, "preprocess"),
    )
    write_json(run_folder(run) / USE, segmenter.record())
    training.keep(fitted, model, loss, loaded["train"].images, rows, draws, data, sign)
    print(f"{run}: best epoch {fitted.best_epoch}{f', COLLAPSED: {sign}' if sign else ''}")
