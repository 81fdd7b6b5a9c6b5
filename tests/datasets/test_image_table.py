import json
import subprocess

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.datasets import DatasetError, dataset_class, open_dataset
from pipeline.datasets.image_table.dataset import Data
from pipeline.datasets.shared.inputs import record
from pipeline.datasets.shared.remarks import remarks
from pipeline.imaging.masks import prepared_masks
from pipeline.imaging.outcome import boxes_in_pixels
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.region import regions_of
from pipeline.imaging.settings import Preprocess
from pipeline.settings import parse
from pipeline.study.params import ParamsError
from tests.tiny import ROOT

NAMES = ["1.png", "2.jpg", "3.tif", "sub/4.bmp", "5.webp"]


@pytest.fixture
def root(tmp_path):
    for seed, name in enumerate(NAMES):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)
        path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return tmp_path / "images"


def table(root, text, name="labels.csv", encoding="utf-8"):
    path = root.parent / name
    path.write_text(text, encoding=encoding)
    return {"root": str(root), "table": str(path)}


def single(labels=("a", "b", "a", "b", "a")):
    return "image,label\n" + "".join(f"{n},{c}\n" for n, c in zip(NAMES, labels, strict=True))


def labels(data, tmp_path):
    return {s.sample_id: s.labels for s in data.samples(tmp_path)}


def test_single_label(root, tmp_path):
    data = Data(**table(root, single()), label_column="label")
    assert data.task == "multiclass"
    assert data.classes == ("a", "b")
    assert labels(data, tmp_path) == dict(zip(NAMES, [("a",), ("b",)] * 2 + [("a",)], strict=True))
    sample = next(data.samples(tmp_path))
    assert sample.read() == (root / "1.png").read_bytes()
    assert (sample.patient_id, sample.official_split, sample.extra) == ("1.png", "", {})
    assert not data.patients_known


def test_several_labels_in_one_column(root, tmp_path):
    text = "image,findings\n1.png,Mass|Edema\n2.jpg,No Finding\n3.tif,\nsub/4.bmp, Edema \n"
    data = Data(**table(root, text), label_column="findings", separator="|", negative_label="No Finding")
    assert data.task == "multilabel"
    assert data.classes == ("Edema", "Mass")
    assert labels(data, tmp_path) == {
        "1.png": ("Mass", "Edema"),
        "2.jpg": (),
        "3.tif": (),
        "sub/4.bmp": ("Edema",),
    }


def test_class_columns(root, tmp_path):
    text = "image,Mass,other,Edema\n1.png,1,x,0\n2.jpg,0.0,y,1.0\n3.tif,0,z,0\n"
    data = Data(**table(root, text), class_columns=["Edema", "Mass"])
    assert data.task == "multilabel"
    assert data.classes == ("Edema", "Mass")
    assert labels(data, tmp_path) == {"1.png": ("Mass",), "2.jpg": ("Edema",), "3.tif": ()}


def test_all_columns(root, tmp_path):
    text = (
        "\ufeffid,label,who,part,age,note\n"
        '1,a,p1,TRAIN,61,"x, y\nz"\n'
        "\n"
        "2,b,p1,training,,\n"
        "3,a,p2,valid,7,\n"
        "4,b,p3,test,8,\n"
        "5,b,p4,,9,\n"
    )
    for i in range(1, 6):
        (root / f"{i}.dcm").write_bytes(b"\0" * 128 + b"DICM")
    data = Data(
        **table(root, text),
        image_column="id",
        suffix=".dcm",
        label_column="label",
        class_names=["b", "a"],
        patient_column="who",
        split_column="part",
        extra_columns=["note", "age"],
    )
    assert data.classes == ("b", "a")
    samples = list(data.samples(tmp_path))
    assert [s.sample_id for s in samples] == [f"{i}.dcm" for i in range(1, 6)]
    assert [s.patient_id for s in samples] == ["p1", "p1", "p2", "p3", "p4"]
    assert [s.official_split for s in samples] == ["train", "train", "val", "test", ""]
    assert samples[0].extra == {"age": 61, "note": "x, y\nz"}
    assert samples[1].extra == {"age": None, "note": None}
    assert list(samples[4].extra) == ["age", "note"]
    assert samples[0].read()[128:] == b"DICM"
    record = data.fetch(tmp_path)
    assert record["parts"] == {"train": 2, "val": 1, "test": 1, "": 1}
    assert record["patients"] == 4
    assert data.notes == ()


def test_tab_separated(root, tmp_path):
    settings = table(root, single().replace(",", "\t"), "labels.tsv")
    assert Data(**settings, label_column="label").fetch(tmp_path)["rows"] == 5


