"""Compare ``medmatrix predict`` with the loop that most repositories have, and ask whether its memory grows.

Draws radiograph-like grey PNGs of 1024 x 1024, and has tf_efficientnet_lite0 (224 px, CLAHE, weights at random: the
time does not depend on them) look at them: once as a plain loop (Pillow, OpenCV's CLAHE, torchvision's resize, batches
of 16, torch), once as `medmatrix predict` does, neighbouring runs in turn. Then the largest memory of 1,000 and of
10,000 files, and the time until the first result of a new process. Run with ``python -m benchmarks.predict`` (about
five minutes).
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import yaml

from benchmarks.preprocess import radiograph
from benchmarks.shared.tiny import TINY

SIZE = 224
IMAGES = 96
TIMES = 5
"""How often each image is named, under names of its own: what a call costs once is not to count as the images'."""
ROUNDS = 3
THREADS = 2
FEW, MANY = 1_000, 10_000
MODEL = "lite0"
CHILD = """
import re, sys
from pathlib import Path
from pipeline.deploying.choice import choose
from pipeline.deploying.predicting import predict
from pipeline.deploying.sources import sources
from pipeline.ensembling.settings import EnsembleSections
from pipeline.study.params import load
predict(choose(load(EnsembleSections)), sources([sys.argv[1]]), Path(sys.argv[2]))
# Not ru_maxrss: a process begins with that of the one that started it.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


class Spent(NamedTuple):
    """Seconds on the clock, and of all processors together."""

    wall: float
    cpu: float


def study() -> None:
    """Make a study in the working directory whose one network has weights at random."""
    from pipeline import configure, download, ensemble, evaluate, preprocess, split
    from pipeline.learning.networks import models
    from pipeline.settings import load
    from pipeline.study.files import write_json
    from pipeline.study.prepared import open_images, read_dataset
    from pipeline.study.runs import configurations

    params: dict[str, Any] = yaml.safe_load(yaml.safe_dump(TINY))
    params["study"] = {"models": [MODEL], "losses": ["bce"], "replicates": []}
    params["models"] = {MODEL: {"arch": "tf_efficientnet_lite0", "lr": 0.001}}
    params["preprocess"] = {"size": SIZE, "threads": THREADS}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    chosen = load()
    download.download(chosen)
    preprocess.main()
    split.main()
    configure.configure(chosen)
    network = models.build(MODEL, chosen.models[MODEL], 1, len(read_dataset().classes), SIZE, np.array(open_images()))
    folder = Path("models", f"{MODEL}-bce", f"seed{chosen.seed}")
    models.save(folder / "model.safetensors", network.state_dict(), {})
    write_json(folder / "run.json", {"model": MODEL, "loss": "bce", "seed": chosen.seed, "best_epoch": 1})
    (folder / "history.csv").write_text("epoch,val_auroc\n1,0.5\n")
    for configuration in configurations(chosen):
        evaluate.evaluate(configuration, chosen)
    ensemble.ensemble(chosen)


def plain(paths: Sequence[Path]) -> np.ndarray:
    """Do what most repositories do: one image after another, batches of 16."""
    import cv2
    import torch
    from PIL import Image
    from torchvision.transforms import functional

    from pipeline.learning.networks import models
    from pipeline.learning.settings import TrainingSections
    from pipeline.study.params import load
    from pipeline.study.prepared import read_dataset

    torch.set_num_threads(THREADS)
    described, classes = load(TrainingSections).models[MODEL], len(read_dataset().classes)
    model = models.rebuild(MODEL, described, classes, SIZE, next(Path("models").glob("*/*/model.safetensors")))
    clahe, answers = cv2.createCLAHE(2.0, (8, 8)), []
    with torch.no_grad():
        for start in range(0, len(paths), 16):
            batch = []
            for path in paths[start : start + 16]:
                grey = clahe.apply(np.asarray(Image.open(path).convert("L")))
                batch.append(functional.to_tensor(functional.resize(Image.fromarray(grey), [SIZE, SIZE])))
            answers.append(torch.sigmoid(model(torch.stack(batch))).numpy())
    return np.concatenate(answers)


def ours(paths: Sequence[Path], out: Path) -> None:
    """Do what ``medmatrix predict`` does."""
    from pipeline.deploying.choice import choose
    from pipeline.deploying.predicting import predict
    from pipeline.deploying.sources import sources
    from pipeline.ensembling.settings import EnsembleSections
    from pipeline.study.params import load

    predict(choose(load(EnsembleSections)), sources([str(path) for path in paths]), out, threads=THREADS)


def spent(work: Callable[[], object]) -> Spent:
    """Time a call."""
    clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.perf_counter() - clock, cpu)


def speed(folder: Path) -> None:
    """Print the rates of both."""
    paths = []
    for seed in range(IMAGES):
        paths.append(folder / f"{seed:04}.png")
        paths[-1].write_bytes(radiograph(seed))
    for k in range(1, TIMES):
        for seed in range(IMAGES):
            paths.append(folder / f"{seed:04}-{k}.png")
            os.link(paths[seed], paths[-1])
    ours(paths[:2], folder / "warm")  # makes the ONNX file, once for each model
    plain(paths[:2])
    rounds = [(spent(lambda: plain(paths)), spent(lambda k=k: ours(paths, folder / f"out{k}"))) for k in range(ROUNDS)]
    print(
        f"{len(paths)} PNGs of 1024 px, tf_efficientnet_lite0 at {SIZE} px, {THREADS} threads; medians of {ROUNDS} "
        "rounds\n"
    )
    print("| | images/s | processor time per image |\n| --- | --- | --- |")
    for name, place in (("plain loop", 0), ("`medmatrix predict`", 1)):
        wall, cpu = (median(each[place][i] for each in rounds) for i in (0, 1))
        print(f"| {name} | {len(paths) / wall:.1f} | {1000 * cpu / len(paths):.0f} ms |")
    ratios = [a.wall / b.wall for a, b in rounds]
    print(f"| ratio of neighbouring runs | {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | |\n")


def memory(folder: Path) -> None:
    """Print the largest memory of few and of many files, each a link to one of a hundred."""
    real = sorted(Path("data/raw/phantom/images").iterdir())[:100]
    peaks = []
    for count in (FEW, MANY):
        files = folder / f"files{count}"
        files.mkdir()
        for k in range(count):
            os.link(real[k % len(real)], files / f"{k:05}.png")
        command = [sys.executable, "-c", CHILD, str(files), str(folder / f"answers{count}")]
        told = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ}).stdout
        peaks.append(int(told.split()[-1]) / 1024)
    print(f"Largest memory: {peaks[0]:.0f} MiB with {FEW:,} files, {peaks[1]:.0f} MiB with {MANY:,}.\n")


def start(folder: Path) -> None:
    """Print the time of a new process until it has answered for one image, beside that of importing torch and timm."""
    image = folder / "0000.png"
    predict = [sys.executable, "-m", "pipeline.commands", "predict", str(image), "--out", str(folder / "one")]
    bare = [sys.executable, "-c", "import torch, timm"]
    times = {
        name: [spent(lambda c=command: subprocess.run(c, check=True, capture_output=True)).wall for _ in range(ROUNDS)]
        for name, command in (("predict", predict), ("bare", bare))
    }
    ours_, theirs = (median(times[name]) for name in ("predict", "bare"))
    print(
        f"One image by a new process: {ours_:.1f} s; `import torch, timm`: {theirs:.1f} s; ratio {ours_ / theirs:.2f}."
    )


def main() -> None:
    """Run all three."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        with contextlib.redirect_stdout(sys.stderr):  # what is printed goes into RESULTS.md
            study()
        speed(folder)
        memory(folder)
        start(folder)


if __name__ == "__main__":
    main()
