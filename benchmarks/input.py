"""Compare training steps on their real input with the same steps on one batch that lies ready.

Two networks on images drawn in the run: the DenseNet of params.yaml at 96 px, grey, and timm's resnet18 at 128 px, in
colour; both with the augmentation of params.yaml. Beside the resident images, where each step on the fixed batch is
followed by one on a real batch, the loop that most repositories have: ImageFolder on PNG files of the final size, a
DataLoader, torchvision's RandomAffine, ColorJitter and Normalize. Prints rows of a markdown table. Times of the
processors are summed over all threads and worker processes, so that the ratios also hold on a busy machine.

Run with ``python -m benchmarks.input`` (about two minutes; ``--threads 1`` as a further option).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from pipeline.learning import losses
from pipeline.learning.images.augmentation import augment
from pipeline.learning.images.loader import ResidentImages, epoch_order
from pipeline.learning.networks import models
from pipeline.learning.settings import Augment, Model
from pipeline.settings import load

BATCH = 32
CLASSES = 14
WORKERS = (0, 2)
CPU = torch.device("cpu")


class Setting(NamedTuple):
    """A network and its images."""

    label: str
    model: Model
    size: int
    channels: int
    images: int
    rounds: int
    passes: int
    """Over the files."""


class Cost(NamedTuple):
    """Milliseconds per batch: on the clock, and of all processors together."""

    wall: float
    cpu: float


class Measured(NamedTuple):
    """Medians over the steps; `ratio` is that of a real step to the fixed one before it, of all processors together."""

    fixed: Cost
    real: Cost
    ratio: float
    error: float
    """Standard error of the median ratio, from its interquartile range (a normal law is assumed)."""


def draw(size: int, channels: int, count: int) -> np.ndarray:
    """Draw smooth pictures with a little grain, uint8 [count, size, size] or [count, size, size, 3]."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(120, 45, (count, 6, 6, channels)).astype(np.float32)
    smooth = np.stack([cv2.resize(c, (size, size), interpolation=cv2.INTER_CUBIC) for c in coarse])
    grainy = smooth.reshape(count, size, size, channels) + rng.normal(0, 3, (count, size, size, channels))
    images = np.clip(grainy, 0, 255).astype(np.uint8)
    return images[..., 0] if channels == 1 else images


def training_step(network: nn.Module, lr: float) -> Callable[[Tensor, Tensor], None]:
    """Build what the training loop does with a batch: forward, loss, backward, clipping, AdamW."""
    loss = losses.create("bce", {}, "multilabel")
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.05)
    network.to(memory_format=torch.channels_last).train()

    def step(images: Tensor, targets: Tensor) -> None:
        value = loss(network(images), targets)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def processors() -> float:
    """Seconds of all processors spent by this process and those of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@contextmanager
def added_to(cost: list[float]) -> Iterator[None]:
    """Add what the block takes, in ms, to `cost`: wall, all processors."""
    wall, cpu = time.perf_counter(), processors()
    yield
    cost[0] += (time.perf_counter() - wall) * 1e3
    cost[1] += (processors() - cpu) * 1e3


def one_round(
    step: Callable[[Tensor, Tensor], None], data: ResidentImages, settings: Augment, draws: torch.Generator
) -> list[tuple[Cost, Cost]]:
    """Go through `data` once, with a step on a fixed batch before each step on a real one."""
    order = epoch_order(np.ones(len(data), np.int64), draws)
    ready, targets_ready = data.take(order[:BATCH])
    batches = data.batches(order, BATCH)
    pairs = []
    for _ in range(len(data) // BATCH):
        fixed, real = [0.0, 0.0], [0.0, 0.0]
        with added_to(fixed):
            step(ready, targets_ready)
        with added_to(real):
            images, targets = next(batches)
            step(augment(images, settings, draws), targets)
        pairs.append((Cost(*fixed), Cost(*real)))
    return pairs


def measure(
    setting: Setting, data: ResidentImages, settings: Augment, step: Callable[[Tensor, Tensor], None]
) -> Measured:
    """Measure `setting.rounds` rounds."""
    draws = torch.Generator().manual_seed(0)
    pairs = [pair for _ in range(setting.rounds) for pair in one_round(step, data, settings, draws)][2:]  # warm
    fixed, real = (Cost(*np.median([pair[i] for pair in pairs], axis=0)) for i in range(2))
    low, ratio, high = np.percentile([real.cpu / fixed.cpu for fixed, real in pairs], [25, 50, 75])
    return Measured(fixed, real, float(ratio), float(1.2533 * (high - low) / 1.349 / np.sqrt(len(pairs))))


def input_alone(data: ResidentImages, settings: Augment, repeats: int = 60) -> tuple[float, float]:
    """Measure `take` and `augment` by themselves: medians, ms of all processors per batch."""
    draws = torch.Generator().manual_seed(0)
    taken, changed = [], []
    for _ in range(repeats):
        index = torch.randint(0, len(data), (BATCH,))
        costs = [0.0, 0.0], [0.0, 0.0]
        with added_to(costs[0]):
            images, _ = data.take(index)
        with added_to(costs[1]):
            augment(images, settings, draws)
        taken.append(costs[0][1])
        changed.append(costs[1][1])
    return float(np.median(taken)), float(np.median(changed))


def write_pngs(images: np.ndarray, folder: Path) -> None:
    """Write the images as ImageFolder expects them, in two classes."""
    for i, image in enumerate(images):
        path = folder / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def image_folder(
    folder: Path, channels: int, settings: Augment, first: Sequence[Callable[[Image.Image], Image.Image]] = ()
) -> ImageFolder:
    """Read those files with torchvision's counterparts of the augmentation `settings`, after what comes `first`."""
    mode = "L" if channels == 1 else "RGB"
    changes = transforms.Compose(
        [
            *first,
            transforms.RandomHorizontalFlip(settings.horizontal_flip),
            transforms.RandomAffine(
                settings.rotation,
                (settings.shift, settings.shift),
                (1 - settings.zoom, 1 + settings.zoom),
                interpolation=transforms.InterpolationMode.BILINEAR,
            ),
            transforms.ColorJitter(settings.brightness, settings.contrast),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * channels, [0.25] * channels),
        ]
    )
    return ImageFolder(str(folder), changes, loader=lambda path: Image.open(path).convert(mode))


