"""The array and its tables: nothing lost, nothing moved by threads, nothing left after a failure."""

import json
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import artifacts, preprocess
from pipeline.datasets import DatasetError, Sample
from pipeline.datasets.chestxray14 import Data as ChestXray14
from pipeline.imaging.decode import decode
from pipeline.imaging.enhance import prepare
from pipeline.imaging.prepare import prepare_all
from pipeline.params import Clahe, Preprocess

SETTINGS = Preprocess(size=24, threads=3, clahe=Clahe(tiles=2))
CLASSES = ("a", "b")


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


def picture(seed, shape=(40, 30)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def raising(error):
    def read():
        raise error

    return read


def sample(name, data, patient=None, labels=("a",), **extra):
    read = data if callable(data) else lambda: data
    return Sample(name, patient or name, labels, read, "train", extra)


@pytest.fixture
def mixed():
    """Twenty good images with bad ones between them."""
    good = [sample(f"g{i:02d}", png(picture(i)), labels=("a", "b")[: i % 3]) for i in range(20)]
    bad = {
        0: sample("missing", raising(FileNotFoundError(2, "No such file or directory"))),
        3: sample("empty", b""),
        9: sample("text", b"hello"),
        15: sample("cut", png(picture(99))[:-20]),
        19: sample("locked", raising(PermissionError(13, "Permission denied"))),
        24: sample("folder", raising(OSError())),
    }
    samples = list(good)
    for position, item in bad.items():
        samples.insert(position, item)
    return samples


def test_kept_rows_are_dense_in_order_and_right(mixed, tmp_path):
    path = tmp_path / "new" / "images.npy"
    result = prepare_all(mixed, CLASSES, "multilabel", SETTINGS, path)
    images = np.load(path, mmap_mode="r")
    assert images.shape == (20, 24, 24)
    assert images.dtype == np.uint8
    assert result.samples["row"].tolist() == list(range(20))
    assert result.samples["sample_id"].tolist() == [f"g{i:02d}" for i in range(20)]
    for i in range(20):
        np.testing.assert_array_equal(images[i], prepare(picture(i), SETTINGS))
    assert result.samples["a"].tolist() == [int(i % 3 > 0) for i in range(20)]
    assert result.samples["b"].tolist() == [int(i % 3 > 1) for i in range(20)]
    assert result.samples["width"].eq(30).all()
    assert result.samples["height"].eq(40).all()
    assert result.excluded.to_numpy().tolist() == [
        ["missing", "file missing"],
        ["empty", "empty file"],
        ["text", "not an image"],
        ["cut", "truncated"],
        ["locked", "file not readable: Permission denied"],
        ["folder", "file not readable: OSError"],
    ]


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_do_not_change_a_byte(mixed, tmp_path, threads):
    one, many = tmp_path / "one.npy", tmp_path / "many.npy"
    expected = prepare_all(mixed, CLASSES, "multilabel", SETTINGS.model_copy(update={"threads": 1}), one)
    result = prepare_all(mixed, CLASSES, "multilabel", SETTINGS.model_copy(update={"threads": threads}), many)
    assert one.read_bytes() == many.read_bytes()
    pd.testing.assert_frame_equal(result.samples, expected.samples)
    pd.testing.assert_frame_equal(result.excluded, expected.excluded)


def test_file_is_what_numpy_would_save(tmp_path):
    path = tmp_path / "images.npy"
    prepare_all([sample("x", png(picture(0))), sample("y", b"")], CLASSES, "multilabel", SETTINGS, path)
    np.save(tmp_path / "saved.npy", np.load(path))
    assert path.read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_colour(tmp_path):
    settings = SETTINGS.model_copy(update={"channels": 3})
    samples = [sample("rgb", png(picture(0, (9, 9, 3)))), sample("grey", png(picture(1)))]
    prepare_all(samples, CLASSES, "multilabel", settings, tmp_path / "images.npy")
    images = np.load(tmp_path / "images.npy")
    assert images.shape == (2, 24, 24, 3)
    np.testing.assert_array_equal(images[0], prepare(decode(png(picture(0, (9, 9, 3))), 3), settings))


def test_identical_images_are_grouped_across_patients_and_formats(tmp_path):
    grey = picture(0)
    samples = [
        sample("x", png(grey), "p2"),
        sample("y", png(np.dstack([grey] * 3)), "p1"),
        sample("z", png(picture(1)), "p2"),
        sample("w", png(picture(2)), "p3"),
    ]
    table = prepare_all(samples, CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy").samples
    assert table["group_id"].tolist() == ["p1", "p1", "p1", "p3"]
    assert table["duplicate_of"].tolist() == ["", "x", "", ""]


def test_a_slow_file_does_not_pile_up_images_behind_it(tmp_path):
    data, started, ahead = png(picture(0)), [], []

    def slow():
        time.sleep(0.3)
        ahead.append(len(started))
        return data

    def quick():
        started.append(1)
        return data

    samples = [sample("slow", slow)] + [sample(f"s{i}", quick) for i in range(300)]
    prepare_all(samples, CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy")
    assert len(started) == 300
    assert 0 < ahead[0] <= 4 * SETTINGS.threads


@pytest.mark.parametrize(
    ("samples", "task", "message"),
    [
        ([], "multilabel", "no samples"),
        ([sample("x", b""), sample("y", b"text")], "multilabel", r"none of the 2 images is usable: .*empty file \(1\)"),
        ([sample("x", b""), sample("x", b"")], "multilabel", "'x' occurs more than once"),
        ([sample("x", b"", labels=("c",))], "multilabel", "x: class 'c' is unknown; allowed: a, b"),
        ([sample("x", b"", labels=("a", "b"))], "multiclass", "exactly one"),
        ([sample("x", b"", labels=())], "multiclass", "exactly one"),
        ([sample("x", b"", row=1)], "multilabel", "named twice: row"),
        ([sample("x", b"", age=1), sample("y", b"")], "multilabel", "y: own columns"),
    ],
)
def test_mistakes_are_named_and_leave_no_file(samples, task, message, tmp_path):
    path = tmp_path / "images.npy"
    path.write_bytes(b"of an earlier run")
    with pytest.raises(DatasetError, match=message):
        prepare_all(samples, CLASSES, task, SETTINGS, path)
    assert [p for p in tmp_path.iterdir() if p != path] == []


def test_a_bug_while_reading_is_not_swallowed_and_leaves_no_file(tmp_path):
    samples = [sample(f"s{i}", png(picture(i))) for i in range(5)] + [sample("bug", raising(KeyError("bug")))]
    with pytest.raises(KeyError):
        prepare_all(samples, CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(DatasetError, match=r"are free; lower preprocess\.size"):
        prepare_all([sample("x", png(picture(0)))], CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy")


def test_progress_is_lines_where_stderr_is_no_terminal(mixed, tmp_path, capsys):
    prepare_all(mixed, CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy", progress=True)
    assert "preprocess: 26 of 26 images" in capsys.readouterr().err


def test_progress_is_a_bar_on_a_terminal(mixed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prepare_all(mixed, CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy", progress=True)
    assert "26/26" in capsys.readouterr().err


PARAMS = {
    "seed": 1,
    "dataset": "chestxray14",
    "study": {"models": ["cnn"], "losses": ["bce"]},
    "datasets": {"chestxray14": {"root": "published"}},
    "preprocess": {"size": 32, "clahe": {"enabled": False}},
    "split": {"method": "official", "validation": 0.2, "test": 0.2},
    "train": {"epochs": 2, "batch_size": 2, "warmup_epochs": 0.5},
    "models": {"cnn": {"arch": "baseline_cnn", "lr": 0.001}},
    "losses": {"bce": None},
    "ensemble": {"top_k": 1},
}


def write_published(root):
    """Three images in the layout of ChestX-ray14, a fourth missing, boxes of a kept and of the missing one."""
    (root / "images").mkdir(parents=True)
    names = ["00000001_000.png", "00000001_001.png", "00000002_000.png", "00000003_000.png"]
    for seed, name in enumerate(names[:3]):
        (root / "images" / name).write_bytes(png(picture(seed)))
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,Original"
    ages = [58, 58, 414, 30]
    rows = [f"{n},Mass,0,{int(n[:8])},{age},M,PA,1,1,1,1" for n, age in zip(names, ages, strict=True)]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([header, *rows]) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(names[:2]))
    (root / "test_list.txt").write_text("\n".join(names[2:]))
    box_rows = [f"{n},Mass,512,256,128,64" for n in (names[2], names[3])]
    (root / "BBox_List_2017.csv").write_text("\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *box_rows]))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_published(tmp_path / "published")
    Path("params.yaml").write_text(yaml.safe_dump(PARAMS))
    artifacts.write_json(artifacts.RAW / "chestxray14" / artifacts.SOURCE, {"source": {"root": "published"}})
    return tmp_path


def test_stage_writes_what_the_others_read(project):
    preprocess.main()
    info = artifacts.read_dataset()
    assert info.name == "chestxray14"
    assert info.source == {"root": "published"}
    assert len(info.classes) == 14
    samples = artifacts.read_samples()
    assert artifacts.open_images().shape == (3, 32, 32)
    assert samples["patient_id"].tolist() == ["00000001", "00000001", "00000002"]
    assert samples["official_split"].tolist() == ["train", "train", "test"]
    assert samples["Mass"].tolist() == [1, 1, 1]
    lines = artifacts.SAMPLES.read_text().splitlines()
    assert lines[1].endswith(",58,M,PA,0")  # whole years, although one age is missing
    assert lines[3].endswith(",,M,PA,0")
    assert artifacts.EXCLUDED.read_text() == "file,reason\n00000003_000.png,file missing\n"
    boxes = artifacts.BOXES.read_text().splitlines()
    assert boxes == ["row,sample_id,class,x,y,width,height", "2,00000002_000.png,Mass,16.0,8.0,4.0,2.0"]
    assert not list(artifacts.PREPARED.glob("*.partial"))


def test_stage_run_twice_gives_the_same_bytes_and_drops_stale_boxes(project):
    preprocess.main()
    first = {p.name: p.read_bytes() for p in artifacts.PREPARED.iterdir()}
    preprocess.main()
    assert {p.name: p.read_bytes() for p in artifacts.PREPARED.iterdir()} == first
    (project / "published" / "BBox_List_2017.csv").unlink()
    preprocess.main()
    assert not artifacts.BOXES.exists()


def test_stage_names_the_stage_that_is_missing(project, capsys):
    (artifacts.RAW / "chestxray14" / artifacts.SOURCE).unlink()
    with pytest.raises(SystemExit) as stop:
        preprocess.main()
    assert stop.value.code == 1
    assert "dvc repro download" in capsys.readouterr().err


def test_stage_names_a_wrong_key(project, capsys):
    wrong = {**PARAMS, "datasets": {"chestxray14": {"rot": "published"}}}
    Path("params.yaml").write_text(yaml.safe_dump(wrong))
    with pytest.raises(SystemExit):
        preprocess.main()
    assert "datasets.chestxray14.rot: unknown key (did you mean 'root'?)" in capsys.readouterr().err


DATA = Path(os.environ.get("MEDMATRIX_DATA", Path(__file__).parents[3] / "shared" / "data"))
NIH = DATA / "nih_chestxray14"


@pytest.mark.skipif(not NIH.is_dir(), reason=f"no real images: {NIH} does not exist (set MEDMATRIX_DATA)")
def test_real_chestxray14(tmp_path):
    dataset = ChestXray14(root=str(NIH))
    settings = Preprocess(size=64)
    result = prepare_all(dataset.samples(tmp_path), dataset.classes, dataset.task, settings, tmp_path / "i.npy")
    images, samples = np.load(tmp_path / "i.npy"), result.samples
    assert images.shape == (1605, 64, 64)
    assert result.excluded.empty
    rows = samples.set_index("sample_id")
    rgba = [
        name
        for name in rows.index
        if cv2.imread(str(NIH / "images" / name), cv2.IMREAD_UNCHANGED).ndim == 3  # the others are mode L
    ]
    assert len(rgba) == 10
    assert (images[rows.loc[rgba, "row"]].std(axis=(1, 2)) > 10).all()
    assert rows.loc["00002658_002.png", "duplicate_of"] == "00002658_001.png"
    assert (samples["duplicate_of"] != "").sum() == 1
    assert samples["group_id"].nunique() == 1281
    boxes = preprocess.boxes_in_pixels(dataset.boxes(tmp_path), samples, 64)
    assert len(boxes) == 60
    assert (boxes["x"] + boxes["width"]).max() <= 64
    first = boxes.iloc[0]
    assert first["sample_id"] == "00004296_000.png"
    np.testing.assert_allclose(
        first[["x", "y", "width", "height"]].astype(float),
        np.array([731.4286, 753.1005, 119.1958, 93.1894]) / 16,
        atol=1e-3,
    )
    assert json.loads(json.dumps(dataset.fetch(tmp_path)))["images"] == 1605
