import csv
import json
from collections import Counter

import cv2
import numpy as np
import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.image_folder.dataset import Data
from pipeline.datasets.shared.remarks import remarks
from pipeline.imaging.hashes import pixel_hash
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Preprocess
from tests.tiny import DATA


def publish(root, paths):
    for seed, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)
        encoded = cv2.imencode(".png", pixels)[1].tobytes()
        (root / path).write_bytes(encoded if "/." not in path and not path.startswith(".") else b"Bud1 no image")
    return root


def ids(root, tmp_path, **settings):
    return [s.sample_id for s in Data(root=str(root), **settings).samples(tmp_path)]


def test_classes_are_the_folders(tmp_path):
    root = publish(tmp_path / "cells", ["b/2.png", "b/10.png", "a/x.JPG", "a/deeper/y.tiff", "c/only.webp"])
    data = Data(root=str(root))
    assert data.classes == ("a", "b", "c")
    samples = list(data.samples(tmp_path))
    assert [s.sample_id for s in samples] == ["a/deeper/y.tiff", "a/x.JPG", "b/10.png", "b/2.png", "c/only.webp"]
    assert [s.labels[0] for s in samples] == ["a", "a", "b", "b", "c"]
    assert all(s.patient_id == s.sample_id and s.official_split == "" for s in samples)
    assert samples[3].read() == (root / "b" / "2.png").read_bytes()
    assert not data.patients_known
    assert data.fetch(tmp_path)["patients"] is None


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "Valid", "TESTING"), ("train", "validation", "test")],
)
def test_folders_of_parts_are_the_published_split(tmp_path, train, val, test):
    root = publish(tmp_path / "x", [f"{part}/{c}/1.png" for part in (train, val, test) for c in ("a", "b")])
    samples = list(Data(root=str(root)).samples(tmp_path))
    assert [(s.official_split, s.labels[0]) for s in samples] == [
        (part, c) for part in ("train", "val", "test") for c in ("a", "b")
    ]
    # The same name in two parts is two samples.
    assert samples[0].sample_id == f"{train}/a/1.png"
    counts = Data(root=str(root)).fetch(tmp_path)["counts"]
    assert counts == {part: {"a": 1, "b": 1} for part in ("train", "val", "test")}


def test_class_of_one_part_is_left_to_the_split(tmp_path):
    root = publish(tmp_path / "x", ["train/a/1.png", "train/b/1.png", "test/a/2.png"])
    data = Data(root=str(root))
    assert data.classes == ("a", "b")
    assert data.fetch(tmp_path)["counts"] == {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 0}}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["train/a/1.png", "test/a/1.png", "chest_xray/a/1.png"], "'test' is the name of a part, 'chest_xray' is none"),
        (["train/a/1.png", "training/b/1.png"], "'train' and 'training' are the same part"),
        (["train/a/1.png", "train/b/1.png", "test/1.png"], "'test' holds no class folders"),
        (["a/1.png", "b/notes.txt"], "class folder 'b' holds no images"),
        (["a/1.png", "b/.1.png"], "class folder 'b' holds no images"),
        (["train/a/1.png", "train/b/x.csv"], "class folder 'train/b' holds no images"),
        (
            ["train/a/1.png", "train/b/1.png", "test/A/1.png", "test/b/1.png"],
            r"'a' \(1\), 'A' \(1\) differ only in case|'A' \(1\), 'a' \(1\) differ only in case",
        ),
        (["a/1.png"], "one class folder, 'a'"),
        (["1.png", "2.png"], "holds no folders; expected one folder per class"),
        ([".git/1.png", "__MACOSX/2.png"], "holds no folders"),
    ],
)
def test_layouts_that_are_none(tmp_path, paths, message):
    root = publish(tmp_path / "x", paths)
    with pytest.raises(DatasetError, match=message):
        Data(root=str(root)).fetch(tmp_path)


def test_empty_class_folder_is_named(tmp_path):
    root = publish(tmp_path / "x", ["a/1.png", "b/1.png"])
    (root / "c").mkdir()
    with pytest.raises(DatasetError, match="class folder 'c' holds no images; fill it, or move it away"):
        Data(root=str(root)).fetch(tmp_path)


