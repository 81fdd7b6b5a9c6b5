"""Memory and time of heat maps: 250 against 1,000 test images, each in a process of its own.

``python -m benchmarks.explain``: images of noise at 80 px, memory-mapped, and three small CNNs with random weights, as
memory and time do not depend on what was learned. Grad-CAM against a box in every image, then the checks without boxes
of as many images. The peak of a process's memory is what the system reports.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from pipeline.explaining.checks import Checked, check
from pipeline.explaining.localising import Marked, localise
from pipeline.explaining.maps import Mapper
from pipeline.learning import session
from pipeline.learning.networks.baseline_cnn import BaselineCNN
from pipeline.learning.networks.models import Classifier
from pipeline.study.prepared import as_input

SIZE, CLASSES = 80, 14
IMAGES = (250, 1000)
BOOTSTRAP = {"draws": 200, "confidence": 0.95, "seed": 0}


def network(seed: int) -> Classifier:
    """Return the small CNN of params.yaml with random weights."""
    torch.manual_seed(seed)
    backbone = BaselineCNN(1, CLASSES, filters=(8, 32, 64, 64), batch_norm=True).build_for(1, SIZE)
    return Classifier(backbone, torch.full((1,), 0.5), torch.full((1,), 0.25), "classifier").eval()


def marked(number: int) -> Marked:
    """Return one box in each of `number` images, two images a patient."""
    generator = np.random.default_rng(number)
    corners = generator.integers(0, SIZE // 2, (number, 2))
    boxes = [np.array([[x, y, SIZE / 3, SIZE / 3]], float) for x, y in corners]
    patients = np.array([f"p{i // 2:05d}" for i in range(number)])
    return Marked(np.arange(number), np.arange(number) % CLASSES, patients, boxes)


def part(number: int) -> None:
    """Measure `number` images in this process, and print its row of the table."""
    session.begin(1, False, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.npy")
        generator = np.random.default_rng(0)
        written = np.lib.format.open_memmap(path, "w+", np.uint8, (number, SIZE, SIZE))
        for start in range(0, number, 50):
            written[start : start + 50] = generator.integers(0, 256, (min(50, number - start), SIZE, SIZE))
        written.flush()
        del written
        images, networks = np.load(path, mmap_mode="r"), [network(seed) for seed in range(3)]
        before, times = _peak(), [time.process_time()]
        with Mapper(networks, (1, SIZE, SIZE)) as maps:
            localise(
                maps, [0, 1, 2], images, dict.fromkeys(("train", "val", "test"), marked(number)), _names(), **BOOTSTRAP
            )
            layer = maps.layers[0]
        times.append(time.process_time())
        boxed = _peak()
        asked = np.arange(number) % CLASSES
        of = Checked(
            as_input(images[:number]), asked, np.array([f"p{i // 2:05d}" for i in range(number)]), "multilabel"
        )
        check(
            lambda some: Mapper(some, (1, SIZE, SIZE), layers=[layer] * len(some)),
            networks,
            of,
            layer.margin,
            **BOOTSTRAP,
        )
        times.append(time.process_time())
        cost = " | ".join(f"{1000 * (b - a) / number:.1f}" for a, b in pairwise(times))
        print(f"| {number:,} | {before:.0f} | {boxed:.0f} | {_peak():.0f} | {cost} |")


def _names() -> list[str]:
    return [f"class {k}" for k in range(CLASSES)]


def _peak() -> float:
    """Return the highest memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main(arguments: list[str] | None = None) -> None:
    """Measure all of `IMAGES`, or those that are named, in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int, nargs="*", help="measure so many in this process")
    asked = parser.parse_args(arguments).images
    for number in asked:
        part(number)
    if not asked:
        print("| images | peak before, MiB | against boxes | and checked | ms an image against boxes | checked |")
        print("| --- | --- | --- | --- | --- | --- |", flush=True)
        for number in IMAGES:
            subprocess.run([sys.executable, "-m", "benchmarks.explain", str(number)], check=True)


if __name__ == "__main__":
    main()
