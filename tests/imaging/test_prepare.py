"""The array and its tables: nothing lost, nothing moved by threads, nothing left after a failure."""

import errno
import gc
import io
import json
import sys
import time
import weakref
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import preprocess
from pipeline.datasets import DatasetError, Sample
from pipeline.datasets.chestxray14.dataset import Data as ChestXray14
from pipeline.datasets.settings import DataSections
from pipeline.download import download
from pipeline.imaging.decoding import decode
from pipeline.imaging.duplicates import COLUMNS
from pipeline.imaging.enhance import prepare
from pipeline.imaging.outcome import boxes_in_pixels
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Clahe, Duplicates, Preprocess
from pipeline.study.disk import DiskFull
from pipeline.study.files import BOXES, DUPLICATES, EXCLUDED, IMAGES, PREPARED, SAMPLES, SOURCE
from pipeline.study.params import load
from pipeline.study.prepared import open_images, read_dataset, read_samples
from tests.tiny import DATA

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
    np.testing.assert_array_equal(images[0], prepare(decode(png(picture(0, (9, 9, 3))), 3).pixels, settings))


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
        ([sample("x", b"", labels=("c",))], "multilabel", "x: class 'c' is unknown; use one of: a, b"),
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
    assert "preprocess: 26 images" in capsys.readouterr().err
    prepare_all(mixed, CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy", progress=True, total=26)
    assert "preprocess: 26 of 26 images" in capsys.readouterr().err


def test_progress_is_a_bar_on_a_terminal(mixed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prepare_all(mixed, CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy", progress=True, total=26)
    assert "26/26" in capsys.readouterr().err


class Content:
    """What a sample holds until it is read; counts how many are held."""

    held: weakref.WeakSet = weakref.WeakSet()

    def __init__(self, data):
        self.data = data
        Content.held.add(self)

    def __call__(self):
        return self.data


def test_samples_are_drawn_a_few_ahead_and_let_go_once_read(tmp_path):
    data, most, drawn = png(picture(0)), 0, 0

    def stream():
        nonlocal most, drawn
        for i in range(400):
            yield sample(f"s{i}", Content(data), patient=f"p{i % 7}", age=i)
            drawn += 1
            gc.collect(0)
            most = max(most, len(Content.held))

    settings = SETTINGS.model_copy(update={"threads": 2})
    result = prepare_all(stream(), CLASSES, "multilabel", settings, tmp_path / "images.npy")
    assert drawn == len(result.samples) == 400
    assert 0 < most <= 4 * 2 + 2 + 1  # waiting or being read, and the one just drawn
    gc.collect()
    assert len(Content.held) == 0
    assert result.samples["age"].tolist() == list(range(400))


def test_a_mistake_far_down_the_stream_stops_it_there_and_leaves_no_file(tmp_path):
    drawn = []

    def stream():
        for i in range(1000):
            drawn.append(i)
            yield sample(f"s{i}", png(picture(0)), labels=("c",) if i == 50 else ("a",))

    with pytest.raises(DatasetError, match="s50: class 'c' is unknown"):
        prepare_all(stream(), CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy")
    assert drawn[-1] == 50
    assert list(tmp_path.iterdir()) == []


def test_pixels_need_no_decoding(tmp_path):
    colour = picture(1, (20, 20, 3))
    samples = [sample("file", png(picture(0))), sample("grey", lambda: picture(0)), sample("rgb", lambda: colour)]
    samples.append(sample("deep", lambda: picture(2).astype(np.uint16)))
    result = prepare_all(samples, CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy")
    assert result.samples["duplicate_of"].tolist() == ["", "file", ""]
    assert result.excluded.to_numpy().tolist() == [["deep", "unsupported pixel type: uint16"]]
    luma = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy")[2], prepare(luma, SETTINGS))


@pytest.fixture
def contradicting():
    """Twelve pictures; the 2nd, 7th and 9th are one picture, the 9th under another label; the 5th is no image."""
    pictures = [picture(i) for i in range(12)]
    pictures[7] = pictures[9] = pictures[2]
    labels = [("a",)] * 12
    labels[9] = ("b",)
    samples = [
        sample(f"s{i:02d}", png(p), f"p{i:02d}", k) for i, (p, k) in enumerate(zip(pictures, labels, strict=True))
    ]
    samples[5] = sample("s05", b"")
    return samples


@pytest.mark.parametrize("at_once", [1, 2 * 24 * 24, 2**24])
def test_images_under_two_labels_leave_array_and_tables(contradicting, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr("pipeline.imaging.array._MOVED_AT_ONCE", at_once)
    path = tmp_path / "images.npy"
    result = prepare_all(contradicting, CLASSES, "multiclass", SETTINGS, path)
    names = ["s00", "s01", "s03", "s04", "s06", "s08", "s10", "s11"]
    assert result.samples["sample_id"].tolist() == names
    assert result.samples["row"].tolist() == list(range(8))
    np.testing.assert_array_equal(np.load(path), [prepare(picture(int(n[1:])), SETTINGS) for n in names])
    assert path.stat().st_size == 128 + 8 * 24 * 24
    assert result.excluded.to_numpy().tolist() == [
        ["s02", "identical pixels under other labels: s09"],
        ["s05", "empty file"],
        ["s07", "identical pixels under other labels: s09"],
        ["s09", "identical pixels under other labels: s02"],
    ]
    assert result.duplicates[["sample_id", "other_id", "labels_agree", "action"]].to_numpy().tolist() == [
        ["s07", "s02", 1, "excluded"],
        ["s09", "s02", 0, "excluded"],
    ]


def test_images_under_two_labels_may_be_kept(contradicting, tmp_path):
    settings = SETTINGS.model_copy(update={"duplicates": Duplicates(conflicting_labels="keep")})
    result = prepare_all(contradicting, CLASSES, "multiclass", settings, tmp_path / "images.npy")
    rows = result.samples.set_index("sample_id")
    assert len(rows) == len(np.load(tmp_path / "images.npy")) == 11
    assert rows.loc[["s02", "s07", "s09"], "duplicate_of"].tolist() == ["", "s02", "s02"]
    assert rows.loc[["s02", "s07", "s09"], "group_id"].tolist() == ["p02"] * 3
    assert result.duplicates["labels_agree"].tolist() == [1, 0]
    assert set(result.duplicates["action"]) == {"grouped"}


def test_only_contradicting_images_is_no_data_set(tmp_path):
    samples = [sample("x", png(picture(0)), labels=("a",)), sample("y", png(picture(0)), labels=("b",))]
    with pytest.raises(DatasetError, match="none of the 2 images is usable: identical pixels"):
        prepare_all(samples, CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy")
    assert list(tmp_path.iterdir()) == []


def blobs(seed):
    coarse = np.random.default_rng(seed).normal(110, 45, (9, 8)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (160, 180), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("near", [True, False])
def test_near_duplicates_share_a_group(tmp_path, near):
    samples = [sample(f"s{i}", png(blobs(i)), f"p{9 - i}") for i in range(6)]
    samples.append(sample("copy", png(cv2.resize(blobs(3), (120, 130))), "p1", ("b",)))
    settings = SETTINGS.model_copy(update={"duplicates": Duplicates(near=near)})
    result = prepare_all(samples, CLASSES, "multilabel", settings, tmp_path / "images.npy")
    rows = result.samples.set_index("sample_id")
    assert len(rows) == 7
    assert (rows["duplicate_of"] == "").all()
    assert rows.loc["s3", "group_id"] == ("p1" if near else "p6")
    assert rows["group_id"].nunique() == (6 if near else 7)
    assert result.duplicates.columns.tolist() == COLUMNS
    listed = result.duplicates[["sample_id", "other_id", "kind", "labels_agree", "action"]].to_numpy().tolist()
    assert listed == ([["copy", "s3", "near", 0, "grouped"]] if near else [])


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have it ignored
import numpy as np
from pipeline.datasets import Sample
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Preprocess

def stream(stop):
    for i in range(200):
        if i == 120 and stop:
            os.kill(os.getpid(), getattr(signal, stop))
        pixels = np.random.default_rng(i).integers(0, 256, (30, 30), np.uint8)
        yield Sample(f"s{i}", f"s{i}", ("a",), lambda: pixels)

prepare_all(stream(sys.argv[1]), ("a",), "multilabel", Preprocess(size=24), Path("images.npy"))
"""


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGKILL"])
def test_an_interrupted_run_leaves_no_array_and_the_next_is_whole(tmp_path, signal_name, forks):

    def run(stop):
        return forks.run(["-c", INTERRUPTED, stop], cwd=tmp_path)

    (tmp_path / "images.npy").write_bytes(b"of an earlier run")
    assert run(signal_name).returncode != 0
    assert not (tmp_path / "images.npy").exists()
    assert (signal_name == "SIGKILL") or list(tmp_path.iterdir()) == []
    assert run("").returncode == 0
    assert np.load(tmp_path / "images.npy").shape == (200, 24, 24)
    assert [p.name for p in tmp_path.iterdir()] == ["images.npy"]


def test_a_disk_that_fills_up_is_named_and_leaves_no_file(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            if self.tell() > 3000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda self, mode: Full(self, "w+"))
    samples = [sample(f"s{i}", png(picture(i))) for i in range(20)]
    with pytest.raises(DiskFull, match=r"images\.npy: the disk is full: it needs .*; free some space"):
        prepare_all(samples, CLASSES, "multilabel", SETTINGS, tmp_path / "images.npy")
    assert list(tmp_path.iterdir()) == []


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
    download(load(DataSections))
    return tmp_path


def test_stage_writes_what_the_others_read(project):
    preprocess.main()
    info = read_dataset()
    assert info.name == "chestxray14"
    assert info.source["root"] == "published"
    assert len(info.classes) == 14
    samples = read_samples()
    assert open_images().shape == (3, 32, 32)
    assert samples["patient_id"].tolist() == ["00000001", "00000001", "00000002"]
    assert samples["official_split"].tolist() == ["train", "train", "test"]
    assert samples["Mass"].tolist() == [1, 1, 1]
    lines = SAMPLES.read_text().splitlines()
    assert lines[1].endswith(",58,M,PA,0")  # whole years, although one age is missing
    assert lines[3].endswith(",,M,PA,0")
    assert EXCLUDED.read_text() == "file,reason\n00000003_000.png,file missing\n"
    assert DUPLICATES.read_text().splitlines() == [",".join(COLUMNS)]
    boxes = BOXES.read_text().splitlines()
    assert boxes == ["row,sample_id,class,x,y,width,height", "2,00000002_000.png,Mass,16.0,8.0,4.0,2.0"]
    assert not list(PREPARED.glob("*partial*"))


def test_stage_run_twice_gives_the_same_bytes_and_drops_stale_boxes(project):
    preprocess.main()
    first = {p.name: p.read_bytes() for p in PREPARED.iterdir()}
    preprocess.main()
    assert {p.name: p.read_bytes() for p in PREPARED.iterdir()} == first
    (project / "published" / "BBox_List_2017.csv").unlink()
    download(load(DataSections))
    preprocess.main()
    assert not BOXES.exists()


@pytest.mark.parametrize("mode", ["pad", "crop"])
def test_stage_maps_boxes_into_padded_and_cropped_images(project, mode):
    Path("params.yaml").write_text(
        yaml.safe_dump({**PARAMS, "preprocess": {**PARAMS["preprocess"], "keep_aspect": mode}})
    )
    preprocess.main()
    # 30 x 40 pixels, the box from (1/2, 1/4) to (5/8, 5/16)
    placed = {"pad": "2,00000002_000.png,Mass,16.0,8.0,3.0,2.0", "crop": "2,00000002_000.png,Mass,16.0,5.333,4.0,2.667"}
    assert BOXES.read_text().splitlines()[1:] == [placed[mode]]


def test_stage_interrupted_leaves_no_table_of_the_earlier_run(project, monkeypatch):
    preprocess.main()
    monkeypatch.setattr("pipeline.imaging.dataset.prepare_all", lambda *_, **__: raising(KeyboardInterrupt())())
    with pytest.raises(KeyboardInterrupt):
        preprocess.main()
    assert not [p for p in PREPARED.iterdir() if p != IMAGES]


def test_stage_names_the_stage_that_is_missing(project, capsys):
    SOURCE.unlink()
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
    boxes = boxes_in_pixels(dataset.boxes(tmp_path), samples, 64, "stretch")
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


PBC = DATA / "pbc_dataset_normal_DIB" / "PBC_dataset_normal_DIB"


@pytest.mark.skipif(not PBC.is_dir(), reason=f"no real images: {PBC} does not exist (set MEDMATRIX_DATA)")
def test_real_cell_under_two_labels(tmp_path):
    files = sorted(p for p in PBC.glob("*/*.jpg") if p.parent.name in ("eosinophil", "neutrophil"))
    samples = [sample(p.name, p.read_bytes, labels=(p.parent.name,)) for p in files]
    settings = Preprocess(size=64, channels=3)
    result = prepare_all(samples, ("eosinophil", "neutrophil"), "multiclass", settings, tmp_path / "i.npy")
    reasons = dict(result.excluded.to_numpy().tolist())
    assert reasons["EO_225902.jpg"] == "identical pixels under other labels: BNE_191112.jpg"
    assert reasons["BNE_191112.jpg"] == "identical pixels under other labels: EO_225902.jpg"
    assert len(np.load(tmp_path / "i.npy")) == len(result.samples) == len(files) - len(reasons)
    table = result.duplicates
    published = pd.read_csv(PBC.parent / "identical_pairs.csv").map(lambda name: name.split("/")[1])
    published = published[published["a"].str.startswith("EO_")]
    exact = table[table["kind"] == "exact"]
    assert set(zip(exact["other_id"], exact["sample_id"])) == set(zip(published["a"], published["b"]))
    row = table.set_index("sample_id").loc["BNE_191112.jpg"]
    assert (row["other_id"], row["labels_agree"], row["action"]) == ("EO_225902.jpg", 0, "excluded")
