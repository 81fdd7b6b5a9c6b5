"""Results as DICOM: the right patient, the right numbers, read by others; a true reason where there is none."""

import base64
import csv
import io
import shutil
import subprocess
import uuid
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.sr._concepts_dict import concepts

from pipeline.deploying import running
from pipeline.deploying.choice import ChoiceSections, choose
from pipeline.deploying.dicom import COLUMNS, FOLDER, Filing
from pipeline.deploying.dicom_codes import FINDINGS, RESEARCH, SCHEME, finding, unique
from pipeline.deploying.dicom_pictures import labelled
from pipeline.deploying.predicting import predict
from pipeline.deploying.recipe import Recipe
from pipeline.deploying.running import FAILED, PREDICTED, Row
from pipeline.deploying.sources import Source, sources
from pipeline.study.params import load
from tests.imaging import hospital
from tests.imaging.made.dicom_file import EXPLICIT, header, written

CLASSES = ("Pneumonia", "Pleural_Thickening", "Größe")
PREPROCESS = {"frame": "first", "size": 32}
ROW = Row(
    "a", None, PREDICTED, "", ("Pneumonia",), (), (0.9, 0.1, 1 / 3), (0.8, 0.05, 0.1), (0.95, 0.2, 0.4), 1.0,
    ("mean grey level 0.1, below that of every training image",), {}, "",
)  # fmt: skip
PATIENT = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
    "PatientID": "P1",
    "PatientName": "Doe^Jane",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.4",
}


def recipe(**changed):
    content = {
        "name": "net-bce", "how": "named", "method": "mean", "task": "multilabel", "classes": CLASSES,
        "members": ("net-bce-1", "net-bce-2"), "sha256": ("a" * 64, "b" * 64), "preprocess": PREPROCESS,
        "bits": None, "channels": 1, "slope": (1.0,) * 3, "intercept": (0.0,) * 3, "thresholds": (0.3, None, 0.5),
        "n_validation": 100, "conformal": None, "class_wise": (), "checked": 64, "largest_difference": 0.0,
        "about": {"title": "Drawn"},
    }  # fmt: skip
    return Recipe(**(content | changed))


def made(**elements):
    pixels = hospital.values(1, 8)
    return written(header(pixels, **(PATIENT | elements)), pixels.tobytes(), EXPLICIT)


def heat(*classes):
    """Return a row with maps that are 1 in the lower right quarter."""
    cells = base64.b64encode(bytes([0, 0, 0, 255])).decode()
    each = {"height": 2, "width": 2, "cells": cells, "agreement": None, "file": "a.png"}
    return ROW._replace(heat=tuple({"class": CLASSES.index(name), **each} for name in classes))


def outputs(data, folder=Path("out"), row=ROW, **changed):
    Path("in.dcm").write_bytes(data)
    return Filing(recipe(**changed), folder, "grad-cam").file(Source(Path("in.dcm"), "in.dcm"), [row])[0].outputs


def read_rows(folder):
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_back(found, column=COLUMNS[0]):
    return pydicom.dcmread(Path("out") / found[column])


