"""Acute lymphoblastic leukaemia in peripheral blood smears (Ghaderzadeh et al. 2021): benign and three stages.

``Original/`` and ``Segmented/`` hold the same 3,256 images under the same names, as photographed and with all but the
blasts blackened. File names carry a class and a running number and no patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from pipeline.datasets import Dataset, DatasetError, MaskSource, Sample, Task
from pipeline.datasets.shared.choosing import Groups, block, block_notes, blocks_of
from pipeline.datasets.shared.irregular import file_reader
from pipeline.datasets.shared.local import (
    count_differences,
    fetch_kaggle_copy,
    find_below,
    fingerprint,
    kaggle_copy,
    list_files,
    root_folder,
    summary,
)

BLASTS = "blasts"
"""What the published segmented images leave in colour."""
_BLACK = 25
"""Of 255: what is darker in a segmented image was blackened, but for what JPEG adds beside the edges."""
HANDLE = "mehradaria/leukemia"
PUBLISHED = {"Benign": 504, "Early": 985, "Pre": 963, "Pro": 804}
"""Images per class, 3,256 altogether."""

_NAMES = {
    "Benign": re.compile(r"WBC-Benign-\d+\.jpe?g", re.IGNORECASE),
    **{c: re.compile(rf"WBC-Malignant-{c}-\d+\.jpe?g", re.IGNORECASE) for c in ("Early", "Pre", "Pro")},
}
_FOLDERS = {"original": "Original", "segmented": "Segmented"}
_SUFFIXES = (".jpg", ".jpeg", ".png")
_LAYOUT = "Original/{Benign,Early,Pre,Pro}/ and Segmented/{Benign,Early,Pre,Pro}/ with JPEG files"


class _File(NamedTuple):
    label: str
    path: Path


class Data(Dataset):
    """Settings of ``datasets.leukemia``.

    Parameters
    ----------
    root : str or None
        Folder that holds Original/ and Segmented/, or a folder up to two levels above; relative to the folder of
        params.yaml or absolute. None fetches the set from Kaggle.
    images : {"original", "segmented"}
        Which of the two versions of every image.
    groups : str or None
        ``blocks of 100`` keeps images together whose numbers are neighbours within a class, as images of one patient
        are likely to be.
    asked_task : {"", "segmentation"}
        Key ``task``: empty = the class of an image, segmentation = where the blasts are: what the segmented version of
        an image leaves in colour. A program made those, not a person.
    """

    name: ClassVar[str] = "leukemia"
    title: ClassVar[str] = "Acute lymphoblastic leukaemia (ALL) image dataset"
    licence: ClassVar[str] = f"Not verified: see https://www.kaggle.com/datasets/{HANDLE}"
    citation: ClassVar[str] = (
        "M. Ghaderzadeh, M. Aria, A. Hosseini, F. Asadi, D. Bashash, H. Abolghasemi. A fast and efficient CNN model "
        "for B-ALL diagnosis and its subtypes classification using peripheral blood smear images. International "
        "Journal of Intelligent Systems (2021), doi:10.1002/int.22753. Data: Kaggle, doi:10.34740/KAGGLE/DSV/2175623"
    )
    url: ClassVar[str] = f"https://www.kaggle.com/datasets/{HANDLE}"

    root: str | None = None
    images: Literal["original", "segmented"] = "original"
    groups: Groups | None = None
    asked_task: Literal["", "segmentation"] = Field("", alias="task")

    @model_validator(mode="after")
    def _originals_are_segmented(self) -> Data:
        if self.asked_task == "segmentation" and self.images != "original":
            raise ValueError(
                f"images: '{self.images}' with task: segmentation, whose masks these are; must be original"
            )
        return self

    @property
    def task(self) -> Task:
        """One class per image, or a mask of the blasts."""
        return self.asked_task or "multiclass"

    @property
    def notes(self) -> tuple[str, ...]:
        """Whose the images are, and what blocks stand for."""
        return (
            "The images come from 89 patients of one laboratory (25 benign, 64 with leukaemia), and which image is "
            "whose was not published: images are kept together only where they are recognised as near-duplicates, so "
            "that images of one patient lie in several parts and results on the test part are likely to be too good.",
            *block_notes(self.groups),
        )

    @property
    def patients_known(self) -> bool:
        """No: none was published."""
        return False

    @property
    def classes(self) -> tuple[str, ...]:
        """Benign, then the stages in the order of maturation; or the blasts."""
        return (BLASTS,) if self.task == "segmentation" else tuple(PUBLISHED)

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Verify a local copy, or fetch the set from Kaggle (about 0.1 GB).

        Returns
        -------
        dict
            root, kaggle (path of the fetched copy, which names its version), version ("original" or "segmented"),
            images, bytes, counts by class, differs_from_published (counts of the classes that differ), other_files,
            blocks (see `blocks_of`) and fingerprint.

        Raises
        ------
        DatasetError
            If the class folders are not there, one of them is empty, or an image has no published name.
        """
        if self.root is None:
            fetch_kaggle_copy(HANDLE, folder, self.name)
        base = self._base(folder)
        files, others = self._files(folder)
        counts = {c: sum(f.label == c for f in files) for c in PUBLISHED}
        digest, total = fingerprint(base, [f.path.relative_to(base).as_posix() for f in files])
        return {
            "root": self.root,
            "kaggle": None if self.root else kaggle_copy(folder, self.name).relative_to(folder.resolve()).as_posix(),
            "version": self.images,
            "images": len(files),
            "bytes": total,
            "counts": counts,
            "differs_from_published": count_differences(counts, PUBLISHED),
            "other_files": summary(others),
            "blocks": blocks_of((f.path.name for f in files), self.groups),
            "fingerprint": digest,
        }

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield the images by class and name; each is on its own, or in its block, since the set names no patients."""
        for file in self._files(folder)[0]:
            name = file.path.name
            owner = block(name, self.groups) if self.groups else name
            sample = Sample(name, owner, (file.label,), file_reader(file.path))
            if self.task == "segmentation":
                sample = replace(sample, labels=(BLASTS,), masks=partial(_mask, file.path))
            yield sample

    def _base(self, folder: Path) -> Path:
        """Return the folder Original/ or Segmented/."""
        top = kaggle_copy(folder, self.name) if self.root is None else root_folder(self.root, self.name, _LAYOUT)
        version = _FOLDERS[self.images]

        def fits(path: Path) -> bool:
            return path.name == version and all((path / c).is_dir() for c in PUBLISHED)

        base = find_below(top, fits, depth=3)
        if base is None:
            raise DatasetError(
                f"datasets.{self.name}.root: '{self.root}' holds no {version}/ with the class folders; expected "
                f"there: {_LAYOUT}"
                if self.root
                else f"{top}: the files fetched from Kaggle hold no {version}/ with the class folders; delete the "
                f"folder and run again, or set datasets.{self.name}.root to a local copy of {_LAYOUT}"
            )
        return base

    def _files(self, folder: Path) -> tuple[list[_File], list[str]]:
        """Return the images in a stable order, and the paths of other files beside them."""
        base = self._base(folder)
        files: list[_File] = []
        others: list[str] = []
        for label, pattern in _NAMES.items():
            found = list_files(base / label, _SUFFIXES, recursive=False)
            others += [f"{label}/{name}" for name in found.hidden + found.others]
            if not found.images:
                raise DatasetError(f"{base / label}: no images of class '{label}'; expected WBC-...-001.jpg and others")
            for name in found.images:
                if not pattern.fullmatch(name):
                    # Scripts around this set write augmented copies into the class folders; split at random, those
                    # put a picture and its copy into training and test.
                    raise DatasetError(
                        f"{base / label / name}: not a published name of class '{label}' ({pattern.pattern}); move "
                        "away files that were added to the data set, such as augmented copies"
                    )
                files.append(_File(label, base / label / name))
        return files, others


def _mask(image: Path) -> tuple[MaskSource, ...]:
    """Read the mask of an image: what its namesake in Segmented/ leaves in colour."""
    segmented = image.parents[2] / _FOLDERS["segmented"] / image.parent.name / image.name
    return (MaskSource(segmented.read_bytes(), above=_BLACK),)
