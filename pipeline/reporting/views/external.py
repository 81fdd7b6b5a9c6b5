"""Facts of the page about external test sets: the same models on other data, and what the difference is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.external.adapting import CARRIED, COUNTED, ESTIMATED, RECALIBRATED, VARIANTS
from pipeline.external.results import External
from pipeline.reporting import page
from pipeline.reporting.figures import external as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.terms import GRADES, LABELS
from pipeline.reporting.values import Estimate
from pipeline.reporting.views import readme, shared
from pipeline.study.files import write_csv
from pipeline.study.predictions import METRIC_COLUMNS

_SHOWN = {
    "multilabel": (
        *("auroc", "average_precision", "f1", "sensitivity", "specificity", "mcc"),
        *("log_loss_calibrated", "brier_calibrated"),
    ),
    "multiclass": (
        *("auroc", "average_precision", *GRADES, "accuracy", "balanced_accuracy", "f1", "mcc", "kappa"),
        *("log_loss_calibrated", "brier_calibrated"),
    ),
}
DIGITS = 6


class Row(NamedTuple):
    """A number on both sides: what of, which metric, here, there, and there minus here."""

    name: str
    label: str
    here: Estimate
    there: Estimate
    drop: Estimate

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference excludes 0."""
        return self.drop.bounded and not self.drop.low <= 0 <= self.drop.high


class ClassRow(NamedTuple):
    """A class of the study: which of theirs it is, images on both sides, and why it is not compared ("" if it is)."""

    name: str
    theirs: list[str]
    here: Estimate
    there: Estimate
    reason: str


class CalibrationRow(NamedTuple):
    """A class, or all: slope and intercept here and there."""

    name: str
    slopes: tuple[Estimate, Estimate]
    intercepts: tuple[Estimate, Estimate]


class AdaptedRow(NamedTuple):
    """A variant on the images not set aside; `change` is that of the log-loss against what was carried over."""

    variant: str
    log_loss: Estimate
    change: Estimate
    brier: Estimate
    ece: Estimate
    floor: Estimate
    decided: list[Estimate]


