"""The decoder beside other decoders: equal within 2 grey levels, or excluded with a reason; never silently wrong."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase

import numpy as np
import pytest

from pipeline.imaging.decoding import REASONS, UnreadableImage, decode
from tests.imaging import hospital
from tests.imaging.made import more, rare, tiff
from tests.imaging.referees import table

TOLERANCE = 2
DECODED_OF_PYDICOM = 102

EXCLUDED = {
    # Numbers without a scale: no standard says which is black and which is white.
    "grey-int*.tif": "unsupported pixel type",
    "grey-float*.tif": "unsupported pixel type",
    "grey-complex*.tif": "unsupported pixel type",
    "float.*": "no decoder",
    # Several samples of which the file says that they are no colours.
    "channels[34].tif": "unsupported colours",
    # Decoders disagree about its colours.
    "cielab8-neutral.tif": "unsupported colours",
    # Formats that are told by name.
    "*.jxr": "no decoder",
    "*.pam": "no decoder",
    "rgb8.tga": "no decoder",
    "rgb8.pcx": "no decoder",
    "rgb8.sgi": "no decoder",
    "rgb8.ico": "no decoder",
    "rgb8.dds": "no decoder",
    "rgb8.im": "no decoder",
    "rgb8.qoi": "no decoder",
    "rgb8.ras": "no decoder",
    # What comes with pydicom and is no DICOM file.
    "pydicom/*.txt": "not an image",
    "pydicom/*.md": "not an image",
    "pydicom/*.json": "not an image",
    "pydicom/*.dump": "not an image",
    "pydicom/*.icc": "not an image",
    "pydicom/*/README": "not an image",
    "pydicom/*.gz": "no decoder",
    # DICOM files without pixels: character sets, palettes, directories, plans, structures, reports, waveforms.
    "pydicom/charset_files/chrJapMulti*.dcm": "no pixels",
    "pydicom/charset_files/chrKoreanMulti.dcm": "no pixels",
    "pydicom/charset_files/chrSQEncoding*.dcm": "no pixels",
    "pydicom/palettes/*.dcm": "no pixels",
    "pydicom/*/DICOMDIR*": "no pixels",
    "pydicom/*/TINY_ALPHA/PT*": "no pixels",
    **{
        f"pydicom/test_files/{name}.dcm": "no pixels"
        for name in (
            *("ExplVR_BigEndNoMeta", "ExplVR_LitEndNoMeta", "UN_sequence", "empty_charset_LEI", "meta_missing_tsyntax"),
            *("nested_priv_SQ", "no_meta_group_length", "priv_SQ", "reportsi", "reportsi_with_empty_number_tags"),
            *("rtplan", "rtplan_truncated", "rtstruct", "test-SR", "waveform_ecg"),
        )
    },
    # Damaged on purpose: fewer pixels than said, a broken code stream, an element of no known type.
    "pydicom/test_files/MR_truncated.dcm": "truncated",
    "pydicom/test_files/JPEG2000-embedded-sequence-delimiter.dcm": "damaged",
    "pydicom/test_files/badVR.dcm": "damaged",
    # Begins with a stray byte; dcmtk does not read it either.
    "pydicom/test_files/no_meta.dcm": "not an image",
}
"""Files that the product does not read, by pattern, and the reason it must give: anything else is a fault."""

FURTHER = {
    "pydicom/test_files/JPGExtended.dcm": 3,  # 12-bit JPEG: one stored value is 2.3 grey levels of its window
}
"""Files with lossy compression whose readers differ by one stored value, and the grey levels that this makes."""

TABLE = table.read()
MAKERS = table.makers()
DRAWN = frozenset(hospital.files())
"""Drawn anew: the last digits of a drawing are the processor's, and with them some of its grey levels."""
PYDICOM = table.pydicom_files()
REFUSED = more.refused() | rare.refused()
BROKEN = tiff.damaged_files()


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
    right = table.from_text(row.values)
    return "decoded", float(np.abs(table.reduced(found).astype(int) - right).max())


def complaint(name: str, data: bytes, options: dict) -> str:
    """Return what is wrong with one file, empty if nothing is."""
    if TABLE[name].sha256 not in (table.VARIES, table.digest(data)) and name not in DRAWN:
        return "another content than the table's: python -m tests.imaging.make_referees"
    what, far = verdict(name, data, options)
    wanted = expected_reason(name)
    if what == "decoded":
        if wanted:
            return f"decoded, though '{wanted}' is expected"
        return "" if far <= FURTHER.get(name, TOLERANCE) else f"{far:.0f} grey levels from {TABLE[name].referee}"
    if what not in REASONS:
        return what
    return "" if what == wanted else f"'{what}', expected {wanted or 'a picture'}"


