"""A training run of regression: as of classification, with a number per image, chosen by its error on validation."""

from __future__ import annotations

import time
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import nn

from pipeline.learning import losses, session
from pipeline.learning.images import augmentation
from pipeline.learning.images.loader import PartData, ResidentImages
from pipeline.learning.losses import Loss
from pipeline.learning.losses._regression import RegressionLoss
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import predict
from pipeline.learning.networks.outputs import Standardised
from pipeline.learning.settings import TrainingSections, train_settings
from pipeline.learning.training.checkpoints import Checkpoint, fingerprint
from pipeline.learning.training.loop import Handling, derive, fit
from pipeline.learning.training.progress import EpochLines
from pipeline.learning.training.provenance import decisive, record
from pipeline.regressing.values import targets_of
from pipeline.study.files import CHECKPOINTS, ArtifactError, write_csv, write_json
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Run
from pipeline.study.trainings import run_folder, write_augmented

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
    started = time.perf_counter()
    settings, described = train_settings(params, run.model), params.models[run.model]
    device = session.begin(settings.threads, settings.tf32, settings.device)
    precision = session.choose_precision(settings.precision, device)

    data, parts, images = read_dataset(), read_parts(["train", "val"]), open_images()
    truth = {name: targets_of(part) for name, part in parts.items()}
    draws, rows = parts["train"].draws, parts["train"].rows
    mean, sd = float(truth["train"].mean()), float(truth["train"].std())
    if not sd > 0:
        raise ArtifactError(f"{data.target}: every training image has {mean:g}; there is nothing to learn")
    loss = cast(RegressionLoss, losses.create(run.loss, params.losses[run.loss], data.task)).standardised(sd)
    torch.manual_seed(derive(run.seed, 0))
    channels, some = 1 if images.ndim == 3 else images.shape[3], images[rows[:: 1 + len(rows) // 4096]]
    model = models.build(run.model, described, channels, 1, images.shape[1], some, loss.output)
    cast(Standardised, model.output).scaled(mean, sd)
    model = model.to(device).to(memory_format=torch.channels_last)
    loaded = {
        name: ResidentImages(
            images, part.rows, truth[name].astype(np.float32)[:, None], device, part.augmented, settings.residency
        )
        for name, part in parts.items()
    }
    print(f"{run}: {'; '.join(part.describe(name) for name, part in loaded.items())}", flush=True)

    facts, files = decisive(run, settings, described, loss, device)
    checkpoint = Checkpoint(CHECKPOINTS, fingerprint(facts, files))
    with EpochLines(str(run), settings.epochs, settings.log_every) as report:
        fitted = fit(
            model,
            loss,
            loaded["train"],
            draws,
            loaded["val"],
            lr=described.lr,
            head_lr=described.head_lr,
            settings=settings,
            seed=run.seed,
            checkpoint=checkpoint,
            report=report,
            handling=HANDLING,
        )
    model.load_state_dict(fitted.state)
    best = fitted.history[fitted.best_epoch - 1]
    sign = f"R2 on validation {best['val_r2']:.3f}" if best["val_r2"] <= COLLAPSED else None

    folder = run_folder(run)
    places, pictures = augmentation.examples(loaded["train"], draws, settings.augment, seed=derive(run.seed, 0, 1))
    write_augmented(run, rows[places], pictures)
    models.save(folder / "model.safetensors", fitted.state, {**run._asdict(), **data.record(), "output": loss.output})
    write_csv(folder / "history.csv", pd.DataFrame(fitted.history))
    about = record(
        run,
        settings,
        described,
        classes=data.classes,
        images=loaded["train"],
        precision=precision,
        model=model,
        loss=loss,
        fitted=fitted,
        collapsed=sign,
        seconds=time.perf_counter() - started,
    )
    write_json(folder / "run.json", {**about, "target": {"mean": mean, "sd": sd}})
    checkpoint.delete()
    print(f"{run}: best epoch {fitted.best_epoch}{f', COLLAPSED: {sign}' if sign else ''}")