def told(program, *arguments):
    """Return what a program of DCMTK says; it must find no fault."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} of DCMTK is not installed")
    ran = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, errors="replace", check=True)
    faults = [line for line in ran.stderr.splitlines() if "ISO_IR 192" not in line]  # of which it checks no letters
    assert not faults, faults
    return ran.stdout


def items(content, value_type):
    for item in content.ContentSequence:
        if item.ValueType == value_type:
            yield item
        if "ContentSequence" in item:
            yield from items(item, value_type)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_report_says_what_the_row_says():
    report = read_back(outputs(made(SOPInstanceUID="1.2.5", Modality="DX")))
    values = [float(item.MeasuredValueSequence[0].NumericValue) for item in items(report, "NUM")]
    np.testing.assert_allclose(values, ROW.probability, atol=5e-7)
    names = {item.ConceptNameCodeSequence[0].CodeMeaning for item in items(report, "NUM")}
    assert names == {"Probability"}
    said = [(i.ConceptNameCodeSequence[0].CodeMeaning, i.ConceptCodeSequence[0]) for i in items(report, "CODE")]
    assert [code.CodeMeaning for name, code in said if name == "Finding"] == list(CLASSES)
    decided = [code.CodeValue for name, code in said if name == "Decision of the model"]
    assert decided == ["above", "undecided", "below"]
    images = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items(report, "IMAGE")]
    assert images == ["1.2.5"] * 3
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.5"
    comments = [i.TextValue for i in items(report, "TEXT") if i.ConceptNameCodeSequence[0].CodeMeaning == "Comment"]
    assert comments[0].startswith(RESEARCH)
    assert ROW.flags[0] in comments[-1]
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert SCHEME in [item.CodingSchemeDesignator for item in report.CodingSchemeIdentificationSequence]
    versions = {i.TextValue for i in items(report, "TEXT") if "Algorithm" in i.ConceptNameCodeSequence[0].CodeMeaning}
    assert "net-bce" in versions


def test_dcmtk_and_highdicom_read_it():
    from highdicom.sr import srread

    found = outputs(made(), row=heat("Pneumonia"))
    report, capture = (Path("out", found[name]) for name in COLUMNS[:2])
    groups = srread(report).content.get_image_measurement_groups()
    assert [group.get_measurements()[0].value for group in groups] == pytest.approx(ROW.probability, abs=5e-7)
    dump = told("dsrdump", "+Pl", report)
    assert 'NUM:(,,"Probability")="0.9" (1,UCUM,"no units")' in dump
    assert '(233604007,SCT,"Pneumonia")' in dump
    told("dsr2html", report, "report.html")
    assert "For research, not for clinical use" in Path("report.html").read_text(encoding="utf-8")
    for path in (report, capture):
        assert told("dcmftest", path).startswith("yes:")
    told("dcm2pnm", "--write-png", capture, "capture.png")
    np.testing.assert_array_equal(cv2.imread("capture.png")[..., ::-1], pydicom.dcmread(capture).pixel_array)


@pytest.mark.parametrize("more", [{}, {"BodyPartExamined": "CHEST"}, {"BodyPartExamined": "BREAST", "Laterality": "L"}])
def test_dciodvfy_finds_no_error(more):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy of dicom3tools is not installed")
    elements = {"SOPInstanceUID": "1.2.5", "StudyDate": "20200101", "StudyTime": "1200", "StudyID": "1"}
    found = outputs(made(**elements, **more), row=heat("Pneumonia"))
    for name in COLUMNS[:2]:
        ran = subprocess.run(["dciodvfy", Path("out", found[name])], capture_output=True, text=True, errors="replace")
        assert "Error" not in ran.stderr + ran.stdout, ran.stderr
        assert ran.returncode == 0


@pytest.mark.parametrize("name", ["chrH31", "chrArab", "chrKoreanMulti", "chrX2", "chrGreek"])
def test_the_patient_is_the_same_in_every_alphabet(name):
    (source,) = get_charset_files(f"{name}.dcm")
    theirs, data = pydicom.dcmread(source), pydicom.dcmread(io.BytesIO(made()))
    data.SpecificCharacterSet, data.PatientName = theirs.SpecificCharacterSet, theirs.PatientName
    out = io.BytesIO()
    data.save_as(out)
    found = outputs(out.getvalue(), row=heat("Größe"))
    assert found[COLUMNS[2]] == ""
    for column in COLUMNS[:2]:
        ours = read_back(found, column)
        for element in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"):
            assert str(ours.get(element) or "") == str(data.get(element) or "")
        assert ours.SeriesInstanceUID != data.SeriesInstanceUID
    assert finding("Größe").meaning in [i.ConceptCodeSequence[0].CodeMeaning for i in items(read_back(found), "CODE")]


def test_a_heat_map_is_a_secondary_capture_of_the_image():
    found = outputs(made(SOPInstanceUID="1.2.5"), row=heat("Pneumonia", "Größe"))
    names = found[COLUMNS[1]].split("|")
    first, second = (pydicom.dcmread(Path("out", name)) for name in names)
    image, side = hospital.values(1, 8), hospital.SIDE
    np.testing.assert_array_equal(
        first.pixel_array[: side // 4, : side // 4], np.dstack([image] * 3)[: side // 4, : side // 4]
    )
    changed = (first.pixel_array[:side, :side].astype(int) != image[..., None]).any(axis=2)
    assert changed[3 * side // 4 :, 3 * side // 4 :].mean() > 0.9
    assert first.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert first.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.5"
    assert RESEARCH in first.DerivationDescription
    assert RESEARCH in first.SeriesDescription
    assert first.BurnedInAnnotation == "YES"  # the source does not say
    assert first.SeriesInstanceUID == second.SeriesInstanceUID != read_back(found).SeriesInstanceUID
    assert len({first.InstanceNumber, second.InstanceNumber}) == 2


@pytest.mark.parametrize(
    ("elements", "column", "expected"),
    [
        ({"BurnedInAnnotation": "NO"}, "BurnedInAnnotation", "NO"),
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation", "YES"),
        ({"LossyImageCompression": "01", "LossyImageCompressionRatio": "9"}, "LossyImageCompression", "01"),
        ({"PatientOrientation": ["L", "F"]}, "PatientOrientation", ["L", "F"]),
        ({"ImageLaterality": "L"}, "ImageLaterality", "L"),
    ],
)
def test_what_holds_of_the_image_holds_of_its_heat_map(elements, column, expected):
    found = outputs(made(**elements), row=heat("Pneumonia"))
    assert read_back(found, COLUMNS[1])[column].value == expected


def test_a_legend_leaves_the_picture_untouched():
    picture = np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8)
    shown = labelled(picture, "Größe", 0.5, "net-bce")
    np.testing.assert_array_equal(shown[:90, :200], picture)
    assert shown.shape[0] > 100
    assert shown[90:].max() == 255


REFUSED = [
    ({"StudyInstanceUID": None}, "no StudyInstanceUID"),
    ({"SeriesInstanceUID": None}, "no SeriesInstanceUID"),
    ({"PatientID": None}, "no PatientID"),
    ({"PatientID": "  "}, "no PatientID"),
    ({"StudyInstanceUID": "1.2.x"}, "StudyInstanceUID is not a UID"),
    ({"PatientBirthDate": "1.1.1950"}, "PatientBirthDate is not a date of DICOM (YYYYMMDD)"),
    ({"PatientSex": "W"}, "PatientSex must be M, F, O or empty"),
    ({"SOPClassUID": "1.2.3.4"}, "highdicom does not know SOP class 1.2.3.4, or lacks an element"),
]


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
@pytest.mark.parametrize(("elements", "reason"), REFUSED)
def test_what_cannot_be_filed_has_a_reason(elements, reason):
    known = {name: value for name, value in (PATIENT | elements).items() if value is not None}
    data = pydicom.dcmread(io.BytesIO(made()))
    for name in PATIENT:
        if name not in known:
            del data[name]
    for name, value in known.items():
        setattr(data, name, value)
    out = io.BytesIO()
    data.save_as(out)
    found = outputs(out.getvalue())
    assert found == dict(zip(COLUMNS, ("", "", reason)))
    assert not list(Path().glob("out/**/*.dcm"))


@pytest.mark.parametrize(
    ("data", "reason"), [(b"\x89PNG\r\n\x1a\n" + bytes(300), "not a DICOM file"), (b"", "not a DI")]
)
def test_other_formats_have_a_reason(data, reason):
    assert outputs(data)[COLUMNS[2]].startswith(reason)


def test_a_file_that_is_gone_or_was_not_predicted_has_a_reason():
    gone = Filing(recipe(), Path("out")).file(Source(Path("gone.dcm"), "gone.dcm"), [ROW])[0]
    assert gone.outputs[COLUMNS[2]] == "file not readable"
    failed = ROW._replace(status=FAILED, reason="truncated", probability=())
    assert outputs(made(), row=failed)[COLUMNS[2]] == "not predicted"


def test_every_kind_of_a_hospital_is_filed():
    """Palette, big-endian, deflated, frames, enhanced: what says whose it is gets a report that names the frame."""
    kinds = ("ct-enhanced", "mr-big-endian", "mr-enhanced", "us-palette", "us-cine", "nm-frames", "opt-frames")
    for name in (f"{kind}.dcm" for kind in (*kinds, "sc-deflated", "cr-lossless", "sm-tiles")):
        make = hospital.files()[name]
        source = pydicom.dcmread(io.BytesIO(make().data))
        for element, value in PATIENT.items():
            if element not in ("SOPClassUID",):
                setattr(source, element, value)
        if not source.file_meta.TransferSyntaxUID.is_transfer_syntax:  # one that pydicom cannot write yet
            source.file_meta.TransferSyntaxUID = pydicom.uid.UID(EXPLICIT)
        out = io.BytesIO()
        source.save_as(out)
        found = outputs(out.getvalue())
        assert found[COLUMNS[2]] == "", (name, found)
        image = next(items(read_back(found), "IMAGE")).ReferencedSOPSequence[0]
        assert image.get("ReferencedFrameNumber") == (1 if int(source.get("NumberOfFrames") or 1) > 1 else None), name
        assert read_back(found).PatientName == "Doe^Jane"


def test_identifiers_follow_from_the_content():
    one = outputs(made())
    path = Path("out") / one[COLUMNS[0]]
    first = path.read_bytes()
    assert outputs(made()) == one
    assert path.read_bytes() == first  # not written again, although the clock has moved on
    assert outputs(made(), Path("elsewhere")) == one
    for data, row, changed in (
        (made(InstanceNumber="2"), ROW, {}),
        (made(), ROW._replace(probability=(0.91, 0.1, 1 / 3)), {}),
        (made(), ROW, {"sha256": ("a" * 64, "c" * 64)}),
    ):
        assert outputs(data, row=row, **changed)[COLUMNS[0]] != one[COLUMNS[0]]
    assert outputs(made(), how="highest validation macro AUROC") == one
    name = unique("a")
    assert len(name) <= 64
    assert uuid.UUID(int=int(name.removeprefix("2.25."))).version == 8
    assert uuid.UUID(int=int(name.removeprefix("2.25."))).variant == uuid.RFC_4122


def test_codes_are_those_of_the_standard():
    """Against the context groups of PS3.16, as pydicom has them; SNOMED's own are named one by one."""
    of_standard = {
        (scheme, value): meaning
        for scheme, names in concepts.items()
        for by_value in names.values()
        for value, (meaning, _) in by_value.items()
    }
    others = {"46621007", "8186001", "233604007", "840539006"}
    for concept in FINDINGS.values():
        if concept.value not in others:
            assert of_standard[concept.scheme, concept.value] == concept.meaning


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("MASS", "SCT"), ("Pleural Effusion", "SCT"), ("pleural_effusion", "SCT"), ("Hernia", SCHEME), ("x" * 300, SCHEME),
     ("a\\b^c", SCHEME), ("", SCHEME), ("no mass", SCHEME), ("肺炎", SCHEME)],
)  # fmt: skip
def test_a_class_is_coded_by_what_its_name_says(name, scheme):
    concept = finding(name)
    assert concept.scheme == scheme
    assert 1 <= len(concept.value) <= 16
    assert 1 <= len(concept.meaning) <= 64
    assert "\\" not in concept.meaning


