"""What an evaluated configuration says of the test images: read, not computed again."""

from __future__ import annotations

import numpy as np

from pipeline.checking.mistakes import Decisions
from pipeline.study.predictions import Predictions, read_metrics
from pipeline.study.runs import Configuration
from pipeline.study.trainings import evaluation_folder


def decided_by(configuration: Configuration) -> tuple[Predictions, Decisions]:
    """Read the predictions of a configuration, and its decisions at the thresholds of validation."""
    folder = evaluation_folder(configuration)
    predictions = Predictions.load(folder / "predictions.npz")
    metrics = read_metrics(folder / "metrics.csv").query("metric == 'threshold' and part == 'val'")
    cuts = metrics.set_index(["seed", "class"])["value"].to_dict()
    return predictions, Decisions.of(
        predictions, predictions.seeds.tolist(), lambda seed, name: cuts.get((str(seed), name), np.nan)
    )