def test_missing_files_are_counted_and_excluded(root, tmp_path):
    text = single() + "gone.png,a\nsub,b\n"
    data = Data(**table(root, text), label_column="label")
    record = data.fetch(tmp_path)
    assert json.loads(json.dumps(record)) == record
    assert (record["rows"], record["images"]) == (7, 5)
    assert record["missing"] == {"count": 2, "first": ["gone.png", "sub"]}
    with pytest.raises(FileNotFoundError):
        {s.sample_id: s for s in data.samples(tmp_path)}["gone.png"].read()
    settings = Preprocess(size=16, threads=1)
    result = prepare_all(data.samples(tmp_path), data.classes, data.task, settings, tmp_path / "images.npy")
    assert result.samples["sample_id"].tolist() == NAMES
    assert result.excluded["file"].tolist() == ["gone.png", "sub"]
    assert result.excluded["reason"][0] == "file missing"


def test_none_of_the_images_there(root, tmp_path):
    data = Data(**table(root, single()), label_column="label", suffix=".dcm")
    with pytest.raises(DatasetError, match=r"holds none of the 5 images of .*first is '1\.png\.dcm'"):
        data.fetch(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\n1.png,a\n2.jpg,b\n1.png,b\n", r"line 4: image '1\.png' occurs already in line 2"),
        ("image,label\n", "no rows below the header"),
        ("", "column 'image' .* is not in the header; it has no columns"),
        ("image,lable\n1.png,a\n", r"column 'label' \(datasets\.image_table\.label_column\) is not in .*image, lable"),
        ("image,label,label\n1.png,a,b\n", "column 'label' .* occurs twice in the header"),
        ("image,label\n1.png,a\n2.jpg\n", "line 3: 1 fields, the header has 2"),
        ("image,label\n1.png,a,b\n", "line 2: 3 fields, the header has 2"),
        ("image,label\n1.png,\n", "none of its 1 rows can be used: 1 have no label in column 'label'"),
        ("image,label\n,a\n", "line 2: column 'image' is empty"),
        ("image,label\n../1.png,a\n", r"line 2: image '\.\./1\.png' lies outside of root"),
        ("image,label\n/etc/passwd,a\n", "line 2: image '/etc/passwd' lies outside of root"),
        ("image,label\n1.png,a\n2.jpg,a\n", "column 'label' holds one class, 'a'"),
        ('image,label\n1.png,"a\n', "line 2: not CSV"),
        ('image,label\n1.png,"a\nb"\n2.jpg\n', "line 4: 1 fields"),
        ('image,label\n1.png,"a\nb",c\n', "line 2: 3 fields"),
    ],
)
def test_bad_tables_name_the_line(root, tmp_path, text, message):
    data = Data(**table(root, text), label_column="label")
    with pytest.raises(DatasetError, match=message):
        data.fetch(tmp_path)


def test_label_outside_the_list_is_named(root, tmp_path):
    data = Data(**table(root, single()), label_column="label", class_names=["a", "B"])
    with pytest.raises(DatasetError, match=r"labels\.csv: line 3: column 'label' is 'b'; use one of: a, B"):
        data.fetch(tmp_path)
    text = "image,label\n1.png,a|No Finding\n"
    settings = {"label_column": "label", "separator": "|", "negative_label": "No Finding"}
    with pytest.raises(DatasetError, match="is 'No Finding'; use one of: a, No Finding alone"):
        Data(**table(root, text), **settings, class_names=["a"]).fetch(tmp_path)
    with pytest.raises(DatasetError, match=r"is 'a\|No Finding'; expected classes, without"):
        Data(**table(root, text), **settings).fetch(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("a|a", "names 'a' twice"), ("a||b", "expected classes, without")])
def test_malformed_lists_of_labels(root, tmp_path, text, message):
    data = Data(**table(root, f"image,label\n1.png,{text}\n"), label_column="label", separator="|")
    with pytest.raises(DatasetError, match=message):
        data.fetch(tmp_path)


@pytest.mark.parametrize("value", ["2", "perhaps", "0.5", "x1"])
def test_class_columns_hold_0_and_1_only(root, tmp_path, value):
    data = Data(**table(root, f"image,Mass\n1.png,1\n2.jpg,{value}\n"), class_columns=["Mass"])
    with pytest.raises(DatasetError, match=f"line 3: column 'Mass' is '{value}'; it must be 0 or 1"):
        data.fetch(tmp_path)


