"""What the DICOM headers of a folder tell about its images, where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.datasets.shared.dicom import COLUMNS, Header, header, is_dicom_file
from pipeline.datasets.shared.irregular import why_unreadable
from pipeline.datasets.shared.names import stands_for_none
from pipeline.datasets.shared.patients import Naming

_RASTER = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Suffixes that are not opened to look for DICOM in them."""


class Headers(NamedTuple):
    """The headers of those of some files that are DICOM.

    Parameters
    ----------
    by_path : dict of str to Header
        DICOM files, those without an image (reports, plans) among them.
    columns : tuple of str
        Those of `COLUMNS` that any header fills.
    name_patients : bool
        Whether every image has a PatientID, and they are not all the same, as an anonymiser leaves them.
    without_patient : tuple of str
        Where some name patients who are not all the same: images that name none.
    """

    by_path: dict[str, Header]
    columns: tuple[str, ...]
    name_patients: bool
    without_patient: tuple[str, ...] = ()

    @classmethod
    def of(cls, base: Path, paths: Sequence[str]) -> Headers:
        """Read the headers of `paths` below `base` that are DICOM by content; other files cost a look at their name."""
        found = {
            path: header(base / path)
            for path in paths
            if not path.lower().endswith(_RASTER) and is_dicom_file(base / path)
        }
        columns = tuple(c for c in COLUMNS if any(about.columns[c] is not None for about in found.values()))
        images = {path: _named(about) for path, about in found.items() if about.has_image}
        patients = set(images.values()) - {""}
        others = [path for path in paths if found and path not in found and why_unreadable(base / path) is None]
        without = {*others, *(path for path, patient in images.items() if not patient)}
        known = bool(found) and not without and (len(patients) > 1 or len(images) == 1)
        return cls(found, columns, known, tuple(path for path in paths if path in without and len(patients) > 1))

    def naming(self) -> Naming:
        """Return whose the images are, where not all headers name the same."""
        if not (self.name_patients or self.without_patient):
            return Naming({}, {}, "images")
        of = {path: patient for path, about in self.by_path.items() if about.has_image and (patient := _named(about))}
        without = {path: f"'{path}' has no PatientID in a DICOM header" for path in self.without_patient}
        return Naming(of, without, "images")

    def extra(self, path: str) -> dict[str, Any]:
        """Return `columns` of a file, None in each where it has no header."""
        about = self.by_path.get(path)
        return {c: None if about is None else about.columns[c] for c in self.columns}

    def record(self) -> dict[str, Any]:
        """Return what is worth recording: files, those with PatientID, patients, and files that fill each column."""
        patients = [about.patient for about in self.by_path.values() if about.patient]
        return {
            "files": len(self.by_path),
            "with_patient": len(patients),
            "patients": len(set(patients)),
            "columns": {c: sum(a.columns[c] is not None for a in self.by_path.values()) for c in self.columns},
        }


def _named(about: Header) -> str:
    """Return the PatientID, "" where it says that there is none."""
    return "" if stands_for_none(about.patient) else about.patient
