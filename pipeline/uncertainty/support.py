"""How many patients a number rests on: whether it has an interval and a test at all, and how well its error is known.

One rule for every table of the study. A class has an interval, and is tested, if at least `MIN_PATIENTS` patients have
it and as many do not: the draws of fewer are too much alike. A mean over classes has one if enough patients are there
and at least half of its classes have one of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.metrics.functions import balanced_accuracy
from pipeline.metrics.registry import Metric
from pipeline.metrics.scored import Scored

MIN_PATIENTS = 10
"""Fewer patients with a positive (or a negative) than this carry no interval: the bootstrap of so few is too narrow."""


class Support(NamedTuple):
    """What the columns of a metric rest on: the classes and their mean, or the one value of all classes.

    Parameters
    ----------
    refused : list of str [C]
        Why a column has no interval and no test; "" where it has.
    remarks : list of str [C]
        What to add where it has; "" for nothing.
    patients : float64 [S, C]
        Patients that carry the value of each model.
    end : float
        Largest value that the metric can have, if it is a loss.
    """

    refused: list[str]
    remarks: list[str]
    patients: np.ndarray
    end: float = np.inf

    @property
    def freedom(self) -> np.ndarray:
        """Degrees of freedom [S, C] of a standard error from draws of these patients, at least 1."""
        return np.maximum(self.patients - 1, 1)

    @property
    def fewest(self) -> np.ndarray:
        """Patients [C] of the model with the fewest."""
        return self.patients.min(axis=0)


def class_refusals(scored: Scored) -> list[str]:
    """Say for each class whether its patients are too few for an interval.

    Parameters
    ----------
    scored : Scored
        Predictions grouped by patient.

    Returns
    -------
    list of str [K]
        "" or, for instance, "fewer than 10 positive patients (7)". A patient with both kinds of image counts twice.
    """
    positive, negative = (scored.class_counts > 0).sum(axis=0)
    texts = []
    for with_positive, with_negative in zip(positive.tolist(), negative.tolist()):
        few = [
            f"fewer than {MIN_PATIENTS} {kind} patients ({n})"
            for kind, n in (("positive", with_positive), ("negative", with_negative))
            if n < MIN_PATIENTS
        ]
        texts.append(", ".join(few))
    return texts


def mean_refusal(scored: Scored, refused: list[str]) -> str:
    """Say why a mean over classes has no interval; "" where it has.

    Parameters
    ----------
    scored : Scored
        Predictions grouped by patient.
    refused : list of str [K]
        From `class_refusals`.
    """
    if (n := n_patients(scored)) < MIN_PATIENTS:
        return f"fewer than {MIN_PATIENTS} patients ({n})"
    few = sum(map(bool, refused))
    if few == len(refused):
        return f"no class with {MIN_PATIENTS} positive and {MIN_PATIENTS} negative patients"
    if 2 * few > len(refused):
        return _too_few(few, len(refused))
    return ""


def _too_few(few: int, classes: int) -> str:
    has, its = ("has", "its") if few == 1 else ("have", "their")
    return f"{few} of {classes} classes {has} too few patients for an interval of {its} own"


def n_patients(scored: Scored) -> int:
    """Count the patients with an image."""
    return int((scored.class_counts.sum(axis=(1, 2)) > 0).sum())


def n_patients_of(scored: Scored) -> np.ndarray:
    """Count the patients with an image whose label is known, of each class: float64 [K]."""
    return (scored.class_counts.sum(axis=1) > 0).sum(axis=0).astype(float)


def support(metric: Metric, scored: Scored) -> Support:
    """Count what each column of a metric rests on.

    Parameters
    ----------
    metric : Metric
        One that fits the predictions.
    scored : Scored
        Predictions grouped by patient.

    Returns
    -------
    Support
        Its columns as `registry.columns` names them.
    """
    n_seeds, end = scored.shape[0], metric.most(scored.shape[1])
    refused, everyone = class_refusals(scored), n_patients(scored)
    of_compared = refused if scored.compared is None else np.array(refused)[scored.compared].tolist()
    few = sum(map(bool, of_compared))
    remark = _too_few(few, len(of_compared)) if few else ""
    if metric.aggregate == "overall":
        of_all = f"fewer than {MIN_PATIENTS} patients ({everyone})" if everyone < MIN_PATIENTS else ""
        return Support(
            [of_all],
            [remark if metric.function is balanced_accuracy else ""],
            np.full((n_seeds, 1), float(everyone)),
            end,
        )
    positive, negative = (scored.class_counts > 0).sum(axis=0).astype(float)
    if metric.carrier == "called":
        carriers = (scored.counts(metric.point)[:, :2].sum(axis=1) > 0).sum(axis=0).astype(float)
    else:
        of_class = {"positive": positive, "negative": negative, "rarer": np.minimum(positive, negative)}
        carriers = np.tile(of_class.get(metric.carrier, np.full(len(positive), float(everyone))), (n_seeds, 1))
    of_mean = mean_refusal(scored, of_compared)
    return Support(
        [*refused, of_mean],
        [*([""] * len(refused)), remark],
        np.concatenate([carriers, np.full((n_seeds, 1), float(everyone))], axis=1),
        end,
    )