@pytest.mark.parametrize(("value", "kind"), [("", "empty"), ("nan", "empty"), ("-1", "uncertain"), ("u", "uncertain")])
def test_uncertain_and_missing_labels_are_refused_by_name(root, tmp_path, value, kind):
    data = Data(**table(root, f"image,Mass\n1.png,1\n2.jpg,{value}\n3.tif,{value}\n"), class_columns=["Mass"])
    with pytest.raises(
        DatasetError, match=rf"'Mass' is {kind} in 2 rows \(first in line 3\).*Say what they are.*class_columns"
    ):
        data.fetch(tmp_path)


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ("1", "0"),
        ("TRUE", "False"),
        ("yes", "no"),
        ("Present", "absent"),
        ("x", ""),
        ("✓", ""),
        ("positive", "negative"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_answers_delimiters_and_encodings(root, tmp_path, yes, no, delimiter, encoding):
    rows = [["Image", "Mass", "Edema"], ["1.png", yes, no], ["2.jpg", no, no], ["3.tif", no, yes]]
    text = "\n".join(delimiter.join(row) for row in rows) + "\n"
    data = Data(**table(root, text, encoding=encoding), class_columns=["mass", "Edema"], label_map={"mass": "Mass"})
    assert labels(data, tmp_path) == {"1.png": ("Mass",), "2.jpg": (), "3.tif": ("Edema",)}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["Mass|Edema", "Nodule"],
            r"line 2: column 'label' holds several labels, 'Mass\|Edema'; set .*separator to '\|'",
        ),
        (["Mass", "Mass;Edema"], r"line 3: .*'Mass;Edema'; set datasets\.image_table\.separator to ';'"),
        (['"Mass, Edema"', "Edema"], "separator to ','"),
        (["\"['Mass', 'Edema']\"", "Nodule"], "separator to ','"),
    ],
)
def test_lists_of_labels_ask_for_the_separator(root, tmp_path, cells, message):
    text = "image,label\n" + "".join(f"{n},{c}\n" for n, c in zip(NAMES, cells, strict=False))
    with pytest.raises(DatasetError, match=message):
        Data(**table(root, text), label_column="label").fetch(tmp_path)
    separator = message[-2]
    listed = Data(**table(root, text), label_column="label", separator=separator)
    assert {"Mass", "Edema"} >= set(listed.classes) - {"Nodule"}


def test_a_comma_in_a_name_is_no_list(root, tmp_path):
    text = 'image,label\n1.png,"pneumonia, viral"\n2.jpg,"fracture, old"\n'
    assert Data(**table(root, text), label_column="label").classes == ("fracture, old", "pneumonia, viral")
    text = 'image,label\n1.png,"pneumonia, viral"\n2.jpg,pneumonia\n'
    declared = ["pneumonia", "pneumonia, viral"]
    assert Data(**table(root, text), label_column="label", class_names=declared).fetch(tmp_path)["images"] == 2


SPELLINGS = ["Normal", "normal", "Normal ", "viral pneumonia", "viral\u00a0 pneumonia"]


def test_spellings_of_one_class(root, tmp_path):
    text = single(SPELLINGS)
    with pytest.raises(
        DatasetError, match=r"'Normal' \(1\), 'normal' \(1\), 'Normal ' \(1\) differ only in case.*label_map"
    ):
        Data(**table(root, text), label_column="label").fetch(tmp_path)
    joined = {"normal": "Normal", "viral pneumonia": "Viral pneumonia"}
    data = Data(**table(root, text), label_column="label", label_map=joined)
    assert data.fetch(tmp_path)["counts"] == {"Normal": 3, "Viral pneumonia": 2}
    composed = single(["é", "e\u0301", "a", "a", "a"])
    with pytest.raises(DatasetError, match="differ only in case"):
        Data(**table(root, composed), label_column="label").fetch(tmp_path)


def test_names_that_look_missing(root, tmp_path):
    data = Data(**table(root, single(["NA", "None", "null", "nan", ""])), label_column="label")
    assert data.classes == ("NA", "None", "nan", "null")
    assert data.left_out(tmp_path) == [("5.webp", "no label in column 'label'")]
    assert data.fetch(tmp_path)["unlabelled"] == {"count": 1, "first": ["5.webp"]}


@pytest.mark.parametrize("value", ["nan", "NaN", "None", "NULL"])
def test_patients_that_stand_for_a_missing_one(root, tmp_path, value):
    text = f"image,label,who\n1.png,a,NA\n2.jpg,b,001\n3.tif,b,1\n5.webp,b,1e5\nsub/4.bmp,b,{value}\n"
    settings = {"label_column": "label", "patient_column": "who"}
    with pytest.raises(DatasetError, match=f"line 6: column 'who' is '{value}', which programs write for a missing"):
        Data(**table(root, text), **settings).fetch(tmp_path)
    kept = Data(**table(root, text.rpartition("sub")[0]), **settings)
    assert [s.patient_id for s in kept.samples(tmp_path)] == ["NA", "001", "1", "1e5"]


