"""DICOM by content, against files that pydicom writes and ships."""

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.datasets import DatasetError
from pipeline.datasets.image_folder.dataset import Data as Folder
from pipeline.datasets.image_table.dataset import Data as Table
from pipeline.datasets.shared.dicom import HEAD, header, is_dicom, is_dicom_file


def write(path, preamble=True, implicit=False, **tags):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = Dataset()
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.SOPInstanceUID = f"1.2.3.{path.name}" if path.name.isdigit() else "1.2.3.0"
    for name, value in tags.items():
        setattr(data, name, value)
    data.Rows, data.Columns, data.SamplesPerPixel = 4, 4, 1
    data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = np.arange(16, dtype=np.uint8).tobytes()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    if preamble:
        data.save_as(path, enforce_file_format=True)
    else:
        del data.file_meta
        pydicom.dcmwrite(path, data, implicit_vr=implicit, little_endian=True)
    return path


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
def test_written_files_are_known(tmp_path, preamble, implicit):
    path = write(tmp_path / "17", preamble, implicit, PatientID="p")
    assert (path.read_bytes()[128:132] == b"DICM") == preamble
    assert is_dicom_file(path)
    assert header(path).patient == "p"


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "rtplan.dcm", "ExplVR_LitEndNoMeta.dcm", "ExplVR_BigEndNoMeta.dcm", "nested_priv_SQ.dcm"]
)
def test_files_that_pydicom_ships(name):
    path = get_testdata_file(name)
    with open(path, "rb") as file:
        assert is_dicom(file.read(HEAD))


@pytest.mark.parametrize(
    "head",
    [
        *(b"", b"\x08", bytes(300), b"file,label\n" * 30, b"\x08\x00\xff\xff" * 40, b"\x00\x08" * 80),
        *(
            start + bytes(200)
            for start in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\x00", b"BM", b"PK\x03\x04")
        ),
    ],
)
def test_other_files_are_not(head):
    assert not is_dicom(head[:HEAD])


def test_header_in_the_columns_of_samples(tmp_path):
    about = header(
        write(
            tmp_path / "5",
            PatientID="7",
            IssuerOfPatientID="north",
            PatientSex="F",
            PatientBirthDate="19800612",
            StudyDate="20200611",
            ViewPosition="pa",
            Laterality="L",
            AccessionNumber="A1",
        )
    )
    assert about.patient == "north:7"
    assert about.columns == {
        "sex": "F",
        "age": 39,
        "view": "PA",
        "laterality": "L",
        "study_date": "2020-06-11",
        "accession_number": "A1",
        "study_uid": None,
        "series_uid": None,
        "sop_uid": "1.2.3.5",
    }
    assert header(write(tmp_path / "6", PatientAge="006M")).columns["age"] == 0.5


@pytest.fixture
def films(tmp_path):
    """Six files without suffix, of four patients, in two class folders."""
    for i, patient in enumerate(["a", "a", "b", "c", "c", "d"]):
        tags = {"PatientID": patient, "AccessionNumber": f"acc{i // 2}", "StudyDate": f"2020010{i + 1}"}
        write(tmp_path / "films" / ("sick" if i < 3 else "well") / str(i), preamble=i != 3, **tags)
    (tmp_path / "films" / "sick" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    return tmp_path / "films"


def test_folder_of_dicom_files(films, tmp_path):
    data = Folder(root=str(films))
    samples = list(data.samples(tmp_path))
    assert [s.sample_id for s in samples] == ["sick/0", "sick/1", "sick/2", "well/3", "well/4", "well/5"]
    assert [s.patient_id for s in samples] == ["a", "a", "b", "c", "c", "d"]
    assert samples[3].extra["study_date"] == "2020-01-04"
    assert data.patients_known
    record = data.fetch(tmp_path)
    assert (record["patients"], record["patients_from"]) == (4, "PatientID")
    assert record["other_files"] == {"count": 1, "first": ["sick/DICOMDIR"]}


@pytest.mark.parametrize("patient", ["", "ANONYMOUS"])
def test_headers_that_name_nobody(tmp_path, patient):
    for i in range(4):
        write(tmp_path / "films" / "ab"[i % 2] / str(i), PatientID=patient)
    data = Folder(root=str(tmp_path / "films"))
    assert not data.patients_known
    assert data.fetch(tmp_path)["patients"] is None
    assert [s.patient_id for s in data.samples(tmp_path)] == ["a/0", "a/2", "b/1", "b/3"]


@pytest.mark.parametrize("by", ["sop_instance_uid", "accession_number"])
def test_rows_named_by_the_header(films, tmp_path, by):
    rows = [f"1.2.3.{i},{'ab'[i % 2]}" for i in range(6)] if by == "sop_instance_uid" else ["acc0,a", "acc2,b"]
    (tmp_path / "t.csv").write_text("\n".join(["id,label", *rows, "gone,a"]))
    data = Table(root=str(films), table=str(tmp_path / "t.csv"), image_column="id", image_by=by, label_column="label")
    found = {s.sample_id: (s.patient_id, s.labels[0]) for s in data.samples(tmp_path)}
    record = data.fetch(tmp_path)
    gone = f"line {len(rows) + 2}"  # and not the id that no file has
    assert record["missing"] == {"count": 1, "first": [gone]}
    assert data.patients_known
    del found[gone]
    if by == "sop_instance_uid":
        assert found["well/5"] == ("d", "b")
        assert len(found) == 6
    else:
        assert found == {"sick/0": ("a", "a"), "sick/1": ("a", "a"), "well/4": ("c", "b"), "well/5": ("d", "b")}


def test_no_file_with_such_an_id(tmp_path):
    write(tmp_path / "films" / "1")
    (tmp_path / "t.csv").write_text("image,label\nx,a\ny,b\n")
    settings = {"root": str(tmp_path / "films"), "table": str(tmp_path / "t.csv"), "label_column": "label"}
    with pytest.raises(Exception, match="holds no DICOM image with the accession_number"):
        Table(**settings, image_by="accession_number").fetch(tmp_path)


@pytest.mark.parametrize("gap", ["no id", "null", "a picture"])
def test_one_header_that_names_nobody_does_not_part_the_others(films, tmp_path, gap):
    if gap == "a picture":
        cv2.imwrite(str(films / "well" / "9.png"), np.zeros((8, 8), np.uint8))
    else:
        write(films / "well" / "9", PatientID="" if gap == "no id" else gap)
    name = "well/9.png" if gap == "a picture" else "well/9"
    with pytest.raises(
        DatasetError, match=f"'{name}' has no PatientID in a DICOM header; 6 of 7 images name a patient"
    ):
        Folder(root=str(films)).fetch(tmp_path)
    without = Folder(root=str(films), without_patient="exclude")
    assert [s.patient_id for s in without.samples(tmp_path)] == ["a", "a", "b", "c", "c", "d"]
    assert without.left_out(tmp_path) == [(name, "no patient in its DICOM header")]
    alone = Folder(root=str(films), without_patient="alone")
    assert [s.patient_id for s in alone.samples(tmp_path)] == ["a", "a", "b", "c", "c", "d", name]
    rows = "".join(f"{s.sample_id},{s.labels[0]}\n" for s in alone.samples(tmp_path))
    (tmp_path / "t.csv").write_text(f"image,label\n{rows}")
    settings = {"root": str(films), "table": str(tmp_path / "t.csv"), "label_column": "label"}
    with pytest.raises(DatasetError, match="6 of 7 images name a patient"):
        Table(**settings).fetch(tmp_path)
    assert len(list(Table(**settings, without_patient="exclude").samples(tmp_path))) == 6
