"""The facts of the page about the data that say what of the images was prepared: the region of interest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.imaging.settings import OWN, Roi
from pipeline.reporting.results import StudyResults
from pipeline.reporting.terms import PARTS
from pipeline.reporting.views.cohort import Count, images

COLUMN, FOUND = "roi", "found"
"""Column of samples.csv with what became of an image's region, and its value where there is one."""
WORDS = {
    FOUND: "found",
    "no mask": "kept whole: no mask",
    "none found": "kept whole: the mask is empty",
    "too small": "kept whole: the mask is too small",
    "mask not usable": "kept whole: the mask cannot be used",
}
"""Rows of the table."""


class Outcome(NamedTuple):
    """What became of the regions of some images: in all, and in each set of `Region.parts`."""

    name: str
    images: list[Count]


@dataclass(frozen=True)
class Region:
    """The region of interest.

    Parameters
    ----------
    settings : Roi
        ``preprocess.roi``.
    own : bool
        Whether the masks are the data set's.
    found, whole : Count
        Images with a region, and without.
    share : float
        Median share of an image's area that was kept, of the images with a region; NaN without any.
    parts : list of str
        Sets that have images.
    outcomes : list of Outcome
        Those that occur.
    """

    settings: Roi
    own: bool
    found: Count
    whole: Count
    share: float
    parts: list[str]
    outcomes: list[Outcome]


def region(study: StudyResults) -> Region | None:
    """Count what became of the images' regions; None where none were looked for, or it was not recorded."""
    settings, samples = study.params.preprocess.roi, images(study)
    if settings is None or COLUMN not in samples:
        return None
    status = samples[COLUMN].str.partition(":")[0]
    samples = samples.assign(**{COLUMN: status})
    found = samples[status == FOUND]
    areas = found["roi_width"] * found["roi_height"] / (found["width"] * found["height"])
    parts = [key for key in PARTS if (samples["part"] == key).any()]
    frames = [samples, *(samples[samples["part"] == key] for key in parts)]
    outcomes = [
        Outcome(words, [Count(int((part[COLUMN] == key).sum()), len(part)) for part in frames])
        for key, words in WORDS.items()
        if (status == key).any()
    ]
    whole = Count(len(samples) - len(found), len(samples))
    return Region(
        settings,
        settings.masks == OWN,
        Count(len(found), len(samples)),
        whole,
        float(areas.median()),
        [PARTS[key] for key in parts],
        outcomes,
    )