@dataclass(frozen=True)
class SetFacts:
    """One external set, see ``pages/external.md``.

    Parameters
    ----------
    of : External
        What was read.
    classes : list of ClassRow
        Every class of the study.
    ranking : list of Row
        AUROC of every model.
    models : list of (str, list of Row)
        Every metric of the chosen configuration and the chosen ensemble.
    by_class : list of Row
        AUROC, and decisions, of every class compared, of the chosen configuration.
    calibration : list of CalibrationRow
        Of the chosen configuration.
    ece : list of (Estimate, Estimate)
        Expected calibration error and its floor, here and there.
    adapted : list of AdaptedRow
        Of the chosen configuration.
    prevalence : list of (str, dict)
        Class, and its share by variant and "true".
    decided : list of str
        Heads of `AdaptedRow.decided`.
    pictured : dict of str to str
        Figures by kind.
    noted : list
        For `formats.reasons`.
    """

    of: External
    classes: list[ClassRow]
    ranking: list[Row]
    models: list[tuple[str, list[Row]]]
    by_class: list[Row]
    calibration: list[CalibrationRow]
    ece: list[tuple[Estimate, Estimate]]
    adapted: list[AdaptedRow]
    prevalence: list[tuple[str, dict[str, float]]]
    decided: list[str]
    pictured: dict[str, str] = field(default_factory=dict)
    noted: shared.Noted = field(default_factory=list)

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Classes that are not compared, by the reason."""
        by: dict[str, list[str]] = {}
        for row in self.classes:
            if row.reason:
                by.setdefault(row.reason, []).append(row.name)
        return by

    @property
    def sizes(self) -> tuple[float, float]:
        """Images that the shares of `classes` are of, here and there; NaN where the classes have different numbers."""
        return _shared([row.here.n for row in self.classes]), _shared([row.there.n for row in self.classes])

    @property
    def noted_adapted(self) -> shared.Noted:
        """What is to be said of the log-loss of the adapted results, as that a calibration could not be fitted."""
        return [(row.variant, "Log-loss", row.log_loss) for row in self.adapted if row.log_loss.note]

    @property
    def n_compared(self) -> float:
        """Images of the external set that the comparisons rest on."""
        return self.ranking[0].there.n if self.ranking else float(self.of.about["images"]["used"])


def _shared(numbers: list[float]) -> float:
    """Return the one number that these are, of those that are known; NaN where they differ."""
    different = {n for n in numbers if math.isfinite(n)}
    return different.pop() if len(different) == 1 else math.nan


def estimate(row: dict[str, Any]) -> Estimate:
    """Return a row as a number with its interval; one that is not there is said to be missing."""
    if not row:
        return Estimate()
    return Estimate(row["value"], row["ci_low"], row["ci_high"], row["n"], row["n_positive"], row["note"])


def pair(of: External, name: tuple[str, str], group: str, metric: str, called: str, label: str) -> Row:
    """Return a number on both sides."""
    here, there, drop = (estimate(of.row(*name, side, group, metric)) for side in ("here", "there", "drop"))
    return Row(called, label, here, there, drop)


def _whole(of: External, name: tuple[str, str], metric: str, called: str) -> Row:
    """Return a metric of all classes: its mean over them, or its own value."""
    own = of.row(*name, "there", "overall", metric)
    return pair(of, name, "overall" if own else "macro", metric, called, LABELS[metric])


def facts_of(study: StudyResults, of: External) -> SetFacts:
    """Return the facts of one set."""
    subject = study.subject or study.configurations[0]
    chosen = subject.model, subject.loss
    leading = [r for r in readme.leaders(study) if (r.model, r.loss) in of.models]
    ensemble = study.chosen_ensemble
    if ensemble is not None and ensemble not in leading and (ensemble.model, ensemble.loss) in of.models:
        leading.append(ensemble)
    compared = of.about["compared"]
    ranking = [_whole(of, (r.model, r.loss), "auroc", _starred(study, r)) for r in leading]
    detailed: list[Results] = [subject, *([ensemble] if ensemble is not None and ensemble in leading else [])]
    models = []
    for results in detailed:
        rows = [_whole(of, (results.model, results.loss), m, results.key) for m in _SHOWN[study.task]]
        models.append((results.key, [row for row in rows if row.here.exists or row.there.exists]))
    metrics = ["auroc", "sensitivity", "specificity"]
    by_class = [pair(of, chosen, name, m, name, LABELS[m]) for name in compared for m in metrics]
    calibration = [
        CalibrationRow(
            name,
            _on_both(of, chosen, name, "calibration_slope_calibrated"),
            _on_both(of, chosen, name, "calibration_intercept_calibrated"),
        )
        for name in compared
    ]
    group = "overall" if study.task == "multiclass" else "macro"
    errors = [_on_both(of, chosen, group, metric) for metric in ("ece_calibrated", "ece_floor_calibrated")]
    ece = [(errors[0][side], errors[1][side]) for side in (0, 1)]
    noted = [(row.name, row.label, row.drop) for row in by_class]
    return SetFacts(
        of,
        _classes(study, of),
        ranking,
        models,
        by_class,
        calibration,
        ece,
        _adapted(study, of, chosen, group),
        _prevalence(of, chosen, compared),
        ["Accuracy", "Balanced accuracy"] if study.task == "multiclass" else ["Sensitivity", "Specificity"],
        noted=noted,
    )


def _on_both(of: External, name: tuple[str, str], group: str, metric: str) -> tuple[Estimate, Estimate]:
    """Return a number here and there."""
    return estimate(of.row(*name, "here", group, metric)), estimate(of.row(*name, "there", group, metric))


def _starred(study: StudyResults, results: Results) -> str:
    return f"{results.key} ★" if study.is_chosen(results) else results.key


def _classes(study: StudyResults, of: External) -> list[ClassRow]:
    subject = study.subject or study.configurations[0]
    used, pairs = of.about["images"]["used"], of.about["pairs"]
    labelled = of.about.get("known", {})
    shared_classes = of.about["mapping"]["shared"]
    rows = []
    for name in study.classes:
        here = subject.get("auroc", name)
        known = name in shared_classes or study.task == "multiclass"
        positives = of.about["positives"][name] if known else np.nan
        there = Estimate(n=labelled.get(name, used) if known else np.nan, n_positive=positives)
        theirs = [their for their, our in pairs.items() if our == name]
        rows.append(ClassRow(name, theirs, here, there, of.about["not_compared"].get(name, "")))
    return rows


def _adapted(study: StudyResults, of: External, name: tuple[str, str], group: str) -> list[AdaptedRow]:
    if of.adapted.empty:
        return []
    decided = ("accuracy", "balanced_accuracy") if study.task == "multiclass" else ("sensitivity", "specificity")

    def get(variant: str, metric: str, part: str = "there") -> Estimate:
        return estimate(of.adapted_row(*name, variant, part, group, metric))

    return [
        AdaptedRow(
            variant,
            get(variant, "log_loss"),
            get(variant, "log_loss", "change"),
            get(variant, "brier"),
            get(variant, "ece"),
            get(variant, "ece_floor"),
            [get(variant, metric) for metric in decided],
        )
        for variant in VARIANTS
    ]


def _prevalence(of: External, model: tuple[str, str], compared: Sequence[str]) -> list[tuple[str, dict[str, float]]]:
    if of.prevalence.empty:
        return []
    seed = ("mean", model[1]) if model[0] == "ensemble" else ("mean",)
    table = of.prevalence
    table = table[(table["model"] == model[0]) & (table["loss"] == model[1]) & table["seed"].isin(seed)]
    return [
        (name, dict(zip(rows["variant"].astype(str), rows["prevalence"].astype(float))))
        for name in compared
        if len(rows := table[table["class"] == name])
    ]


def table(study: StudyResults) -> pd.DataFrame:
    """Return every number on every external set: "external", then the columns of metrics.csv with ``part`` a side."""
    tables = [of.metrics.assign(external=of.name) for of in study.external]
    whole = pd.concat(tables, ignore_index=True)[["external", *METRIC_COLUMNS]].round(DIGITS)
    return whole[~whole["seed"].str.fullmatch(r"\d+")]


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write external.md, external.csv and their figures into `folder`; nothing where there is no external set."""
    if not study.external:
        return []
    sets, drawn = [], []
    for of in study.external:
        facts = facts_of(study, of)
        subject = study.subject or study.configurations[0]
        paths = {
            "forest": figures.both_sides(
                facts.ranking, of.name, study.interval_name, folder / "figures" / f"external-{of.name}.png"
            ),
            "reliability": figures.reliability(
                of.reliability[(of.reliability["model"] == subject.model) & (of.reliability["loss"] == subject.loss)],
                of.name,
                folder / "figures" / f"external-{of.name}-calibration.png",
            ),
        }
        drawn += [path for path in paths.values() if path is not None]
        facts.pictured.update({kind: f"figures/{path.name}" for kind, path in paths.items() if path is not None})
        sets.append(facts)
    write_csv(folder / "external.csv", table(study))
    words = {"CARRIED": CARRIED, "RECALIBRATED": RECALIBRATED, "COUNTED": COUNTED, "ESTIMATED": ESTIMATED}
    written = page.write(
        folder / "external.md",
        "external.md",
        study=study,
        subject=study.subject or study.configurations[0],
        banner_facts=shared.banner(study),
        sets=sets,
        words=words,
    )
    return [written, folder / "external.csv", *drawn]
