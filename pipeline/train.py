"""Stages `train` and `replicate`: train one cell, a model with a loss under a seed."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before torch: without it cuBLAS does not repeat itself

import pandas as pd
import torch

from pipeline import artifacts
from pipeline.errors import stage_errors
from pipeline.learning import checkpoints, losses, models
from pipeline.learning.inference import choose_device, choose_precision, predict
from pipeline.learning.loader import ResidentImages
from pipeline.learning.loop import derive, fit
from pipeline.learning.provenance import device_name, git_state, versions
from pipeline.params import Cell, Params, load
from pipeline.statistics.collapse import collapse_sign
from pipeline.statistics.thresholds import probabilities


def train(cell: Cell, params: Params) -> None:
    """Train `cell` on the training part, choose its epoch on the validation part, write its folder."""
    started = time.perf_counter()
    settings, model_settings = params.train, params.models[cell.model]
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = choose_device(settings.device)

    data, parts, images = artifacts.read_dataset(), artifacts.read_parts(["train", "val"]), artifacts.open_images()
    loss = losses.create(cell.loss, params.losses[cell.loss], data.task)
    if settings.class_weights == "balanced":
        loss = loss.weighted(losses.balanced_weights(parts["train"].targets, parts["train"].copies, data.task))
    channels = 1 if images.ndim == 3 else images.shape[3]
    torch.manual_seed(derive(cell.seed, 0))
    some = parts["train"].rows[:: 1 + len(parts["train"].rows) // 4096]
    model = models.build(cell.model, model_settings, channels, len(data.classes), images.shape[1], images[some])
    model = model.to(device, memory_format=torch.channels_last)
    loaded = {
        name: ResidentImages(images, part.rows, part.targets, device, part.augmented) for name, part in parts.items()
    }

    facts = {
        "cell": cell,
        "train": settings.model_dump(),
        "model": model_settings.model_dump(),
        "loss": [type(loss).__name__, loss.task, loss.model_dump()],
        "device": device_name(device),
        "versions": versions(),
    }
    inputs = [artifacts.IMAGES, artifacts.SAMPLES, artifacts.SPLIT]
    checkpoint = checkpoints.Checkpoint(artifacts.CHECKPOINTS, checkpoints.fingerprint(facts, inputs))
    fitted = fit(
        model,
        loss,
        loaded["train"],
        parts["train"].copies,
        loaded["val"],
        lr=model_settings.lr,
        settings=settings,
        seed=cell.seed,
        checkpoint=checkpoint,
        report=Progress(cell, settings.epochs, int(parts["train"].copies.sum())),
    )

    model.load_state_dict(fitted.state)
    precision = choose_precision(settings.precision, device)
    logits = predict(model, loaded["val"], 4 * settings.batch_size, precision).cpu().numpy()
    history = pd.DataFrame(fitted.history)
    best = fitted.history[fitted.best_epoch - 1]
    sign = collapse_sign(
        history["val_auroc"], best["val_auroc"], parts["val"].targets, probabilities(logits, data.task)
    )
    folder = artifacts.cell_folder(cell)
    models.save(folder / "model.safetensors", fitted.state, {**cell._asdict(), **asdict(data)})
    artifacts.write_csv(folder / "history.csv", history)
    run = {
        **cell._asdict(),
        "arch": model_settings.arch,
        "parameters": sum(p.numel() for p in model.parameters()),
        "best_epoch": fitted.best_epoch,
        "epochs": len(history),
        "val_auroc": best["val_auroc"] if best["val_auroc"] == best["val_auroc"] else None,
        "class_weights": dict(zip(data.classes, loss.class_weights, strict=True)) if loss.class_weights else None,
        "collapsed": sign,
        "device": device_name(device),
        "threads": settings.threads,
        "precision": precision,
        "images_per_second": round(parts["train"].copies.sum() * len(history) / history["seconds"].sum(), 1),
        "seconds": round(time.perf_counter() - started, 2),
        "versions": versions(),
        **git_state(),
    }
    artifacts.write_json(folder / "run.json", run)
    checkpoint.delete()
    print(f"{cell.recipe} seed {cell.seed}: best epoch {fitted.best_epoch}" + (f", COLLAPSED: {sign}" if sign else ""))


class Progress:
    """A line an epoch: losses, validation AUROC, speed, time left if no epoch is saved by early stopping."""

    def __init__(self, cell: Cell, epochs: int, images: int) -> None:
        self.cell, self.epochs, self.images = cell, epochs, images

    def __call__(self, row: dict[str, float]) -> None:
        """Print the line of history row `row`."""
        left = (self.epochs - row["epoch"]) * row["seconds"]
        print(
            f"{self.cell.recipe} seed {self.cell.seed}  epoch {row['epoch']:>3}/{self.epochs}  "
            f"loss {row['train_loss']:.4f}  val loss {row['val_loss']:.4f}  val AUROC {row['val_auroc']:.4f}  "
            f"{self.images / row['seconds']:.0f} img/s  at most {left:.0f} s left",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a name under models in params.yaml")
    parser.add_argument("--loss", required=True, help="a name under losses in params.yaml")
    parser.add_argument("--seed", required=True, type=int, help="training seed")
    arguments = parser.parse_args()
    with stage_errors():
        train(Cell(arguments.model, arguments.loss, arguments.seed), load())
