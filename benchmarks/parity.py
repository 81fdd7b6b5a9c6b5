"""The product's training against a plain script: same images, batches, epochs, peak learning rate and clipping.

``python -m benchmarks.parity run NAME=FOLDER …`` trains; each FOLDER is a project whose stages up to `split` are done.
Every result is entered into tmp/parity.csv as it is there, so that a stopped run goes on. Without ``run``, the table of
what is there is printed; ``python -m benchmarks parity`` enters it into RESULTS.md. An arm is the product as it stands
in params.yaml, the same with one difference, or the plain script (benchmarks/plain.py).
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from scipy import stats
from torch import Tensor

from benchmarks import plain
from pipeline.learning import losses, session
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.networks import models
from pipeline.learning.networks.baseline_cnn import BaselineCNN
from pipeline.learning.settings import Model, Train, train_settings
from pipeline.learning.training.checkpoints import Checkpoint
from pipeline.learning.training.loop import derive, fit
from pipeline.settings import load
from pipeline.study.parts import Part, read_parts
from pipeline.study.prepared import open_images, read_dataset

TABLE = Path("tmp/parity.csv")
COLUMNS = ("data", "network", "arm", "seed", "auroc", "seconds")
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {"arch": "resnet18", "lr": 0.001},
    "mobilenetv2": {"arch": "mobilenetv2_100", "lr": 0.002},
    "lite0": {"arch": "tf_efficientnet_lite0", "lr": 0.002},
    "regnet": {"arch": "regnetx_002", "lr": 0.001},
}
"""Beside those of params.yaml, densenet and cnn."""
ARMS: dict[str, dict[str, Any]] = {
    "product": {},
    "no warm-up": {"warmup_epochs": 0.0},
    "warm-up 0.25": {"warmup_epochs": 0.25},
    "warm-up 1": {"warmup_epochs": 1.0},
    "no decay": {"weight_decay": 0.0},
    "decay 0.01": {"weight_decay": 0.01},
    "no brightness, contrast": {"augment": {"brightness": 0.0, "contrast": 0.0}},
    "brightness added": {"augment": {"brightness": 0.0, "brightness_offset": 0.1}},
    "no augmentation": {"augment": "none"},
    "nearest": {"augment": {"interpolation": "nearest"}},
    "as the script": {"warmup_epochs": 0.0, "weight_decay": 0.01, "augment": {"interpolation": "nearest"}},
    "accumulate 2 x 8": {"batch_size": 8, "accumulate": 2},
    "layer decay 0.75": {"layer_decay": 0.75},
    "EMA 0.999": {"ema": 0.999},
    "EMA 0.999, warm-up": {"ema": 0.999, "ema_warmup": True},
    "mixup 0.2": {"mix": {"mixup": 0.2}},
    "CutMix 1": {"mix": {"mixup": 0.0, "cutmix": 1.0}},
    "SWA 0.5": {"swa": 0.5},
    "RandAugment 2, 9": {"augment": {"rand": {"operations": 2, "magnitude": 9}}},
    "progressive": {"progressive": {}},
    "drop path 0.1": {"drop_path": 0.1},
}
"""What differs from section `train` of params.yaml, or from the model's settings."""
PLAIN = "plain"


def settings_of(train: Train, arm: str) -> Train:
    """Return the settings of an arm."""
    over = {key: value for key, value in ARMS[arm].items() if key in Train.model_fields}
    if isinstance(over.get("augment"), dict):
        over["augment"] = train.augment.model_dump() | over["augment"]
    return Train.model_validate(train.model_dump() | over)


def chosen(part: Part, most: int | None) -> np.ndarray:
    """Return places of at most `most` entries of a part, the same ones every time."""
    n = len(part.rows)
    return np.arange(n) if most is None or n <= most else np.sort(np.random.default_rng(0).permutation(n)[:most])


