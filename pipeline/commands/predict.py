"""Apply a model of the study to new images.

The results are a table of one row per image, and a page to look through. Images are prepared exactly as the study's
were. Probabilities are calibrated, and decisions made at thresholds, as chosen on the study's validation set. Every
file has a row: an image that cannot be read says why, and one that is unlike the study's images is flagged.
Interrupted, the same command goes on where it was. A study of segmentation writes masks and a table of them instead.
For research, not for clinical use.

Examples
--------
  medmatrix predict ../new_images                         a folder, by the configuration that validation chose
  medmatrix predict a.png 'scans/**/*.dcm' --out answers  files and patterns, results in answers/
  medmatrix predict list.csv --root ../films              the files of a table; its other columns go along
  medmatrix predict ../new_images --configuration cnn-bce
  medmatrix predict ../new_images --ensemble mean_all
  medmatrix predict 'scans/**/*.dcm' --dicom              also structured reports that an archive files
  medmatrix predict ../new_images --heatmaps              where the network looks, for the classes decided for
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands import command_parser
from pipeline.explaining.cams import DEFAULT, METHODS
from pipeline.study.errors import stage_errors

if TYPE_CHECKING:
    from pipeline.deploying.sources import Source


def main(arguments: Sequence[str] | None = None) -> None:
    """Write predictions.csv, predictions.json and index.html."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="files, folders, patterns or tables of images")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--configuration", metavar="MODEL-LOSS", help="default: the one that validation chose")
    which.add_argument("--ensemble", metavar="NAME", help="an ensemble of the study, such as mean_all")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the files of a table lie; default: beside it")
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="default: predictions")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu, by ONNX Runtime")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument(
        "--dicom", action="store_true", help="results of DICOM files as DICOM, too: with the patient's name"
    )
    parser.add_argument("--heatmaps", action="store_true", help="of the classes decided for, else the most probable")
    parser.add_argument("--cam", choices=list(METHODS), help=f"how heat maps are made; default: {DEFAULT}")
    parser.add_argument("--no-pictures", action="store_true", help="leave the pictures off the page")
    options = parser.parse_args(arguments)
    if options.threads < 1:
        parser.error(f"--threads: {options.threads}; must be at least 1")
    if options.cam and not options.heatmaps:
        parser.error("--cam says how heat maps are made; must be used with --heatmaps")
    with stage_errors():
        from pipeline.deploying.choice import choose  # NumPy and SciPy take a moment
        from pipeline.deploying.predicting import predict
        from pipeline.deploying.sources import sources
        from pipeline.ensembling.settings import EnsembleSections
        from pipeline.reporting.english import count
        from pipeline.study.files import DATASET
        from pipeline.study.params import load
        from pipeline.study.prepared import read_dataset

        named = sources(options.images, options.root)
        if DATASET.exists() and read_dataset().task == "segmentation":
            print(_masks(parser, options, named))
            return
        choice = choose(load(EnsembleSections), options.configuration, options.ensemble)
        print(f"{choice.name} ({choice.how}), {count('training run', len(choice.members))}", file=sys.stderr)
        pictures, heat = not options.no_pictures, (options.cam or DEFAULT) if options.heatmaps else None
        print(
            predict(choice, named, options.out, options.device, options.threads, pictures, _shown, heat, options.dicom)
        )


def _masks(parser: ArgumentParser, options: Namespace, named: Sequence[Source]) -> str:
    """Write the masks that a study of segmentation finds in the files."""
    from pipeline.deploying.masks import chosen_run, write_masks
    from pipeline.ensembling.settings import EnsembleSections
    from pipeline.study.params import load

    asked = {"--ensemble": options.ensemble, "--dicom": options.dicom, "--heatmaps": options.heatmaps}
    asked["--device"] = options.device != "cpu"
    for option, wanted in asked.items():
        if wanted:
            parser.error(f"{option}: not for a study of segmentation, of which one training run finds masks on the CPU")
    run = chosen_run(load(EnsembleSections), options.configuration)
    return write_masks(run, named, options.out, _shown)


def _shown(work: Iterator[int], total: int) -> None:
    """Show the progress of `work`, which yields the number of files done, with what is left of the time."""
    from tqdm import tqdm

    # On a terminal a bar; elsewhere a line every ten seconds.
    every = 0.1 if sys.stderr.isatty() else 10.0
    with tqdm(total=total, unit="file", desc="predict", file=sys.stderr, mininterval=every, disable=not total) as bar:
        for count in work:
            bar.update(count)
