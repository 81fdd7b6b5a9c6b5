"""Facts of the page about metadata: what networks take beside the image, how much of it is known, what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.learning.metadata import CLIP, Column, Scheme, as_text, associations, far_values, known_values
from pipeline.reporting import page
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.views import shared
from pipeline.reporting.views.loss_differences import Difference, paired

PARTS = ("train", "val", "test")
PROBE = "columns"
"""The probe of the same columns without an image, see `pipeline.probe`."""


class Gain(NamedTuple):
    """A configuration with more metadata and one with fewer, of which nothing else differs."""

    more: Results
    fewer: Results
    columns: tuple[str, ...]
    macro: Difference
    by_class: list[Difference]


class Known(NamedTuple):
    """A column: what it is, images whose value is known of those of each part, and the class that it tells best.

    `far` are training images with a number beyond `CLIP`.
    """

    column: Column
    known: tuple[tuple[int, int], ...]
    far: int
    label: str
    auroc: float


def taking(study: StudyResults) -> list[tuple[Results, Scheme]]:
    """Return the configurations that take metadata, and how."""
    recorded = [(r, next((run["metadata"] for run in r.runs if "metadata" in run), None)) for r in study.configurations]
    return [(results, Scheme.read(record)) for results, record in recorded if record is not None]


def gains(study: StudyResults) -> list[Gain]:
    """Compare every two configurations that differ in nothing but metadata, more columns minus fewer."""
    settings = study.params.models
    found: list[Gain] = []
    for more, scheme in taking(study):
        own = settings[more.model].model_dump(exclude={"metadata"})
        for fewer in study.configurations:
            theirs = set(settings[fewer.model].metadata or ())
            alike = fewer.loss == more.loss and settings[fewer.model].model_dump(exclude={"metadata"}) == own
            if alike and theirs < set(scheme.names):
                names = tuple(name for name in scheme.names if name not in theirs)
                macro = paired(study, study.comparisons, [(more, fewer)], ["macro"])[0]
                by_class = paired(study, study.class_comparisons, [(more, fewer)], study.classes)
                found.append(Gain(more, fewer, names, macro, by_class))
    return found


def noted(found: list[Gain]) -> shared.Noted:
    """Return the numbers that may be missing, for `formats.reasons`."""
    return [(f"{g.more.key} − {g.fewer.key}", "gain", g.macro.estimate) for g in found]


def known(study: StudyResults) -> list[Known]:
    """Return every column that a network takes, each once."""
    images = study.samples[study.samples["augmented"] == 0]
    text = as_text([name for _, scheme in taking(study) for name in scheme.names])  # as bool, TRUE is another word
    found: dict[Column, Known] = {}
    for _, scheme in taking(study):
        counts, told, far = [], {}, {}
        for part in PARTS:
            rows = images[images["part"] == part]
            encoded = scheme.encode(text.loc[rows["row"]])
            counts.append((known_values(scheme, encoded), len(rows)))
            if part == "train":
                targets, far = rows[list(study.classes)].to_numpy(np.float64), far_values(scheme, encoded)
                told = {each.column: each for each in associations(scheme, encoded, targets, study.classes)}
        for column in scheme.columns:
            best = told.get(column.name)
            of = tuple((values[column.name], n) for values, n in counts)
            label, auroc = (best.label, best.auroc) if best else ("", float("nan"))
            found.setdefault(column, Known(column, of, far.get(column.name, 0), label, auroc))
    return list(found.values())


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write metadata.md into `folder`; nothing where no network takes metadata."""
    if not study.recorded or not taking(study):
        return []
    found = gains(study)
    probe = next((each for each in study.probes if each.loss == PROBE), None)
    return [
        page.write(
            folder / "metadata.md",
            "metadata.md",
            study=study,
            banner_facts=shared.banner(study),
            taking=taking(study),
            gains=found,
            known=known(study),
            probe=probe,
            noted=noted(found),
            clip=CLIP,
            hides=any(each.column.hidden for each in known(study)),
        )
    ]
