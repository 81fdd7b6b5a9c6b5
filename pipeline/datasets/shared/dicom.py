"""DICOM files known by their content, and what their headers say about image, patient and study."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.datasets.shared.people import age_in_years, date_of, sex_of, view_of

HEAD = 132
"""Bytes that `is_dicom` looks at."""
COLUMNS = ("sex", "age", "view", "laterality", "study_date", "accession_number", "study_uid", "series_uid", "sop_uid")
"""What `header` tells, as columns of samples.csv. No page shows the last four, which may lead to a person."""
ABOUT_EXAMINATIONS = COLUMNS[4:]
"""Those that say which examination it is, and nothing of a person."""
_VALUE_TYPES = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
"""The value representations of DICOM PS3.5, table 6.2-1."""
_TAGS = (
    *("PatientID", "IssuerOfPatientID", "PatientSex", "PatientAge", "PatientBirthDate", "ViewPosition"),
    *("ImageLaterality", "Laterality", "StudyDate", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SOPInstanceUID", "Rows"),
)


class Header(NamedTuple):
    """What a DICOM header says.

    Parameters
    ----------
    patient : str
        PatientID, after the issuer where one is named; "" where there is none.
    has_image : bool
        Whether it has rows of pixels; directories, reports and structure sets have none.
    columns : dict
        `COLUMNS`, None where nothing stands.
    """

    patient: str
    has_image: bool
    columns: dict[str, Any]


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with `head` is DICOM, with or without the preamble of 128 bytes.

    Parameters
    ----------
    head : bytes
        The first `HEAD` bytes, or as many as there are.

    Notes
    -----
    Without a preamble, a data set begins with an element of group 0002 or 0008 (DICOM PS3.10, 7.1, and what older
    devices write): little endian, group and element, then a value representation, or, where it is implicit, the length
    of a value that is short.
    """
    if head[128:132] == b"DICM":
        return True
    if head[:2] in (b"\x00\x02", b"\x00\x08") and head[4:6] in _VALUE_TYPES:
        return head[2:4][::-1] in _FIRST_ELEMENTS  # big endian, which always names its representations
    if len(head) < 12 or head[:2] not in (b"\x02\x00", b"\x08\x00") or head[2:4] not in _FIRST_ELEMENTS:
        return False
    return head[4:6] in _VALUE_TYPES or int.from_bytes(head[4:8], "little") <= 64


_FIRST_ELEMENTS = frozenset(bytes([number, 0]) for number in (0x00, 0x01, 0x02, 0x05, 0x08, 0x10, 0x12, 0x16, 0x18))
"""Elements with which a data set may begin; any further one would have one of these before it."""


def is_dicom_file(path: Path) -> bool:
    """Whether the file at `path` is DICOM by its content; False where it is no file or cannot be read."""
    try:
        if not path.is_file():  # to open a pipe would wait for ever
            return False
        with path.open("rb") as file:
            return is_dicom(file.read(HEAD))
    except OSError:
        return False


def header(path: Path) -> Header:
    """Read the header of a DICOM file, without its pixels.

    Returns
    -------
    Header
        With nothing in it where the file is damaged; the decoder then says why it cannot be used.
    """
    status = path.stat()
    return _header(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=2**18)  # stages list a data set two or three times; a header takes about a millisecond
def _header(path: Path, size: int, changed: int) -> Header:
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        found = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
        text = {tag: str(found.get(tag, "") or "").strip() for tag in _TAGS}
    except Exception:  # pydicom raises whatever a broken element leads to
        return Header("", False, dict.fromkeys(COLUMNS))
    issuer = f"{text['IssuerOfPatientID']}:" if text["IssuerOfPatientID"] else ""
    date = date_of(text["StudyDate"])
    columns = {
        "sex": sex_of(text["PatientSex"]),
        "age": _age(text["PatientAge"], date_of(text["PatientBirthDate"]), date),
        "view": view_of(text["ViewPosition"]),
        "laterality": view_of(text["ImageLaterality"] or text["Laterality"]),
        "study_date": date,
        "accession_number": text["AccessionNumber"] or None,
        "study_uid": text["StudyInstanceUID"] or None,
        "series_uid": text["SeriesInstanceUID"] or None,
        "sop_uid": text["SOPInstanceUID"] or None,
    }
    patient = f"{issuer}{text['PatientID']}" if text["PatientID"] else ""
    return Header(patient, bool(text["Rows"]), columns)


def _age(text: str, born: str | None, date: str | None) -> int | float | None:
    """Return the age that is written, or else whole years from birth to study."""
    age = age_in_years(text) if text else None
    if age is not None or born is None or date is None:
        return age
    years = int(date[:4]) - int(born[:4]) - (date[5:] < born[5:])
    return years if 0 <= years <= 130 else None
