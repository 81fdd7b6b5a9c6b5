"""Measure one CUDA card: whether it computes right and repeats itself, and how fast the training loop is on it.

``python -m benchmarks.gpu --minutes 8`` on a machine with a card; what it needs is in requirements.txt, DVC apart.
Every check is entered into tmp/gpu.json as it ends, and one that would not end within the minutes is left for the next
call: type the same again, or bring that file to the next machine of the same kind. The table is printed at the end of
every call, or by ``--table``, which needs no card; ``python -m benchmarks gpu`` enters it into RESULTS.md. The exit
status is 1 if a check has failed.

* **right**: logits and gradients of one step against the CPU in float64, in float32 without TF32, with it, in bfloat16.
* **repeats**: a small network is trained twice by the training loop; its weights must be the same bits.
* **speed**: rounds on one fixed batch, each followed by one on real batches of the training loop from each place of the
  images, one place at a time; the loop itself (`fit`); and a DataLoader over PNG files, alone, after as many batches as
  its workers may have ready. The limit is a share of the fixed batch.
* **arithmetic**: the fixed batch without channels last, in float32, in TF32.
* **compile**: the fixed batch compiled by torch, and whether that repeats itself.
* **two runs**: two processes on the card against one.
* **launcher**: a process that has opened the card is not forked; one that has not is; images leave room on the card.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as the training stage has it

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.input import draw, image_folder, write_pngs
from pipeline.learning import losses, session
from pipeline.learning.images.augmentation import augment
from pipeline.learning.images.loader import ResidentImages, epoch_order, room_on
from pipeline.learning.networks import models
from pipeline.learning.session import autocast
from pipeline.learning.settings import Augment, Model, Train
from pipeline.learning.training.checkpoints import Checkpoint
from pipeline.learning.training.loop import fit
from pipeline.settings import load
from pipeline.study.files import write_json
from pipeline.study.memory import ON_A_CARD

KEPT = Path("tmp/gpu.json")
CLASSES = 14
STORED = 256
"""Side of the PNG files, px."""
MODELS = ("densenet121", "resnet50")
SHARE, FAST = 0.95, {"densenet121": 3500}
"""Limits: of the fixed batch, and images a second of one H100 or H200."""
EXACT = ("resnet18", "resnet50", "regnetx_002")
"""Networks whose gradients do not jump where rounding moves the input of a ReLU across 0, as those of a DenseNet do."""
LARGEST = {"float32": (1e-4, 1e-3), "TF32": (1e-2, 0.2), "bfloat16": (5e-2, 0.4)}
"""Relative distances of logits and of gradients from those of float64 on the CPU that are let pass. In float32 a CPU
has at most 4e-6 and 2e-5, with products rounded as TF32 does 8e-4 and 4e-2, and in bfloat16 1e-2 and 9e-2."""

Batch = tuple[Tensor, Tensor]
Result = dict[str, Any]


class Work(NamedTuple):
    """What is measured; toy sizes run on a CPU too."""

    device: torch.device
    size: int = 224
    images: int = 20_000
    batch: int = 256
    steps: int = 20
    rounds: int = 3
    precision: str = "bfloat16"
    files: int = 1024
    workers: int = 16
    loaded: int = 100
    """Batches of the DataLoader that are timed."""


class Check(NamedTuple):
    """A part of the run: about how many seconds it takes on an H200, and what to call."""

    seconds: float
    measure: Callable[[], Result]


def checks(work: Work, architectures: list[str], settings: Augment, folder: Path) -> dict[str, Check]:
    """Name all checks, in their order: what must be right first, what takes longest last."""
    named = {
        "right": Check(30, partial(right, work.device)),
        "repeats": Check(25, partial(repeats, work.device)),
        "launcher": Check(40, partial(launcher, work.device)),
    }
    for arch in architectures:
        named[f"speed of {arch}"] = Check(110, partial(speed, arch, work, settings, folder))
        named[f"arithmetic of {arch}"] = Check(50, partial(arithmetic, arch, work))
    named["two runs"] = Check(60, partial(two_runs, architectures[0], work))
    for arch in architectures:
        named[f"compile {arch}"] = Check(150, partial(compile_, arch, work))
    return named


def relative(other: Tensor, reference: Tensor) -> float:
    """Distance of two tensors, in lengths of the second."""
    return float((other - reference).norm() / reference.norm())


def one_step(network: nn.Module, images: Tensor, targets: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Return logits and gradients of one step, flat, float64, on the CPU."""
    network = network.train().to(memory_format=torch.channels_last)
    with autocast(images.device, precision):
        logits = network(images)
    losses.create("bce", {}, "multilabel")(logits, targets).backward()
    gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return logits.detach().double().cpu().flatten(), torch.cat(gradients).double().cpu()