@pytest.mark.parametrize("value", ["", "nan", "null"])
def test_rows_without_a_patient_are_left_out_or_alone(root, tmp_path, value):
    text = f"image,label,who\n1.png,a,p\n2.jpg,b,p\n3.tif,b,q\n5.webp,b,{value}\n"
    settings = {**table(root, text), "label_column": "label", "patient_column": "who"}
    with pytest.raises(
        DatasetError, match=r"line 5: column 'who' is .*3 of 4 rows name a patient \(2 in all\), 1 does not"
    ):
        Data(**settings).fetch(tmp_path)
    without = Data(**settings, without_patient="exclude")
    assert [s.patient_id for s in without.samples(tmp_path)] == ["p", "p", "q"]
    assert without.left_out(tmp_path) == [("5.webp", "no patient in column 'who'")]
    assert without.fetch(tmp_path)["patients"] == 2
    alone = Data(**settings, without_patient="alone")
    assert not alone.patients_known
    assert [s.patient_id for s in alone.samples(tmp_path)] == ["p", "p", "q", "5.webp"]
    assert alone.fetch(tmp_path)["patients_named"] == {"images": 3, "of": 4, "patients": 2}


def test_numbers_with_a_decimal_comma_are_no_lists_of_labels(root, tmp_path):
    text = "image;label\n1.png;22,1\n2.jpg;61,1\n3.tif;22,1\n"
    with pytest.raises(DatasetError, match=r"line 2: column 'label' is the number '22,1'.*target_column"):
        Data(**table(root, text), label_column="label").fetch(tmp_path)


def test_sex_age_and_view_by_any_name(root, tmp_path):
    text = (
        "image,label,Patient Sex,PATIENT_AGE,View Position\n1.png,a,female,054Y,pa\n2.jpg,b,M,>90,\n3.tif,b,,oops,AP\n"
    )
    data = Data(**table(root, text), label_column="label")
    assert [s.extra for s in data.samples(tmp_path)] == [
        {"sex": "F", "age": 54, "view": "PA"},
        {"sex": "M", "age": 90, "view": None},
        {"sex": None, "age": None, "view": "AP"},
    ]
    assert data.fetch(tmp_path)["unread"] == {"age": {"count": 1, "first": ["oops"]}}


def test_absolute_paths_below_root(root, tmp_path):
    text = f"image,label\n{root / '1.png'},a\nsub\\4.bmp,b\n"
    assert [s.sample_id for s in Data(**table(root, text), label_column="label").samples(tmp_path)] == [
        "1.png",
        "sub/4.bmp",
    ]


def test_patterns_blocks_and_dates(root, tmp_path):
    text = "image,label,when\n1.png,a,20170301\n2.jpg,b,2017-03-02 10:00\n3.tif,b,3/4/2017\nsub/4.bmp,b,\n5.webp,a,\n"
    data = Data(
        **table(root, text),
        label_column="label",
        date_column="when",
        exclude=["*.webp"],
        groups="blocks of 2",
    )
    samples = list(data.samples(tmp_path))
    assert [(s.sample_id, s.patient_id) for s in samples] == [
        ("1.png", "1-2"),
        ("2.jpg", "1-2"),
        ("3.tif", "3-4"),
        ("sub/4.bmp", "sub/3-4"),
    ]
    assert [s.extra["study_date"] for s in samples] == ["2017-03-01", "2017-03-02", None, None]
    record = data.fetch(tmp_path)
    assert record["unchosen_files"]["first"] == ["5.webp"]
    assert record["unread"]["study_date"]["first"] == ["3/4/2017"]


def test_unknown_part_and_empty_patient(root, tmp_path):
    text = "image,label,part,who\n1.png,a,train,p\n2.jpg,b,holdout,\n"
    with pytest.raises(DatasetError, match="line 3: column 'part' is 'holdout'; it must be train, val, test or empty"):
        Data(**table(root, text), label_column="label", split_column="part").fetch(tmp_path)
    with pytest.raises(DatasetError, match="line 3: column 'who' is empty; 1 of 2 rows name a patient"):
        Data(**table(root, text), label_column="label", patient_column="who").fetch(tmp_path)


def test_not_a_text_file(root, tmp_path):
    settings = table(root, "image,label\n1.png,Ärger\n", encoding="cp1252")
    with pytest.raises(DatasetError, match=r"labels\.csv: not UTF-8 text"):
        Data(**settings, label_column="label").fetch(tmp_path)


