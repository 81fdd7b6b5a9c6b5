"""Facts that several pages show: warnings, classes, decisions, front pages, and where figures of images lie."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.reporting import page
from pipeline.reporting.figures import overview
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.terms import LABELS, RANKING
from pipeline.reporting.values import Estimate, Outcome, Sample, outcome
from pipeline.study.files import PRIVATE_FIGURES
from pipeline.study.runs import seeds

Noted = list[tuple[str, str, Estimate]]
"""Numbers of a table by row and column, for `formats.reasons`."""


# --- warnings --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leak:
    """A split after augmentation: test images that have their source or a sibling in training; NaN = not counted."""

    images: float
    leaked_images: float
    patients: float
    leaked_patients: float


class Collapse(NamedTuple):
    """A training run that learned nothing, and how it shows."""

    key: str
    seed: int
    sign: str


@dataclass(frozen=True)
class Banner:
    """What a reader must know before any number; see ``pages/shared/banner.md``."""

    recorded: bool
    synthetic: bool
    leak: Leak | None
    named: tuple[int, int] | None
    missing: tuple[str, ...]
    seeds_missing: bool
    collapsed: tuple[Collapse, ...]


def banner(study: StudyResults, results: Results | None = None) -> Banner:
    """Return the warnings of a page about `results`, by default about the whole study."""
    return Banner(
        study.recorded,
        study.synthetic,
        _leak(study) if study.leaks_by_design else None,
        study.named,
        tuple(m for m in study.missing if results is None or m.startswith(f"{results.key},")),
        study.recorded
        and any(
            set(seeds(study.params)) - set(of.seeds) for of in (study.configurations if results is None else [results])
        ),
        tuple(
            Collapse(r.key, seed, sign.rstrip("."))
            for r, seed, sign in study.collapsed
            if results is None or r.key == results.key
        ),
    )


def _leak(study: StudyResults) -> Leak:
    counted = (study.audit.get("leak") or {}).get("test") or {}
    names = ("images", "leaked_images", "patients", "leaked_patients")
    leak = Leak(*(math.nan if counted.get(name) is None else float(counted[name]) for name in names))
    return leak if study.patients_known else replace(leak, patients=math.nan, leaked_patients=math.nan)


# --- tables ----------------------------------------------------------------------------------------------------------


class ClassRow(NamedTuple):
    """A class of the test set."""

    name: str
    positives: float
    share: float
    ranking: list[Estimate]
    decisions: list[Estimate]
    threshold: float


@dataclass(frozen=True)
class Classes:
    """The test set class by class; see ``pages/shared/classes.md``.

    Parameters
    ----------
    rows : list of ClassRow
        In the data set's order.
    ranking, decisions : list of str
        Labels of the metrics that any class has.
    counted, thresholds, several : bool
        Whether positives are recorded, whether thresholds are, and whether there are several seeds.
    noted : list
        For `formats.reasons`.
    """

    rows: list[ClassRow]
    ranking: list[str]
    decisions: list[str]
    counted: bool
    thresholds: bool
    several: bool
    noted: Noted


def classes(study: StudyResults, results: Results) -> Classes:
    """Return every class of the test set: positives and ranking, decisions, and why numbers are missing."""
    wanted = ("f1", "sensitivity", "specificity") if study.task == "multilabel" else ("sensitivity", "f1")
    ranking, decided = (
        [m for m in metrics if any(results.get(m, c).exists for c in study.classes)] for metrics in (RANKING, wanted)
    )
    rows = [
        ClassRow(
            name,
            results.get("auroc", name).n_positive,
            results.get("auroc", name).share,
            [results.get(m, name) for m in ranking],
            [results.get(m, name) for m in decided],
            results.get("threshold", name, part="val").value,
        )
        for name in study.classes
    ]
    return Classes(
        rows,
        [LABELS[m] for m in ranking],
        [LABELS[m] for m in decided],
        any(math.isfinite(row.positives) for row in rows),
        any(math.isfinite(row.threshold) for row in rows),
        len(results.seeds) > 1,
        [
            (name, LABELS[m], results.get(m, name))
            for metrics in (ranking, decided)
            for name in study.classes
            for m in metrics
        ],
    )


class DecisionRow(NamedTuple):
    """A configuration or an ensemble with the metrics of its decisions."""

    results: Results
    estimates: list[Estimate]


@dataclass(frozen=True)
class Decisions:
    """Decisions on the test set, one row per configuration or ensemble; see ``pages/shared/decisions.md``."""

    rows: list[DecisionRow]
    labels: list[str]
    noted: Noted


def decisions(rows: Sequence[tuple[str, Results]], metrics: Sequence[str]) -> Decisions:
    """Return those of `metrics` that any of `rows` (name, results) has; without any, no rows.

    The name is what a row is called where the reason of a missing number is given.
    """
    shown = [m for m in metrics if any(r.get(m).exists for _, r in rows)]
    noted = [(name, LABELS[m], r.get(m)) for name, r in rows for m in shown]
    return Decisions(
        [DecisionRow(r, [r.get(m) for m in shown]) for _, r in rows] if shown else [], [LABELS[m] for m in shown], noted
    )


class Pair(NamedTuple):
    """Two configurations on the same patients by one metric: first − second, of means over seeds."""

    first: str
    second: str
    metric: str
    difference: Estimate
    p: float
    p_holm: float
    outcome: Outcome


def pairs(study: StudyResults, table: pd.DataFrame) -> list[Pair]:
    """Return the pairs of a table of comparisons that were not tested for equivalence; none without a table."""
    found = []
    for row in table.to_dict("records"):
        first, second, p_holm = str(row["first"]), str(row["second"]), float(row["p_holm"])
        note = row["note"] if isinstance(row["note"], str) else ""
        value, low, high = (float(row[name]) for name in ("difference", "ci_low", "ci_high"))
        difference = Estimate(value, low, high, note=note)
        said = outcome(p_holm, p_holm < study.alpha, False, bool({first, second} & study.failing))
        found.append(Pair(first, second, str(row["metric"]), difference, float(row["p"]), p_holm, said))
    return found


def sample_of_test(study: StudyResults) -> Sample:
    """Return how many images, and patients, the test set has, by the split."""
    test = study.samples[(study.samples["part"] == "test") & (study.samples["augmented"] == 0)]
    owner = "patient_id" if study.patients_known else "group_id"
    return Sample(len(test), test[owner].nunique())


def known_classes(study: StudyResults, results: Results) -> list[str]:
    """Return the classes that have a test AUROC."""
    return [c for c in study.classes if results.get("auroc", c).exists]


def _kind(match: re.Match[str]) -> str:
    return "mask of an image" if match[1] == "mask of" else match[1]


def kind_of_reason(reason: str) -> str:
    """Return why an image is not used without the group or the image that the reason names, so that kinds count."""
    return re.sub(r"(under other labels|mask of)\b.*", _kind, re.sub(r"group \S+", "group", reason))


def write_front(study: StudyResults, folder: Path, metric: str, facts: Any, pages: Mapping[str, str]) -> list[Path]:
    """Write the front page of a study of segmentation or regression, and its figure of `metric`, into `folder`.

    Of `pages`, names with what each says, those are linked that were written.
    """
    forest = overview.forest(study, study.everything, folder / "figures" / "forest.png", metric)
    given = {"facts": facts, "banner_facts": banner(study), "pictured": bool(forest)}
    given["pages"] = {name: said for name, said in pages.items() if (folder / name).exists()}
    written = page.write(folder / "README.md", f"{study.task}/README.md", study=study, **given)
    return [written, *([forest] if forest else [])]


# --- figures of images -----------------------------------------------------------------------------------------------


class Picture(NamedTuple):
    """A figure as a page links it; a private one stays on the machine that ran the study."""

    link: str
    private: bool = False


def path_of_images(study: StudyResults, folder: Path, name: str, private: bool | None = None) -> Path:
    """Return where a figure that shows images is drawn: with the reports in `folder`, or outside git.

    A copy that an earlier rendering left with the reports is removed where the figure is private now. `private` says
    so of images that are not the study's own.
    """
    public = folder / "figures" / name
    if not (study.private_figures if private is None else private):
        return public
    public.unlink(missing_ok=True)
    return PRIVATE_FIGURES / name


def picture_of_images(study: StudyResults, path: Path, page: Path, private: bool | None = None) -> Picture:
    """Return the figure at `path`, which shows images, as `page` links it; `private` as for `path_of_images`."""
    hidden = study.private_figures if private is None else private
    return Picture(Path(os.path.relpath(path, page.parent)).as_posix(), hidden)


def boxes_of(study: StudyResults, row: int, name: str) -> tuple[tuple[float, float, float, float], ...]:
    """Return x, y, width and height of the boxes of a class on an image."""
    if study.boxes.empty:
        return ()
    found = study.boxes[(study.boxes["row"] == row) & (study.boxes["class"] == name)]
    return tuple(found[["x", "y", "width", "height"]].itertuples(index=False, name=None))
