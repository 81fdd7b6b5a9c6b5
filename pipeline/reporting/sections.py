"""Parts that several pages share: the warning, the metrics that lead, the table of classes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.reporting import prose, tables
from pipeline.reporting.study import Estimate, Results, StudyResults
from pipeline.study.files import PRIVATE_FIGURES

PARTS = {"train": "training", "val": "validation", "test": "test", "unused": "unused"}
"""Parts of the split as they are called in sentences and table heads."""
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
    """Return what a reader must know before any number: leaks, drawn images, missing and collapsed trainings.

    Parameters
    ----------
    study : StudyResults
        Of the page.
    results : Results, optional
        The one recipe that the page is about; by default the whole study.
    """
    blocks = []
    if study.audit is not None and study.audit.get("protocol") == "augment_before_split":
        blocks.append(f"> [!CAUTION]\n> {_leak(study.audit)}")
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


def _leak(audit: dict[str, Any]) -> str:
    """Say what a split after augmentation does to the test part, with the numbers that the audit has."""
    leak = (audit.get("leak") or {}).get("test") or {}
    total, leaked = leak.get("images"), leak.get("leaked_images")
    if leaked is None:
        counted = "How many test images have their source or a sibling in training is not recorded."
    else:
        of = f" of {total:,}" if total else ""
        share = f" ({tables.percent(leaked / total)})" if total else ""
        counted = f"{leaked:,}{of} test images{share} have their source or a sibling in training."
    if leak.get("patients") and "leaked_patients" in leak:
        counted += f" Of {leak['patients']:,} test patients {leak['leaked_patients']:,} are in training too."
    return (
        f"**Leak by design.** Augmented copies were made before the split. {counted} The numbers are not estimates of "
        "performance: they show what this protocol does to a study. Set `split.protocol: split_first` for estimates."
    )


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
    """Lay out every class of the test part: positives and ranking, then decisions; and why numbers are missing."""
    decided = ("f1", "sensitivity", "specificity") if study.task == "multilabel" else ("sensitivity", "f1")
    thresholds = {c: results.get("threshold", c, part="val").value for c in study.classes}
    threshold = "Mean threshold" if len(results.seeds) > 1 else "Threshold"
    counted = any(math.isfinite(results.get("auroc", c).n_positive) for c in study.classes)
    blocks, noted = [], []
    for metrics, about in ((RANKING, counted), (decided, False)):
        known = [m for m in metrics if any(math.isfinite(results.get(m, c).value) for c in study.classes)]
        if not known:
            continue
        last = [threshold] if metrics is decided and any(map(math.isfinite, thresholds.values())) else []
        heads = ["Class", *(["n positive", "Prevalence"] if about else []), *(LABELS[m] for m in known), *last]
        rows = []
        for name in study.classes:
            auroc = results.get("auroc", name)
            share = auroc.n_positive / auroc.n if auroc.n else math.nan
            row = [name, *([tables.whole(auroc.n_positive), tables.percent(share)] if about else [])]
            row += [tables.estimated(results.get(m, name)) for m in known]
            rows.append(row + ([tables.number(thresholds[name])] if last else []))
        noted += [(name, LABELS[m], results.get(m, name)) for name in study.classes for m in known]
        blocks.append(tables.table(heads, rows, "l" + "r" * (len(heads) - 1)))
    return join(*blocks, tables.reasons(noted))


def kind_of_reason(reason: str) -> str:
    """Return why an image is not used without the group or the image that the reason names, so that kinds count."""
    return re.sub(r"(under other labels): .*", r"\1", re.sub(r"group \S+", "group", reason))


def join(*blocks: str) -> str:
    """Put blocks of markdown below one another, leaving out empty ones."""
    return "\n\n".join(b.strip("\n") for b in blocks if b.strip())


def image(description: str, path: str) -> str:
    """Embed a figure."""
    return f"![{description}]({path})"


def private(study: StudyResults) -> bool:
    """Whether figures that show images stay out of git, see ``report.private_figures`` in params.yaml."""
    asked = study.params.report.private_figures if study.params is not None else None
    return not (study.dataset is not None and study.dataset.synthetic) if asked is None else asked


def figure_of_images(study: StudyResults, folder: Path, name: str) -> Path:
    """Return where a figure that shows images is drawn: with the reports in `folder`, or outside git.

    A copy that an earlier rendering left with the reports is removed where the figure is private now.
    """
    public = folder / "figures" / name
    if not private(study):
        return public
    public.unlink(missing_ok=True)
    return PRIVATE_FIGURES / name


def image_of_images(study: StudyResults, description: str, path: Path, page: Path) -> str:
    """Embed the figure at `path` in `page`; a private one is linked instead, as it is absent from a clone."""
    target = Path(os.path.relpath(path, page.parent)).as_posix()
    if not private(study):
        return image(description, target)
    return f"[{description}]({target}) (this file exists only on the machine that ran the study)"


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


def confidence(study: StudyResults) -> float:
    """Return that of the intervals."""
    return study.params.evaluate.confidence


def of_seeds(number: int) -> str:
    """Say of how many seeds a number is the mean."""
    return f"mean of {number} seeds" if number > 1 else "1 seed"


def quoted(study: StudyResults, estimate: Estimate) -> str:
    """Write a value in a sentence, with its interval or the reason why there is none."""
    if not math.isfinite(estimate.value):
        return f"not known ({estimate.note})"
    if not math.isfinite(estimate.low):
        return f"{tables.number(estimate.value)} ({estimate.note or 'no interval in the table'})"
    return f"{tables.estimated(estimate)} ({study.interval_name})"


def leading(study: StudyResults) -> str:
    """Name the metric that leads the pages, as in a sentence."""
    return {"auroc": "macro AUROC", "f1": "macro F1"}.get(study.leading, LABELS[study.leading].lower())


def starred(study: StudyResults) -> str:
    """Say what the star beside a recipe means."""
    return f"★ has the best mean validation {leading(study).removeprefix('macro ')}; the test part had no say in it."


def decisions(
    study: StudyResults,
    shown: Sequence[Results],
    metrics: Sequence[str],
    how: Mapping[str, str],
    columns: Mapping[str, Callable[[Results], str]],
    name: Callable[[Results], str],
) -> str:
    """Lay out decisions on the test part, a recipe or ensemble a row; empty where nothing is known of them.

    Parameters
    ----------
    study : StudyResults
        The study.
    shown : sequence of Results
        The rows.
    metrics : sequence of str
        What is shown, where any row has it.
    how : mapping of str to str
        How decisions are made, by task.
    columns : mapping of str to callable
        The columns before those of the metrics; the first holds text, the others numbers.
    name : callable
        What a row is called where the reason of a missing number is given.
    """
    known = [m for m in metrics if any(math.isfinite(r.get(m).value) for r in shown)]
    if not known:
        return ""
    made = how[study.task]
    if study.params is None:
        made = "How the decisions behind these numbers were made is not known from the table."
    heads = [*columns, *(LABELS[m] for m in known)]
    rows = [[*(write(r) for write in columns.values()), *(tables.estimated(r.get(m)) for m in known)] for r in shown]
    body = tables.table(heads, rows, "l" + "r" * (len(heads) - 1))
    noted = tables.reasons((name(r), LABELS[m], r.get(m)) for r in shown for m in known)
    return join("### Decisions", f"Test part, {study.interval_name} in brackets. {made}", body, noted)
