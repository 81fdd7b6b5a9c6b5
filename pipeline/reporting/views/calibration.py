"""Facts of the page about errors: what a probability is worth, before and after calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.checking.mistakes import reliability_curve
from pipeline.metrics.calibration import ECE_BINS
from pipeline.reporting.figures import errors as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate
from pipeline.reporting.views.shared import Noted
from pipeline.uncertainty.intervals import wilson

MIN_POSITIVES = 10
"""Positive images below which the reliability of a class is not drawn."""
_WORST = 3
_METRICS = {"ece": "ECE", "brier": "Brier score", "log_loss": "Log-loss"}


class Calibrated(NamedTuple):
    """A configuration before and after calibration: one estimate per metric, and the ECE from noise alone."""

    key: str
    before: list[Estimate]
    after: list[Estimate]
    floors: tuple[Estimate, Estimate] = (Estimate(), Estimate())


class CalibratedClass(NamedTuple):
    """A class of the configuration before and after calibration: mean probability over images and seeds, and ECE.

    And, after it: the ECE that noise alone would give, and slope and intercept on the test set.
    """

    name: str
    positives: float
    prevalence: float
    mean_before: float
    mean_after: float
    before: Estimate
    after: Estimate
    floor: Estimate = Estimate()
    slope: Estimate = Estimate()
    intercept: Estimate = Estimate()


class Reliability(NamedTuple):
    """The reliability curves: bins, images per bin, pooled seeds, and the classes with too few positives to draw."""

    recorded: bool
    bins: int
    images_per_bin: float
    pooled: bool
    few: list[tuple[str, int]]


@dataclass(frozen=True)
class Calibration:
    """What errors.md says of probabilities.

    Parameters
    ----------
    labels : list of str
        Names of the metrics.
    rows : list of Calibrated
        One row per configuration.
    classes, worst : list of CalibratedClass
        Multi-label: one row per class, and those with the highest ECE after calibration.
    reliability : Reliability
        What the figure shows.
    ece : tuple of Estimate
        Of the configuration of the page, before and after calibration.
    ece_bins, min_positives : int
        Bins of the ECE, and positive images that a curve needs.
    """

    labels: list[str]
    rows: list[Calibrated]
    classes: list[CalibratedClass]
    worst: list[CalibratedClass]
    reliability: Reliability
    ece: tuple[Estimate, Estimate]
    ece_bins: int = ECE_BINS
    min_positives: int = MIN_POSITIVES

    @property
    def noted(self) -> Noted:
        """Estimates of the configurations for `formats.reasons`."""
        return [
            (f"{row.key} {when}", label, estimate)
            for row in self.rows
            for when, estimates in (("uncalibrated", row.before), ("calibrated", row.after))
            for label, estimate in zip(self.labels, estimates)
        ]

    @property
    def noted_classes(self) -> Noted:
        """Estimates of the classes for `formats.reasons`."""
        return [
            (row.name, label, estimate)
            for row in self.classes
            for label, estimate in (
                ("ECE uncalibrated", row.before),
                ("ECE calibrated", row.after),
                ("slope", row.slope),
                ("intercept", row.intercept),
            )
        ]


def view(study: StudyResults, results: Results) -> Calibration:
    """Return calibration error, Brier score and log-loss of every configuration, then the classes of `results`."""
    rows = [
        Calibrated(
            r.key,
            [r.get(m) for m in _METRICS],
            [r.get(f"{m}_calibrated") for m in _METRICS],
            (r.get("ece_floor"), r.get("ece_floor_calibrated")),
        )
        for r in study.configurations
    ]
    classes = [_class(results, name) for name in study.classes] if study.task == "multilabel" else []
    ranked = sorted((c for c in classes if c.after.exists), key=lambda c: -c.after.value)
    return Calibration(
        labels=list(_METRICS.values()),
        rows=rows,
        classes=classes,
        worst=ranked[:_WORST],
        reliability=_reliability(study, results),
        ece=(results.get("ece"), results.get("ece_calibrated")),
    )


def _class(results: Results, name: str) -> CalibratedClass:
    after = results.get("ece_calibrated", name)
    before, calibrated = (_mean_probability(results, name, calibrated) for calibrated in (False, True))
    on_test = (
        results.get(f"{m}_calibrated", name) for m in ("ece_floor", "calibration_slope", "calibration_intercept")
    )
    uncalibrated = results.get("ece", name)
    return CalibratedClass(name, after.n_positive, after.share, before, calibrated, uncalibrated, after, *on_test)


def _mean_probability(results: Results, name: str, calibrated: bool) -> float:
    table = results.reliability
    if table.empty:
        return math.nan
    rows = table[(table["class"] == name) & (table["calibrated"] == calibrated)]
    return float((rows["n"] * rows["mean_probability"]).sum() / rows["n"].sum()) if len(rows) else math.nan


def _reliability(study: StudyResults, results: Results) -> Reliability:
    table = results.reliability
    drawn, few = drawn_classes(study, results)
    if table.empty or not drawn:
        return Reliability(not table.empty, 0, math.nan, False, few)
    n = reliability_curve(table, drawn[0], True)["n"]
    return Reliability(True, len(n), n.mean(), table["seed"].nunique() > 1, few)


def drawn_classes(study: StudyResults, results: Results) -> tuple[list[str], list[tuple[str, int]]]:
    """Return the curves that are drawn, and the classes whose positives are too few, with their number."""
    if study.task == "multiclass":
        return ["overall"], []
    positives = _positives(study, results)
    drawn = [c for c in study.classes if positives[c] >= MIN_POSITIVES]
    return drawn, [(c, n) for c, n in positives.items() if c not in drawn]


def _positives(study: StudyResults, results: Results) -> dict[str, int]:
    return dict(zip(study.classes, (results.predictions.test_targets == 1).sum(axis=0).tolist()))


def draw(study: StudyResults, results: Results, path: Path) -> Path | None:
    """Draw reliability curves before and after calibration; None where no class can be drawn."""
    drawn, _ = drawn_classes(study, results)
    if results.reliability.empty or not drawn:
        return None
    confidence, positives = study.params.evaluate.confidence, _positives(study, results)
    curves = [
        figures.Reliability(
            name,
            positives.get(name, len(results.predictions.test_rows)),
            *(
                _with_interval(reliability_curve(results.reliability, name, calibrated), confidence)
                for calibrated in (False, True)
            ),
        )
        for name in drawn
    ]
    return figures.reliability(curves, study.task, path)


def _with_interval(curve: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Add Wilson's interval of the frequency of every bin."""
    frequency, n = curve["frequency"].to_numpy(), curve["n"].to_numpy()
    low, high = wilson(np.clip(frequency * n, 0, n), n, confidence)
    return curve.assign(low=low, high=high)