def files_round(step: Callable[[Tensor, Tensor], None], files: Iterable[tuple[Tensor, Tensor]], count: int) -> Cost:
    """Go through a DataLoader once, its workers' start and end included."""
    cost = [0.0, 0.0]
    with added_to(cost):
        for images, labels in files:
            targets = nn.functional.one_hot(labels, CLASSES).float()
            step(images.to(memory_format=torch.channels_last), targets)
    return Cost(*(c / count for c in cost))


def report(setting: Setting, settings: Augment, worker_counts: tuple[int, ...]) -> None:
    """Measure one network and print its rows."""
    images = draw(setting.size, setting.channels, setting.images)
    targets = np.random.default_rng(1).integers(0, 2, (len(images), CLASSES), dtype=np.uint8)
    torch.manual_seed(0)
    model = models.build("benchmark", setting.model, setting.channels, CLASSES, setting.size, images)
    step = training_step(model, setting.model.lr)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", images)
        mapped = np.load(folder / "images.npy", mmap_mode="r")
        rows = np.arange(len(images))
        parts = {place: ResidentImages(mapped, rows, targets, CPU, residency=place) for place in ("device", "memmap")}
        results = {place: measure(setting, data, settings, step) for place, data in parts.items()}
        fixed = results["device"].fixed
        print(row(setting.label, "one fixed batch", fixed, "1.000"))
        for place, result in results.items():
            note = f"{result.ratio:.3f} ± {result.error:.3f}"
            taken, changed = input_alone(parts[place], settings)
            label = {"device": "resident in memory", "memmap": "memory-mapped"}[place]
            print(row(setting.label, f"{label}: take {taken:.2f} ms, augment {changed:.2f} ms", result.real, note))
        write_pngs(images, folder / "png")
        files = image_folder(folder / "png", setting.channels, settings)
        backbone_step = training_step(model.backbone, setting.model.lr)  # Normalize is among the transforms
        for workers in worker_counts:
            loader = DataLoader(files, BATCH, shuffle=True, num_workers=workers, drop_last=True)
            costs = [files_round(backbone_step, loader, len(loader)) for _ in range(setting.passes)]
            cost = Cost(*np.median(costs, axis=0))
            print(row(setting.label, f"ImageFolder, {workers} workers", cost, f"{cost.cpu / fixed.cpu:.3f}"))


def row(label: str, what: str, cost: Cost, ratio: str) -> str:
    """Write a row of the table."""
    return f"| {label} | {what} | {BATCH / cost.wall * 1e3:.0f} | {cost.cpu:.1f} | {ratio} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["densenet", "resnet18"], help="one of the two networks")
    parser.add_argument("--no-files", action="store_true", help="leave the DataLoader out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    params = load()
    densenet = params.models["densenet"]
    resnet = Model(arch="resnet18", lr=0.001)
    settings = {
        "densenet": Setting("DenseNet of params.yaml, 96 px, grey", densenet, 96, 1, 16 * BATCH, 9, 3),
        "resnet18": Setting("resnet18, 128 px, colour", resnet, 128, 3, 8 * BATCH, 3, 1),
    }
    print(f"batch {BATCH}, float32, {arguments.threads} threads, torch {torch.__version__}\n")
    print("| network | input | images/s | CPU ms per batch | of the fixed batch, CPU |")
    print("| --- | --- | --- | --- | --- |")
    for name, setting in settings.items():
        if arguments.only in (None, name):
            report(setting, params.train.augment, () if arguments.no_files else WORKERS)


if __name__ == "__main__":
    main()