def right(device: torch.device) -> Result:
    """Compare one step with float64 on the CPU; TF32 must be farther away than float32, or the switch does nothing."""
    found: Result = {}
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(16, 3, 64, 64, generator=generator)
    targets = (torch.rand(16, CLASSES, generator=generator) < 0.3).float()
    for arch in EXACT:
        torch.manual_seed(0)
        network = timm.create_model(arch, num_classes=CLASSES)
        expected = one_step(copy.deepcopy(network).double(), images.double(), targets.double(), "float32")
        for name, precision in (("float32", "float32"), ("TF32", "float32"), ("bfloat16", "bfloat16")):
            session.set_arithmetic(1, tf32=name == "TF32")
            there = copy.deepcopy(network).to(device)
            got = one_step(there, images.to(device), targets.to(device), precision)
            apart = [relative(one, other) for one, other in zip(got, expected)]
            found[f"{arch}, {name}"] = {"logits": apart[0], "gradients": apart[1], "most": LARGEST[name]}
        session.set_arithmetic(1, tf32=False)
    near = all(of["logits"] <= of["most"][0] and of["gradients"] <= of["most"][1] for of in found.values())
    switched = device.type != "cuda" or all(
        found[f"{arch}, TF32"]["logits"] > 3 * found[f"{arch}, float32"]["logits"] for arch in EXACT
    )
    return {"ok": near and switched, "apart": found}