def test_hidden_files_become_samples_and_are_excluded_with_a_reason(tmp_path):
    root = publish(tmp_path / "x", ["a/1.png", "a/.DS_1.jpg", "b/2.png", "b/._2.png"])
    data = Data(root=str(root))
    record = data.fetch(tmp_path)
    assert record["images"] == 2
    assert record["hidden_files"] == {"count": 2, "first": ["a/.DS_1.jpg", "b/._2.png"]}
    settings = Preprocess(size=16, threads=1)
    result = prepare_all(data.samples(tmp_path), data.classes, data.task, settings, tmp_path / "images.npy")
    assert result.samples["sample_id"].tolist() == ["a/1.png", "b/2.png"]
    assert result.excluded.to_numpy().tolist() == [["a/.DS_1.jpg", "not an image"], ["b/._2.png", "not an image"]]


def test_bookkeeping_is_recorded_and_not_read(tmp_path):
    paths = ["a/1.png", "b/2.png", "a/.ipynb_checkpoints/1-checkpoint.png", "a/.DS_Store", "b/Thumbs.db", "README.md"]
    root = publish(tmp_path / "x", [*paths, "__MACOSX/a/._1.png", ".git/config"])
    assert ids(root, tmp_path) == ["a/1.png", "b/2.png"]
    assert Data(root=str(root)).fetch(tmp_path)["other_files"] == {
        "count": 6,
        "first": [
            ".git",
            "README.md",
            "__MACOSX",
            "a/.DS_Store",
            "a/.ipynb_checkpoints/1-checkpoint.png",
            "b/Thumbs.db",
        ],
    }


def test_dicom_without_a_suffix_as_on_hospital_media(tmp_path):
    root = publish(tmp_path / "x", ["a/1.png", "b/2.png", "b/IM00007", "a/notes"])
    dicom = bytes(128) + b"DICM" + bytes(60)
    for name in ("a/IM00001", "b/1.2.840.10008.5", "a/DICOMDIR", "b/table.csv"):
        (root / name).write_bytes(dicom)
    assert ids(root, tmp_path) == ["a/1.png", "a/IM00001", "b/1.2.840.10008.5", "b/2.png"]


def test_patients_are_read_from_the_path(tmp_path):
    root = publish(tmp_path / "x", ["a/P7_1.png", "a/P7_2.png", "b/P7_3.png", "b/P8_1.png", "b/.P.png"])
    data = Data(root=str(root), patient_pattern=r"/(?P<patient>P\d+)_")
    patients = {s.sample_id: s.patient_id for s in data.samples(tmp_path)}
    assert patients == {
        "a/P7_1.png": "P7",
        "a/P7_2.png": "P7",
        "b/P7_3.png": "P7",
        "b/P8_1.png": "P8",
        "b/.P.png": "b/.P.png",
    }
    assert data.fetch(tmp_path)["patients"] == 2
    assert data.notes == ()


def test_patients_may_be_folders(tmp_path):
    root = publish(
        tmp_path / "x", ["train/a/anna/1.png", "train/a/anna/2.png", "test/b/bert/1.png", "test/a/carl/1.png"]
    )
    data = Data(root=str(root), patient_pattern=r"^[^/]+/[^/]+/(?P<patient>[^/]+)/")
    assert [s.patient_id for s in data.samples(tmp_path)] == ["anna", "anna", "carl", "bert"]


def test_file_without_a_patient_is_named(tmp_path):
    root = publish(tmp_path / "x", ["a/P7_1.png", "b/scan.png"])
    for pattern in (r"/(?P<patient>P\d+)_", r"/(?P<patient>P\d+)?"):
        with pytest.raises(DatasetError, match=r"'b/scan\.png' does not match datasets\.image_folder\.patient_pattern"):
            Data(root=str(root), patient_pattern=pattern).fetch(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "message"), [("(", "not a regular expression"), (r"(P)(\d+)", r"no group 'patient'.*\(\?P<patient>")]
)
def test_pattern_is_checked(pattern, message):
    with pytest.raises(ValueError, match=message):
        Data(patient_pattern=pattern)


def test_root_not_set():
    with pytest.raises(DatasetError, match=r"datasets\.image_folder\.root is not set; set it in params\.yaml"):
        _ = Data().classes


def test_record_and_fingerprint(tmp_path):
    root = publish(tmp_path / "x", ["a/1.png", "b/2.png"])
    data = Data(root=str(root), title="Cells", licence="CC0", citation="Us, 2026", url="https://cells.org")
    record = data.fetch(tmp_path)
    assert json.loads(json.dumps(record)) == record
    assert record["counts"] == {"": {"a": 1, "b": 1}}
    assert record["bytes"] == sum(p.stat().st_size for p in root.rglob("*.png"))
    assert (data.title, data.licence, data.citation, data.url) == ("Cells", "CC0", "Us, 2026", "https://cells.org")
    (root / "a" / "1.png").rename(root / "a" / "3.png")
    assert data.fetch(tmp_path)["fingerprint"] != record["fingerprint"]


