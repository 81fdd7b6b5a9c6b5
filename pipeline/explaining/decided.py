"""What an evaluated configuration says of the test images: read, not computed again."""

from __future__ import annotations

import numpy as np

from pipeline.explaining.examples import Decided
from pipeline.metrics.thresholds import probabilities
from pipeline.study.predictions import Predictions, read_metrics
from pipeline.study.runs import Configuration
from pipeline.study.trainings import evaluation_folder


def decided_by(configuration: Configuration) -> tuple[Predictions, Decided]:
    """Read the predictions of a configuration, and its decisions at the thresholds of validation.

    Training runs whose logits are not finite decide nothing. Without a threshold, of a class without positive images in
    validation, nothing is called.
    """
    folder = evaluation_folder(configuration)
    predictions = Predictions.load(folder / "predictions.npz")
    finite = np.isfinite(predictions.test_logits).all(axis=(1, 2))
    found = probabilities(predictions.test_logits[finite], predictions.task)
    names = predictions.classes.tolist()
    if predictions.task == "multiclass":
        called = found.argmax(axis=-1)[..., None] == np.arange(len(names))
    else:
        metrics = read_metrics(folder / "metrics.csv").query("metric == 'threshold' and part == 'val'")
        cuts = metrics.set_index(["seed", "class"])["value"].to_dict()
        at = [[cuts.get((str(seed), name), np.nan) for name in names] for seed in predictions.seeds[finite]]
        called = found >= np.array(at).reshape(len(found), 1, len(names))
    mean = found.mean(axis=0) if len(found) else np.full(predictions.test_targets.shape, 0.0)
    return predictions, Decided(predictions.test_targets.astype(bool), 2 * called.sum(axis=0) > len(found), mean)
