"""The facts of the page about the images: what was listed, left out, divided, prepared, and augmented."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.reporting import page
from pipeline.reporting.figures import data as figures
from pipeline.reporting.figures.flow import flow_chart
from pipeline.reporting.results import StudyResults
from pipeline.reporting.terms import PARTS
from pipeline.reporting.views.augmentation import Augmentation, augmentations
from pipeline.reporting.views.cohort import (
    LEAST_EXPECTED,
    LEAST_TOGETHER,
    Cohort,
    Count,
    Pairs,
    cohort,
    images,
    pairs,
)
from pipeline.reporting.views.duplicates import Duplicates, borderline_rows, duplicates
from pipeline.reporting.views.flow import Flow, flow
from pipeline.reporting.views.known import Labels, labels
from pipeline.reporting.views.reading import Reading, reading
from pipeline.reporting.views.region import Region, region
from pipeline.reporting.views.shared import (
    Banner,
    Picture,
    banner,
    kind_of_reason,
    path_of_images,
    picture_of_images,
)
from pipeline.study.files import PRIVATE_FIGURES

NONE = "none of these"
"""Title of the images without a class."""
_NAMED = 5
"""File names given with a reason."""
_MOST_PICTURED = 24
"""Classes in the figure of sample images."""


class Side(NamedTuple):
    """Width or height of the kept files, in pixels."""

    name: str
    smallest: float
    median: float
    largest: float


@dataclass(frozen=True)
class Files:
    """Sizes of the kept files, and of the images as prepared, in pixels (width, height).

    `sizes` is the number of distinct sizes, `frequent` the most frequent one, `having` the images that have it.
    """

    sides: list[Side]
    sizes: int
    frequent: tuple[int, int]
    having: Count
    prepared: tuple[int, ...]


class Reason(NamedTuple):
    """Why files or images are not used: how many, the first names, and how many more there are."""

    reason: str
    number: int
    names: list[str]
    more: int


class Difference(NamedTuple):
    """The largest difference of a class's share between two sets, in [0, 1]."""

    name: str
    parts: tuple[str, ...]
    difference: float


@dataclass(frozen=True)
class Split:
    """The audit of the split; an empty text and NaN stand for what an older one does not record.

    `shared` counts the patients, groups, and identical images that are in more than one set.
    """

    method: str
    seed: float
    protocol: str
    per_class: dict[str, int]
    shared: dict[str, float]
    difference: Difference | None
    sha256: str
    unused: list[Reason]

    @property
    def leaks(self) -> bool:
        """Whether anything is in more than one set."""
        return any(math.isfinite(n) and n > 0 for n in self.shared.values())


class Draws(NamedTuple):
    """Images that an epoch draws, without and with balancing."""

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Balance:
    """How the training set is balanced; `to` is NaN for a method without a number of draws.

    `without` are the draws of images without a class, `every` those of all images; both None where not recorded.
    """

    method: str
    to: float
    classes: list[Draws]
    without: Draws | None
    every: Draws | None
    never_drawn: int
    most_draws: int


class Period(NamedTuple):
    """First and last month of a set (``YYYY-MM``, "" where none is known), and images without a date."""

    part: str
    first: str
    last: str
    without: int


class Dates(NamedTuple):
    """When the images were taken; `overlapping` test images are not later than the latest training image.

    Months, not days: of a single image, a day may tell whose it is.
    """

    parts: list[Period]
    overlapping: int


