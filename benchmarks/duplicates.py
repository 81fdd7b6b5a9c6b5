"""Measure the time of the search for near-duplicates and the memory of stage ``preprocess``.

Both for as many images as ChestX-ray14 has, each in a process of its own whose peak memory the system reports. Run
with ``python -m benchmarks.duplicates`` (about two minutes).
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.fft import dct

from pipeline.datasets import Sample
from pipeline.imaging.duplicates import near_pairs
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Duplicates, Preprocess

IMAGES = 112_120
PLANTED = 2_000
BLANK = 3_000


def thumbnails_of(images: int) -> np.ndarray:
    """Draw thumbnails that share an anatomy, uint8 [images, 32, 32]; hashes collide about as radiographs' do."""
    rng = np.random.default_rng(0)
    anatomy = cv2.resize(rng.normal(0, 1, (6, 6)).astype(np.float32), (32, 32), interpolation=cv2.INTER_CUBIC)
    thumbnails = np.empty((images, 32, 32), np.uint8)
    for i in range(images):
        own = cv2.resize(rng.normal(0, 1, (9, 9)).astype(np.float32), (32, 32), interpolation=cv2.INTER_CUBIC)
        thumbnails[i] = np.clip(120 + 35 * anatomy + 16 * own, 0, 255)
    return thumbnails


def hashes_of(thumbnails: np.ndarray) -> np.ndarray:
    """Compute perceptual hashes of thumbnails, uint64 [N]."""
    blocks = np.array_split(thumbnails, 200)  # of few images: the memory of the search is measured, not this
    low = np.concatenate([dct(dct(b.astype(float), axis=1), axis=2)[:, :8, :8].reshape(-1, 64) for b in blocks])
    return np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1).view(">u8")[:, 0].astype(np.uint64)


def search() -> None:
    """Plant copies (other contrast, noise, up to 4 bits of the hash changed) and blank images, and find them."""
    rng = np.random.default_rng(1)
    thumbnails = thumbnails_of(IMAGES)
    places = rng.permutation(IMAGES)
    originals, copies, blank = np.split(places[: 2 * PLANTED + BLANK], [PLANTED, 2 * PLANTED])
    for original, copy in zip(originals, copies, strict=True):
        thumbnails[copy] = np.clip(thumbnails[original] * 0.9 + 8 + rng.normal(0, 1, (32, 32)), 0, 255)
    thumbnails[blank] = 0
    hashes = hashes_of(thumbnails)
    hashes[copies] = hashes[originals]
    for copy in copies:
        for bit in rng.choice(64, rng.integers(0, 5), replace=False):
            hashes[copy] ^= np.uint64(1) << np.uint64(bit)
    # Of every hundredth image that is not blank, with those behind it.
    near = sum(
        int((np.bitwise_count(hashes[i] ^ hashes[i + 1 :]) <= 4).sum())
        for i in range(0, IMAGES, 100)
        if thumbnails[i].any()
    )
    print(f"memory before the search {peak():.2f} GiB; about {near * 100:,} pairs of hashes within 4 bits")
    settings = Duplicates()
    wall, cpu = time.perf_counter(), time.process_time()
    table = near_pairs(hashes, thumbnails, settings.hamming, settings.correlation)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    pairs = set(zip(table.first.tolist(), table.second.tolist(), strict=True))
    planted = {(int(min(a, b)), int(max(a, b))) for a, b in zip(originals, copies, strict=True)}
    first = int(blank.min())
    planted |= {(first, int(i)) for i in blank if i != first}
    print(f"{len(planted & pairs):,} of {len(planted):,} planted pairs found, {len(pairs - planted)} others")
    print(f"search {wall:.1f} s on the clock, {cpu:.1f} s of processors; peak memory {peak():.2f} GiB")


def drawn(number: int) -> np.ndarray:
    """Draw an image of noise, uint8 [64, 64]."""
    return np.random.default_rng(number).integers(0, 256, (64, 64), np.uint8)


def stream() -> Iterator[Sample]:
    """Yield small drawn images, each under its own name and with some metadata."""
    for i in range(IMAGES):
        yield Sample(
            f"{i:08d}_000.png",
            f"{i // 4:08d}",
            ("a",) if i % 3 else (),
            partial(drawn, i),
            "train",
            {"age": i % 90, "sex": "MF"[i % 2], "view": "PA", "follow_up": i % 4},
        )


def whole() -> None:
    """Prepare a stream of images."""
    wall = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        array = Path(folder) / "images.npy"
        prepared = prepare_all(stream(), ("a", "b"), "multilabel", Preprocess(size=64), array)
        size = array.stat().st_size / 2**30
    seconds = time.perf_counter() - wall
    print(f"prepare_all: {len(prepared.samples):,} images of 64 x 64 to {size:.2f} GiB in {seconds:.0f} s; ", end="")
    print(f"peak memory {peak():.2f} GiB")


def peak() -> float:
    """Peak resident memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Run each measurement in a process of its own."""
    steps = {"search": search, "whole": whole}
    if len(sys.argv) > 1:
        steps[sys.argv[1]]()
        return
    for name in steps:
        subprocess.run([sys.executable, "-m", "benchmarks.duplicates", name], check=True)


if __name__ == "__main__":
    main()