def test_what_is_not_set_is_named(root, tmp_path):
    settings = table(root, single())
    with pytest.raises(DatasetError, match="neither label_column nor class_columns is set"):
        Data(**settings).fetch(tmp_path)
    with pytest.raises(DatasetError, match=r"datasets\.image_table\.table is not set"):
        Data(root=settings["root"], label_column="label").fetch(tmp_path)
    with pytest.raises(DatasetError, match=r"datasets\.image_table\.root is not set"):
        Data(table=settings["table"], label_column="label").fetch(tmp_path)
    with pytest.raises(DatasetError, match=r"datasets\.image_table\.table: 'no\.csv' is not a file"):
        Data(root=settings["root"], table="no.csv", label_column="label").fetch(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_column": "x", "class_columns": ["a", "b"]}, "label_column: 'x' beside class_columns"),
        ({"class_columns": ["a"], "separator": "|"}, "separator: '|' beside class_columns"),
        ({"class_columns": ["a", "a"]}, "class_columns: 'a' is listed twice; it must be listed once"),
        ({"label_column": "x", "class_names": ["a"]}, "class_names: ['a']; there must be at least 2 classes"),
        ({"label_column": "x", "negative_label": "none"}, "negative_label: 'none' without separator"),
        (
            {"label_column": "x", "separator": "|", "negative_label": "a", "class_names": ["a", "b"]},
            "negative_label: 'a' is also in class_names",
        ),
        ({"label_column": ""}, "datasets.image_table.label_column: must have at least 1 character, not ''"),
    ],
)
def test_settings_that_contradict_each_other(tiny, settings, message):
    params = parse(tiny | {"dataset": "image_table", "datasets": {"image_table": settings}})
    with pytest.raises(ParamsError) as caught:
        open_dataset("image_table", params.datasets["image_table"])
    assert message in str(caught.value)
    assert "datasets.image_table" in str(caught.value)


def test_task_is_that_of_the_settings_where_stages_ask():
    cls = dataset_class("image_table")
    assert cls(class_columns=["a", "b"]).task == "multilabel"
    assert cls(label_column="x").task == "multiclass"
    assert cls(label_column="x", separator=";").task == "multilabel"


def test_image_files_without_a_row_are_named(root, tmp_path):
    data = Data(**table(root, single().replace("sub/", "sub//") + "gone.png,a\n"), label_column="label")
    assert data.fetch(tmp_path)["without_row"] == {"count": 0, "first": []}
    (root / "sub" / "extra.png").write_bytes(b"x")
    (root / "late.JPG").write_bytes(b"x")
    (root / "scan").write_bytes(bytes(128) + b"DICM" + bytes(8))  # DICOM by its content
    (root / "notes.txt").write_text("no image")
    record = data.fetch(tmp_path)
    assert record["without_row"] == {"count": 3, "first": ["late.JPG", "scan", "sub/extra.png"]}
    said = "3 image files have no row in the table and are left out"
    assert f"{said}: late.JPG, scan, sub/extra.png" in remarks(record, names=True)
    assert said in remarks(record, names=False)
    unlabelled = Data(**table(root, "image,label\nlate.JPG,\n" + single()[12:]), label_column="label")
    assert unlabelled.fetch(tmp_path)["without_row"]["first"] == ["scan", "sub/extra.png"]


def test_masks_beside_labels_are_regions_of_interest_and_watched_by_content(root, tmp_path):
    (root / "masks").mkdir()
    for i in range(len(NAMES)):
        mask = np.zeros((16, 16), np.uint8)
        mask[2:10, 4 + i : 12] = 255
        (root / "masks" / f"{i}.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    rows = "".join(
        f"{n},{c},{'' if i == 1 else f'masks/{i}.png'}\n" for i, (n, c) in enumerate(zip(NAMES, "ababa", strict=True))
    )
    data = Data(**table(root, f"image,label,lungs\n{rows}"), label_column="label", mask_columns=["lungs"])
    assert (data.task, data.classes, data.mask_classes) == ("multiclass", ("a", "b"), ("lungs",))
    assert data.left_out(tmp_path) == []
    before = record(data, tmp_path, tmp_path / "content.csv")
    settings = Preprocess(size=16, threads=1, clahe={"enabled": False}, roi={"masks": "own", "margin": 0.0})
    prepared = prepare_all(
        data.samples(tmp_path),
        data.classes,
        data.task,
        settings,
        tmp_path / "images.npy",
        regions=regions_of(settings.roi, data, tmp_path),
    )
    kept = prepared.samples[["roi", "roi_x", "roi_y", "roi_width", "roi_height"]].values.tolist()
    assert kept[0] == ["found", 4, 2, 8, 8]
    assert kept[1] == ["none found", 0, 0, 16, 16]
    assert kept[2] == ["found", 6, 2, 6, 8]
    (root / "masks/0.png").write_bytes((root / "masks/2.png").read_bytes())
    assert record(data, tmp_path, tmp_path / "content.csv")["sha256"] != before["sha256"]


