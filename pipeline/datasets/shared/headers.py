"""What the DICOM headers of a folder tell about its images, where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.datasets.shared.dicom import COLUMNS, Header, header, is_dicom_file
from pipeline.datasets.shared.irregular import why_unreadable
from pipeline.datasets.shared.names import check_patient

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
    """

    by_path: dict[str, Header]
    columns: tuple[str, ...]
    name_patients: bool

    @classmethod
    def of(cls, base: Path, paths: Sequence[str]) -> Headers:
        """Read the headers of `paths` below `base` that are DICOM by content; other files cost a look at their name."""
        found = {
            path: header(base / path)
            for path in paths
            if not path.lower().endswith(_RASTER) and is_dicom_file(base / path)
        }
        columns = tuple(c for c in COLUMNS if any(about.columns[c] is not None for about in found.values()))
        images = [about.patient for about in found.values() if about.has_image]
        patients = set(images)
        readable = sum(why_unreadable(base / path) is None for path in paths) if found else 0
        known = 0 < len(found) == readable and "" not in patients and (len(patients) > 1 or len(images) == 1)
        return cls(found, columns, known)

    def patient(self, path: str) -> str:
        """Return the patient of a file; a file without an image or a header, which cannot be used, is its own."""
        patient = (path in self.by_path and self.by_path[path].patient) or path
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
