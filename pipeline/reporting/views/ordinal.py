"""Facts of the page about grades: how far decisions are off, and whether configurations differ in that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.reporting import page
from pipeline.reporting.english import signed
from pipeline.reporting.figures import ordinal as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.terms import LABELS
from pipeline.reporting.values import Estimate
from pipeline.reporting.views import shared

COLUMNS = ("qwk", "grades_off", "within_one", "accuracy", "auroc")
"""Metrics of the leading table."""


class Row(NamedTuple):
    """A configuration or an ensemble: QWK on validation, its SD over seeds on the test set, and the metrics there."""

    results: Results
    validation: float
    sd: float
    estimates: list[Estimate]


class Plain(NamedTuple):
    """What deciding one and the same grade for every image reaches: the median grade of the training set."""

    name: str
    grades_off: float
    within_one: float
    accuracy: float


class Grade(NamedTuple):
    """Test images of a grade: shares that are decided so many grades off, and mean signed error; mean over seeds."""

    name: str
    n: int
    shares: list[float]
    bias: float


@dataclass(frozen=True)
class Distances:
    """How far the decisions of a configuration are off, by true grade; `off` are the grades that `shares` count."""

    off: list[int]
    rows: list[Grade]
    seeds: int

    @property
    def labels(self) -> list[str]:
        """What `off` is called in heads."""
        return [signed(d, 0) if d else "right" for d in self.off]


def rows(study: StudyResults) -> list[Row]:
    """Return the leading table."""
    return [Row(r, r.get("qwk", part="val").value, r.sd("qwk"), [r.get(m) for m in COLUMNS]) for r in study.everything]


def plain(study: StudyResults) -> Plain | None:
    """Return what the median grade of the training set reaches on the test set; None where it is not recorded."""
    if not study.recorded or study.samples.empty:
        return None
    counts = {
        part: study.samples[study.samples["part"] == part][list(study.classes)].sum().to_numpy(float)
        for part in ("train", "test")
    }
    if not all(of.sum() for of in counts.values()):
        return None
    middle = int(np.searchsorted(counts["train"].cumsum(), counts["train"].sum() / 2))
    off, share = np.abs(np.arange(len(study.classes)) - middle), counts["test"] / counts["test"].sum()
    return Plain(study.classes[middle], float(share @ off), float(share[off <= 1].sum()), float(share[middle]))


def distances(study: StudyResults, results: Results) -> Distances | None:
    """Return how far decisions are off; None where they are not recorded."""
    matrix = results.confusions(study.classes)
    if not len(matrix):
        return None
    mean, k = matrix.mean(axis=0), len(study.classes)
    off = [*range(1 - k, k)]
    graded = []
    for true, name in enumerate(study.classes):
        n = mean[true].sum()
        apart = np.arange(k) - true
        shares = [float(mean[true][apart == d].sum() / n) if n else math.nan for d in off]
        graded.append(Grade(name, round(n), shares, float(mean[true] @ apart / n) if n else math.nan))
    return Distances(off, graded, len(matrix))


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write ordinal.md and its figure into `folder`; nothing where classes are not ordered."""
    if not study.graded:
        return []
    subject = study.subject
    apart = distances(study, subject) if subject is not None else None
    drawn = figures.distances(apart, folder / "figures" / "ordinal.png") if apart is not None else None
    written = page.write(
        folder / "ordinal.md",
        "ordinal.md",
        study=study,
        banner_facts=shared.banner(study),
        rows=rows(study),
        labels=[LABELS[m] for m in COLUMNS],
        noted=[(r.key, LABELS[m], r.get(m)) for r in study.everything for m in COLUMNS],
        plain=plain(study),
        pairs=shared.pairs(study, study.grade_comparisons),
        subject=subject,
        apart=apart,
        pictured=drawn is not None,
    )
    return [written, *([drawn] if drawn is not None else [])]
