"""Compare stage ``preprocess`` with a bare OpenCV loop, with Pillow + scikit-image, and with decoding alone.

Draws radiograph-like grey PNGs of 1024 x 1024 in memory, enhances them at the full size, shrinks them to 256 and prints
rows of a markdown table. Wall times say what one waits; times of the processors, summed over all threads, say the same
on a busy machine. The ratio to the bare loop, which checks and remembers nothing, is that of neighbouring runs of one
thread each. Run with ``python -m benchmarks.preprocess`` (about a minute).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from skimage.exposure import equalize_adapthist
from skimage.transform import resize

from pipeline.datasets import Sample
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Clahe, Duplicates, Preprocess

IMAGES = 64
NAIVE = 8
"""Images of the plain script, which needs long enough for each."""
ROUNDS = 5
PAIRS = 15
"""Neighbouring runs of the stage and the bare loop."""
THREADS = 2
SIDE = 1024


class Rate(NamedTuple):
    """Milliseconds per image: on the clock, and of all processors together."""

    wall: float
    cpu: float


def radiograph(seed: int) -> bytes:
    """Draw a smooth picture with the grain of a radiograph, as a PNG."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(120, 45, (9, 9)).astype(np.float32)
    grain = cv2.GaussianBlur(rng.normal(0, 6, (SIDE, SIDE)).astype(np.float32), (0, 0), 0.8)
    image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) + grain
    return cv2.imencode(".png", np.clip(image, 0, 255).astype(np.uint8))[1].tobytes()


def naive(data: bytes) -> np.ndarray:
    """Prepare an image as a script would without OpenCV."""
    image = np.asarray(Image.open(BytesIO(data)).convert("L"))
    enhanced = equalize_adapthist(image, kernel_size=SIDE // 8, clip_limit=2 / 256)
    return (resize(enhanced, (256, 256), anti_aliasing=True) * 255).astype(np.uint8)


def bare(files: list[bytes]) -> np.ndarray:
    """Do with OpenCV what has to be done, and nothing else: uint8 [N, 256, 256]."""
    equaliser = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    result = np.empty((len(files), 256, 256), np.uint8)
    for place, data in enumerate(files):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        result[place] = cv2.resize(equaliser.apply(image), (256, 256), interpolation=cv2.INTER_AREA)
    return result


def decode_all(files: list[bytes]) -> None:
    """Decode with as many threads as the stage has, and nothing else."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR), files):
            pass


def timed(run: Callable[[], object], images: int) -> Rate:
    """Time one run."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Rate((time.perf_counter() - wall) / images * 1e3, (time.process_time() - cpu) / images * 1e3)


def against_bare(samples: list[Sample], files: list[bytes], array: Path) -> None:
    """Print the CPU time of the stage over that of the bare loop, both with one thread, in neighbouring runs."""
    ways = {
        "checks, exact duplicates": Preprocess(size=256, threads=1, duplicates=Duplicates(near=False)),
        "checks, exact and near duplicates": Preprocess(size=256, threads=1),
    }
    for settings in ways.values():  # the same bytes, and nothing is loaded for the first time later
        prepare_all(samples, ("a",), "multilabel", settings, array)
        np.testing.assert_array_equal(np.load(array), bare(files))
    runs = {
        "a bare OpenCV loop": partial(bare, files),
        **{n: partial(prepare_all, samples, ("a",), "multilabel", s, array) for n, s in ways.items()},
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(PAIRS):
        for name, run in runs.items():
            rates[name].append(timed(run, len(files)).cpu)
    print("\n| one thread | CPU ms per image, median | of the bare loop: median [quartiles] |")
    print("| --- | --- | --- |")
    loop = np.array(rates["a bare OpenCV loop"])
    for name, cpu in rates.items():
        low, middle, high = np.quantile(np.array(cpu) / loop, [0.25, 0.5, 0.75])
        print(f"| {name} | {np.median(cpu):.2f} | {middle:.3f} [{low:.3f}, {high:.3f}] |")


def main() -> None:
    """Measure in turns, so that a busy minute falls on all alike, and print medians."""
    cv2.setNumThreads(1)
    files = [radiograph(seed) for seed in range(IMAGES)]
    samples = [Sample(f"{i}.png", str(i), ("a",), partial(bytes, data)) for i, data in enumerate(files)]
    after, exact = Clahe(order="after_resize"), Duplicates(near=False)
    settings = {
        "CLAHE at 1024, exact and near duplicates": Preprocess(size=256, threads=THREADS),
        "CLAHE at 1024, exact duplicates": Preprocess(size=256, threads=THREADS, duplicates=exact),
        "CLAHE at 256, exact and near duplicates": Preprocess(size=256, threads=THREADS, clahe=after),
    }
    with tempfile.TemporaryDirectory() as folder:
        array = Path(folder) / "images.npy"
        runs: dict[str, tuple[Callable[[], object], int]] = {
            "naive": (lambda: [naive(data) for data in files[:NAIVE]], NAIVE),
            "decode": (lambda: decode_all(files), IMAGES),
            **{
                name: (partial(prepare_all, samples, ("a",), "multilabel", s, array), IMAGES)
                for name, s in settings.items()
            },
        }
        measured = {name: [timed(*run) for _ in range(ROUNDS)] for name, run in runs.items() if timed(*run)}
    medians = {name: Rate(*np.median(rates, axis=0)) for name, rates in measured.items()}
    size = sum(map(len, files)) / len(files) / 2**10
    print(f"{IMAGES} grey PNGs of {SIDE} x {SIDE}, {size:.0f} KiB each on average; {THREADS} threads; to 256 x 256\n")
    print("| | images/s | CPU ms per image | x plain script, wall | x plain script, CPU | of decoding alone, CPU |")
    print("| --- | --- | --- | --- | --- | --- |")
    plain, decoding = medians["naive"], medians["decode"]
    labels = {"naive": "Pillow + scikit-image, 1 thread", "decode": "cv2.imdecode alone"}
    for name, rate in medians.items():
        print(
            f"| {labels.get(name, name)} | {1e3 / rate.wall:.0f} | {rate.cpu:.1f} | {plain.wall / rate.wall:.1f} "
            f"| {plain.cpu / rate.cpu:.1f} | {decoding.cpu / rate.cpu:.0%} |"
        )
    with tempfile.TemporaryDirectory() as folder:
        against_bare(samples, files, Path(folder) / "images.npy")


if __name__ == "__main__":
    main()
