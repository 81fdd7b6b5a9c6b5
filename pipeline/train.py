"""Stages `train` and `replicate`: one training run, a model with a loss under a seed."""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch

from pipeline.learning import losses, session
from pipeline.learning.images import augmentation
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import predict
from pipeline.learning.records import training_record
from pipeline.learning.settings import Model, TrainingSections, train_settings
from pipeline.learning.training.checkpoints import Checkpoint, fingerprint
from pipeline.learning.training.loop import derive, fit
from pipeline.learning.training.progress import EpochLines
from pipeline.learning.training.provenance import decisive, record
from pipeline.metrics.collapse import collapse_sign, unclear
from pipeline.metrics.thresholds import probabilities
from pipeline.study.errors import stage_errors
from pipeline.study.files import CHECKPOINTS, write_csv, write_json
from pipeline.study.params import load
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.records import check_record
from pipeline.study.runs import Run
from pipeline.study.trainings import run_folder, write_augmented


def train(run: Run, params: TrainingSections) -> None:
    """Train `run` on the training part, choose its epoch on the validation part, write its folder."""
    started = time.perf_counter()
    settings, described = train_settings(params, run.model), params.models[run.model]
    device = session.begin(settings.threads, settings.tf32, settings.device)
    precision = session.choose_precision(settings.precision, device)

    data, parts, images = read_dataset(), read_parts(["train", "val"]), open_images()
    rows, targets, draws = parts["train"].rows, parts["train"].targets, parts["train"].draws
    loss = losses.for_training(run.loss, params.losses[run.loss], data.task, targets, draws, settings.class_weights)
    model = _new_model(run, described, len(data.classes), images, rows)
    model = model.to(device).to(memory_format=torch.channels_last)
    loaded = {
        name: ResidentImages(images, part.rows, part.targets, device, part.augmented, settings.residency)
        for name, part in parts.items()
    }
    print(f"{run}: {'; '.join(part.describe(name) for name, part in loaded.items())}", flush=True)

    checkpoint = Checkpoint(CHECKPOINTS, fingerprint(*decisive(run, settings, described, loss, device)))
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
        )
    model.load_state_dict(fitted.state)
    history, best = pd.DataFrame(fitted.history), fitted.history[fitted.best_epoch - 1]
    logits = predict(model, loaded["val"], 4 * settings.batch_size, precision).cpu().numpy()
    chosen_by = history[f"val_{settings.select}"].tolist()
    sign = collapse_sign(chosen_by, best["val_auroc"], parts["val"].targets, probabilities(logits, data.task))

    places, pictures = augmentation.examples(loaded["train"], draws, settings.augment, seed=derive(run.seed, 0, 1))
    write_augmented(run, rows[places], pictures)
    models.save(run_folder(run) / "model.safetensors", fitted.state, {**run._asdict(), **data.content()})
    write_csv(run_folder(run) / "history.csv", history)
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
    write_json(run_folder(run) / "run.json", about)
    checkpoint.delete()
    few = unclear(parts["val"].targets, best["val_auroc"])
    said = f", COLLAPSED: {sign}" if sign else f"; whether it learned: {few}" if few else ""
    print(f"{run}: best epoch {fitted.best_epoch}{said}")


def _new_model(run: Run, described: Model, classes: int, images: np.ndarray, rows: np.ndarray) -> models.Classifier:
    """Build the model of `run` with the initial weights of its seed, normalised by some of the training images."""
    torch.manual_seed(derive(run.seed, 0))
    channels = 1 if images.ndim == 3 else images.shape[3]
    some = images[rows[:: 1 + len(rows) // 4096]]
    return models.build(run.model, described, channels, classes, images.shape[1], some)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a name under models in params.yaml")
    parser.add_argument("--loss", required=True, help="a name under losses in params.yaml")
    parser.add_argument("--seed", required=True, type=int, help="training seed")
    arguments = parser.parse_args()
    with stage_errors():
        run, params = Run(arguments.model, arguments.loss, arguments.seed), load(TrainingSections)
        check_record(run.configuration, "train", training_record(run.configuration, params))
        train(run, params)