def test_earlier_results_go_and_others_stay():
    filing = Filing(recipe(), Path("out"))
    outputs(made(InstanceNumber="2"))
    Path("out", FOLDER, "mine.dcm").write_bytes(b"mine")
    row = filing.file(Source(Path("in.dcm"), "in.dcm"), [ROW])[0]
    outputs(made(InstanceNumber="3"))
    filing.clean([row])
    assert {path.name for path in Path("out", FOLDER).iterdir()} == {"mine.dcm", Path(row.outputs[COLUMNS[0]]).name}


def test_predict_writes_them_and_goes_on(deployed, monkeypatch):
    folder = Path("scans")
    folder.mkdir()
    small = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    for i in range(2):  # a report takes a second
        small.SOPInstanceUID = f"1.2.{i}"
        small.save_as(folder / f"{i}.dcm")
    cv2.imwrite(str(folder / "film.png"), np.zeros((64, 64), np.uint8))
    choice, some = choose(load(ChoiceSections)), sources([str(folder)])
    answers = predict(choice, some, Path("whole"), dicom=True)
    assert f"2 of them also as DICOM in {Path('whole', FOLDER)}" in answers
    rows = read_rows(Path("whole"))
    assert [row["dicom reason"] for row in rows] == [""] * 2 + ["not a DICOM file"]
    report = pydicom.dcmread(Path("whole", rows[0]["dicom report"]))
    measured = [float(item.MeasuredValueSequence[0].NumericValue) for item in items(report, "NUM")]
    expected = [float(rows[0][f"probability {name}"]) for name in choice_classes(rows[0])]
    np.testing.assert_allclose(measured, expected, atol=1e-6)
    real = running.Predictor.rows
    calls = []

    def interrupted(self, files):
        calls.append(files)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, files)

    monkeypatch.setattr(running.Predictor, "rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(choice, some, Path("halves"), threads=1, dicom=True)
    kept = {path: path.read_bytes() for path in Path("halves", FOLDER).iterdir()}
    assert kept
    predict(choice, some, Path("halves"), threads=1, dicom=True)
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert Path("halves/predictions.csv").read_bytes() == Path("whole/predictions.csv").read_bytes()
    assert sorted(p.name for p in Path("halves", FOLDER).iterdir()) == sorted(
        p.name for p in Path("whole", FOLDER).iterdir()
    )


def choice_classes(row):
    return [column.removeprefix("probability ") for column in row if column.startswith("probability ")]