CELLS = "image,Mass,Edema\n1.png,1,-1\n2.jpg,,0\n3.tif,0,u\n"


@pytest.mark.parametrize(("empty", "unknown"), [("unknown", ("Mass",)), ("negative", ())])
def test_empty_and_uncertain_cells_are_what_the_settings_say(root, empty, unknown):
    data = Data(**table(root, CELLS), class_columns=["Mass", "Edema"], empty=empty, uncertain={"Edema": 0.7})
    found = list(data.samples(None))
    assert [s.labels for s in found] == [("Mass",), (), ()]
    assert [s.unknown for s in found] == [(), unknown, ()]
    assert [s.uncertain for s in found] == [("Edema",), (), ("Edema",)]
    assert data.uncertain_as == {"Mass": None, "Edema": 0.7}


def test_of_columns_of_one_class_what_is_surest_counts(root):
    settings = {"class_columns": ["Mass", "Edema"], "label_map": {"Mass": "found", "Edema": "found"}}
    data = Data(**table(root, CELLS), **settings, empty="unknown", uncertain="ignore")
    assert [(s.labels, s.unknown, s.uncertain) for s in data.samples(None)] == [
        (("found",), (), ()),
        ((), ("found",), ()),
        ((), (), ("found",)),
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"label_column": "image", "empty": "unknown"}, "empty: 'unknown' without class_columns"),
        ({"label_column": "image", "uncertain": "ignore"}, "uncertain: 'ignore' without class_columns"),
        ({"class_columns": ["Mass"], "uncertain": {"Hernia": 1.0}}, "'Hernia' is not a class; must be among Mass"),
        ({"class_columns": ["Mass"], "uncertain": 1.2}, "uncertain"),
    ],
)
def test_settings_of_uncertain_cells_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Data(**settings)


def test_a_table_like_that_of_padchest(root):
    rows = ["ImageID,PatientID,StudyDate_DICOM,Labels", "1.png,7,20140915,\"['normal']\""]
    text = "\n".join([*rows, "2.jpg,7,20150101,\"['nodule', 'pneumonia']\""])
    settings = {"image_column": "ImageID", "label_column": "Labels", "separator": ",", "negative_label": "normal"}
    more = {"class_names": ["pneumonia", "nodule"], "patient_column": "PatientID", "date_column": "StudyDate_DICOM"}
    found = list(Data(**table(root, text), **settings, **more).samples(None))
    assert [s.labels for s in found] == [(), ("nodule", "pneumonia")]
    assert found[0].extra == {"study_date": "2014-09-15"}


def test_a_table_like_that_of_vindr(root, tmp_path):
    readers = pd.DataFrame(
        {"image_id": ["1", "1", "1", "2", "2", "2"], "rad_ID": list("abcabc"), "Mass": [1, 1, 0, 0, 0, 0], "Edema": 1}
    )
    shares = readers.drop(columns="rad_ID").groupby("image_id").mean()
    (root / "1").write_bytes((root / "1.png").read_bytes())
    (root / "2").write_bytes((root / "2.jpg").read_bytes())
    text = shares.where(shares.isin([0, 1]), -1).astype(int).to_csv()
    data = Data(**table(root, text), image_column="image_id", class_columns=["Mass", "Edema"], uncertain=0.5)
    assert [(s.labels, s.uncertain) for s in data.samples(None)] == [(("Edema",), ("Mass",)), (("Edema",), ())]


