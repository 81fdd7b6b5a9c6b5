"""Chest-radiograph-like images that the program draws itself, in the published layout of NIH ChestX-ray14.

The set needs no network and its truth is known: which findings are in which image and where, which files are copies of
each other and which are damaged. It takes the view, the prevalence and the co-occurrence of the 14 findings from
ChestX-ray14, so that class imbalance, several images per patient and correlated labels are those of a real study. It is
no model of radiography: the painters (`findings`) draw what a textbook describes, from ellipses, bands and noise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.datasets import Dataset, Masks, MaskSource, Sample, Task
from pipeline.datasets.phantom.cohort import sample_cohort
from pipeline.datasets.phantom.drawing import LUNGS, lungs
from pipeline.datasets.phantom.files import (
    BOXES,
    ENTRIES,
    MASKS,
    PLANTED,
    STAMP,
    TEST,
    TRAIN_VAL,
    content,
    heart_sizes,
    own_files,
    read_hearts,
    write_all,
    write_hearts,
)
from pipeline.datasets.shared.irregular import file_reader
from pipeline.datasets.shared.nih_layout import FINDINGS, iter_samples, read_boxes, read_entries, read_list
from pipeline.datasets.shared.strata import Strata
from pipeline.study.files import write_json
from pipeline.study.target import COLUMN, Target

_FORMAT = 1
"""Raise it whenever a drawn byte changes, so that folders drawn before are drawn again."""


GRADES = {"grade 0": 0.0, "grade 1": 0.40, "grade 2": 0.42, "grade 3": 0.44, "grade 4": 0.47}
"""Grades of the size of the heart: its least width as a share of that of both lungs (cardiothoracic ratio). The cuts
leave 8 to 27 % of the default images in a grade; they are no clinical ones."""


def _grade(ratio: float) -> str:
    return [name for name, least in GRADES.items() if ratio >= least][-1]


_TAKEN = 1
"""Second number of the seed of what `unknown` takes away."""


class Data(Dataset):
    """Drawn chest radiographs with the label statistics of ChestX-ray14.

    Parameters
    ----------
    images : int
        Rows of the set, planted copies and damaged files included: copies are rows of their own, damaged files take
        the place of drawn images.
    size : int
        Width and height in pixels.
    seed : int
        Seed of everything that is drawn; unrelated to the seeds of splits and training runs.
    min_prevalence : float
        Share of the images to which rarer findings are lifted, so that every part of a split holds positives;
        0 keeps the prevalence of ChestX-ray14.
    test_fraction : float
        Share of the images in the official test list, by patient.
    duplicates : int
        Pixel-identical copies under other names: half filed under the same patient, half under another one, and every
        other one of these in the other official list.
    bad_files : bool
        Plant two files each that are truncated, empty, RGBA, 16-bit and text. RGBA and 16-bit files are readable.
    unknown : float
        Share of the labels, of all images and classes, that are taken away at random; nothing is drawn anew.
    asked_task : {"", "segmentation", "ordinal", "regression"}
        Key ``task``: empty = which findings an image has, segmentation = where its structures are, ordinal = the size
        of its heart in five grades (`GRADES`), regression = the width of its heart in pixels.
    structures : {"lungs", "findings"}
        Of segmentation: the lungs, as far as neither heart nor mediastinum hides them, or each of the findings.
    """

    name: ClassVar[str] = "phantom"
    title: ClassVar[str] = "Phantom: drawn chest films after ChestX-ray14"
    synthetic: ClassVar[bool] = True
    licence: ClassVar[str] = "Apache-2.0 (drawn by this project)"
    citation: ClassVar[str] = (
        "Drawn by this project (pipeline/datasets/phantom.py). Prevalence and co-occurrence after X. Wang et al., "
        "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, CVPR 2017, 3462-3471."
    )
    url: ClassVar[str] = ""
    _notes: ClassVar[tuple[str, ...]] = (
        "The images are synthetic: a program drew them from simple shapes, and no result on them says anything about "
        "patients or about how a model performs on real radiographs.",
        "With the default settings Cardiomegaly, Pneumonia, Edema, Emphysema, Fibrosis and Hernia are lifted from "
        "0.2-2.5 % to 3 % of the images, so that every part of the split holds positives.",
        "The official lists are drawn by patient and balanced for the rare findings; pixel-identical copies and "
        "damaged files are planted on purpose and listed in planted.json.",
    )

    images: int = Field(1500, ge=200, le=200_000)
    size: int = Field(256, ge=64, le=1024)
    seed: int = Field(7, ge=0, lt=2**32)
    min_prevalence: float = Field(0.03, ge=0.0, le=0.15)
    test_fraction: float = Field(0.25, ge=0.1, le=0.5)
    duplicates: int = Field(12, ge=0, le=40)
    bad_files: bool = True
    unknown: float = Field(0.0, ge=0.0, le=0.9)

    asked_task: Literal["", "segmentation", "ordinal", "regression"] = Field("", alias="task")
    structures: Literal["lungs", "findings"] = "lungs"

    @property
    def task(self) -> Task:
        """Any number of findings per image, a mask for each structure, one grade, or a number."""
        if self.asked_task in ("segmentation", "regression"):
            return self.asked_task
        return "multiclass" if self.ordered else "multilabel"

    @property
    def masked(self) -> str:
        """Structures whose masks are drawn; "" where none are."""
        return self.structures if self.task == "segmentation" else ""

    @property
    def _of_heart(self) -> bool:
        return self.asked_task in ("ordinal", "regression")

    @property
    def target(self) -> Target | None:
        """The width of the heart, in pixels of the image as it is drawn."""
        return Target("heart width", "px") if self.task == "regression" else None

    @property
    def _strata(self) -> Strata:
        sizes = heart_sizes(self)
        return Strata([round(size.width * self.size, 3) for size in sizes.values()])

    @property
    def notes(self) -> tuple[str, ...]:
        """What the drawing is not, and what was taken away of it."""
        taken = f"{self.unknown:.0%} of the labels were taken away at random, and count as unknown."
        return (*self._notes, taken) if self.unknown else self._notes

    @property
    def classes(self) -> tuple[str, ...]:
        """The 14 findings of ChestX-ray14 in the published order, the lungs, or the grades or widths of the heart."""
        if self.ordered:
            return tuple(GRADES)
        if self.task == "regression":
            return self._strata.names
        return (LUNGS,) if self.masked == LUNGS else FINDINGS

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Draw the set into `folder`, or leave it if exactly this drawing is there.

        An earlier or interrupted drawing is removed first; other files in the folder are not touched. The stamp is
        removed first and written last, so that a folder with a stamp holds a whole drawing.

        Returns
        -------
        dict
            Format version, settings, and the numbers of images, patients, listed images, boxes and planted faults.
        """
        folder = Path(folder)
        stamp = folder / STAMP
        new = {"asked_task", "structures", "unknown"}  # without masks a drawing is what it was before there were any
        settings = self.model_dump(exclude=new) | ({"masks": self.masked} if self.masked else {})
        settings |= {"hearts": True} if self._of_heart else {}
        wanted = {"format": _FORMAT, "settings": settings}
        try:
            written = json.loads(stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            written = None
        whole = written is not None and {k: written.get(k) for k in wanted} == wanted
        if whole and written is not None and content(folder) == written.get("content"):
            return written["found"]
        stamp.unlink(missing_ok=True)
        for path in own_files(folder):
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        write_all(folder, self)
        if self._of_heart:
            write_hearts(folder, self)
        found = wanted | self._found(folder)
        write_json(stamp, wanted | {"content": content(folder), "found": found})
        return found

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield the images in the order of their names; raises `DatasetError` if the set was not drawn."""
        folder = Path(folder)

        def images(name: str) -> Callable[[], bytes]:
            return file_reader(folder / "images" / name)

        entries = read_entries(folder / ENTRIES)
        hearts = read_hearts(folder) if self._of_heart else {}
        strata = self._strata if self.task == "regression" else None
        rng = np.random.default_rng([self.seed, _TAKEN])
        for sample in iter_samples(entries, images, read_list(folder / TRAIN_VAL), read_list(folder / TEST)):
            if self.masked:
                labels = (LUNGS,) if self.masked == LUNGS else sample.labels
                sample = replace(sample, labels=labels, masks=partial(self._masks, folder, sample.sample_id))
            elif self.ordered:
                sample = replace(sample, labels=(_grade(hearts[sample.sample_id].ratio),))
            elif strata is not None:
                width = round(hearts[sample.sample_id].width * self.size, 3)
                sample = replace(sample, labels=(strata.of(width),), extra={**sample.extra, COLUMN: width})
            elif self.unknown:
                taken = tuple(name for name, out in zip(FINDINGS, rng.random(len(FINDINGS)) < self.unknown) if out)
                kept = tuple(name for name in sample.labels if name not in taken)
                sample = replace(sample, labels=kept, unknown=taken)
            yield sample

    def _masks(self, folder: Path, name: str) -> tuple[MaskSource, ...]:
        """Read the masks of an image; a structure without a file is not in it."""
        files = [folder / MASKS / structure / name for structure in self.classes]
        return tuple(MaskSource(file.read_bytes() if file.exists() else None) for file in files)

    @property
    def mask_classes(self) -> tuple[str, ...]:
        """The lungs, as they were drawn."""
        return (LUNGS,)

    def masks(self, folder: Path) -> Masks:
        """Return what draws the outline of an image's lungs again: where findings are studied, no file has it."""
        cohort = sample_cohort(self, np.random.SeedSequence(self.seed))
        cases = {case.name: case for case in cohort.cases}
        cases |= {copy.name: cases[original] for original, copy in cohort.copies}

        def of(name: str) -> tuple[MaskSource, ...] | None:
            return (MaskSource(lungs(cases[name], self.size)),) if name in cases else None

        return of

    def boxes(self, folder: Path) -> pd.DataFrame | None:
        """Boxes of every lesion of every readable image, as `Dataset.boxes` describes; none of lungs and grades."""
        return None if self.masked == LUNGS or self._of_heart else read_boxes(Path(folder) / BOXES)

    def _found(self, folder: Path) -> dict[str, Any]:
        entries = read_entries(folder / ENTRIES)
        planted = json.loads((folder / PLANTED).read_text(encoding="utf-8"))
        return {
            "images": len(entries),
            "patients": int(entries["patient_id"].nunique()),
            "train_val_images": len(read_list(folder / TRAIN_VAL)),
            "test_images": len(read_list(folder / TEST)),
            "boxes": len(read_boxes(folder / BOXES)),
            "planted_duplicates": len(planted["duplicates"]),
            "planted_bad_files": len(planted["bad_files"]),
        }