@dataclass(frozen=True)
class Page:
    """What the page about the data shows.

    Parameters
    ----------
    study : StudyResults
        For the data set and the settings.
    banner : Banner
        What a reader must know first.
    flow, cohort, files, duplicates, split, balance
        As their classes; `balance` is None where the training set is not balanced.
    reading : Reading or None
        How the files were made and read; None where that was not recorded.
    pairs : Pairs or None
        None where an image has one class only.
    pairs_drawn : bool
        Whether their figure is there.
    samples : Picture or None
        The figure of sample images; None where no class has an image.
    most_pictured : int
        Classes that it shows at most.
    boxed : int
        Images that have boxes.
    clahe : Picture or None
        The figure of images without and with CLAHE.
    augmentations : list of Augmentation
        Every distinct one.
    excluded : list of Reason
        Files that were excluded.
    dates : Dates or None
        None where the data set has no dates.
    twins : Picture or None
        The figure of borderline pairs; None where there are none.
    region : Region or None
        The region of interest; None where images are whole.
    labels : Labels or None
        Which labels are known; None where all are.
    """

    study: StudyResults
    banner: Banner
    flow: Flow
    cohort: Cohort
    pairs: Pairs | None
    pairs_drawn: bool
    files: Files
    samples: Picture | None
    most_pictured: int
    boxed: int
    clahe: Picture | None
    augmentations: list[Augmentation]
    excluded: list[Reason]
    duplicates: Duplicates
    split: Split
    balance: Balance | None
    reading: Reading | None
    dates: Dates | None = None
    twins: Picture | None = None
    region: Region | None = None
    labels: Labels | None = None

    @property
    def none(self) -> str:
        """What images without a class are called."""
        return NONE

    @property
    def least_together(self) -> int:
        """Images that a pair of classes must share for its lift to be listed."""
        return LEAST_TOGETHER

    @property
    def least_expected(self) -> int:
        """Images that chance would give a pair for its absence to be named."""
        return LEAST_EXPECTED

    @property
    def private_folder(self) -> str:
        """Where figures that must not be handed on are kept."""
        return PRIVATE_FIGURES.as_posix()


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write data.md and its figures; return what was written. Without the samples (a bare table) there is no page.

    Figures that show images lie outside `folder` unless ``report.private_figures`` allows them there.
    """
    if not study.recorded:
        return []
    path, pictures = folder / "data.md", folder / "figures"
    way = flow(study)
    drawn = [flow_chart(way, pictures / "flow.png"), figures.class_shares(study, pictures / "data-classes.png")]
    together = pairs(study)
    pairs_drawn = together is not None and len(study.classes) <= figures.MOST_PAIRED
    if together is not None and pairs_drawn:
        drawn.append(figures.class_pairs(study, together.counts, pictures / "data-pairs.png"))
    of_samples, of_clahe = (path_of_images(study, folder, f"data-{name}.png") for name in ("samples", "clahe"))
    chosen = {title: rows for title, rows in picks(study).items() if rows}
    if chosen:
        drawn.append(figures.sample_images(study, chosen, of_samples))
    of_twins, twins = path_of_images(study, folder, "data-borderline.png"), borderline_rows(study)
    if twins:
        drawn.append(figures.pairs_of_images(study, twins, of_twins))
    has_examples = len(study.examples.rows) > 0
    if has_examples:
        drawn.append(figures.before_after(study, study.examples, of_clahe))
    augmented, of_augmented = augmentations(study, folder, path)
    how_read, of_kinds = reading(study, folder, path)
    shown = Page(
        study,
        banner(study),
        way,
        cohort(study),
        together,
        pairs_drawn,
        _files(study),
        picture_of_images(study, of_samples, path) if chosen else None,
        _MOST_PICTURED,
        0 if study.boxes.empty else study.boxes["row"].nunique(),
        picture_of_images(study, of_clahe, path) if has_examples else None,
        augmented,
        _by_reason(study.excluded["reason"], study.excluded["file"]),
        duplicates(study),
        _split(study),
        _balance(study),
        how_read,
        _dates(study),
        picture_of_images(study, of_twins, path) if twins else None,
        region(study),
        labels(study),
    )
    return [page.write(path, "data.md", page=shown), *drawn, *of_augmented, *of_kinds]


def _files(study: StudyResults) -> Files:
    samples = images(study)
    sides = [
        Side(name, samples[name].min(), samples[name].median(), samples[name].max()) for name in ("width", "height")
    ]
    sizes = samples.groupby(["width", "height"]).size()
    width, height = sizes.index.tolist()[int(sizes.argmax())]
    return Files(
        sides,
        len(sizes),
        (int(width), int(height)),
        Count(int(sizes.max()), len(samples)),
        study.images.shape[2:0:-1],
    )


def picks(study: StudyResults) -> dict[str, list[int]]:
    """Choose the images of the sample figure by rule, so that nobody chooses the pretty ones.

    Returns
    -------
    dict
        Class, and `NONE` where there are such images, to rows: images with a box of the class first, then those of
        the training set, then those with the fewest other classes, then by row; one per patient.
    """
    samples, classes = images(study), list(study.classes)
    if len(classes) > _MOST_PICTURED:
        counts = samples[classes].sum()
        classes = sorted(sorted(classes, key=lambda c: -int(counts[c]))[:_MOST_PICTURED], key=study.classes.index)
    each = 3 if len(classes) > 8 else 4 if len(classes) > 4 else 6
    n_labels = samples[list(study.classes)].sum(axis=1)
    order = samples["part"].map({part: i for i, part in enumerate(PARTS)})
    chosen = {}
    for name in [*classes, NONE]:
        has = (samples[list(study.classes)] == 0).all(axis=1) if name == NONE else samples[name] == 1
        boxes = study.boxes
        boxed = set() if boxes.empty else set(boxes.loc[boxes["class"] == name, "row"])
        keys = pd.DataFrame(
            {
                "boxless": ~samples["row"].isin(boxed),
                "part": order,
                "labels": n_labels,
                "row": samples["row"],
                "patient": samples["patient_id" if study.patients_known else "group_id"],
            }
        )[has]
        ranked = keys.sort_values(["boxless", "part", "labels", "row"]).drop_duplicates("patient")
        if len(ranked) or name != NONE:
            chosen[name] = ranked["row"].head(each).tolist()
    return chosen


def _by_reason(reasons: Sequence[str] | pd.Series, names: Sequence[str] | pd.Series) -> list[Reason]:
    """Return one row per kind of reason, the most frequent first."""
    listed: dict[str, list[str]] = {}
    for reason, name in zip(reasons, names):
        listed.setdefault(kind_of_reason(reason), []).append(name)
    ranked = sorted(listed.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Reason(reason, len(found), found[:_NAMED], max(len(found) - _NAMED, 0)) for reason, found in ranked]


def _split(study: StudyResults) -> Split:
    audit = study.audit
    largest = audit.get("largest_prevalence_difference")
    unused = audit.get("unused") or []
    shared = {what: audit.get(f"{what}_in_two_parts") for what in ("patients", "groups", "duplicates")}
    return Split(
        str(audit.get("method", "")),
        audit.get("seed", math.nan),
        str(audit.get("protocol", "")),
        audit.get("per_class") or {},
        {what: math.nan if number is None else number for what, number in shared.items()},
        Difference(largest["class"], tuple(largest["parts"]), largest["difference"]) if largest else None,
        audit.get("sha256", ""),
        _by_reason(
            [str(u.get("reason", "not recorded")) for u in unused], [str(u.get("sample_id", "")) for u in unused]
        ),
    )


def _dates(study: StudyResults) -> Dates | None:
    audited = study.audit.get("dates")
    if audited is None:
        return None
    periods = [
        Period(part, (of["first"] or "")[:7], (of["last"] or "")[:7], of["without_date"])
        for part, of in audited["parts"].items()
        if (study.samples["part"] == part).any()
    ]
    return Dates(periods, audited["test_images_before_last_training"])


def _balance(study: StudyResults) -> Balance | None:
    balance = study.audit.get("balance") or {}
    if balance.get("method", "none") == "none":
        return None

    def draws(name: str, counted: dict[str, float] | None) -> Draws | None:
        return Draws(name, counted["before"], counted["after"]) if counted else None

    classes = (draws(name, counted) for name, counted in (balance.get("classes") or {}).items())
    return Balance(
        balance["method"],
        balance.get("to") or math.nan,
        [row for row in classes if row is not None],
        draws(NONE, balance.get("no_finding")),
        draws("", balance.get("images")),
        balance.get("never_drawn") or 0,
        balance.get("most_draws", 0),
    )
