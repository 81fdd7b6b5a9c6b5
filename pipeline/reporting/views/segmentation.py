"""Facts of the pages about segmentation: the front page of such a study, and the page with every number."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.reporting import page
from pipeline.reporting.figures import overview
from pipeline.reporting.figures import segmentation as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate, Sample
from pipeline.reporting.views import provenance, shared
from pipeline.reporting.views.shared import Picture
from pipeline.segmenting.scores import (
    DICE,
    FALSE_ALARM,
    HD95,
    IOU,
    KINDS,
    MOST,
    PERCENTILE,
    SURFACE,
    TOLERANCE,
    three_of,
)
from pipeline.study.runs import runs

SHOWN = (DICE, IOU, SURFACE, HD95)
WHOLE = "macro"
_PAGES = {
    "segmentation.md": "by class, by seed, examples, how it was computed and chosen, provenance",
    "external.md": "the same networks on other data sets",
    "search.md": "settings found by validation, and the luck in that",
    "data.md": "patients, structures, exclusions, split",
    "timing.md": "the one page that a clock changes",
}


class Row(NamedTuple):
    """A configuration or an ensemble: its Dice on validation, and its scores on the test set, as in `SHOWN`."""

    results: Results
    validation: Estimate
    scores: list[Estimate]
    sd: float


class ClassRow(NamedTuple):
    """A structure: the images that have it, scores as in `SHOWN`, false alarms, and thresholds by seed."""

    name: str
    images: float
    scores: list[Estimate]
    alarms: Estimate
    thresholds: list[float]


class Compared(NamedTuple):
    """The Dice of two on the same images, and the confidence of the interval of the difference."""

    first: str
    second: str
    name: str
    difference: Estimate
    confidence: float

    @property
    def differ(self) -> bool:
        """Whether the interval has no 0 in it."""
        return self.difference.bounded and (self.difference.low > 0 or self.difference.high < 0)


class Example(NamedTuple):
    """A test image of the figure: class, which of them, its row and name, and its Dice."""

    name: str
    kind: str
    row: int
    sample: str
    dice: float


@dataclass(frozen=True)
class Facts:
    """What both pages say."""

    study: StudyResults
    rows: list[Row]
    chosen: Row | None
    ensemble: Row | None
    pairs: list[Compared]
    gain: Compared | None
    sample: Sample
    trained: int
    planned: int

    @property
    def differing(self) -> list[Compared]:
        """Pairs of configurations that differ in their mean over the structures."""
        return [pair for pair in self.pairs if pair.differ and pair.name == WHOLE]

    @property
    def tested(self) -> list[Compared]:
        """Pairs of configurations, by their mean over the structures."""
        return [pair for pair in self.pairs if pair.name == WHOLE]


def _row(results: Results) -> Row:
    scores = [results.get(metric, WHOLE) for metric in SHOWN]
    return Row(results, results.get(DICE, WHOLE, part="val"), scores, results.sd(DICE, WHOLE))


def facts(study: StudyResults) -> Facts:
    """Return what the pages of a study of segmentation say."""
    chosen, ensemble = study.chosen, study.chosen_ensemble
    compared = [
        (row["family"], Compared(row["first"], row["second"], row["class"], _difference(row), row["confidence"]))
        for row in study.comparisons.to_dict("records")
    ]
    return Facts(
        study,
        [_row(results) for results in study.everything],
        None if chosen is None else _row(chosen),
        None if ensemble is None else _row(ensemble),
        [each for family, each in compared if family == "configurations"],
        next((each for family, each in compared if family == "ensemble" and each.name == WHOLE), None),
        shared.sample_of_test(study),
        sum(len(r.seeds) for r in study.configurations),
        len(runs(study.params)),
    )


def _difference(row: dict[Hashable, Any]) -> Estimate:
    return Estimate(row["difference"], row["low"], row["high"], row["n"], math.nan, "")


def _classes(study: StudyResults, results: Results) -> list[ClassRow]:
    return [
        ClassRow(
            name,
            results.get(DICE, name).n,
            [results.get(metric, name) for metric in SHOWN],
            results.get(FALSE_ALARM, name),
            [results.get("threshold", name, seed, "val").value for seed in results.seeds],
        )
        for name in study.classes
    ]


def render_front(study: StudyResults, folder: Path) -> list[Path]:
    """Write README.md and its figure into `folder`."""
    return shared.write_front(study, folder, DICE, facts(study), _PAGES)


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write segmentation.md and its figures into `folder`."""
    out, of = folder / "segmentation.md", facts(study)
    subject = study.subject or study.configurations[0]
    examples = _examples(study, subject)
    best, place = _best_seed(subject), shared.path_of_images(study, folder, "segmentation-images.png")
    drawn = figures.examples(study, subject, best, examples, place)
    curves = overview.validation_curves(study, folder / "figures" / "validation-dice.png", DICE)
    pictured: dict[str, Picture | bool | None] = {
        "images": shared.picture_of_images(study, drawn, out) if drawn else None,
        "curves": bool(curves),
    }
    page.write(
        out,
        "segmentation/segmentation.md",
        study=study,
        facts=of,
        banner_facts=shared.banner(study),
        subject=subject,
        classes=(classes := _classes(study, subject)),
        alarms=[row for row in classes if row.alarms.exists],
        examples=examples,
        best_seed=best,
        pictured=pictured,
        pixels=study.images.shape[1:3],
        tolerance=TOLERANCE,
        percentile=PERCENTILE,
        provenance=provenance.provenance(study),
    )
    return [out, *(path for path in (drawn, curves) if path)]


def _best_seed(results: Results) -> int:
    """Return the seed with the highest Dice on validation."""
    return max(results.seeds, key=lambda seed: np.nan_to_num(results.get(DICE, WHOLE, seed, "val").value, nan=-1.0))


def _examples(study: StudyResults, results: Results) -> list[Example]:
    """Choose test images by rule: of each class the best, the middle and the worst by Dice, of the best seed."""
    table = results.images[(results.images["part"] == "test") & results.images[DICE].notna()]
    table = table[table["seed"] == str(_best_seed(results))]
    names = dict(zip(study.samples["row"].tolist(), study.samples["sample_id"].tolist()))
    counts = {name: int((table["class"] == name).sum()) for name in study.classes}
    most = sorted((name for name in study.classes if counts[name]), key=lambda name: -counts[name])[:MOST]
    found = []
    for name in most:
        rows = table[table["class"] == name].sort_values("row", kind="stable")
        for kind, place in zip(KINDS, three_of(rows[DICE].to_numpy())):
            row: pd.Series = rows.iloc[place]
            found.append(Example(name, kind, int(row["row"]), str(names[int(row["row"])]), float(row[DICE])))
    return found
