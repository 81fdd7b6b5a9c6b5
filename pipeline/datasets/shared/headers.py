"""What the DICOM headers of a folder tell about its images, where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.datasets.shared.dicom import COLUMNS, Header, header, is_dicom_file
from pipeline.datasets.shared.names import check_patient

_RASTER = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Suffixes that are not opened to look for DICOM in them."""


class Headers(NamedTuple):
    """The headers of those of some files that are DICOM.

    Parameters
    ----------
    files : int
        How many files there are.
    by_path : dict of str to Header
        DICOM files with an image.
    columns : tuple of str
        Those of `COLUMNS` that any header fills.
    name_patients : bool
        Whether every file has a PatientID and not all the same.
    """

    files: int
    by_path: dict[str, Header]
    columns: tuple[str, ...]
    name_patients: bool

    @classmethod
    def of(cls, base: Path, paths: Sequence[str]) -> Headers:
        """Read the headers of `paths` below `base` that are DICOM by content; other files cost a look at their name."""
        found = {}
        for path in paths:
            place = base / path
            if not path.lower().endswith(_RASTER) and is_dicom_file(place):
                about = header(place)
                if about.has_image:
                    found[path] = about
        columns = tuple(c for c in COLUMNS if any(about.columns[c] is not None for about in found.values()))
        patients = {about.patient for about in found.values()}
        known = len(found) == len(paths) > 0 and "" not in patients and (len(patients) > 1 or len(paths) == 1)
        return cls(len(paths), found, columns, known)

    def patient(self, path: str) -> str:
        """Return the patient of a file that has one."""
        patient = self.by_path[path].patient
        check_patient(patient, f"the PatientID of '{path}'")
        return patient

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
