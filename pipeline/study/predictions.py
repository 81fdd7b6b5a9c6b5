"""What evaluations and ensembles write: predictions.npz and metrics.csv."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.study.files import ArtifactError, made_by, opened_arrays, read_table, replaced

METRIC_COLUMNS = [
    "model",
    "loss",
    "seed",
    "part",
    "class",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_positive",
    "note",
]
"""Columns of metrics.csv. `seed` is a number or "mean" (mean over seeds); `class` is a class name, "macro" or
"overall"; `note` says why a value or an interval is missing."""


@dataclass(frozen=True)
class Predictions:
    """Content of predictions.npz.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Decides whether logits go through a sigmoid or a softmax.
    seeds : int64 [S]
        Training seeds; for ensembles 0..S-1 in the order of `methods`.
    classes : str [K]
        Class names.
    val_rows, test_rows : int64 [N]
        Positions in images.npy.
    val_logits, test_logits : float32 [S, N, K]
        Before sigmoid or softmax.
    val_targets, test_targets : uint8 [N, K]
        0/1.
    val_patients, test_patients : str [N]
        Groups of `pipeline.study.parts.Part`, the unit of the bootstrap.
    methods : str [S] or empty
        Names of the ensembles; empty for the seeds of a configuration.
    ordered : bool
        Whether the classes are grades, the first the lowest.
    """

    task: str
    seeds: np.ndarray
    classes: np.ndarray
    val_rows: np.ndarray
    val_logits: np.ndarray
    val_targets: np.ndarray
    val_patients: np.ndarray
    test_rows: np.ndarray
    test_logits: np.ndarray
    test_targets: np.ndarray
    test_patients: np.ndarray
    methods: np.ndarray | tuple[()] = ()
    ordered: bool = False

    def __post_init__(self) -> None:
        """Check shapes, so that a mistake is found where it is made."""
        for part in ("val", "test"):
            logits, targets = getattr(self, f"{part}_logits"), getattr(self, f"{part}_targets")
            expected = (len(self.seeds), len(getattr(self, f"{part}_rows")), len(self.classes))
            if logits.shape != expected or targets.shape != expected[1:]:
                raise ArtifactError(
                    f"{part} logits {logits.shape} and targets {targets.shape}; expected {expected} and {expected[1:]}"
                )

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all."""
        content = {name: value for name, value in vars(self).items() if name != "ordered" or self.ordered}
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in content.items()}
        with replaced(path, sum(array.nbytes for array in arrays.values())) as partial:
            np.savez(partial, **arrays)

    @classmethod
    def load(cls, path: Path, stage: str = "evaluate") -> Predictions:
        """Read the file that `stage` made."""
        made_by(path, stage)
        with opened_arrays(path) as file:
            content: dict[str, Any] = {key: file[key] for key in file.files}
            ordered = bool(content.get("ordered", False))
            return cls(**{**content, "task": str(content["task"]), "ordered": ordered})


def read_metrics(path: Path, stage: str = "evaluate") -> pd.DataFrame:
    """Read a metrics.csv; seed, class and note are text, numbers are float with NaN where nothing stands."""
    text = ("model", "loss", "seed", "part", "class", "metric", "note")
    table = read_table(made_by(path, stage), text)
    for column in METRIC_COLUMNS:
        if column not in table:
            table[column] = "" if column == "note" else np.nan
    table["note"] = table["note"].fillna("")
    return table[METRIC_COLUMNS]
