"""Stages `train` and `replicate`: one training run, a model with a loss under a seed."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

from pipeline.learning import losses, session
from pipeline.learning.images import augmentation
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import predict
from pipeline.learning.settings import TrainingSections, train_settings
from pipeline.learning.training.checkpoints import Checkpoint, fingerprint
from pipeline.learning.training.loop import derive, fit
from pipeline.learning.training.progress import Progress
from pipeline.learning.training.provenance import device_name, git_state, versions
from pipeline.metrics.collapse import collapse_sign
from pipeline.metrics.thresholds import probabilities
from pipeline.study.errors import stage_errors
from pipeline.study.files import CHECKPOINTS, IMAGES, SAMPLES, SPLIT, null, write_csv, write_json
from pipeline.study.params import load
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Run
from pipeline.study.trainings import run_folder, write_augmented


def train(run: Run, params: TrainingSections) -> None:
    """Train `run` on the training part, choose its epoch on the validation part, write its folder."""
    started = time.perf_counter()
    settings, described = train_settings(params, run.model), params.models[run.model]
    device = session.begin(settings.threads, settings.tf32, settings.device)

    data, parts, images = read_dataset(), read_parts(["train", "val"]), open_images()
    training = parts["train"]
    seen = training.targets, training.copies, settings.class_weights
    loss = losses.for_training(run.loss, params.losses[run.loss], data.task, *seen)

    torch.manual_seed(derive(run.seed, 0))
    channels = 1 if images.ndim == 3 else images.shape[3]
    some = images[training.rows[:: 1 + len(training.rows) // 4096]]
    model = models.build(run.model, described, channels, len(data.classes), images.shape[1], some)
    model = model.to(device, memory_format=torch.channels_last)
    loaded = {
        name: ResidentImages(images, part.rows, part.targets, device, part.augmented, settings.residency)
        for name, part in parts.items()
    }
    label = f"{run.configuration} seed {run.seed}"
    print(f"{label}: {'; '.join(of_part.describe(name) for name, of_part in loaded.items())}", flush=True)

    decisive = {
        "run": run,
        "train": settings.model_dump(),
        "model": described.model_dump(),
        "loss": [type(loss).__name__, loss.task, loss.model_dump()],
        "device": device_name(device),
        "versions": versions(),
    }
    files = [IMAGES, SAMPLES, SPLIT]
    if described.weights:
        files.append(models.weights_file(f"models.{run.model}.weights", Path(described.weights)))
    checkpoint = Checkpoint(CHECKPOINTS, fingerprint(decisive, files))
    with Progress(label, settings.epochs, settings.log_every) as progress:
        fitted = fit(
            model,
            loss,
            loaded["train"],
            training.copies,
            loaded["val"],
            lr=described.lr,
            head_lr=described.head_lr,
            settings=settings,
            seed=run.seed,
            checkpoint=checkpoint,
            report=progress,
        )

    model.load_state_dict(fitted.state)
    precision = session.choose_precision(settings.precision, device)
    logits = predict(model, loaded["val"], 4 * settings.batch_size, precision).cpu().numpy()
    history, best = pd.DataFrame(fitted.history), fitted.history[fitted.best_epoch - 1]
    sign = collapse_sign(
        history[f"val_{settings.select}"],
        best["val_auroc"],
        loaded["val"].targets.cpu().numpy(),
        probabilities(logits, data.task),
    )
    places, pictures = augmentation.examples(
        loaded["train"], training.copies, settings.augment, seed=derive(run.seed, 0, 1)
    )
    write_augmented(run, training.rows[places], pictures)
    models.save(run_folder(run) / "model.safetensors", fitted.state, {**run._asdict(), **asdict(data)})
    write_csv(run_folder(run) / "history.csv", history)
    record = {
        **run._asdict(),
        "arch": described.arch,
        "weights": models.origin(described),
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "macs": models.macs(model, channels, images.shape[1]),
        "best_epoch": fitted.best_epoch,
        "epochs": len(history),
        "val_auroc": null(best["val_auroc"]),
        "class_weights": dict(zip(data.classes, loss.class_weights, strict=True)) if loss.class_weights else None,
        "proper_loss": loss.proper,
        "collapsed": sign,
        "device": device_name(device),
        "threads": settings.threads,
        "precision": precision,
        "residency": loaded["train"].residency,
        "images_per_second": round(history["images_per_second"].median(), 1),
        "seconds": round(time.perf_counter() - started, 2),
        "versions": versions(),
        **git_state(),
    }
    write_json(run_folder(run) / "run.json", record)
    checkpoint.delete()
    print(f"{label}: best epoch {fitted.best_epoch}" + (f", COLLAPSED: {sign}" if sign else ""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a name under models in params.yaml")
    parser.add_argument("--loss", required=True, help="a name under losses in params.yaml")
    parser.add_argument("--seed", required=True, type=int, help="training seed")
    arguments = parser.parse_args()
    with stage_errors():
        train(Run(arguments.model, arguments.loss, arguments.seed), load(TrainingSections))
