"""A soup of the seeds of a configuration: one network of the mean weights, against the seeds and their ensemble.

``python -m benchmarks.soup [CONFIGURATION …]`` in a project whose training runs are done; nothing is written. The
statistics of batch normalisation are measured anew on the training images as they are. Validation macro AUROC.

References
----------
Wortsman et al., "Model soups", ICML 2022, arXiv 2203.05482: averaged are networks that were fine-tuned from the same
weights. Seeds that start at different random weights end in different basins (Frankle et al., ICML 2020, arXiv
1912.05671), between which lies nothing good.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.learning import session
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import predict
from pipeline.learning.settings import RunSections
from pipeline.learning.training.averaging import measure_batch_norms
from pipeline.metrics.functions import auroc, macro
from pipeline.metrics.scored import Scored, Weighted
from pipeline.study.params import load
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Configuration, Run, configurations
from pipeline.study.trainings import run_folder


def soup(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of weights and of statistics; counters are the first one's."""
    first = states[0]
    return {
        key: torch.stack([state[key] for state in states]).mean(0) if value.is_floating_point() else value
        for key, value in first.items()
    }


def measured(configuration: Configuration, params: RunSections) -> Iterator[tuple[str, float]]:
    """Yield what it is and its validation AUROC: each seed, the mean of their logits, the soup."""
    data, parts, images = read_dataset(), read_parts(["train", "val"]), open_images()
    device = session.begin(1, False, "cpu")
    loaded = {name: ResidentImages(images, part.rows, part.targets, device) for name, part in parts.items()}
    logits, states = [], []

    def scored(of: Tensor) -> float:
        return macro(auroc(Weighted(Scored(data.task, parts["val"].targets, of.numpy()[None])))).item()

    model = None
    for seed in (params.seed, *params.study.replicates):
        path = run_folder(Run(*configuration, seed)) / "model.safetensors"
        described = params.models[configuration.model]
        model = models.rebuild(configuration.model, described, len(data.classes), images.shape[1], path)
        states.append({key: value.clone() for key, value in model.state_dict().items()})
        logits.append(predict(model, loaded["val"], 64, "float32"))
        yield f"seed {seed}", scored(logits[-1])
    assert model is not None
    yield "mean of their logits", scored(torch.stack(logits).mean(0))
    model.load_state_dict(soup(states))
    order = torch.arange(len(loaded["train"]))
    measure_batch_norms(model, lambda: (batch for batch, _ in loaded["train"].batches(order, 64)), "float32")
    yield "soup", scored(predict(model, loaded["val"], 64, "float32"))


def main() -> None:
    """Print a line per configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", nargs="*", help="such as densenet-bce; default: all of the study")
    options = parser.parse_args()
    params = load(RunSections)
    for configuration in configurations(params):
        if not options.configurations or str(configuration) in options.configurations:
            found = ", ".join(f"{name} {value:.3f}" for name, value in measured(configuration, params))
            print(f"{configuration}: {found}", flush=True)


if __name__ == "__main__":
    main()
