"""Age, sex, view and dates as tables and DICOM headers write them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

from pipeline.study.empty import is_empty

_NAMES = {
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "age": ("age", "patientage", "ageyears", "ageinyears"),
    "view": ("view", "viewposition", "projection"),
}
"""Columns of samples.csv, and what they are called elsewhere, without case, spaces and signs."""
_AGE = re.compile(r"([<>]=?|≥|≤)?\s*(\d{1,3}(?:[.,]\d+)?)\s*(\+)?\s*([a-z]*)", re.IGNORECASE)
_YEARS = {"": 1.0, "y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_DATE = re.compile(r"(\d{4})([-/.]?)(\d{2})\2(\d{2})(?:[ T]\d{2}.*)?")
_SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F", "o": "O", "other": "O"}


def people_columns(header: Sequence[str]) -> dict[str, str]:
    """Return which columns of a table hold sex, age and view: standard name to column.

    Names match without regard to case, spaces and signs (``Patient Sex``, ``ViewPosition``); of several that match,
    the first.
    """
    found = {}
    for name, others in _NAMES.items():
        for column in header:
            if re.sub(r"[\W_]", "", column).casefold() in others:
                found[name] = column
                break
    return found


def age_in_years(text: str) -> int | float | None:
    """Return an age in years, or None where none can be read.

    Parameters
    ----------
    text : str
        A number of years, or as DICOM writes it: ``054Y``, ``006M``, ``003W``, ``012D`` (PS3.5, value representation
        AS). ``>90`` and ``90+`` are 90, as data sets write who must not be recognised by a great age.

    Returns
    -------
    int, float or None
        Whole where it is, otherwise rounded to 0.01; a month is 1/12 of a year, a year 365.25 days.
    """
    match = _AGE.fullmatch(text.strip())
    unit = match[4].lower().rstrip("s") if match else ""
    unit = {"year": "y", "yr": "y", "yo": "y", "month": "m", "mo": "m", "week": "w", "day": "d"}.get(unit, unit)
    if match is None or unit not in _YEARS:
        return None
    years = round(float(match[2].replace(",", ".")) * _YEARS[unit], 2)
    return int(years) if years == int(years) else years


def sex_of(text: str) -> str | None:
    """Return F, M or O, another value as it is, or None where none is recorded."""
    text = text.strip()
    return None if is_empty(text) else _SEXES.get(text.casefold(), text)


def view_of(text: str) -> str | None:
    """Return the view in capitals where it is a code (PA, LL), or None where none is recorded."""
    text = text.strip()
    return None if is_empty(text) else text.upper() if len(text) <= 4 else text


def date_of(text: str) -> str | None:
    """Return a date as ``YYYY-MM-DD``, or None where there is none that can be read without a guess.

    Parameters
    ----------
    text : str
        Year, month, day, as DICOM (``20171203``) and ISO 8601 (``2017-12-03``, also with a time) write them; days and
        months in another order cannot be told apart.
    """
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return datetime.date(int(match[1]), int(match[3]), int(match[4])).isoformat()
    except ValueError:
        return None