def test_masks_in_columns(root, tmp_path):
    (root / "masks").mkdir()
    for name in ("left.png", "right.png"):
        (root / "masks" / name).write_bytes(name.encode())
    text = "image,left,right lung,person\n1.png,masks/left.png,masks/right.png,a\n2.jpg,masks/left.png,,b\n3.tif,,,c\n"
    given = {"mask_columns": ["left", "right lung"], "patient_column": "person", "task": "segmentation"}
    data = Data(**table(root, text), **given, label_map={"left": "left lung"}, mask_above=9)
    assert (data.task, data.classes) == ("segmentation", ("left lung", "right lung"))
    assert labels(data, tmp_path) == {"1.png": ("left lung", "right lung"), "2.jpg": ("left lung",)}
    both, one = (sample.masks() for sample in data.samples(tmp_path))
    assert [(m.content, m.above) for m in both] == [(b"left.png", 9), (b"right.png", 9)]
    assert [m.content for m in one] == [b"left.png", None]
    assert data.left_out(tmp_path) == [("3.tif", "no mask in left, right lung")]
    found = data.fetch(tmp_path)
    assert found["unlabelled"]["count"] == 1
    assert found["without_row"]["first"] == ["5.webp", "sub/4.bmp"]  # no mask among them


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "segmentation"}, r"mask_columns: \[\] with task: 'segmentation'"),
        ({"task": "segmentation", "mask_columns": ["m"], "label_column": "label"}, "beside label_column"),
        ({"task": "segmentation", "mask_columns": ["m", "m"]}, "mask_columns: 'm' is listed twice"),
        (
            {"task": "segmentation", "mask_columns": ["l", "r"], "label_map": {"l": "lung", "r": "lung"}},
            "label_map: 'lung' stands for two masks",
        ),
        ({"task": "masks", "mask_columns": ["m"]}, "task: .*segmentation"),
    ],
)
def test_settings_of_masks_that_do_not_fit(root, settings, message):
    with pytest.raises(ParamsError, match=message):
        open_dataset("image_table", {**table(root, single()), **settings})


def test_a_mask_outside_of_root_is_refused_and_an_empty_key_is_none(root, tmp_path):
    given = {**table(root, "image,m\n1.png,../m.png\n"), "task": "segmentation", "mask_columns": ["m"]}
    with pytest.raises(DatasetError, match=r"image '\.\./m.png' lies outside of root"):
        list(open_dataset("image_table", given).samples(tmp_path))
    assert open_dataset("image_table", {"label_column": "label", "task": None}).task == "multiclass"


def test_levels_of_one_mask_are_structures(root, tmp_path):
    """White blood cells as Zheng et al. 2018 publish them: nuclei white, cytoplasm grey, one PNG beside each BMP."""
    grey = np.zeros((16, 16), np.uint8)
    grey[2:10, 2:10], grey[4:8, 4:8] = 128, 255
    grey[2, 2] = 96  # some have been resampled
    (root / "001.png").write_bytes(cv2.imencode(".png", grey)[1].tobytes())
    text = "image,mask\n1.png,001.png\n2.jpg,\n"
    levels = {"nucleus": 255, "cytoplasm": [64, 191], "cell": [64, 255]}
    data = Data(**table(root, text), task="segmentation", mask_columns=["mask"], mask_levels=levels)
    assert data.classes == data.mask_classes == ("nucleus", "cytoplasm", "cell")
    assert data.left_out(tmp_path) == [("2.jpg", "no mask in mask")]
    (sample,) = data.samples(tmp_path)
    masks = prepared_masks(sample.masks, 16, 16, Preprocess(size=16, channels=1))
    assert np.array_equal(masks[..., 0] > 0, grey == 255)
    assert np.array_equal(masks[..., 1] > 0, (grey == 128) | (grey == 96))
    assert np.array_equal(masks[..., 2] > 0, grey > 0)
    assert record(data, tmp_path, tmp_path / "content.csv")["labels"] == dict.fromkeys(levels, 1)
    whole = (tmp_path / "content.csv").read_text()
    other = data.model_copy(update={"mask_levels": levels | {"nucleus": [200, 255]}})
    record(other, tmp_path, tmp_path / "content.csv")
    assert (tmp_path / "content.csv").read_text() != whole  # what a level is taken for is known by content, too


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_levels": {"a": [9, 3]}}, r"mask_levels: a: \[9, 3\]; the first level must be at most the second"),
        ({"mask_levels": {"a": 300}}, "mask_levels.*255"),
        ({"mask_levels": {"a": [1, 2, 3]}}, "mask_levels.*2"),
        ({"mask_levels": {"a": 1}, "mask_columns": ["m", "n"]}, "mask_columns: .* beside mask_levels; must be one"),
        ({"mask_levels": {"a": 1}, "mask_above": 9}, "mask_above: 9 beside mask_levels"),
        ({"box_table": "boxes.csv"}, "box_table: 'boxes.csv' with task: 'segmentation'; boxes are of classes"),
    ],
)
def test_levels_that_do_not_fit_are_refused(root, settings, message):
    given = {**table(root, "image,m,n\n1.png,2.jpg,2.jpg\n"), "task": "segmentation", "mask_columns": ["m"]}
    with pytest.raises(ParamsError, match=message):
        open_dataset("image_table", given | settings)