def test_links_to_class_folders_are_followed(tmp_path):
    stored = publish(tmp_path / "stored", ["a/1.png", "b/2.png"])
    (tmp_path / "x").mkdir()
    for name in ("a", "b"):
        (tmp_path / "x" / name).symlink_to(stored / name)
    (stored / "a" / "loop").symlink_to(stored / "a")
    assert ids(tmp_path / "x", tmp_path) == ["a/1.png", "b/2.png"]


REAL = DATA / "pbc_dataset_normal_DIB"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real images: {REAL} does not exist (set MEDMATRIX_DATA)")
CELLS = ("basophil", "eosinophil", "erythroblast", "ig", "lymphocyte", "monocyte", "neutrophil", "platelet")


@needs_real
def test_real_blood_cells(tmp_path):
    data = Data(root=str(REAL / "PBC_dataset_normal_DIB"))
    assert data.classes == CELLS
    record = data.fetch(tmp_path)
    assert record["images"] == 558
    assert record["hidden_files"] == {"count": 1, "first": ["neutrophil/.DS_169665.jpg"]}
    settings = Preprocess(
        size=24,
        channels=3,
        clahe={"enabled": False},
        duplicates={"near": False, "conflicting_labels": "keep"},
        threads=1,
    )
    result = prepare_all(data.samples(tmp_path), data.classes, data.task, settings, tmp_path / "images.npy")
    assert len(result.samples) == 558
    assert np.load(tmp_path / "images.npy", mmap_mode="r").shape == (558, 24, 24, 3)
    assert result.excluded.to_numpy().tolist() == [["neutrophil/.DS_169665.jpg", "not an image"]]
    assert Counter(zip(result.samples["width"], result.samples["height"], strict=True)).most_common(1)[0][0] == (
        360,
        363,
    )
    copies = result.samples[result.samples["duplicate_of"] != ""]
    pairs = {tuple(sorted(p)) for p in zip(copies["sample_id"], copies["duplicate_of"], strict=True)}
    with (REAL / "identical_pairs.csv").open() as file:
        listed = {tuple(sorted((row["a"], row["b"]))) for row in csv.DictReader(file)}
    assert pairs == listed
    across = {p for p in pairs if p[0].split("/")[0] != p[1].split("/")[0]}
    assert across == {("eosinophil/EO_225902.jpg", "neutrophil/BNE_191112.jpg")}
    assert len(pairs - across) == 16
    groups = result.samples.set_index("sample_id")["group_id"]
    assert all(groups[a] == groups[b] for a, b in pairs)


@needs_real
def test_real_picture_under_two_labels():
    base = REAL / "PBC_dataset_normal_DIB"
    first, second = (
        pixel_hash(cv2.imdecode(np.fromfile(base / name, np.uint8), cv2.IMREAD_COLOR))
        for name in ("eosinophil/EO_225902.jpg", "neutrophil/BNE_191112.jpg")
    )
    assert first == second


def test_one_group_is_the_patient(tmp_path):
    root = publish(tmp_path / "x", ["a/P7_1.png", "a/P7_2.png", "b/P8_1.png"])
    data = Data(root=str(root), patient_pattern=r"P(\d+)")
    assert [s.patient_id for s in data.samples(tmp_path)] == ["7", "7", "8"]
    assert data.patients_known


def test_masks_stay_with_their_images_and_out_of_training(tmp_path):
    pairs = [f"{c}/{c} ({i}){end}.png" for c in ("benign", "normal") for i in (1, 2) for end in ("", "_mask")]
    root = publish(
        tmp_path / "x", [*pairs, "benign/benign (1)_mask_1.png", "normal/lonely_mask.png", "normal/mask.png"]
    )
    data = Data(root=str(root))
    assert ids(root, tmp_path) == [
        *("benign/benign (1).png", "benign/benign (2).png"),
        *("normal/mask.png", "normal/normal (1).png", "normal/normal (2).png"),
    ]
    assert dict(data.left_out(tmp_path)) == {
        "benign/benign (1)_mask.png": "mask of benign/benign (1).png",
        "benign/benign (1)_mask_1.png": "mask of benign/benign (1).png",
        "benign/benign (2)_mask.png": "mask of benign/benign (2).png",
        "normal/lonely_mask.png": "mask without an image",
        "normal/normal (1)_mask.png": "mask of normal/normal (1).png",
        "normal/normal (2)_mask.png": "mask of normal/normal (2).png",
    }
    assert data.fetch(tmp_path)["masks"]["count"] == 6
    folders = publish(tmp_path / "y", [f"{c}/{kind}/1.png" for c in "ab" for kind in ("images", "masks")])
    assert ids(folders, tmp_path) == ["a/images/1.png", "b/images/1.png"]


