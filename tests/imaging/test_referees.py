"""The decoder beside other decoders: equal within 2 grey levels, or excluded with a reason; never silently different."""

from __future__ import annotations

import functools
from fnmatch import fnmatchcase

import numpy as np
import pytest

from pipeline.imaging.decoding import REASONS, UnreadableImage, decode
from tests.imaging import made_tiff, referees
from tests.imaging.made_dicom import windowed

TOLERANCE = 2

EXCLUDED: dict[str, str] = {}
"""Files that the product does not read, by pattern, and the reason it must give: anything else is a fault."""

TABLE = referees.read()
MAKERS = referees.makers()
PYDICOM = referees.pydicom_files()


def expected_reason(name: str) -> str | None:
    return next((reason for pattern, reason in EXCLUDED.items() if fnmatchcase(name, pattern)), None)


def verdict(name: str, data: bytes, options: dict, channels: int | None = None) -> tuple[str, float]:
    """Return "decoded" with the largest difference to the table, or the reason of the exclusion."""
    row = TABLE[name]
    shape = tuple(int(n) for n in row.shape.split("x")) if row.shape else (0, 0)
    try:
        found = decode(data, 3 if len(shape) == 3 else 1, **options).pixels
    except UnreadableImage as error:
        return error.reason, 0.0
    if not row.shape:
        return "decoded where nobody sees an image", float("inf")
    if found.shape != shape:
        return f"shape {found.shape}", float("inf")
    right = referees.from_text(row.values)
    return "decoded", float(np.abs(referees.reduced(found).astype(int) - right).max())


def complaint(name: str, data: bytes, options: dict) -> str:
    """Return what is wrong with one file, empty if nothing is."""
    if TABLE[name].sha256 not in (referees.VARIES, referees.digest(data)):
        return "another content than the table's: python -m tests.imaging.make_referees"
    what, far = verdict(name, data, options)
    wanted = expected_reason(name)
    if what == "decoded":
        if wanted:
            return f"decoded, though '{wanted}' is expected"
        return "" if far <= TOLERANCE else f"{far:.0f} grey levels from {TABLE[name].referee}"
    if what not in REASONS:
        return what
    return "" if what == wanted else f"'{what}', expected {wanted or 'a picture'}"


def group(name: str) -> str:
    return name.rpartition(".")[2]


@pytest.mark.parametrize("kind", sorted({group(name) for name in MAKERS}))
def test_made_files_are_decoded_as_others_do(kind):
    """Every format, bit depth, photometric interpretation, layout, compression, orientation, with and without alpha."""
    faults = {}
    for name, make in MAKERS.items():
        if group(name) == kind:
            made = make()
            fault = complaint(name, made.data, made.options)
            if fault:
                faults[name] = fault
    assert not faults, "\n".join(f"{name}: {fault}" for name, fault in faults.items())


def test_the_table_and_the_makers_name_the_same_files():
    assert set(TABLE) == set(MAKERS) | set(PYDICOM)
    assert len(MAKERS) >= 120


@functools.cache
def of_pydicom() -> dict[str, tuple[str, float]]:
    return {name: verdict(name, path.read_bytes(), {"frame": "first"}) for name, path in PYDICOM.items()}


def test_files_of_pydicom_are_decoded_as_dcmtk_does():
    faults = {}
    for name, path in PYDICOM.items():
        fault = complaint(name, path.read_bytes(), {"frame": "first"})
        if fault:
            faults[name] = fault
    assert not faults, "\n".join(f"{name}: {fault}" for name, fault in faults.items())
