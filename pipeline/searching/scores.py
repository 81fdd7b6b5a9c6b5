"""What a trial is worth on the validation part, and how much of the best trial's score is luck.

The score is what the training run has recorded of its best epoch, as it chooses runs everywhere else. The outputs on
the validation images are kept for each trial; nothing here reads an image or a label of the test part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.learning import session
from pipeline.learning.images.parts import resident
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import predict
from pipeline.learning.settings import train_settings
from pipeline.searching.record import Record
from pipeline.settings import Params
from pipeline.study.errors import UserError
from pipeline.study.files import null, opened_arrays, read_json, replaced
from pipeline.study.inputs import project_folder
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Run, configurations
from pipeline.study.trainings import run_folder
from pipeline.uncertainty.optimism import corrected_best

OUTPUTS = Path("tmp/search")
"""Outputs of the trials on the validation images, a folder for each search."""


def outputs_file(digest: str, number: int) -> Path:
    """File of a trial's outputs, in the project also from within a fold: logits float32 [S, N, K], rows [N]."""
    return project_folder() / OUTPUTS / digest / f"{number}.npz"


def score_of(run: Run) -> tuple[float | None, float, bool]:
    """Return the validation AUROC of a training run, None if undefined, its seconds, and whether it learned nothing."""
    about = read_json(run_folder(run) / "run.json", "train")
    return about["val_auroc"], float(about["seconds"]), about["collapsed"] is not None


def validation_outputs(run: Run, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of the validation images under a trained network, float32 [N, K], and their rows, int64 [N]."""
    settings, part = train_settings(params, run.model), read_parts(["val"])["val"]
    device = session.begin(settings.threads, settings.tf32, settings.device)
    images, classes = open_images(), len(read_dataset().classes)
    file = run_folder(run) / "model.safetensors"
    loaded = resident(images, part, part.targets, device, settings.residency, models.scheme_of(file))
    model = models.rebuild(run.model, params.models[run.model], classes, images.shape[1], file)
    model = model.to(device).to(memory_format=torch.channels_last)
    precision = session.choose_precision(settings.precision, device)
    return predict(model, loaded, 4 * settings.batch_size, precision).cpu().numpy(), part.rows


def keep_outputs(path: Path, logits: Sequence[np.ndarray], rows: np.ndarray) -> None:
    """Write the outputs of a trial, complete or not at all."""
    stacked = np.stack(logits)
    with replaced(path, stacked.nbytes + rows.nbytes) as partial:
        np.savez(partial, logits=stacked, rows=rows)


def optimism_of(record: Record, params: Params) -> dict[str, Any]:
    """Correct the best trial's score for having been the best of many, by the outputs that were kept.

    Returns
    -------
    dict
        images, patients (whether known: patients_known), classes (of how many the scores are the mean), all_classes,
        trials, draws, left_out, highest, corrected, low, high, refused (why there is no interval), optimism, and
        chosen: number of each trial to the share of draws in which it was the best, of those that ever were.

    Raises
    ------
    UserError
        If the outputs are not of the validation images.
    """
    part, data = read_parts(["val"])["val"], read_dataset()
    distinct = [trial for trial in record.finished if trial.same_as is None]
    logits, owners = [], []
    for place, trial in enumerate(distinct):
        path = outputs_file(record.digest, trial.number)
        with opened_arrays(path) as file:
            if not np.array_equal(file["rows"], part.rows):
                raise UserError(f"{path}: is of other images than the validation part; delete it")
            logits.append(file["logits"])
            owners += [place] * len(file["logits"])
    if not logits:
        return {}
    draws = params.evaluate.draws()
    found = corrected_best(data.task, part.targets, np.concatenate(logits), part.patients, owners, **draws)
    chosen = {str(trial.number): n / found.draws for trial, n in zip(distinct, found.chosen.tolist(), strict=True) if n}
    numbers = ("highest", "corrected", "low", "high", "optimism", "left_out")
    return {
        "images": len(part.rows),
        "patients": len(np.unique(part.patients)),
        "patients_known": data.patients_known,
        "classes": found.classes,
        "all_classes": len(data.classes),
        "trials": len(distinct),
        "draws": found.draws,
        "confidence": draws["confidence"],
        **{name: null(getattr(found, name)) for name in numbers},
        "refused": found.refused,
        "chosen": chosen,
    }


def only_run(params: Params, seed: int) -> Run:
    """Return the training run of a trial under a seed."""
    return Run(*configurations(params)[0], seed)