def small_run(device: torch.device, precision: str = "float32", epochs: int = 3, compiled: bool = False) -> str:
    """Train a small DenseNet to tell which half of an image is brighter; return the SHA-256 of weights and losses."""
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
        epochs=epochs, batch_size=32, patience=epochs, precision=precision, threads=1, compile=compiled,
        augment=Augment(horizontal_flip=0.0, rotation=5.0, shift=0.04, brightness=0.1),
    )  # fmt: skip
    loss = losses.create("bce", {}, "multilabel")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, copies = Checkpoint(Path(folder), "run"), np.ones(256, np.int64)
        fitted = fit(model, loss, train, copies, val, lr=0.002, settings=settings, seed=0, checkpoint=checkpoint)
    digest = hashlib.sha256()
    for name, values in sorted(fitted.state.items()):
        digest.update(name.encode() + values.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(repr([(row["train_loss"], row["val_loss"]) for row in fitted.history]).encode())
    return digest.hexdigest()


def repeats(device: torch.device) -> Result:
    """Train twice in float32 and in bfloat16."""
    same = {p: small_run(device, p) == small_run(device, p) for p in ("float32", "bfloat16")}
    return {"ok": all(same.values()), "same": same}


def launcher(device: torch.device) -> Result:
    """Ask new processes whether they may be forked, and how much room there is for images beside others."""
    imports = "import torch, timm; from pipeline.study.parallel import safe_to_fork; "
    opened = "torch.zeros(1, device='cuda'); "
    if device.type != "cuda":  # a thread stands for it
        opened = "import threading as t; e = t.Event(); t.Thread(target=e.wait, daemon=True).start(); "
    forked = {
        name: subprocess.run(
            [sys.executable, "-c", f"{imports}{more}print(safe_to_fork())"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name, more in (("libraries imported", ""), ("card opened", opened))
    }
    room: Result = {}
    if device.type == "cuda":
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info(device)
        taken = torch.empty(free // 2, dtype=torch.uint8, device=device)
        room = {"total": total, "half of it taken": room_on(device)}
        del taken
        torch.cuda.empty_cache()
        room["empty"] = room_on(device)
        os.environ[ON_A_CARD] = "4"
        room["one of four"] = room_on(device)
        del os.environ[ON_A_CARD]
    right_forks = forked == {"libraries imported": "True", "card opened": "False"}
    fits = not room or (room["empty"] <= 0.6 * total and room["one of four"] <= 0.15 * total + 1)
    return {"ok": right_forks and fits, "forks": forked, "room": room}


def random_images(work: Work, path: Path) -> np.ndarray:
    """Write random bytes [images, size, size] to `path`, unless they are there; open them mapped, as a study does."""
    if not path.exists():
        stored = np.lib.format.open_memmap(path, "w+", np.uint8, (work.images, work.size, work.size))
        rng = np.random.default_rng(0)
        for start in range(0, len(stored), 1000):
            part = stored[start : start + 1000]
            part[:] = np.frombuffer(rng.bytes(part.size), np.uint8).reshape(part.shape)
        stored.flush()
    return np.load(path, mmap_mode="r")


def network_of(arch: str, work: Work, images: np.ndarray) -> nn.Module:
    """Build a network as the training stage does."""
    torch.manual_seed(0)
    model = models.build("benchmark", Model(arch=arch, lr=0.001), 1, CLASSES, work.size, images[:256])
    return model.to(work.device)


def training_step(
    model: nn.Module, work: Work, channels_last: bool = True, compiled: bool = False
) -> Callable[[Batch], None]:
    """Build what the training loop does with a batch that is on the device."""
    loss = losses.create("bce", {}, "multilabel")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout).train()
    fused = work.device.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=fused)
    forward = session.compiled(model, compiled, work.device)

    def step(batch: Batch) -> None:
        images, targets = batch
        with autocast(work.device, work.precision):
            logits = forward(images.contiguous(memory_format=layout))
        value = loss(logits, targets)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def rate(step: Callable[[Batch], None], batches: Iterator[Batch], work: Work, steps: int | None = None) -> float:
    """Time so many steps, or `work.steps`; images per second."""
    wait(work.device)
    started = time.perf_counter()
    steps = steps or work.steps
    for _ in range(steps):
        step(next(batches))
    wait(work.device)
    return steps * work.batch / (time.perf_counter() - started)


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


class Repeated(Dataset[tuple[Tensor, int]]):
    """The files of a folder again and again, so that a DataLoader is not timed at the end of an epoch.

    Parameters
    ----------
    files : Dataset
        Of images and labels.
    length : int
        How long it claims to be.
    """

    def __init__(self, files: Dataset[tuple[Tensor, int]], length: int) -> None:
        self.files, self.length = files, length
        self.there = len(files)  # type: ignore[arg-type]

    def __len__(self) -> int:
        """Return the claimed length."""
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Decode and change one file."""
        return self.files[index % self.there]


def decoded(folder: Path, settings: Augment, work: Work, batches: int) -> Generator[Batch]:
    """Yield `batches` batches of PNG files, decoded, shrunk and augmented by workers."""
    files = image_folder(folder, 1, settings, first=[transforms.Resize((work.size, work.size))])
    loader = DataLoader(
        Repeated(files, batches * work.batch),
        work.batch,
        shuffle=True,
        num_workers=work.workers,
        pin_memory=work.device.type == "cuda",
    )
    for images, labels in loader:
        images = images.to(work.device, non_blocking=True, memory_format=torch.channels_last)
        yield images, nn.functional.one_hot(labels.to(work.device, non_blocking=True), CLASSES).float()


def speed(arch: str, work: Work, settings: Augment, folder: Path) -> Result:
    """Measure one network with every place of the images, in the training loop, and from files."""
    images = random_images(work, folder / "images.npy")
    if not (folder / "png").exists():
        write_pngs(draw(STORED, 1, work.files), folder / "png")
    targets = np.random.default_rng(1).integers(0, 2, (len(images), CLASSES), dtype=np.uint8)
    rows = np.arange(len(images))
    step = training_step(network_of(arch, work, images), work)
    found: Result = {"inputs": {}}
    for place in ("device", "host", "memmap") if work.device.type == "cuda" else ("device", "memmap"):
        reset(work.device)
        data = ResidentImages(images, rows, targets, work.device, residency=place)
        fixed, real = fixed_batch(data, work), augmented(data, settings, work)
        rounds = [(rate(step, fixed, work), rate(step, real, work)) for _ in range(work.rounds + 1)]
        real.close()
        pairs = np.array(rounds[1:])  # the first chooses kernels
        found["inputs"][place] = {
            "fixed": float(np.median(pairs[:, 0])),
            "rate": float(np.median(pairs[:, 1])),
            "share": float(np.median(pairs[:, 1] / pairs[:, 0])),
            "memory": peak(work.device),
        }
        del data, fixed, real
    found["loop"] = loop_alone(arch, work, settings, images, targets)
    ready = work.workers * 2  # what the workers have decoded before the clock starts counts for nothing
    batches = decoded(folder / "png", settings, work, ready + work.loaded)
    rate(step, batches, work, ready)
    found["loader"] = rate(step, batches, work, work.loaded - 1)
    batches.close()
    best = found["inputs"]["device"]
    return {"ok": held(arch, best["rate"], best["share"]), **found}


def held(arch: str, images: float, share: float) -> bool:
    """Say whether images per second and the share of the fixed batch are within the limits."""
    return share >= SHARE and images >= FAST.get(arch, 0)


def loop_alone(arch: str, work: Work, settings: Augment, images: np.ndarray, targets: np.ndarray) -> float:
    """Train two epochs by the training loop itself; images per second of the second."""
    val, rows = np.arange(2 * work.batch), np.arange(len(images))
    parts = [ResidentImages(images, some, targets[some], work.device, residency="device") for some in (rows, val)]
    train = Train(
        epochs=2,
        batch_size=work.batch,
        patience=2,
        precision=work.precision,
        threads=1,
        augment=settings,
        clip_grad=1.0,
    )
    model = network_of(arch, work, images).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as name:
        history = fit(
            model, losses.create("bce", {}, "multilabel"), parts[0], np.ones(len(rows), np.int64), parts[1],
            lr=0.001, settings=train, seed=0, checkpoint=Checkpoint(Path(name), "run"),
        ).history  # fmt: skip
    return float(history[-1]["images_per_second"])


def reset(device: torch.device) -> None:
    """Give back what the card holds for later, and begin to count anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> float | None:
    """Peak of the card's memory since it was last reset, GB; resident images included."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def on_fixed(arch: str, work: Work, channels_last: bool = True, compiled: bool = False) -> float:
    """Measure a network on one fixed batch of random images: the median of the rounds."""
    images = np.random.default_rng(0).integers(0, 256, (work.batch, work.size, work.size), dtype=np.uint8)
    targets = np.zeros((work.batch, CLASSES), np.uint8)
    data = ResidentImages(images, np.arange(work.batch), targets, work.device)
    step = training_step(network_of(arch, work, images), work, channels_last, compiled)
    batches = fixed_batch(data, work)
    return float(np.median([rate(step, batches, work) for _ in range(work.rounds + 1)][1:]))


def arithmetic(arch: str, work: Work) -> Result:
    """Measure the fixed batch in other arithmetic and layout."""
    found = {"bfloat16, channels last": on_fixed(arch, work), "bfloat16, contiguous": on_fixed(arch, work, False)}
    for name, tf32 in (("float32", False), ("TF32", True)):
        reset(work.device)
        session.set_arithmetic(1, tf32)
        found[f"{name}, channels last"] = on_fixed(arch, work._replace(precision="float32"))
    session.set_arithmetic(1, tf32=False)
    return {"ok": True, "rates": found}


def compile_(arch: str, work: Work) -> Result:
    """Measure the compiled network, and whether a small one repeats itself compiled."""
    before = on_fixed(arch, work)
    after = on_fixed(arch, work, compiled=True)
    same = small_run(work.device, work.precision, 2, True) == small_run(work.device, work.precision, 2, True)
    return {"ok": same, "rate": after, "of uncompiled": after / before, "same": same}


def two_runs(arch: str, work: Work) -> Result:
    """Measure one process on the card, then two at a time."""

    def one(_: int) -> float:
        given = json.dumps({**work._asdict(), "device": str(work.device)})
        code = f"from benchmarks.gpu import alone; alone({arch!r}, {given!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])

    single = one(0)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(one, range(2)))
    return {"ok": True, "one": single, "two": both, "gain": sum(both) / single}


def alone(arch: str, given: str) -> None:
    """Print the images per second of this process on a fixed batch."""
    values = json.loads(given)
    work = Work(**{**values, "device": torch.device(values["device"])})
    begin()
    print(on_fixed(arch, work))


def begin() -> torch.device:
    """Set what the training stage sets; return the device that it would choose."""
    return session.begin(1, tf32=False)


def about(device: torch.device) -> Result:
    """Say on what is measured: another card, torch or code begins anew."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    sources = sorted([*Path("pipeline/learning").rglob("*.py"), Path("benchmarks/gpu.py")])
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    return {"card": name, "torch": torch.__version__, "code": code}


def run(named: dict[str, Check], there: Result, minutes: float, kept: Path) -> Result:
    """Call what has no result yet, while there is time; every result is kept as it comes.

    Parameters
    ----------
    named : dict of Check
        In their order.
    there : dict
        As `about` gives it.
    minutes : float
        No check is begun that would end later.
    kept : Path
        A JSON file: results of the same card, torch and code are not measured again.

    Returns
    -------
    dict
        What the file holds: about, date, done (by check) and left (names).
    """
    until = time.monotonic() + 60 * minutes
    content = json.loads(kept.read_text()) if kept.exists() else {}
    if content.get("about") != there:
        content = {"about": there, "date": datetime.date.today().isoformat(), "done": {}}
    for name, check in named.items():
        if name in content["done"]:
            continue
        if time.monotonic() + check.seconds > until:
            print(f"{name}: left for the next call, it takes about {check.seconds:.0f} s", file=sys.stderr, flush=True)
            continue
        began = time.monotonic()
        try:
            result = check.measure()
        except Exception as error:  # one check of several: the others are measured, and this one has failed
            result = {"ok": False, "error": f"{type(error).__name__}: {error}".split("\n")[0][:300]}
        reset(torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu"))
        content["done"][name] = {**result, "seconds": round(time.monotonic() - began, 1)}
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, content)
        verdict = "ok" if result["ok"] else "FAILED"
        print(f"{name}: {verdict}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    content["left"] = [name for name in named if name not in content["done"]]
    if kept.parent.exists():
        write_json(kept, content)
    return content


def lines(content: Result) -> Iterator[str]:
    """Write the results as tables."""
    of, done = content["about"], content["done"]
    yield f"{content['date']}; {of['card']}; torch {of['torch']}; batches of 256 at 224 px, bfloat16, channels last."
    if content.get("left"):
        yield f"\nNot measured yet: {', '.join(content['left'])}."
    for name, result in done.items():
        if "error" in result:
            yield f"\n{name}: FAILED: {result['error']}"
    if "apart" in done.get("right", {}):
        yield "\n| one step against float64 on the CPU | logits | gradients | at most |\n| --- | --- | --- | --- |"
        for name, each in done["right"]["apart"].items():
            most = ", ".join(f"{value:g}" for value in each["most"])
            yield f"| {name} | {each['logits']:.1e} | {each['gradients']:.1e} | {most} |"
    yield "\n| check | result | |\n| --- | --- | --- |"
    for name, result in done.items():
        if "error" not in result:
            yield f"| {name} | {'ok' if result['ok'] else '**not held**'} | {said(name, result)} |"
    rows = [row for name, result in done.items() if "inputs" in result for row in inputs_rows(name, result)]
    if rows:
        yield "\n| network | input | images/s | of the fixed batch | peak memory, GB |\n" + "| --- " * 5 + "|"
        yield from rows


def inputs_rows(name: str, result: Result) -> Iterator[str]:
    """Write the rows of one network."""
    arch = name.removeprefix("speed of ")
    yield f"| {arch} | one fixed batch | {result['inputs']['device']['fixed']:.0f} | 100.0% | — |"
    for place, of in result["inputs"].items():
        memory = "—" if of["memory"] is None else f"{of['memory']:.1f}"
        yield f"| | images in place: {place} | {of['rate']:.0f} | {of['share']:.1%} | {memory} |"
    fixed = result["inputs"]["device"]["fixed"]
    yield f"| | the training loop itself | {result['loop']:.0f} | {result['loop'] / fixed:.1%} | — |"
    yield f"| | DataLoader, PNGs of {STORED} px | {result['loader']:.0f} | {result['loader'] / fixed:.1%} | — |"


def said(name: str, result: Result) -> str:
    """Say in a few words what a check has found."""
    if "same" in result and "rate" in result:
        return f"{result['rate']:.0f} images/s, x {result['of uncompiled']:.2f}; repeats itself: {result['same']}"
    if "same" in result:
        words = {True: "the same bits twice", False: "OTHER BITS"}
        return ", ".join(f"{of}: {words[same]}" for of, same in result["same"].items())
    if "rates" in result:
        return "; ".join(f"{of} {images:.0f} images/s" for of, images in result["rates"].items())
    if "gain" in result:
        both = ", ".join(f"{images:.0f}" for images in result["two"])
        return f"alone {result['one']:.0f} images/s, two at a time {both}: x {result['gain']:.2f} together"
    if "forks" in result:
        forked = ", ".join(f"{of}: {answer}" for of, answer in result["forks"].items())
        room = ", ".join(f"{of} {size / 1e9:.1f} GB" for of, size in result["room"].items())
        return f"may be forked: {forked}; room for images: {room or '—'}"
    if "inputs" in result:
        best = result["inputs"]["device"]
        limit = f", at least {FAST[arch]} images/s" if (arch := name.removeprefix("speed of ")) in FAST else ""
        return f"{best['rate']:.0f} images/s, {best['share']:.1%} of the fixed batch; limits {SHARE:.0%}{limit}"
    return ""


def main() -> None:
    """Measure on the first card, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="no check begins that would end later")
    parser.add_argument("--models", nargs="+", default=[*MODELS], help="names of timm")
    parser.add_argument("--kept", type=Path, default=KEPT, help="results so far; default: %(default)s")
    parser.add_argument("--table", action="store_true", help="print what is kept, measure nothing")
    options = parser.parse_args()
    if options.table or (options.kept.exists() and not torch.cuda.is_available()):
        if not options.kept.exists():
            parser.error(f"{options.kept}: no such file; measure first, on a machine with a card")
        content = json.loads(options.kept.read_text())
    else:
        if not torch.cuda.is_available():
            raise SystemExit(f"error: torch {torch.__version__} finds no CUDA card; this benchmark measures one")
        device = begin()
        with tempfile.TemporaryDirectory() as name:
            named = checks(Work(device), options.models, load().train.augment, Path(name))
            content = run(named, about(device), options.minutes, options.kept)
    print("\n".join(lines(content)))
    if not all(result["ok"] for result in content["done"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