def test_include_and_exclude(tmp_path):
    root = publish(tmp_path / "x", ["a/1.png", "a/1_small.png", "b/2.png", "b/2.jpg", "thumbs/1.png"])
    assert ids(root, tmp_path, exclude=["*_small.*", "thumbs/*"]) == ["a/1.png", "b/2.jpg", "b/2.png"]
    assert ids(root, tmp_path, include=["*.png"], exclude=["thumbs/*"]) == ["a/1.png", "a/1_small.png", "b/2.png"]
    record = Data(root=str(root), exclude=["*_small.*", "thumbs/*"]).fetch(tmp_path)
    assert record["unchosen_files"] == {"count": 2, "first": ["a/1_small.png", "thumbs/1.png"]}
    with pytest.raises(DatasetError, match=r"include \['x'\] and exclude \[\] leave none of the 5 images"):
        ids(root, tmp_path, include=["x"])


def test_blocks_of_neighbours(tmp_path):
    root = publish(tmp_path / "x", [f"{c}/{c} {i:03d}.png" for c in "ab" for i in (1, 100, 101)])
    data = Data(root=str(root), groups="blocks of 100")
    patients = [s.patient_id for s in data.samples(tmp_path)]
    assert patients == ["a/a 1-100", "a/a 1-100", "a/a 101-200", "b/b 1-100", "b/b 1-100", "b/b 101-200"]
    assert not data.patients_known
    assert "blocks of 100" in data.notes[0]
    record = data.fetch(tmp_path)
    assert record["blocks"] == {"groups": "blocks of 100", "images": 6, "alone": 2}
    assert remarks(record, names=False) == []
    far = Data(root=str(root), groups="blocks of 10").fetch(tmp_path)
    assert "6 of 6 images are alone in their block (blocks of 10)" in remarks(far, names=False)[0]
    assert Data(root=str(root)).fetch(tmp_path)["blocks"] is None
    with pytest.raises(ValueError, match="groups: 'blocks of 100' beside patient_pattern"):
        Data(groups="blocks of 100", patient_pattern="(a)")
    with pytest.raises(ValueError, match="blocks of"):
        Data(groups="blocks of 0")


def test_classes_renamed_and_joined(tmp_path):
    root = publish(tmp_path / "x", ["train/Normal/1.png", "test/normal/1.png", "train/macro/1.png", "test/macro/2.png"])
    with pytest.raises(DatasetError, match=r"'Normal' \(1\), 'normal' \(1\) differ only in case"):
        Data(root=str(root)).fetch(tmp_path)
    data = Data(root=str(root), label_map={"normal": "Normal", "macro": "macroadenoma"})
    assert data.classes == ("Normal", "macroadenoma")


def test_images_without_a_patient_are_refused_left_out_or_alone(tmp_path):
    root = publish(tmp_path / "films", [*(f"{'ab'[i % 2]}/P{i // 2}_{i}.png" for i in range(6)), "b/scan.png"])
    given = {"root": str(root), "patient_pattern": r"/(P\d+)_"}
    with pytest.raises(
        DatasetError, match=r"'b/scan\.png' does not match .*; 6 of 7 images name a patient \(3 in all\)"
    ):
        Data(**given).fetch(tmp_path)
    without = Data(**given, without_patient="exclude")
    assert without.patients_known
    assert [s.patient_id for s in without.samples(tmp_path)] == ["P0", "P1", "P2", "P0", "P1", "P2"]
    assert without.left_out(tmp_path) == [("b/scan.png", "no patient in its path")]
    assert remarks(without.fetch(tmp_path), names=False) == [
        "1 image names no patient, which others do, and is left out"
    ]
    alone = Data(**given, without_patient="alone")
    assert not alone.patients_known
    assert [s.patient_id for s in alone.samples(tmp_path)][-2:] == ["P2", "b/scan.png"]
    record = alone.fetch(tmp_path)
    assert (record["patients"], record["patients_from"]) == (None, None)
    assert record["patients_named"] == {"images": 6, "of": 7, "patients": 3}
    assert remarks(record, names=False)[0].startswith("6 of 7 images name a patient (3 in all); each of the others")
