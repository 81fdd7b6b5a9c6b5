import json

import cv2
import numpy as np
import pytest

from pipeline.datasets import DatasetError, dataset_class, open_dataset
from pipeline.datasets.image_table.dataset import Data
from pipeline.datasets.shared.remarks import remarks
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
        DatasetError, match=rf"'Mass' is {kind} in 2 rows \(first in line 3\).*no policy.*class_columns"
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
    with pytest.raises(DatasetError, match=r"line 3: column 'who' is empty; expected the patient of '2\.jpg'"):
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
        ({"mask_columns": ["m"], "label_column": "label"}, r"mask_columns: \['m'\] with task: ''"),
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
