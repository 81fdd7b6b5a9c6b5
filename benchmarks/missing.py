"""Labels taken away at random, left out of the loss and set to 0: what each costs in macro AUROC.

``python -m benchmarks.missing [--unknown 0.3] [--losses bce zlpr] [--models cnn] [--seeds 42 12 22]``: trains the study
of params.yaml at 48 px on three versions of the phantom's training and validation labels, under the same split and
seeds, and scores all of them on the full truth of the test set. Some ten minutes of one core with the defaults.
``--images``, ``--test-fraction`` and ``--drawing`` make another phantom, with more test images, say.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from benchmarks.shared.tiny import ROOT
from pipeline import download, preprocess, split, train
from pipeline.datasets.phantom.dataset import Data
from pipeline.learning.settings import RunSections
from pipeline.scoring.predict import predict_parts
from pipeline.scoring.settings import EvaluationSections
from pipeline.settings import load as load_all
from pipeline.study.files import SAMPLES, raw_folder
from pipeline.study.params import load
from pipeline.study.parts import read_parts
from pipeline.study.prepared import read_dataset
from pipeline.study.runs import configurations, runs
from pipeline.uncertainty.comparisons import compare

KNOWN, LEFT_OUT, ZERO = "all known", "left out", "set to 0"
"""The versions of the labels."""


def write_params(options: argparse.Namespace) -> None:
    """Write params.yaml of the study into the working directory."""
    yaml = YAML(typ="safe")
    params: dict[str, Any] = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    seed, *further = options.seeds
    params["seed"], params["dataset"] = seed, "phantom"
    params["study"] = {"models": options.models, "losses": options.losses, "replicates": further}
    params["explain"] = {"methods": [], "images": 48}
    params["preprocess"]["size"] = options.size
    params["datasets"]["phantom"] |= drawing(options)
    with Path("params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)


def drawing(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the phantom that were asked for: the others are those of params.yaml."""
    asked = {"images": options.images, "seed": options.drawing, "test_fraction": options.test_fraction}
    return {key: value for key, value in asked.items() if value is not None}


def hidden(options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Return which labels of each image the data set takes away at the share, by its id."""
    phantom = Data(unknown=options.unknown, **drawing(options))
    return {sample.sample_id: sample.unknown for sample in phantom.samples(raw_folder("phantom"))}


def versions(options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """Return samples.csv of each version as text; the test part is not looked at by any training run."""
    table, classes = pd.read_csv(SAMPLES, dtype=str, keep_default_na=False), list(read_dataset().classes)
    taken = hidden(options)
    mask = np.array([[name in taken[image] for name in classes] for image in table["sample_id"]])
    made = {KNOWN: table}
    for version, instead in ((LEFT_OUT, ""), (ZERO, "0")):
        labels = table[classes].mask(mask, instead)
        made[version] = table.assign(**{name: labels[name] for name in classes})
    return made


def study(options: argparse.Namespace, start: Path) -> None:
    """Train every version and print the table."""
    os.chdir(start)
    write_params(options)
    download.download(load_all())
    preprocess.main()
    split.main()
    params, scoring = load(RunSections), load(EvaluationSections)
    truth = read_parts(["test"])["test"]
    logits: dict[str, np.ndarray] = {}
    for version, table in versions(options).items():
        folder = start / version.replace(" ", "-")
        shutil.copytree(start, folder, ignore=lambda _, names: {n for n in names if "-" in n})
        with contextlib.chdir(folder):
            table.to_csv(SAMPLES, index=False)
            for run in runs(params):
                train.train(run, params)
            for configuration in configurations(params):
                logits[f"{configuration}: {version}"] = predict_parts(configuration, scoring).predictions.test_logits
    print("| configuration | first | second | difference | 95 % CI | p |\n| --- | --- | --- | --- | --- | --- |")
    for configuration in configurations(params):
        of = {name.split(": ")[1]: z for name, z in logits.items() if name.startswith(f"{configuration}: ")}
        ordered = {name: of[name] for name in (LEFT_OUT, ZERO, KNOWN)}
        for row in compare("multilabel", ordered, truth.targets, truth.patients).to_dict("records"):
            between = f"{row['ci_low']:+.3f} to {row['ci_high']:+.3f}"
            print(
                f"| {configuration} | {row['first']} | {row['second']} | {row['difference']:+.3f} | {between} "
                f"| {row['p']:.3f} |"
            )


def main() -> None:
    """Run in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unknown", type=float, default=0.3, help="share of the labels that is taken away")
    parser.add_argument("--losses", nargs="+", default=["bce", "zlpr"])
    parser.add_argument("--models", nargs="+", default=["cnn"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 12, 22])
    parser.add_argument("--images", type=int, help="of the phantom; default: as in params.yaml")
    parser.add_argument("--test-fraction", type=float, help="of its patients; default: as in params.yaml")
    parser.add_argument("--drawing", type=int, help="seed of the drawing; default: as in params.yaml")
    parser.add_argument("--size", type=int, default=48, help="px")
    with tempfile.TemporaryDirectory() as folder:
        study(parser.parse_args(), Path(folder))


if __name__ == "__main__":
    main()
