"""A training run of regression: as of classification, with a number per image, chosen by its error on validation."""

from __future__ import annotations

from typing import cast

import numpy as np
from torch import nn

from pipeline.learning import losses
from pipeline.learning.images import augmentation
from pipeline.learning.images.loader import PartData
from pipeline.learning.images.parts import resident
from pipeline.learning.losses import Loss
from pipeline.learning.losses._regression import RegressionLoss
from pipeline.learning.networks.inference import predict
from pipeline.learning.networks.outputs import Standardised
from pipeline.learning.seen import check_unseen
from pipeline.learning.settings import TrainingSections
from pipeline.learning.training.loop import Handling
from pipeline.learning.training.whole import Training
from pipeline.regressing.values import as_targets, targets_of
from pipeline.study.files import ArtifactError
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Run

COLLAPSED = 0.02
"""R2 on validation up to which a training run is said to have learned nothing: no better than one number for all."""


def validated(
    model: nn.Module, loss: Loss, val: PartData, batch_size: int, precision: str
) -> tuple[float, dict[str, float]]:
    """Compute the loss of a validation part, and val_mae, val_rmse (in the unit of the target) and val_r2."""
    predicted = predict(model, val, batch_size, precision)
    truth = val.targets.double()[:, 0].cpu().numpy()
    error = predicted[:, 0].double().cpu().numpy() - truth
    of_truth = ((truth - truth.mean()) ** 2).sum()
    r2 = 1 - (error**2).sum() / of_truth if of_truth > 0 else np.nan
    figures = {"val_mae": np.abs(error).mean(), "val_rmse": np.sqrt((error**2).mean()), "val_r2": r2}
    return loss(predicted, val.targets).item(), {name: float(value) for name, value in figures.items()}


HANDLING = Handling(lambda images, targets, *how: (augmentation.augment(images, *how), targets), validated)


def train_regression(run: Run, params: TrainingSections) -> None:
    """Train `run` on the training part, choose its epoch on the validation part, write its folder."""
    training = Training(run, params)
    settings, data, parts, images = training.settings, read_dataset(), read_parts(["train", "val"]), open_images()
    check_unseen(run.model, training.described, data)
    truth = {name: targets_of(part) for name, part in parts.items()}
    draws, rows = parts["train"].draws, parts["train"].rows
    mean, sd = float(truth["train"].mean()), float(truth["train"].std())
    if not sd > 0:
        raise ArtifactError(f"{data.target}: every training image has {mean:g}; there is nothing to learn")
    loss = cast(RegressionLoss, losses.create(run.loss, params.losses[run.loss], data.task)).standardised(sd)
    scheme = training.metadata(parts["train"], data.classes)
    model = training.model(1, images, rows, loss.output)
    cast(Standardised, model.output).scaled(mean, sd)
    loaded = {
        name: resident(images, part, as_targets(truth[name]), training.device, settings.residency, scheme)
        for name, part in parts.items()
    }
    print(f"{run}: {'; '.join(part.describe(name) for name, part in loaded.items())}", flush=True)
    fitted = training.fit(model, loss, loaded["train"], draws, loaded["val"], HANDLING)

    best = fitted.history[fitted.best_epoch - 1]
    sign = f"R2 on validation {best['val_r2']:.3f}" if best["val_r2"] <= COLLAPSED else None
    more = {"target": {"mean": mean, "sd": sd}}
    training.keep(fitted, model, loss, loaded["train"], rows, draws, data, sign, more)
    print(f"{run}: best epoch {fitted.best_epoch}{f', COLLAPSED: {sign}' if sign else ''}")
