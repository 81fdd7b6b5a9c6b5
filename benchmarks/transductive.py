"""Batch normalisation measured anew on the test images, without their labels: what that changes.

``python -m benchmarks.transductive [CONFIGURATION …]`` in a project whose training runs are done; nothing is written.
The test set of some data sets comes from elsewhere than its training set, and batch normalisation remembers how the
training images look on average. Here its statistics are replaced by those of the test images as a whole, which no
label enters. The result is transductive: it is that of a network that has seen all images of the test set at once, and
holds for a place from which many images are at hand, not for a first image. So it stands beside the study's results and
never among them. As a check, the same is done with the training images.

References
----------
Li et al., "Revisiting batch normalization for practical domain adaptation", 2016, arXiv 1603.04779; Nado et al.,
"Evaluating prediction-time batch normalization for robustness under covariate shift", 2020, arXiv 2006.10963.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.learning import session
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import predict
from pipeline.learning.settings import RunSections
from pipeline.learning.training.averaging import measure_batch_norms
from pipeline.metrics.functions import auroc, macro
from pipeline.metrics.scored import Scored, Weighted
from pipeline.study.params import load
from pipeline.study.parts import Part, read_parts
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Configuration, Run, configurations
from pipeline.study.trainings import run_folder
from pipeline.uncertainty.comparisons import compare

AS_TRAINED, ON_TRAINING, ON_TEST = "as trained", "training images", "test images"
"""Where the statistics come from."""


def logits_of(configuration: Configuration, params: RunSections, parts: dict[str, Part]) -> dict[str, np.ndarray]:
    """Return the test logits [seeds, images, classes] of each way; one way alone where there is nothing to measure."""
    data, images = read_dataset(), open_images()
    device = session.begin(1, False, "cpu")
    loaded = {name: ResidentImages(images, part.rows, part.targets, device) for name, part in parts.items()}
    logits: dict[str, list[np.ndarray]] = {}
    for seed in (params.seed, *params.study.replicates):
        path = run_folder(Run(*configuration, seed)) / "model.safetensors"
        described = params.models[configuration.model]
        model = models.rebuild(configuration.model, described, len(data.classes), images.shape[1], path)
        for way, part in ((AS_TRAINED, None), (ON_TRAINING, "train"), (ON_TEST, "test")):
            if part:
                if not any(isinstance(module, _BatchNorm) for module in model.modules()):
                    continue
                of, generator = loaded[part], torch.Generator().manual_seed(0)
                order = torch.randperm(len(of), generator=generator)  # batches that are alike, not one class each
                measure_batch_norms(model, lambda of=of, order=order: (x for x, _ in of.batches(order, 64)), "float32")
            logits.setdefault(way, []).append(predict(model, loaded["test"], 64, "float32").numpy())
    return {way: np.stack(each) for way, each in logits.items()}


def lines(configuration: Configuration, params: RunSections) -> Iterator[str]:
    """Yield a row per way."""
    data, parts = read_dataset(), read_parts(["train", "test"])
    truth, found = parts["test"], logits_of(configuration, params, parts)
    rows = compare(data.task, found, truth.targets, truth.patients).to_dict("records")
    for way, logits in found.items():
        value = macro(auroc(Weighted(Scored(data.task, truth.targets, logits)))).mean()
        right = ""
        if data.task == "multiclass":
            right = f"{(logits.argmax(2) == truth.targets.argmax(1)).mean():.3f}"
        row = next((each for each in rows if (each["first"], each["second"]) == (AS_TRAINED, way)), None)
        # Pairs are named first minus second; here the change is what is asked for.
        change = f"{-row['difference']:+.3f} [{-row['ci_high']:+.3f}, {-row['ci_low']:+.3f}]" if row else ""
        yield f"| {configuration} | {len(logits)} | {way} | {value:.3f} | {change} | {right} |"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", nargs="*", help="such as densenet-bce; default: all of the study")
    options = parser.parse_args()
    params = load(RunSections)
    print("| configuration | seeds | statistics of | test macro AUROC | minus as trained [95 % CI] | accuracy |")
    print("| --- " * 6 + "|")
    for configuration in configurations(params):
        if not options.configurations or str(configuration) in options.configurations:
            print(*lines(configuration, params), sep="\n", flush=True)


if __name__ == "__main__":
    main()
