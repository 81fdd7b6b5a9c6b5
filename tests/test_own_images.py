"""Images of one's own through download, preprocess and split, as people have them."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import download, preprocess, split
from pipeline.datasets import DatasetError
from pipeline.settings import load
from pipeline.study.files import AUDIT, EXCLUDED
from pipeline.study.parts import read_parts, read_split
from pipeline.study.prepared import read_dataset, read_samples


@pytest.fixture
def study(tiny, tmp_path, monkeypatch):
    """Return a function that runs the stages on a data set in the working directory."""
    monkeypatch.chdir(tmp_path)

    def run(name, losses=("ce",), **settings):
        tiny["dataset"], tiny["datasets"] = name, {name: settings}
        tiny["losses"], tiny["study"]["losses"] = {loss: {} for loss in losses}, list(losses)
        tiny["split"] = {"method": "grouped", "validation": 0.25, "test": 0.25, "allow_missing_classes": True}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny))
        download.download(load())
        preprocess.main()
        split.main()

    return run


def write(path, seed, high=256):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, high, (40, 40), np.uint8))


def test_a_release_with_masks(study, tmp_path, capsys):
    for i in range(12):
        for end, high in (("", 256), ("_mask", 2)):
            write(tmp_path / "us" / "ab"[i % 2] / f"scan ({i}){end}.png", 2 * i + (high == 2), high)
    write(tmp_path / "us" / "a" / "flat.png", 99, 2)
    (tmp_path / "us" / "readme.txt").write_text("x")
    study("image_folder", root="us")
    said = capsys.readouterr().err
    assert "note: 12 files are masks of others" in said
    assert "note: 1 other file lies beside the images: readme.txt" in said
    assert "which images show the same person is not known" in said
    assert "warning: 1 of 13 images kept are all but of one grey level" in said
    samples, info = read_samples(), read_dataset()
    assert len(samples) == 13
    assert not samples["sample_id"].str.contains("mask").any()
    excluded = pd.read_csv(EXCLUDED)
    assert len(excluded) == 12
    assert excluded["reason"][0] == "mask of a/scan (0).png"
    assert not info.patients_known
    assert len(info.remarks) == 3
    assert "readme" not in " ".join(info.remarks)


def test_names_and_ids_that_look_missing(study, tmp_path):
    patients = ["NA", "NA", "001", "1", "01", "1e5", "100000", "1,5", "1_000", "NULL1", "x", "y"]
    grades = ["NA", "None", "null", "nan"]
    for i in range(12):
        write(tmp_path / "img" / f"{i}.png", i)
    rows = [f'{i}.png;"{patients[i]}";{grades[i % 4]}' for i in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["File;who;grade", *rows, ""]), encoding="utf-8-sig")
    settings = {"table": "t.csv", "image_column": "file", "patient_column": "who", "label_column": "grade"}
    study("image_table", root="img", **settings)
    samples, classes = read_samples(), read_dataset().classes
    assert classes == ("NA", "None", "nan", "null")
    assert samples["patient_id"].tolist() == patients
    assert samples[list(classes)].sum().tolist() == [3, 3, 3, 3]
    parts = read_parts(("train", "val", "test"))
    assert sorted(p for part in parts.values() for p in part.patients) == sorted(patients)
    assert set(read_split()["part"]) == {"train", "val", "test"}
    assert json.loads(AUDIT.read_text())["classes"].keys() == set(classes)


def test_what_is_resampled_is_the_group(study, tmp_path):
    for i in range(12):
        write(tmp_path / "img" / "ab"[i % 2] / f"p{i}_1.png", i)
    write(tmp_path / "img" / "a" / "p1_2.png", 0)  # the picture of p0: the two are one group
    study("image_folder", root="img", patient_pattern=r"(p\d+)_")
    groups = read_samples().set_index("row")["group_id"]
    parts = read_parts(("train", "val", "test"))
    assert groups.nunique() == 11
    for part in parts.values():
        assert part.patients.tolist() == groups.loc[part.rows].tolist()


@pytest.mark.parametrize("kind", ["folders", "column", "columns"])
def test_classes_called_as_something_else(study, tmp_path, kind, capsys):
    """Macro- and micro-adenoma, a tumour grade None, columns of our own tables: each class keeps its images."""
    names = ["macro", "None", "part", "age"]
    for i in range(16):
        label = names[i % 4]
        write(tmp_path / "img" / label / f"{i}.png", i)
    rows = [(f"{names[i % 4]}/{i}.png", i % 4) for i in range(16)]
    if kind == "folders":
        study("image_folder", root="img")
    elif kind == "column":
        text = ["image,label", *(f"{path},{names[k]}" for path, k in rows)]
        (tmp_path / "t.csv").write_text("\n".join([*text, ""]))
        study("image_table", root="img", table="t.csv", label_column="label", class_names=names)
    else:
        text = [
            ",".join(["image", *names]),
            *(f"{path},{','.join(str(int(j == k)) for j in range(4))}" for path, k in rows),
        ]
        (tmp_path / "t.csv").write_text("\n".join([*text, ""]))
        study("image_table", losses=["bce"], root="img", table="t.csv", class_columns=names)
    called = ["macro (class)", "None", "part (class)", "age (class)"]
    samples, info = read_samples(), read_dataset()
    assert sorted(info.classes) == sorted(called)
    assert kind == "folders" or list(info.classes) == called
    for name, name_in_data in zip(called, names):
        assert samples["sample_id"][samples[name] == 1].str.startswith(f"{name_in_data}/").sum() == 4
    told = [remark for remark in info.remarks if "of the data is called" in remark]
    assert len(told) == 3
    assert "note: class 'macro' of the data is called 'macro (class)'" in capsys.readouterr().err
    assert json.loads(AUDIT.read_text())["classes"].keys() == set(called)


def test_a_column_of_ones_own_that_is_called_as_a_class_is_refused(study, tmp_path):
    """Two columns of samples.csv would have one name."""
    for i in range(4):
        write(tmp_path / "img" / f"{i}.png", i)
    (tmp_path / "t.csv").write_text("image,label,b\n" + "".join(f"{i}.png,{'ab'[i % 2]},1\n" for i in range(4)))
    with pytest.raises(DatasetError, match=r"column 'b' has a name that the tables of the study need.*rename it"):
        study("image_table", root="img", table="t.csv", label_column="label", extra_columns=["b"])
