"""One part of the data as it is scored: logits, truth and patients, as trained and calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from pipeline.metrics.calibration import Calibration
from pipeline.metrics.registry import METRICS, Metric, metrics_of
from pipeline.metrics.scored import Scored, Weighted
from pipeline.study.predictions import Predictions

CALIBRATED: dict[str, dict[str, Metric]] = {
    task: {f"{key}_calibrated": replace(METRICS[key], name=f"{METRICS[key].name}_calibrated") for key in keys}
    for task, keys in (
        ("multilabel", ("log_loss", "brier", "ece")),
        ("multiclass", ("overall_log_loss", "overall_brier", "overall_ece")),
    )
}
"""What calibration changes, measured on the logits that the validation part calibrated."""


class PartLogits(NamedTuple):
    """What S models predict for the N images of one part, beside the truth.

    Parameters
    ----------
    logits : float [S, N, K]
        Before sigmoid or softmax.
    targets : 0/1 [N, K]
        Truth.
    patients : str [N]
        Patient of each image.
    """

    logits: np.ndarray
    targets: np.ndarray
    patients: np.ndarray

    @classmethod
    def of(cls, predictions: Predictions, part: Literal["val", "test"]) -> PartLogits:
        """Take a part out of predictions.npz."""
        return cls(*(getattr(predictions, f"{part}_{name}") for name in cls._fields))


@dataclass(frozen=True)
class View:
    """Predictions of one part, as trained or calibrated, with the metrics that are taken of them.

    Parameters
    ----------
    scored : Scored
        The predictions.
    metrics : mapping of str to Metric
        What to measure.
    remarks : list of list of str [S][C]
        What to say of every value of a seed in a column (the classes and their mean, or "overall"), "" for nothing.
    """

    scored: Scored
    metrics: Mapping[str, Metric]
    remarks: list[list[str]] | None = None

    @cached_property
    def once(self) -> Weighted:
        """The predictions under one weighting, that of ones; every table of the view reads its sums."""
        return Weighted(self.scored)


def check_part(name: str, part: PartLogits, labels: Sequence[str], classes: Sequence[str]) -> None:
    """Raise unless the arrays of `part` fit each other, the seeds and the classes."""
    expected = (len(labels), len(part.targets), len(classes))
    if part.logits.shape != expected or part.patients.shape != expected[1:2]:
        raise ValueError(f"{name}: logits {part.logits.shape}, patients {part.patients.shape}; expected {expected}")


def views_of(
    task: str,
    part: PartLogits,
    points: Mapping[str, np.ndarray],
    calibrations: Sequence[Calibration],
    groups: np.ndarray | None = None,
    n_groups: int | None = None,
    ordered: bool = False,
    compared: np.ndarray | None = None,
) -> list[View]:
    """Prepare a part as trained and calibrated, its images grouped by patient if `groups` says so (see `Scored`)."""
    calibrated = np.stack([c.apply(logits) for c, logits in zip(calibrations, part.logits)])
    return [
        View(
            Scored(task, part.targets, part.logits, points, groups, n_groups, ordered, compared),
            metrics_of(task, ordered),
        ),
        View(
            Scored(task, part.targets, calibrated, None, groups, n_groups, compared=compared),
            CALIBRATED[task],
            [calibration_remarks(c) for c in calibrations],
        ),
    ]


def calibration_remarks(calibration: Calibration) -> list[str]:
    """Say for each column of a calibrated metric what was left as it is."""
    texts = [f"not calibrated: {note}" if note else "" for note in calibration.notes]
    if calibration.task == "multiclass":
        return texts[:1]
    left = sum(bool(text) for text in texts)
    return [*texts, f"{left} of {len(texts)} classes not calibrated" if left else ""]
