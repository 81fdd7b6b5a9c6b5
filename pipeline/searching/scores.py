"""What a trial is worth on the validation part, and how much of the best trial's score is luck.

The score is the metric of ``train.select``, as the training run has recorded it of its best epoch. The outputs on the
validation images are kept for each trial; nothing here reads an image or a label of the test part.
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
from pipeline.regressing.values import targets_of
from pipeline.searching.measures import of_classes, of_masks, of_numbers
from pipeline.searching.record import Record
from pipeline.segmenting.data import MaskedImages
from pipeline.segmenting.probabilities import dice_curves, predicted
from pipeline.settings import Params
from pipeline.study.errors import UserError
from pipeline.study.files import null, opened_arrays, read_json, read_table, replaced
from pipeline.study.inputs import project_folder
from pipeline.study.parts import Part, read_parts
from pipeline.study.prepared import DatasetInfo, open_images, open_masks, read_dataset
from pipeline.study.runs import Run, configurations
from pipeline.study.trainings import run_folder
from pipeline.uncertainty.optimism import Measured, corrected_best

OUTPUTS = Path("tmp/search")
"""Outputs of the trials on the validation images, a folder for each search."""


def outputs_file(digest: str, number: int) -> Path:
    """File of a trial's outputs, in the project also from within a fold: logits float32 [S, N, ...], rows [N]."""
    return project_folder() / OUTPUTS / digest / f"{number}.npz"


def score_of(run: Run, params: Params) -> tuple[float | None, float, bool]:
    """Return the score of a training run, None if undefined, its seconds, and whether it learned nothing."""
    folder, metric = run_folder(run), train_settings(params, run.model).select
    about = read_json(folder / "run.json", "train")
    history = read_table(folder / "history.csv", float_precision="round_trip").set_index("epoch")
    score = null(float(history.loc[about["best_epoch"], f"val_{metric}"]))
    return score, float(about["seconds"]), about["collapsed"] is not None


def validation_outputs(run: Run, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Return what a trained network makes of the validation images.

    Returns
    -------
    outputs : float32 [N, K], [N, 1] or [N, K, 256]
        Logits; of a regression the predicted values; of a segmentation the Dice at every threshold, by which alone its
        trials are compared: `pipeline.segmenting.probabilities.dice_curves`.
    rows : int64 [N]
    """
    settings, part, data = train_settings(params, run.model), read_parts(["val"])["val"], read_dataset()
    device = session.begin(settings.threads, settings.tf32, settings.device)
    images, classes = open_images(), 1 if data.task == "regression" else len(data.classes)
    file = run_folder(run) / "model.safetensors"
    model = models.rebuild(run.model, params.models[run.model], classes, images.shape[1], file)
    model = model.to(device).to(memory_format=torch.channels_last)
    at_once, precision = 4 * settings.batch_size, session.choose_precision(settings.precision, device)
    if data.task == "segmentation":
        masked = MaskedImages(images, open_masks(), part, device, settings.residency)
        curves = [dice_curves(of, truth) for of, truth, _, _ in predicted(model, masked, at_once, precision)]
        return np.concatenate(curves).astype(np.float32), part.rows
    loaded = resident(images, part, part.targets, device, settings.residency, models.scheme_of(file))
    outputs = predict(model, loaded, at_once, precision).cpu().numpy()
    return outputs[:, :1] if data.task == "regression" else outputs, part.rows


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
        trials, draws, left_out, highest (of errors: lowest), corrected, low, high, refused (why there is no interval),
        optimism, and chosen: number of each trial to the share of draws in which it was the best, of those that ever
        were.

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
    of = measured(record.metric, data, part, np.concatenate(logits))
    found = corrected_best(of, owners, **draws)
    chosen = {str(trial.number): n / found.draws for trial, n in zip(distinct, found.chosen.tolist(), strict=True) if n}
    best = "highest" if of.higher_is_better else "lowest"
    numbers = ("corrected", "low", "high", "optimism", "left_out")
    return {
        "images": len(part.rows),
        "patients": len(np.unique(part.patients)),
        "patients_known": data.patients_known,
        "classes": found.classes,
        "all_classes": of.whole.shape[1],
        "trials": len(distinct),
        "draws": found.draws,
        "confidence": draws["confidence"],
        best: null(found.best),
        **{name: null(getattr(found, name)) for name in numbers},
        "refused": found.refused,
        "chosen": chosen,
    }


def measured(metric: str, data: DatasetInfo, part: Part, outputs: np.ndarray) -> Measured:
    """Measure R training runs by their outputs on a part of the split, [R, N, ...] as of `validation_outputs`."""
    if data.task == "segmentation":
        return of_masks(outputs, part.patients)
    if data.task == "regression":
        return of_numbers(metric, targets_of(part), outputs[..., 0], part.patients)
    return of_classes(metric, data.task, part.targets, outputs, part.patients, data.ordered)


def only_run(params: Params, seed: int) -> Run:
    """Return the training run of a trial under a seed."""
    return Run(*configurations(params)[0], seed)
