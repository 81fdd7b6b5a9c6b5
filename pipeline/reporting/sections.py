"""Parts that several pages share: the warning, the metrics that lead, the table of classes."""

from __future__ import annotations

import math

import numpy as np

from pipeline.reporting import prose, tables
from pipeline.reporting.study import Results, StudyResults

RANKING = ("auroc", "average_precision")
DECISIONS = {
    "multilabel": ("f1", "sensitivity", "specificity", "mcc"),
    "multiclass": ("accuracy", "balanced_accuracy", "f1", "mcc"),
}
LABELS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "f1": "F1",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "mcc": "MCC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "log_loss": "Log-loss",
}


def banner(study: StudyResults, results: Results | None = None) -> list[str]:
    """Return what a reader must know before any number: drawn images, missing and collapsed trainings.

    Parameters
    ----------
    study : StudyResults
        Of the page.
    results : Results, optional
        The one recipe that the page is about; by default the whole study.
    """
    blocks = []
    if study.dataset is not None and study.dataset.synthetic:
        blocks.append(
            "> [!WARNING]\n> **Synthetic images.** They are drawn by a program and show no person. "
            "The numbers test the pipeline; they say nothing about medicine."
        )
    if study.dataset is None:
        blocks.append(
            "> [!NOTE]\n> Rendered from a metrics table alone: the images, the split, and the training "
            "behind its numbers are not known to this report."
        )
    missing = [m for m in study.missing if results is None or m.startswith(f"{results.key},")]
    if missing:
        blocks.append(
            f"> [!CAUTION]\n> **Missing.** The study asks for these, and they have no results: {'; '.join(missing)}. "
            "Every mean below is over the seeds that are there."
        )
    collapsed = [c for c in study.collapsed if results is None or c[0].key == results.key]
    if collapsed:
        named = tables.escape("; ".join(f"{r.key}, seed {seed}: {text.rstrip('.')}" for r, seed, text in collapsed))
        blocks.append(
            f"> [!CAUTION]\n> **Collapsed.** {prose.count('training', len(collapsed))} learned nothing: {named}. "
            f"Means over seeds contain {'it' if len(collapsed) == 1 else 'them'} and say little; read seed by seed."
        )
    return blocks


def known_classes(study: StudyResults, results: Results) -> list[str]:
    """Return the classes that have a test AUROC."""
    return [c for c in study.classes if math.isfinite(results.get("auroc", c).value)]


def sample(study: StudyResults, results: Results, part: str = "test") -> str:
    """Say what a number rests on: ``n = 300 images of 120 patients``."""
    estimate = results.get("auroc", part=part)
    if results.predictions is not None:
        patients = len(np.unique(getattr(results.predictions, f"{part}_patients")))
        images = len(getattr(results.predictions, f"{part}_rows"))
        return f"n = {prose.count('image', images)} of {prose.count('patient', patients)}"
    return f"n = {estimate.n:,.0f} images" if math.isfinite(estimate.n) else "n not given"


def class_table(study: StudyResults, results: Results) -> str:
    """Lay out every class of the test part: positives, prevalence, ranking, decisions; and why numbers are missing."""
    decided = ("f1", "sensitivity", "specificity") if study.task == "multilabel" else ("sensitivity", "f1")
    metrics = [*RANKING, *decided]
    metrics = [m for m in metrics if any(math.isfinite(results.get(m, c).value) for c in study.classes)]
    thresholds = {c: results.get("threshold", c, part="val").value for c in study.classes}
    with_threshold = any(map(math.isfinite, thresholds.values()))
    counted = any(math.isfinite(results.get("auroc", c).n_positive) for c in study.classes)
    rows, noted = [], []
    for name in study.classes:
        auroc = results.get("auroc", name)
        cells = {m: results.get(m, name) for m in metrics}
        noted += [(name, LABELS[m], e) for m, e in cells.items()]
        row = [name]
        if counted:
            share = auroc.n_positive / auroc.n if auroc.n else math.nan
            row += [tables.whole(auroc.n_positive), tables.percent(share)]
        row += [tables.estimated(e) for e in cells.values()]
        if with_threshold:
            row.append(tables.number(thresholds[name]))
        rows.append(row)
    headers = ["Class", *(["n positive", "Prevalence"] if counted else []), *(LABELS[m] for m in metrics)]
    if with_threshold:
        headers.append("Mean threshold" if len(results.seeds) > 1 else "Threshold")
    body = tables.table(headers, rows, "l" + "r" * (len(headers) - 1))
    return join(body, tables.reasons(noted))


def join(*blocks: str) -> str:
    """Put blocks of markdown below one another, leaving out empty ones."""
    return "\n\n".join(b.strip("\n") for b in blocks if b.strip())


def image(description: str, path: str) -> str:
    """Embed a figure."""
    return f"![{description}]({path})"


def limits(study: StudyResults) -> list[str]:
    """State what the numbers cannot carry."""
    lines = list(study.dataset.notes) if study.dataset is not None else []
    if study.dataset is not None and not study.dataset.synthetic:
        lines.append("Labels are taken as published; label noise is neither measured nor corrected here.")
    if study.dataset is None:
        lines.append("Where the numbers come from, and whether the test part was used for any choice, is not known.")
    else:
        lines.append("All parts come from one source. Without an external test nothing is shown about other hospitals.")
    if study.comparisons is None:
        lines.append("Differences between recipes are not tested in this report.")
    lines.append("Research output: not for clinical use.")
    return lines
