"""The logits of every part under the trained models of a configuration, and how far each training run has fitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from pipeline.learning import losses, session
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.images.parts import resident
from pipeline.learning.metadata import Scheme, known_values
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import predict
from pipeline.learning.settings import train_settings
from pipeline.metrics.functions import accuracy, auroc, balanced_accuracy, f1, macro, quadratic_kappa
from pipeline.metrics.scored import Scored, Weighted
from pipeline.scoring.settings import EvaluationSections
from pipeline.study.files import MODELS, ArtifactError, made_by, read_json
from pipeline.study.memory import enough_memory
from pipeline.study.parts import read_parts
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Configuration, Run, seeds
from pipeline.study.trainings import run_folder
from pipeline.study.unknown import hard, known_of

FIT = "training images as they are, without augmentation: how far the training has fitted, not how good it is"


LOSS = "no interval: a loss is set beside that of other seeds and parts, never beside another loss"


class Trained(NamedTuple):
    """What `predict_parts` returns.

    Parameters
    ----------
    predictions : Predictions
        Of the seeds that have a model.
    fits : DataFrame
        seed (and "mean"), part, class, metric, value, n, n_positive, note, as in metrics.csv: the training loss of
        every part, and of the training part also its AUROC and, for single-label data, accuracy, balanced accuracy
        and macro F1, of ordered classes quadratic weighted kappa.
    """

    predictions: Predictions
    fits: pd.DataFrame


def trained_seeds(configuration: Configuration, params: EvaluationSections) -> list[int]:
    """Return the seeds of the study under which `configuration` has been trained to the end.

    Raises
    ------
    ArtifactError
        If there is none.
    """
    folders = {seed: run_folder(Run(*configuration, seed)) for seed in seeds(params)}
    trained = [seed for seed, folder in folders.items() if (folder / "run.json").exists()]
    if not trained:
        raise ArtifactError(f"{MODELS / str(configuration)} holds no training run of this study: dvc repro")
    return trained


def enough_memory_to(do: str, params: EvaluationSections) -> AbstractContextManager[None]:
    """Turn running out of memory into a message that names what an evaluation takes, see `enough_memory`."""
    what = f"to {do} with evaluate.batch_size = {params.evaluate.batch_size}"
    return enough_memory(what, "lower evaluate.batch_size; train.residency: memmap holds no images in memory")


def begin(configuration: Configuration, params: EvaluationSections) -> torch.device:
    """Set how an evaluation computes, and return where: on the device that training was to use (``train.device``)."""
    wish = train_settings(params, configuration.model).device
    return session.begin(params.evaluate.threads, tf32=False, device=wish)


def predict_parts(configuration: Configuration, params: EvaluationSections) -> Trained:
    """Compute the logits of every part under every trained seed of `configuration`.

    Raises
    ------
    ArtifactError
        If no seed is trained.
    """
    device, batch_size = begin(configuration, params), params.evaluate.batch_size
    data, images = read_dataset(), open_images()
    parts = read_parts(["train", "val", "test"])
    training = parts["train"]
    parts["train"] = training.drawn()
    settings = train_settings(params, configuration.model)
    weighting = training.targets, training.draws, settings.class_weights, data.ordered
    loss = losses.for_training(configuration.loss, params.losses[configuration.loss], data.task, *weighting)
    scheme = metadata_of(configuration, params)
    held = settings.residency
    loaded = {name: resident(images, part, part.targets, device, held, scheme) for name, part in parts.items()}
    logits: dict[str, list[np.ndarray]] = {name: [] for name in parts}
    fits, runs = [], []
    for run, model in trained_models(configuration, params, len(data.classes), images.shape[1], device):
        runs.append(run)
        about = read_json(run_folder(run) / "run.json", "train")
        minimised = loss.at_epoch(about["best_epoch"], settings.epochs)
        for name, part in loaded.items():
            # How far a training run has fitted is asked without test-time augmentation, as its losses were.
            tta = None if name == "train" else params.evaluate.tta
            predicted = predict(model, part, batch_size, "float32", tta)
            value = minimised(predicted, part.targets.float()).item()
            logits[name].append(predicted.cpu().numpy())
            fits += _fit(name, parts[name].targets, logits[name][-1], data.task, value, run.seed, data.ordered)
    content: dict[str, Any] = {
        f"{name}_{key}": value
        for name, part in parts.items()
        if name != "train"
        for key, value in (
            ("rows", part.rows),
            ("targets", part.targets),
            ("patients", part.patients),
            ("logits", np.stack(logits[name])),
        )
    }
    trained = np.array([run.seed for run in runs])
    predictions = Predictions(
        task=data.task, seeds=trained, classes=np.array(data.classes), ordered=data.ordered, **content
    )
    return Trained(predictions, _with_means(pd.DataFrame(fits)).assign(ci_low=np.nan, ci_high=np.nan))


def trained_models(
    configuration: Configuration, params: EvaluationSections, classes: int, size: int, device: torch.device
) -> Iterator[tuple[Run, torch.nn.Module]]:
    """Yield every trained run of `configuration` and its network, which is the same object each time.

    Parameters
    ----------
    configuration : Configuration
        Model and loss.
    params : EvaluationSections
        Of the study.
    classes, size : int
        K, and pixels per side of the prepared images.
    device : torch.device
        Where the network is to compute.

    Raises
    ------
    ArtifactError
        If no seed is trained.
    """
    runs = [Run(*configuration, seed) for seed in trained_seeds(configuration, params)]
    files = [made_by(run_folder(run) / "model.safetensors", "train") for run in runs]
    model = models.rebuild(configuration.model, params.models[configuration.model], classes, size, files[0])
    model = model.to(device).to(memory_format=torch.channels_last)
    for run, file in zip(runs, files):
        models.load_weights(model, file)
        yield run, model


def metadata_of(configuration: Configuration, params: EvaluationSections) -> Scheme | None:
    """Read the metadata that `configuration` takes, the same under each seed; None where it takes none.

    Raises
    ------
    ArtifactError
        If no seed is trained.
    """
    run = Run(*configuration, trained_seeds(configuration, params)[0])
    return models.scheme_of(made_by(run_folder(run) / "model.safetensors", "train"))


def known_metadata(
    chosen: Iterable[Configuration], params: EvaluationSections, rows: np.ndarray, folder: Path, stage: str
) -> dict[str, int]:
    """Count of which of the images `rows` each column is known that a configuration takes, by column; {} for none.

    Parameters
    ----------
    chosen : iterable of Configuration
        Trained.
    params, rows, folder, stage
        As for `predict_images`.
    """
    counts: dict[str, int] = {}
    for configuration in chosen:
        if (scheme := metadata_of(configuration, params)) is not None:
            for name, n in known_values(scheme, scheme.of_rows(rows, folder, stage)).items():
                counts[name] = min(n, counts.get(name, n))  # on folds a level may be known to one training part alone
    return counts


def predict_images(
    configuration: Configuration,
    params: EvaluationSections,
    images: np.ndarray,
    rows: np.ndarray,
    classes: int,
    folder: Path,
    stage: str,
) -> tuple[list[Run], np.ndarray]:
    """Compute the logits of any prepared images under every trained seed of `configuration`, as of the test part.

    Parameters
    ----------
    configuration, params
        As for `predict_parts`.
    images : uint8 or uint16 [M, H, W] or [M, H, W, 3]
        Prepared as those of the study.
    rows : int64 [N]
        Which of them.
    classes : int
        K of the study.
    folder, stage : Path, str
        Where these images are prepared, and by which stage: there are their metadata.

    Returns
    -------
    runs : list of Run [S]
    logits : float32 [S, N, K]
    """
    device = begin(configuration, params)
    scheme, nothing = metadata_of(configuration, params), np.zeros((len(rows), classes), np.uint8)
    metadata = None if scheme is None else scheme.of_rows(rows, folder, stage)
    held = train_settings(params, configuration.model).residency
    loaded = ResidentImages(images, rows, nothing, device, residency=held, metadata=metadata)
    runs, logits = [], []
    for run, model in trained_models(configuration, params, classes, images.shape[1], device):
        predicted = predict(model, loaded, params.evaluate.batch_size, "float32", params.evaluate.tta)
        runs.append(run)
        logits.append(predicted.cpu().numpy())
    return runs, np.stack(logits)


def _with_means(fits: pd.DataFrame) -> pd.DataFrame:
    """Add the mean over seeds of every number, as seed "mean"."""
    group = ["part", "class", "metric", "n", "n_positive", "note"]
    means = fits.groupby(group, sort=False)["value"].agg(lambda values: values.mean(skipna=False)).reset_index()
    return pd.concat([fits, means.assign(seed="mean")], ignore_index=True)


def _fit(
    part: str, targets: np.ndarray, logits: np.ndarray, task: str, loss: float, seed: int, ordered: bool = False
) -> list[dict[str, object]]:
    """Return the rows of one seed and part."""
    values = {("overall", "loss"): (loss, LOSS)}
    if part == "train":
        sums = Weighted(Scored(task, hard(targets), logits[None], ordered=ordered))
        values["macro", "auroc"] = macro(auroc(sums)).item(), FIT
        if task == "multiclass":
            values["overall", "accuracy"] = accuracy(sums).item(), FIT
            values["overall", "balanced_accuracy"] = balanced_accuracy(sums).item(), FIT
            values["macro", "f1"] = macro(f1(sums)).item(), FIT
        if ordered:
            values["overall", "qwk"] = quadratic_kappa(sums).item(), FIT
    about = {"seed": str(seed), "part": part, "n": _known(targets), "n_positive": int((targets == 1).sum())}
    return [
        {**about, "class": group, "metric": metric, "value": value, "note": note}
        for (group, metric), (value, note) in values.items()
    ]


def _known(targets: np.ndarray) -> int:
    """Count the images with a known label."""
    known = known_of(targets)
    return len(targets) if known is None else int(known.any(axis=1).sum())
