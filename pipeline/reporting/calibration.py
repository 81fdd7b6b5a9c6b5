"""Part of the errors page: what a probability is worth, before and after calibration."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.checking.mistakes import reliability_curve
from pipeline.metrics.calibration import ECE_BINS
from pipeline.reporting import prose, sections, tables
from pipeline.reporting.figures import errors as figures
from pipeline.reporting.sections import image, join
from pipeline.reporting.study import Results, StudyResults
from pipeline.uncertainty.intervals import wilson

MIN_POSITIVES = 10
"""Positive images below which the reliability of a class is not drawn."""
_WORST = 3
_CALIBRATION = {"ece": "ECE", "brier": "Brier score", "log_loss": "Log-loss"}


def section(study: StudyResults, results: Results, picture: Path | None) -> str:
    """Lay out calibration error, Brier score and log-loss, before and after, of every recipe."""
    rows, noted = [], []
    for configuration in study.configurations:
        for suffix, label in (("", "as trained"), ("_calibrated", "calibrated")):
            estimates = {name: configuration.get(f"{metric}{suffix}") for metric, name in _CALIBRATION.items()}
            noted += [(f"{configuration.key} {label}", name, e) for name, e in estimates.items()]
            rows.append([configuration.key, label, *(tables.estimated(e) for e in estimates.values())])
    single = study.task == "multiclass"
    how = (
        "one temperature a seed, fitted on validation"
        if single
        else "Platt scaling of each class and seed, fitted on validation. All three are means over classes"
    )
    decided = ", of the class decided for," if single else ""
    configurations = "each recipe" if len(study.configurations) > 1 else "the recipe"
    return join(
        f"What the probabilities are worth, for {configurations} on the test part ({sections.sample(study, results)}). "
        f"Calibrated: {how}. ECE is the expected calibration error{decided} in {ECE_BINS} bins of equal mass, mean "
        "distance of probability and frequency; noise alone lifts it above 0, the more the fewer images, so that its "
        "interval is turned round the value (basic bootstrap) and can end at it. Lower is better throughout. Whether "
        "calibration changes a number is not tested.",
        tables.table(
            ["Recipe", "Probabilities", *(f"{name} [{study.interval_name}]" for name in _CALIBRATION.values())],
            rows,
            "llrrr",
        ),
        tables.reasons(noted),
        "" if single else _class_calibration(study, results),
        _reliability(study, results, picture),
    )


def _class_calibration(study: StudyResults, results: Results) -> str:
    rows, noted, ranked = [], [], []
    for name in study.classes:
        before, after = results.get("ece", name), results.get("ece_calibrated", name)
        noted += [(name, "ECE as trained", before), (name, "ECE calibrated", after)]
        if math.isfinite(after.value):
            ranked.append((name, after))
        means = [tables.number(_mean_probability(results, name, calibrated)) for calibrated in (False, True)]
        share = after.n_positive / after.n if after.n else math.nan
        row = [name, tables.whole(after.n_positive), tables.number(share), *means]
        rows.append([*row, tables.estimated(before), tables.estimated(after)])
    ranked.sort(key=lambda pair: -pair[1].value)
    named = [
        f"{prose.readable(name)} ({tables.estimated(e)}, {prose.count('positive', int(e.n_positive))})"
        for name, e in ranked[:_WORST]
    ]
    heads = ["Class", "n positive", "Prevalence", "Mean probability as trained", "Calibrated", "ECE as trained"]
    return join(
        f"### By class, {results.key}",
        f"After calibration the ECE is highest for {prose.listing(named)}. Classes are not tested against each other, "
        "and a frequent class can have a high ECE more easily than a rare one. A mean probability (over images and "
        "seeds, without an interval) that equals the prevalence is right on average."
        if named
        else "",
        tables.table([*heads, "ECE calibrated"], rows, "lrrrrrr"),
        tables.reasons(noted),
    )


def _mean_probability(results: Results, name: str, calibrated: bool) -> float:
    table = results.reliability
    if table is None:
        return math.nan
    rows = table[(table["class"] == name) & (table["calibrated"] == calibrated)]
    return float((rows["n"] * rows["mean_probability"]).sum() / rows["n"].sum()) if len(rows) else math.nan


def _drawn_classes(study: StudyResults, results: Results) -> tuple[list[str], list[str]]:
    """Return the curves that are drawn, and the classes whose positives are too few."""
    if study.task == "multiclass":
        return ["overall"], []
    positives = dict(zip(study.classes, results.predictions.test_targets.sum(axis=0).tolist()))
    drawn = [c for c in study.classes if positives[c] >= MIN_POSITIVES]
    return drawn, [f"{prose.readable(c)} ({n})" for c, n in positives.items() if c not in drawn]


def draw(study: StudyResults, results: Results, path: Path) -> Path | None:
    """Draw reliability curves before and after calibration; None where no class can be drawn."""
    drawn, _ = _drawn_classes(study, results)
    if results.reliability is None or results.reliability.empty or not drawn:
        return None
    positives = dict(zip(study.classes, results.predictions.test_targets.sum(axis=0).tolist()))
    curves = {
        f"{prose.readable(name)} ({positives[name]} positive)"
        if name in positives
        else f"class decided for ({len(results.predictions.test_rows):,} images)": tuple(
            _with_interval(reliability_curve(results.reliability, name, calibrated), sections.confidence(study))
            for calibrated in (False, True)
        )
        for name in drawn
    }
    return figures.reliability(curves, study.task, path)


def _with_interval(curve: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Add Wilson's interval of the frequency of every bin."""
    low, high = wilson(np.clip(curve["frequency"] * curve["n"], 0, curve["n"]), curve["n"], confidence)
    return curve.assign(low=low, high=high)


def _reliability(study: StudyResults, results: Results, picture: Path | None) -> str:
    drawn, few = _drawn_classes(study, results)
    skipped = f"Not drawn, with fewer than {MIN_POSITIVES} positive images: {', '.join(few)}." if few else ""
    if picture is None:
        recorded = results.reliability is not None and not results.reliability.empty
        why = skipped if recorded else f"The reliability of {results.key} is not recorded."
        return join("### Reliability", f"{tables.DASH} {why}")
    n = reliability_curve(results.reliability, drawn[0], True)["n"]
    seeds = " and the seeds pooled" if results.reliability["seed"].nunique() > 1 else ""
    return join(
        "### Reliability",
        f"{results.key}: frequency against probability in {prose.count('bin', len(n))} of about {n.mean():.0f} images "
        f"(bins of the ECE, neighbours merged{seeds}). On the diagonal a probability means what it says. Lines are "
        f"Wilson's {study.interval_name} of the frequency, which takes images for independent. {skipped}".rstrip(),
        image("Reliability before and after calibration", "figures/errors-reliability.png"),
    )
