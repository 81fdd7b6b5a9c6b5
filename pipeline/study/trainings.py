"""The folders of training runs and of configurations, and the images that both hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from pipeline.study.files import AUGMENTED, EVALUATIONS, MODELS, VARIANTS, replaced
from pipeline.study.runs import Configuration, Run, VariantRun


def run_folder(run: Run) -> Path:
    """Folder of one training run: model.safetensors, history.csv, run.json, augmented.npz."""
    of_study = MODELS / str(run.configuration) / f"seed{run.seed}"
    return VARIANTS / run.variant / of_study if isinstance(run, VariantRun) else of_study


def evaluation_folder(configuration: Configuration) -> Path:
    """Folder of a configuration's predictions.npz, metrics.csv, seeds.csv, history.csv, runs.json and augmented.npz."""
    return EVALUATIONS / str(configuration)


def write_augmented(run: Run, rows: np.ndarray, images: np.ndarray) -> None:
    """Write training images and their augmented versions into the folder of `run`, complete or not at all.

    Parameters
    ----------
    run : Run
        The training run whose augmentation it is.
    rows : int64 [R]
        Positions in images.npy.
    images : uint8 [R, 1 + draws, H, W] or [R, 1 + draws, H, W, 3]
        Each image as prepared, then as drawn.
    """
    path = run_folder(run) / AUGMENTED
    with replaced(path, rows.nbytes + images.nbytes) as partial:
        np.savez(partial, rows=rows, images=images)


def pass_on_augmented(run: Run) -> None:
    """Copy the file of `write_augmented` into the evaluation of the configuration; an older training run has none."""
    source, copy = run_folder(run) / AUGMENTED, evaluation_folder(run.configuration) / AUGMENTED
    copy.unlink(missing_ok=True)
    if source.exists():
        with replaced(copy, source.stat().st_size) as partial:
            shutil.copyfile(source, partial)