@pytest.mark.parametrize(
    ("head", "first", "unit"),
    [
        ("image,class,x,y,width,height", "1.png,A,4,2,8,4", "pixels"),
        ("x_min,y_min,x_max,y_max,class_name,Image", "4,2,12,6,A,1.png", "pixels"),
        ("image,label,x,y,width,height", "1.png,A,0.25,0.125,0.5,0.25", "fraction"),
    ],
)
def test_boxes_of_a_table_become_those_of_the_prepared_images(root, tmp_path, head, first, unit):
    empty = {"image": "2.jpg", "Image": "2.jpg", "class": "none", "class_name": "none", "label": "none"}
    lines = [head, first, ",".join(empty.get(name, "") for name in head.split(","))]
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    settings = {**table(root, single(("A", "b", "A", "b", "A"))), "label_column": "label", "label_map": {"A": "a"}}
    data = Data(**settings, box_table="boxes.csv", box_unit=unit)
    samples = pd.DataFrame({"row": [0], "sample_id": ["1.png"], "width": [16], "height": [16]})
    found = boxes_in_pixels(data.boxes(tmp_path), samples, 32, "stretch")
    assert found.values.tolist() == [[0, "1.png", "a", 8.0, 4.0, 16.0, 8.0]]
    assert data.fetch(tmp_path)["boxes"] == {"of other images": 0, "of other classes": 0}
    assert Data(**settings).boxes(tmp_path) is None
    assert "boxes" not in Data(**settings).fetch(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,class,x,y,width\n", "no columns of boxes .*box_table.*; it must have x, y, width, height or x_min"),
        ("image,x,y,width,height\n1.png,1,2,3,4\n", "column 'class' .* is not in the header"),
        ("image,class,x,y,width,height\n1.png,a,1,2,0,4\n", "line 2: a box of 1, 2, 0, 4; must have sides above 0"),
        ("image,class,x,y,width,height\n1.png,a,1,2,many,4\n", "line 2: a box of .*'many'.*; must be four numbers"),
        ("image,class,x,y,width,height\n9.png,a,1,2,3,4\n1.png,z,1,2,3,4\n", "no box .*1 of other images, 1 of other"),
        (None, "'boxes.csv' is no file below root"),
    ],
)
def test_boxes_that_cannot_be_read_are_refused(root, tmp_path, text, message):
    if text is not None:
        (root / "boxes.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        Data(**table(root, single()), label_column="label", box_table="boxes.csv").boxes(tmp_path)
    with pytest.raises(DatasetError, match="lies outside of root"):
        Data(**table(root, single()), label_column="label", box_table="../boxes.csv").boxes(tmp_path)


def test_white_blood_cells_as_published_are_read_by_the_documented_command(tmp_path):
    """The layout of github.com/zxaoyou/segmentation_WBC: images of several sizes, a PNG of three levels beside each."""
    text = (ROOT / "docs/segmentation.md").read_text()
    (command,) = [line for line in text.splitlines() if line.startswith("cd '../segmentation_WBC/Dataset 1'")]
    blocks = [block.split("```")[0] for block in text.split("```yaml\n")[1:]]
    settings = next(block for block in blocks if "mask_levels" in block and "datasets:" in block)
    given = yaml.safe_load(settings.split("preprocess:")[0])["datasets"]["image_table"]
    folder, study = tmp_path / "segmentation_WBC" / "Dataset 1", tmp_path / "study"
    folder.mkdir(parents=True)
    study.mkdir()
    for name, side in (("001", 24), ("002", 20)):
        cell = cv2.circle(np.zeros((24, side), np.uint8), (side // 2, 12), 9, 128, -1)
        cell = cv2.circle(cell, (side // 2, 12), 4, 255, -1)
        cv2.imwrite(str(folder / f"{name}.bmp"), np.dstack([cell] * 3))
        cv2.imwrite(str(folder / f"{name}.png"), cell)
    subprocess.run(["bash", "-c", command], check=True, cwd=study)
    paths = {key: str(study / given[key]) for key in ("root", "table")}
    data = Data(**{**given, **paths})
    assert data.classes == ("nucleus", "cell")
    samples = list(data.samples(tmp_path))
    assert [sample.sample_id for sample in samples] == ["001.bmp", "002.bmp"]
    nucleus, cell = np.moveaxis(prepared_masks(samples[1].masks, 24, 20, Preprocess(size=24, channels=3)) > 0, -1, 0)
    assert 0 < nucleus.sum() < cell.sum() < cell.size
    assert not (nucleus & ~cell).any()
    assert data.fetch(tmp_path)["without_row"]["count"] == 0