def tensors(images: np.ndarray, part: Part, places: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return images uint8 [N, C, H, W] and targets float [N, K]."""
    pixels = torch.from_numpy(np.ascontiguousarray(images[part.rows[places]]))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(part.targets[places]).float()


def trained(model: Model, train: Train, arm: str, seed: int, most: int | None) -> float:
    """Train one arm on the project in the working directory; return the validation AUROC of its best epoch."""
    data, parts, images = read_dataset(), read_parts(["train", "val"]), open_images()
    channels, size, single = 1 if images.ndim == 3 else images.shape[3], images.shape[1], data.task == "multiclass"
    places = chosen(parts["train"], most)
    settings = train if arm == PLAIN else settings_of(train, arm)
    # An epoch fewer than patience allows to be missed: every arm is trained to its end, as the plain script is.
    settings = settings.model_copy(update={"patience": settings.epochs, "device": "cpu"})
    device = session.begin(1, False, "cpu")
    if arm == PLAIN:
        torch.manual_seed(seed)
        network: torch.nn.Module
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in model.options.items()}
        if model.arch == "baseline_cnn":
            network = BaselineCNN(channels, len(data.classes), **model.options).build_for(channels, size)
        else:
            network = timm.create_model(model.arch, in_chans=channels, num_classes=len(data.classes), **options)
        return max(
            plain.train(
                network,
                tensors(images, parts["train"], places),
                tensors(images, parts["val"], np.arange(len(parts["val"].rows))),
                single_label=single,
                epochs=settings.epochs,
                batch_size=settings.batch_size,
                lr=model.lr,
                clip=settings.clip_grad or float("inf"),
            )
        )
    torch.manual_seed(derive(seed, 0))
    rows, targets, draws = (
        values[places] for values in (parts["train"].rows, parts["train"].targets, parts["train"].draws)
    )
    model = model.model_copy(update={k: v for k, v in ARMS[arm].items() if k not in Train.model_fields})
    network = models.build("network", model, channels, len(data.classes), size, images[rows])
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    loss = losses.for_training("loss", {"kind": "ce" if single else "bce"}, data.task, targets, draws, "none")
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(
            network,
            loss,
            ResidentImages(images, rows, targets, device),
            draws,
            ResidentImages(images, parts["val"].rows, parts["val"].targets, device),
            lr=model.lr,
            head_lr=model.head_lr,
            settings=settings,
            seed=seed,
            checkpoint=Checkpoint(Path(folder), "parity"),
        )
    return max(row["val_auroc"] for row in fitted.history)


def run(options: argparse.Namespace) -> None:
    """Train whatever is asked for and not in the table yet: seed by seed, so that a stopped run is balanced."""
    params = load()
    described = {**params.models, **{name: Model.model_validate(of) for name, of in NETWORKS.items()}}
    own = {name: train_settings(params, name) if name in params.models else params.train for name in described}
    table = TABLE.absolute()
    table.parent.mkdir(exist_ok=True)
    for seed in range(1, options.seeds + 1):
        for name, _, folder in (each.partition("=") for each in options.data):
            for network in options.networks:
                for arm in options.arms:
                    if (name, network, arm, seed) in done(table):
                        continue
                    began = sum(os.times()[:2])
                    with chdir(folder):
                        auroc = trained(described[network], own[network], arm, seed, options.most)
                    entry = (name, network, arm, seed, f"{auroc:.5f}", f"{sum(os.times()[:2]) - began:.1f}")
                    fresh = not table.exists()
                    with table.open("a", newline="") as file:
                        csv.writer(file).writerows([COLUMNS, entry] if fresh else [entry])
                    print(*entry, time.strftime("%H:%M"), flush=True)


def done(table: Path) -> set[tuple[str, str, str, int]]:
    """Return data, network, arm and seed of the results in a table."""
    if not table.exists():
        return set()
    with table.open(newline="") as file:
        return {(row["data"], row["network"], row["arm"], int(row["seed"])) for row in csv.DictReader(file)}


def lines(table: pd.DataFrame) -> Iterator[str]:
    """Set each arm beside the product, by the seeds that both have."""
    yield "| data | network | arm | seeds | product | arm | product − arm [95 % CI] | CPU-s of product, arm |"
    yield "| --- " * 8 + "|"
    for (data, network), here in table.groupby(["data", "network"], sort=False):
        values = here.pivot(index="seed", columns="arm", values="auroc")
        seconds = here.pivot(index="seed", columns="arm", values="seconds")
        for arm in (name for name in (PLAIN, *ARMS) if name in values and name != "product"):
            both = values.reindex(columns=["product", arm]).dropna()  # what was stopped may have no product yet
            if both.empty:
                continue
            difference = (both["product"] - both[arm]).to_numpy()
            times = seconds.loc[both.index].mean()
            yield (
                f"| {data} | {network} | {arm} | {len(both)} | {both['product'].mean():.3f} | {both[arm].mean():.3f} | "
                f"{interval(difference)} | {times['product']:.0f}, {times[arm]:.0f} |"
            )


def interval(differences: Sequence[float] | np.ndarray) -> str:
    """Write the mean of paired differences with its t interval."""
    mean, n = float(np.mean(differences)), len(differences)
    if n < 2:
        return f"{mean:+.3f} [—]"
    half = stats.t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / n**0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def main() -> None:
    """Train, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["table", "run"], default="table")
    parser.add_argument("data", nargs="*", metavar="NAME=FOLDER", default=["phantom=."])
    parser.add_argument("--networks", nargs="+", default=["densenet", "cnn"])
    parser.add_argument("--arms", nargs="+", default=["product", PLAIN], choices=[*ARMS, PLAIN])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--most", type=int, help="training images, chosen once; default: all")
    options = parser.parse_args()
    if options.what == "run":
        run(options)
    elif not TABLE.exists():
        parser.error(f"{TABLE}: no such file; train first: python -m benchmarks.parity run phantom=.")
    else:
        for line in lines(pd.read_csv(TABLE)):
            print(line)


if __name__ == "__main__":
    main()
