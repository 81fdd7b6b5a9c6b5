import json

import cv2
import numpy as np
import pytest

from pipeline.datasets import DatasetError, dataset_class, open_dataset
from pipeline.datasets.image_table.dataset import Data
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Preprocess
from pipeline.settings import parse
from pipeline.study.params import ParamsError

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
    assert "each image counts as a patient" in data.notes[0]


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
    assert samples[0].extra == {"note": "x, y\nz", "age": "61"}
    assert samples[1].extra == {"note": None, "age": None}
    assert list(samples[4].extra) == ["note", "age"]
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
        ("image,label\n1.png,\n", "line 2: column 'label' is ''; expected a class"),
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


@pytest.mark.parametrize("value", ["", "-1", "2", "yes", "0.5", "nan"])
def test_class_columns_hold_0_and_1_only(root, tmp_path, value):
    data = Data(**table(root, f"image,Mass\n1.png,1\n2.jpg,{value}\n"), class_columns=["Mass"])
    with pytest.raises(DatasetError, match=f"line 3: column 'Mass' is '{value}'; it must be 0 or 1"):
        data.fetch(tmp_path)


def test_unknown_part_and_empty_patient(root, tmp_path):
    text = "image,label,part,who\n1.png,a,train,p\n2.jpg,b,holdout,\n"
    with pytest.raises(DatasetError, match="line 3: column 'part' is 'holdout'; it must be train, val, test or empty"):
        Data(**table(root, text), label_column="label", split_column="part").fetch(tmp_path)
    with pytest.raises(DatasetError, match=r"line 3: column 'who' is empty; expected the patient of '2\.jpg'"):
        Data(**table(root, text), label_column="label", patient_column="who").fetch(tmp_path)


def test_not_a_text_file(root, tmp_path):
    settings = table(root, "image,label\n1.png,Ärger\n", encoding="utf-16")
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
