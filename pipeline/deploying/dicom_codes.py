"""Codes and unique identifiers of what is written as DICOM.

A class is coded in a public scheme only where its name alone says what the code says; every other class, and what the
standard has no concept for, is coded in the private scheme `SCHEME`, which each file declares.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import NamedTuple

RESEARCH = "For research, not for clinical use"
"""Stands in everything that is written."""
SCHEME = "99MEDMATRIX"
"""Designator of the private coding scheme; 99 begins private ones (PS3.16, 8.2)."""
SCHEME_NAME = "MedMatrix: classes of a study, and concepts about its decisions"
_LONGEST_CODE, _LONGEST_MEANING = 16, 64
"""Characters of a code value (SH) and of its meaning (LO)."""


class Concept(NamedTuple):
    """A coded concept: value, designator of its scheme, meaning."""

    value: str
    scheme: str
    meaning: str


DECISION = Concept("decision", SCHEME, "Decision of the model")
ABOVE = Concept("above", SCHEME, "At or above the decision threshold")
BELOW = Concept("below", SCHEME, "Below the decision threshold")
UNDECIDED = Concept("undecided", SCHEME, "No decision threshold")
MOST = Concept("most-probable", SCHEME, "Most probable class")
OTHER = Concept("less-probable", SCHEME, "Not the most probable class")

FINDINGS: dict[str, Concept] = {
    # Of the context groups of PS3.16 (6102, 222, 645, 3700, 6014, 6335, 12280).
    "infiltrate": Concept("112121", "DCM", "Infiltrate"),
    "infiltration": Concept("112121", "DCM", "Infiltrate"),
    "mass": Concept("4147007", "SCT", "Mass"),
    "nodule": Concept("27925004", "SCT", "Nodule"),
    "pneumothorax": Concept("36118008", "SCT", "Pneumothorax"),
    "effusion": Concept("41699000", "SCT", "Effusion"),
    "pleural effusion": Concept("60046008", "SCT", "Pleural effusion"),
    "edema": Concept("79654002", "SCT", "Edema"),
    "pulmonary edema": Concept("19242006", "SCT", "Pulmonary edema"),
    "fibrosis": Concept("112674009", "SCT", "Fibrosis"),
    "normal": Concept("17621005", "SCT", "Normal"),
    # Of SNOMED CT itself.
    "atelectasis": Concept("46621007", "SCT", "Atelectasis"),
    "cardiomegaly": Concept("8186001", "SCT", "Cardiomegaly"),
    "pneumonia": Concept("233604007", "SCT", "Pneumonia"),
    "covid-19": Concept("840539006", "SCT", "COVID-19"),
}
"""By the name of a class in small letters, with spaces."""


def finding(name: str) -> Concept:
    """Return the concept of a class.

    Parameters
    ----------
    name : str
        Of the class, as the study calls it.

    Returns
    -------
    Concept
        One of `FINDINGS`, or one of the private scheme: the name itself where it is a code of at most 16 characters, or
        a hash of it; its meaning is the name.

    Examples
    --------
    >>> finding("Mass")
    Concept(value='4147007', scheme='SCT', meaning='Mass')
    >>> finding("Hernia")
    Concept(value='Hernia', scheme='99MEDMATRIX', meaning='Hernia')
    >>> finding("Pleural_Thickening").scheme
    '99MEDMATRIX'
    """
    known = FINDINGS.get(re.sub(r"[_\s]+", " ", name).strip().lower())
    if known is not None:
        return known
    plain = re.fullmatch(r"[A-Za-z0-9_.-]+", name) and len(name) <= _LONGEST_CODE
    value = name if plain else f"c{hashlib.sha256(name.encode()).hexdigest()[: _LONGEST_CODE - 1]}"
    return Concept(value, SCHEME, text(name, _LONGEST_MEANING) or value)


def text(words: str, longest: int) -> str:
    r"""Return words as one line that a text element of DICOM may hold: no control characters, no ``\``.

    Parameters
    ----------
    words : str
        Any text.
    longest : int
        Characters that the element may have.
    """
    shown = "".join(letter if letter.isprintable() and letter != "\\" else " " for letter in words)
    line = " ".join(shown.split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def unique(*content: str) -> str:
    """Return the UID that belongs to some content: the same content, the same UID, on any machine.

    It is 2.25 followed by a UUID as an integer (PS3.5, B.2): the first 128 bits of the SHA-256 hash of the parts, each
    preceded by its length, with the version set to 8 and the variant as RFC 9562 asks for.

    Parameters
    ----------
    content : str
        Parts; what they are is part of the content.

    Examples
    --------
    >>> unique("a", "b") == unique("a", "b") != unique("ab", "")
    True
    """
    digest = hashlib.sha256(b"medmatrix")
    for part in content:
        data = part.encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "big") + data)
    number = int.from_bytes(digest.digest()[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76  # version
    number = number & ~(0x3 << 62) | 0x2 << 62  # variant
    return f"2.25.{uuid.UUID(int=number).int}"
