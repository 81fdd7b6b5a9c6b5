"""The DICOM file that a result belongs to: whose it is, of which study, and whether a result can be filed there."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import Any

from pipeline.imaging.decoding.dicom import has_no_preamble

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Elements of type 2: a result has them, be they empty."""
_DATES = ("PatientBirthDate", "StudyDate")
_DATE, _TIME, _UID = r"[0-9]{8}", r"[0-9]{2,6}(\.[0-9]{1,6})?", r"[0-2](\.(0|[1-9][0-9]*))+"


class Unfit(Exception):
    """No result can be filed with this file; the message is the reason, without what the header says of a person."""


@dataclass(frozen=True)
class Origin:
    """A DICOM file that results can be filed with.

    Parameters
    ----------
    header : pydicom.Dataset
        All elements but the pixels; text is decoded, elements of type 2 are there.
    digest : str
        SHA-256 of the file.
    """

    header: Any
    digest: str

    @property
    def frames(self) -> int:
        """Images in the file."""
        stated = str(self.header.get("NumberOfFrames") or 1)
        return int(stated) if stated.isdecimal() else 1

    def number(self, name: str) -> int:
        """Return an integer string of the header, such as InstanceNumber; 1 where there is no positive one."""
        value = str(self.header.get(name) or "").strip()
        return int(value) if re.fullmatch(r"[0-9]{1,6}", value) and int(value) else 1


def origin(data: bytes) -> Origin:
    """Read whose a file is.

    Parameters
    ----------
    data : bytes
        The whole file, of any format.

    Raises
    ------
    Unfit
        If it is no DICOM file, or lacks or garbles what a result needs to come to the right patient and study.
    """
    if data[128:132] != b"DICM" and not has_no_preamble(data):
        raise Unfit("not a DICOM file")
    import pydicom

    try:
        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
        for _ in header.iterall():  # decodes every element, and text by the character set of its file
            pass
        _check(header)
    except Unfit:
        raise
    except Exception as error:  # whatever a garbled header makes of the parser
        raise Unfit(f"a header that cannot be read ({type(error).__name__})") from None
    for name in _MAY_BE_EMPTY:
        if header.get(name) is None:
            setattr(header, name, "")
    return Origin(header, hashlib.sha256(data).hexdigest())


def _check(header: Any) -> None:
    for name in _UIDS:
        value = str(header.get(name) or "")
        if not value:
            raise Unfit(f"no {name}")
        if len(value) > 64 or not re.fullmatch(_UID, value):
            raise Unfit(f"{name} is not a UID")
    if not str(header.get("PatientID") or "").strip():
        raise Unfit("no PatientID")
    for name in _DATES:
        if not re.fullmatch(_DATE, str(header.get(name) or "00000000")):
            raise Unfit(f"{name} is not a date of DICOM (YYYYMMDD)")
    if not re.fullmatch(_TIME, str(header.get("StudyTime") or "00")):
        raise Unfit("StudyTime is not a time of DICOM (HHMMSS)")
    if str(header.get("PatientSex") or "O") not in ("M", "F", "O"):
        raise Unfit("PatientSex must be M, F, O or empty")
