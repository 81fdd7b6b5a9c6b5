"""The reader of the ChestX-ray14 layout: its odd headers, its refusals, and the real files where they lie."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.nih_layout import FINDINGS, iter_samples, read_boxes, read_entries, read_list
from tests.tiny import DATA

HEADER_2020 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
HEADER_2017 = HEADER_2020.replace("Patient Sex", "Patient Gender") + ","
ROWS = [
    "00000061_012.png,Edema|Effusion|Pneumonia,12,61,77,M,AP,3056,2544,0.139,0.139",
    "00000061_015.png,No Finding,15,61,414,M,AP,3056,2544,0.139,0.139",
    "00000075_000.png,Hernia,0,75,058Y,F,PA,2048,2500,0.171,0.171",
]
REAL = DATA / "nih_chestxray14"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def entries(tmp_path) -> pd.DataFrame:
    return read_entries(write(tmp_path / "entries.csv", HEADER_2020, *ROWS))


@pytest.mark.parametrize(("header", "tail"), [(HEADER_2020, ""), (HEADER_2017, ",")])
def test_both_headers_give_the_same_rows(tmp_path, header, tail):
    read = read_entries(write(tmp_path / "e.csv", header, *(row + tail for row in ROWS)))
    assert list(read.columns) == ["sample_id", "finding_labels", "follow_up", "patient_id", "age", "sex", "view"]
    assert read["sample_id"].tolist() == ["00000061_012.png", "00000061_015.png", "00000075_000.png"]
    assert read["finding_labels"].tolist() == [("Effusion", "Pneumonia", "Edema"), (), ("Hernia",)]
    assert read["patient_id"].tolist() == ["00000061", "00000061", "00000075"]
    assert read["follow_up"].tolist() == [12, 15, 0]
    assert read["sex"].tolist() == ["M", "M", "F"]
    assert read["view"].tolist() == ["AP", "AP", "PA"]
    assert read["age"].iloc[0] == 77
    assert pd.isna(read["age"].iloc[1]), "414 years are a typing error of the published file"
    assert read["age"].iloc[2] == 58


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "e.csv"
    path.write_bytes(("\ufeff" + "\r\n".join([HEADER_2020, *ROWS])).encode())
    assert len(read_entries(path)) == 3


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("00000076_000.png,Edema|Flu,0,76,50,M,PA,1,1,1,1", ["line 3", "'Flu'", "Atelectasis", "No Finding"]),
        ("00000076_000.png,No Finding|Edema,0,76,50,M,PA,1,1,1,1", ["line 3", "'No Finding'", "alone"]),
        ("00000076_000.png,,0,76,50,M,PA,1,1,1,1", ["line 3", "''"]),
        ("00000076_000.png,Edema,0,77,50,M,PA,1,1,1,1", ["line 3", "00000076_000.png", "77"]),
        ("scan.png,Edema,0,77,50,M,PA,1,1,1,1", ["line 3", "scan.png"]),
        ("00000061_012.png,Edema,0,61,50,M,PA,1,1,1,1", ["line 3", "00000061_012.png", "line 2"]),
        ("00000076_000.png,Edema,0,76,old,M,PA,1,1,1,1", ["line 3", "'old'"]),
        ("00000076_000.png,Edema,x,76,50,M,PA,1,1,1,1", ["line 3", "Follow-up"]),
        ("00000076_000.png,Edema,0,76,50,X,PA,1,1,1,1", ["line 3", "'X'", "must be M or F"]),
        ("00000076_000.png,Edema,0,76,50,M,LL,1,1,1,1", ["line 3", "'LL'", "must be PA or AP"]),
        ("00000076_000.png,Edema", ["line 3", "fields"]),
    ],
)
def test_bad_row_is_named(tmp_path, row, words):
    path = write(tmp_path / "e.csv", HEADER_2020, ROWS[0], row)
    with pytest.raises(DatasetError) as caught:
        read_entries(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", HEADER_2020, "a,b,c\n1,2,3", HEADER_2020.replace("Patient ID", "Id") + "\n" + ROWS[0]]
)
def test_another_table_is_refused(tmp_path, text):
    with pytest.raises(DatasetError):
        read_entries(write(tmp_path / "e.csv", text))


def test_missing_or_binary_files_are_dataset_errors(tmp_path):
    (tmp_path / "binary").write_bytes(b"\x89PNG\xff\xfe")
    for name in ("missing", "binary"):
        for reader in (read_entries, read_list, read_boxes):
            with pytest.raises(DatasetError, match=name):
                reader(tmp_path / name)


def test_list_ignores_blank_lines(tmp_path):
    assert read_list(write(tmp_path / "l.txt", "a.png", "", " b.png ")) == {"a.png", "b.png"}


BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


def test_boxes_are_fractions_and_clipped(tmp_path):
    path = write(
        tmp_path / "b.csv",
        BOX_HEADER,
        "a.png,Infiltrate,256.0,512.0,128.0,256.0",
        "a.png,Mass,-10,960,100,100,,,",
    )
    boxes = read_boxes(path)
    assert list(boxes.columns) == ["sample_id", "class", "x", "y", "width", "height"]
    assert boxes["class"].tolist() == ["Infiltration", "Mass"]
    assert boxes.loc[0, ["x", "y", "width", "height"]].tolist() == [0.25, 0.5, 0.125, 0.25]
    assert boxes.loc[1, ["x", "y", "width", "height"]].tolist() == [0.0, 960 / 1024, 90 / 1024, 64 / 1024]
    assert read_boxes(path, width=512, height=2048).loc[0, ["x", "y"]].tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    "row",
    [
        "a.png,Flu,1,1,5,5",
        "a.png,Mass,1,1,5",
        "a.png,Mass,1,1,x,5",
        "a.png,Mass,1,1,0,5",
        "a.png,Mass,1,1,nan,5",
        "a.png,Mass,2000,1,5,5",
    ],
)
def test_bad_box_is_named(tmp_path, row):
    with pytest.raises(DatasetError, match=r"line 2"):
        read_boxes(write(tmp_path / "b.csv", BOX_HEADER, row))


def test_samples_carry_part_and_columns(entries):
    names = entries["sample_id"].tolist()
    samples = list(iter_samples(entries, lambda name: name.encode, set(names[:2]), {names[2], "99999999_000.png"}))
    assert [s.official_split for s in samples] == ["train", "train", "test"]
    assert [s.labels for s in samples] == entries["finding_labels"].tolist()
    assert samples[0].extra == {"age": 77, "sex": "M", "view": "AP", "follow_up": 12}
    assert samples[1].extra["age"] is None
    assert samples[2].read() == b"00000075_000.png"
    assert samples[2].patient_id == "00000075"


def test_lists_must_part_images_and_patients(entries):
    first, second, third = entries["sample_id"]
    for train_val, test, words in [
        ({first, second}, {second, third}, second),
        ({first}, {third}, second),
        ({first}, {second, third}, "00000061"),
    ]:
        with pytest.raises(DatasetError, match=words):
            next(iter_samples(entries, lambda name: name.encode, train_val, test))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real ChestX-ray14 files in {REAL}")
def test_real_files():
    entries, boxes = read_entries(REAL / "Data_Entry_2017_v2020.csv"), read_boxes(REAL / "BBox_List_2017.csv")
    train_val, test = read_list(REAL / "train_val_list.txt"), read_list(REAL / "test_list.txt")
    assert len(entries) == 1605
    assert entries["patient_id"].nunique() == 1281
    assert len(boxes) == (REAL / "BBox_List_2017.csv").read_text().count(".png") == 60
    assert {f for labels in entries["finding_labels"] for f in labels} == set(FINDINGS)
    assert "Infiltration" in set(boxes["class"])
    assert boxes["sample_id"].isin(test).all()
    samples = list(iter_samples(entries, lambda name: (REAL / "images" / name).read_bytes, train_val, test))
    assert len(samples) == 1605
    assert samples[0].read().startswith(b"\x89PNG")
