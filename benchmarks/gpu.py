"""Measure training on one CUDA card: with resident images, with one fixed batch, and with files through a DataLoader.

DenseNet-121 and EfficientNet-B2 at 224 px in bfloat16, channels last, with the augmentation of params.yaml. The images
are drawn in the run. A round is so many steps on the fixed batch, then as many with each place of the images; the table
has medians of the rounds. The files are PNGs of 256 px that 16 workers decode, shrink and augment one by one; the
workers are running before the clock starts. At the end the same small network is trained on the CPU and on the card in
float32 without TF32, and the losses are compared.

Run with ``python -m benchmarks.gpu`` on a machine with a card (about ten minutes, 20 GB of memory); see ``--help``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as the training stage has it

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.input import draw, image_folder, write_pngs
from pipeline.learning import losses
from pipeline.learning.images.augmentation import augment
from pipeline.learning.images.loader import ResidentImages, epoch_order
from pipeline.learning.networks import models
from pipeline.learning.session import autocast
from pipeline.learning.settings import Augment, Model, Train
from pipeline.learning.training.checkpoints import Checkpoint
from pipeline.learning.training.loop import fit
from pipeline.settings import load

CLASSES = 14
STORED = 256
"""Side of the PNG files, px."""
TOLERANCE = 1e-3
"""Relative, of the losses of the first epoch on CPU and card; rounding grows with every step after it."""

Batch = tuple[Tensor, Tensor]


class Work(NamedTuple):
    """What is measured; toy sizes run on a CPU too."""

    device: torch.device
    size: int = 224
    channels: int = 1
    images: int = 60_000
    batch: int = 256
    steps: int = 30
    rounds: int = 5
    precision: str = "bfloat16"
    compiled: bool = False
    files: int = 8192
    workers: int = 16


class Row(NamedTuple):
    """A row of the table: images per second, and the peak of the card's memory in GB."""

    name: str
    rate: float
    peak: float


def random_images(work: Work, path: Path) -> np.ndarray:
    """Write random bytes [images, size, size(, 3)] to `path` and open them memory-mapped, as a study does."""
    shape = (work.images, work.size, work.size) + ((3,) if work.channels == 3 else ())
    stored = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    rng = np.random.default_rng(0)
    for start in range(0, len(stored), 1000):
        part = stored[start : start + 1000]
        part[:] = np.frombuffer(rng.bytes(part.size), np.uint8).reshape(part.shape)
    stored.flush()
    return np.load(path, mmap_mode="r")


def training_step(model: nn.Module, work: Work) -> Callable[[Batch], None]:
    """Build what the training loop does with a batch that is on the device."""
    loss = losses.create("bce", {}, "multilabel")
    model = model.to(work.device).to(memory_format=torch.channels_last).train()
    fused = work.device.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=fused)
    forward = torch.compile(model) if work.compiled else model

    def step(batch: Batch) -> None:
        images, targets = batch
        with autocast(work.device, work.precision):
            logits = forward(images)
        value = loss(logits, targets)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def rate(step: Callable[[Batch], None], batches: Iterator[Batch], work: Work) -> float:
    """Time `work.steps` steps; images per second."""
    wait(work.device)
    started = time.perf_counter()
    for _ in range(work.steps):
        step(next(batches))
    wait(work.device)
    return work.steps * work.batch / (time.perf_counter() - started)


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fixed_batch(data: ResidentImages, work: Work) -> Generator[Batch]:
    """Yield the same batch again and again."""
    batch = data.take(torch.arange(work.batch))
    while True:
        yield batch


def augmented(data: ResidentImages, settings: Augment, work: Work) -> Generator[Batch]:
    """Yield full batches, epoch after epoch, with the functions of the training loop."""
    draws = torch.Generator().manual_seed(0)
    whole = len(data) // work.batch * work.batch
    while True:
        order = epoch_order(np.ones(len(data), np.int64), draws)[:whole]
        for images, targets in data.batches(order, work.batch):
            yield augment(images, settings, draws), targets


def decoded(folder: Path, settings: Augment, work: Work) -> Generator[Batch]:
    """Yield batches of PNG files, decoded, shrunk and augmented by workers that live on from epoch to epoch."""
    files = image_folder(folder, work.channels, settings, first=[transforms.Resize((work.size, work.size))])
    loader = DataLoader(
        files,
        work.batch,
        shuffle=True,
        drop_last=True,
        num_workers=work.workers,
        persistent_workers=work.workers > 0,
        pin_memory=work.device.type == "cuda",
    )
    while True:
        for images, labels in loader:
            images = images.to(work.device, non_blocking=True, memory_format=torch.channels_last)
            yield images, nn.functional.one_hot(labels.to(work.device, non_blocking=True), CLASSES).float()