def group(name: str) -> str:
    return name.rpartition(".")[2]


@pytest.mark.parametrize("kind", sorted({group(name) for name in MAKERS}))
def test_made_files_are_decoded_as_others_do(kind):
    """Every format, bit depth, photometric interpretation, layout, compression, orientation, with and without alpha."""
    faults = {}
    for name in MAKERS:
        if group(name) == kind:
            made = table.made(name)
            fault = complaint(name, made.data, made.options)
            if fault:
                faults[name] = fault
    assert not faults, "\n".join(f"{name}: {fault}" for name, fault in faults.items())


def test_the_table_and_the_makers_name_the_same_files():
    assert set(TABLE) == set(MAKERS) | set(PYDICOM)
    assert len(MAKERS) >= 120


def test_files_of_pydicom_are_decoded_as_dcmtk_does():
    faults = {}
    for name, path in PYDICOM.items():
        fault = complaint(name, path.read_bytes(), {"frame": "first"})
        if fault:
            faults[name] = fault
    assert not faults, "\n".join(f"{name}: {fault}" for name, fault in faults.items())


def test_how_many_files_of_pydicom_are_decoded():
    """Counts that follow from the table and the list of reasons; the test above says that they are true."""
    reasons = Counter(expected_reason(name) or "decoded" for name in PYDICOM)
    assert set(reasons) - {"decoded"} <= set(REASONS)
    # Everything of which another decoder shows a picture is decoded.
    assert {name for name in PYDICOM if not expected_reason(name)} == {n for n in PYDICOM if TABLE[n].shape}
    assert reasons["decoded"] == DECODED_OF_PYDICOM


def test_every_reason_of_the_list_is_used():
    names = [*MAKERS, *PYDICOM]
    unused = [pattern for pattern in EXCLUDED if not any(fnmatchcase(name, pattern) for name in names)]
    assert not unused


def test_decoders_that_differ_were_judged():
    for row in TABLE.values():
        assert not row.against or row.ruling, row.file


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_must_be_refused(name):
    data, wanted = REFUSED[name]
    for channels in (1, 3):
        with pytest.raises(UnreadableImage) as error:
            decode(data, channels, frame="first")
        assert error.value.reason == wanted if wanted else error.value.reason in ("no decoder", "not an image")


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_one_broken_strip_is_found(name):
    with pytest.raises(UnreadableImage) as error:
        decode(BROKEN[name], 1)
    assert error.value.reason in ("damaged", "truncated")


@pytest.mark.parametrize("name", sorted(n for n in MAKERS if table.made(n).options.get("frame") == "first"))
def test_several_frames_are_an_error_unless_one_is_chosen(name):
    made = table.made(name)
    if name in ("two-pictures.mpo", "reduced-second-page.tif"):  # the second is a preview of the first
        return
    with pytest.raises(UnreadableImage) as error:
        decode(made.data, 3 if made.truth.ndim == 3 else 1)
    assert error.value.reason == "several frames"


@pytest.mark.parametrize("name", ["grey16.tif", "rgb16.png", "grey-16-12-11.dcm", "rgb8.png"])
def test_grey_of_colour_and_colour_of_grey(name):
    """What is asked for in the other form: three equal channels, or the luma of ITU-R BT.601."""
    made = table.made(name)
    other = decode(made.data, 1 if made.truth.ndim == 3 else 3).pixels
    luma = made.truth @ np.array([0.299, 0.587, 0.114]) if made.truth.ndim == 3 else np.dstack([made.truth] * 3)
    assert other.shape == luma.shape
    assert np.abs(other.astype(float) - luma).max() <= TOLERANCE


@pytest.mark.parametrize("part", range(4))
def test_sixteen_bits_and_the_other_channels_say_the_same(part):
    """Of every fourth file: 16 bits are the 8 bits but for their rounding, and grey is the luma of the colours."""
    faults = []
    for name in [n for n in sorted(MAKERS) if not expected_reason(n)][part::16]:
        made = table.made(name)
        colours = decode(made.data, 3, **made.options).pixels
        deep = decode(made.data, 3, depth="uint16", **made.options).pixels
        grey = decode(made.data, 1, **made.options).pixels
        if deep.dtype != np.uint16 or np.abs(deep / 257 - colours).max() > 1:
            faults.append(f"{name}: 16 bits differ")
        if grey.ndim != 2 or np.abs(colours @ np.array([0.299, 0.587, 0.114]) - grey).max() > TOLERANCE:
            faults.append(f"{name}: grey differs")
    assert not faults, "\n".join(faults)
