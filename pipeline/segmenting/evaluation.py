"""Evaluation of a configuration of segmentation: probabilities, thresholds, scores and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch

from pipeline.learning.settings import train_settings
from pipeline.scoring.predict import begin, trained_models
from pipeline.scoring.rows import stated
from pipeline.scoring.settings import EvaluationSections
from pipeline.scoring.trained import pass_on
from pipeline.segmenting import results
from pipeline.segmenting.data import MaskedImages
from pipeline.segmenting.probabilities import best_thresholds, dice_curves, predicted
from pipeline.segmenting.results import MACRO, MEAN
from pipeline.segmenting.scores import DICE, score_all
from pipeline.study.files import write_csv
from pipeline.study.parts import Part, read_parts
from pipeline.study.prepared import open_images, open_masks, read_dataset
from pipeline.study.runs import Configuration, Run
from pipeline.study.trainings import evaluation_folder

PARTS = ("val", "test")


def evaluate_segmentation(configuration: Configuration, params: EvaluationSections) -> None:
    """Write the probabilities, the scores of every image, the metrics, and the collected histories."""
    settings = params.evaluate
    device = begin(configuration, params)
    data, images, masks, parts = read_dataset(), open_images(), open_masks(), read_parts(PARTS)
    classes, size, folder = list(data.classes), images.shape[1], evaluation_folder(configuration)
    held = train_settings(params, configuration.model).residency
    loaded = {name: MaskedImages(images, masks, part, device, held) for name, part in parts.items()}
    found: dict[str, list[np.ndarray]] = {name: [] for name in PARTS}
    chosen: list[np.ndarray] = []
    runs: list[Run] = []
    for run, network in trained_models(configuration, params, len(classes), size, device):
        runs.append(run)
        for name, of in loaded.items():
            found[name].append(_probabilities(network, of, params))
        truth = masks_of(masks, parts["val"])
        chosen.append(best_thresholds(dice_curves(found["val"][-1], truth))[0])
    diagonal = math.hypot(*images.shape[1:3])
    seeds, thresholds = [str(run.seed) for run in runs], np.stack(chosen)
    model, loss = configuration
    tables, lines = [], []
    for name, part in parts.items():
        probabilities, truth = np.stack(found[name]), masks_of(masks, part)
        results.save_probabilities(results.probabilities_file(folder, name), probabilities)
        values = np.stack([score_all(of >= at[:, None, None], truth) for of, at in zip(probabilities, thresholds)])
        lines.append(results.image_table(values, part.rows, classes, seeds, name))
        means = results.all_means(values, part.patients, diagonal, settings.bootstrap, settings.seed)
        how = name, diagonal, settings.confidence, settings.seed
        tables.append(results.metric_rows(means, classes, seeds, *how, *configuration))
    tables.append(results.threshold_rows(thresholds, classes, seeds, len(parts["val"].rows), model=model, loss=loss))
    metrics = pd.concat(tables, ignore_index=True)
    write_csv(folder / "images.csv", pd.concat(lines, ignore_index=True))
    write_csv(folder / "metrics.csv", metrics)
    pass_on(runs)
    means_of = metrics[(metrics["seed"] == MEAN) & (metrics["part"] == "test") & (metrics["metric"] == DICE)]
    for row in means_of[means_of["class"] == MACRO].to_dict("records"):
        said = stated(row["value"], row["ci_low"], row["ci_high"], row["note"])
        print(f"{configuration}: test Dice {said}, mean of {len(seeds)}")


def masks_of(masks: np.ndarray, part: Part) -> np.ndarray:
    """Return the true masks of a part, bool [N, K, H, W]."""
    return np.moveaxis(masks[part.rows], -1, 1) > 0


def _probabilities(network: torch.nn.Module, of: MaskedImages, params: EvaluationSections) -> np.ndarray:
    """Compute the probabilities of a part under a training run, uint8 [N, K, H, W]."""
    batches = predicted(network, of, params.evaluate.batch_size, "float32", params.evaluate.tta)
    return np.concatenate([probabilities for probabilities, _, _, _ in batches])