def measure(arch: str, work: Work, settings: Augment, folder: Path) -> list[Row]:
    """Measure one network with every kind of input; `folder` holds images.npy and png/."""
    images = np.load(folder / "images.npy", mmap_mode="r")
    targets = np.random.default_rng(1).integers(0, 2, (len(images), CLASSES), dtype=np.uint8)
    torch.manual_seed(0)
    model = models.build("benchmark", Model(arch=arch, lr=0.001), work.channels, CLASSES, work.size, images[:256])
    step = training_step(model, work)
    rows = np.arange(len(images))
    places = ("device", "host", "memmap") if work.device.type == "cuda" else ("device", "memmap")
    parts = {p: ResidentImages(images, rows, targets, work.device, residency=p) for p in places}
    inputs = {
        "one fixed batch": fixed_batch(parts["device"], work),
        **{parts[place].describe(place): augmented(parts[place], settings, work) for place in places},
        f"DataLoader, PNGs of {STORED} px, {work.workers} workers": decoded(folder / "png", settings, work),
    }
    rates: dict[str, list[float]] = {name: [] for name in inputs}
    peaks = dict.fromkeys(inputs, 0.0)
    for number in range(work.rounds + 1):
        for name, batches in inputs.items():
            if work.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(work.device)
            measured = rate(step, batches, work)
            if number:  # the first round compiles, chooses kernels and starts the workers
                rates[name].append(measured)
                peaks[name] = max(peak(work.device), peaks[name])  # in this order "not known" stays
    for batches in inputs.values():
        batches.close()
    return [Row(name, float(np.median(measured)), peaks[name]) for name, measured in rates.items()]


def peak(device: torch.device) -> float:
    """Peak of the card's memory since it was last reset, GB; resident images included."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")


def small_run(device: torch.device, threads: int = 1, epochs: int = 3) -> list[dict[str, float]]:
    """Train a small DenseNet in float32 to tell on which half an image is brighter; return the history."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (384, 2), dtype=np.uint8)
    images = rng.integers(60, 120, (384, 32, 32), dtype=np.uint8)
    images[:, :, :16] += 40 * truth[:, 0, None, None]
    images[:, :16] += 40 * truth[:, 1, None, None]
    options = {"growth_rate": 8, "block_config": [1, 2, 2, 2]}
    torch.manual_seed(0)
    model = models.build("small", Model(arch="densenet121", lr=0.002, options=options), 1, 2, 32, images)
    model = model.to(device).to(memory_format=torch.channels_last)
    train, val = (ResidentImages(images, rows, truth[rows], device) for rows in (np.arange(256), np.arange(256, 384)))
    settings = Train(
        epochs=epochs, batch_size=32, patience=epochs, precision="float32", tf32=False, threads=threads,
        augment=Augment(horizontal_flip=0.0, rotation=5.0, shift=0.04, brightness=0.1),
    )  # fmt: skip
    loss = losses.create("bce", {}, "multilabel")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder), "run")
        copies = np.ones(256, np.int64)
        return fit(
            model, loss, train, copies, val, lr=0.002, settings=settings, seed=0, checkpoint=checkpoint
        ).history  # fmt: skip


def compare(first: list[dict[str, float]], second: list[dict[str, float]]) -> list[float]:
    """Return the largest relative difference of training and validation loss, epoch by epoch."""
    keys = ("train_loss", "val_loss")
    return [max(abs(a[k] - b[k]) / abs(a[k]) for k in keys) for a, b in zip(first, second, strict=True)]


def table(arch: str, rows: list[Row]) -> None:
    """Print the rows of one network."""
    limit = rows[0].rate
    for name, images, memory in rows:
        held = "—" if np.isnan(memory) else f"{memory:.1f}"
        print(f"| {arch} | {name} | {images:.0f} | {images / limit:.1%} | {held} |", flush=True)


def report(work: Work, architectures: list[str], settings: Augment) -> None:
    """Draw the images, measure every network, print the table."""
    print("| network | input | images/s | of the fixed batch | peak memory, GB |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random_images(work, folder / "images.npy")
        write_pngs(draw(STORED, work.channels, work.files), folder / "png")
        for arch in architectures:
            table(arch, measure(arch, work, settings, folder))


def main() -> None:
    """Measure on the first card, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["densenet121", "efficientnet_b2"], help="names of timm")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--channels", type=int, choices=[1, 3], default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=16, help="of the DataLoader")
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(f"error: torch {torch.__version__} finds no CUDA card; this benchmark measures one")
    device = torch.device("cuda", 0)
    torch.use_deterministic_algorithms(True, warn_only=True)  # as the training stage
    torch.utils.deterministic.fill_uninitialized_memory = False
    work = Work(
        device,
        size=arguments.size,
        channels=arguments.channels,
        images=arguments.images,
        batch=arguments.batch,
        compiled=arguments.compile,
        workers=arguments.workers,
    )
    print(
        f"{datetime.date.today()}; {torch.cuda.get_device_name(device)}, {os.cpu_count()} CPU cores; torch "
        f"{torch.__version__}; {work.images:,} images of {work.size} px, {work.channels} channel(s); batch "
        f"{work.batch}, {work.precision}, channels last{', compiled' if work.compiled else ''}\n"
    )
    report(work, arguments.models, load().train.augment)
    differences = compare(small_run(torch.device("cpu")), small_run(device))
    listed = ", ".join(f"{d:.1e}" for d in differences)
    verdict = "equal" if differences[0] <= TOLERANCE else "NOT equal"
    print(f"\nCPU and card, float32: losses differ by {listed} (relative) in epochs 1 to {len(differences)}: {verdict}")
    if differences[0] > TOLERANCE:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
