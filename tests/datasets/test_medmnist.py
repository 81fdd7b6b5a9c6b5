import hashlib
import io
import json
import zipfile
from collections import Counter
from typing import get_args

import numpy as np
import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.medmnist import dataset as medmnist
from pipeline.datasets.medmnist.dataset import Data
from pipeline.datasets.medmnist.sets import SETS, Flag, Size
from pipeline.datasets.shared.fetching.remote import Fetched
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Preprocess

COUNTS = {"train": 6, "val": 2, "test": 4}


def arrays(size=28, classes=2, columns=1, channels=0, seed=0):
    rng = np.random.default_rng(seed)
    shape = (size, size, channels) if channels else (size, size)
    result = {}
    for part, n in COUNTS.items():
        result[f"{part}_images"] = rng.integers(0, 256, (n, *shape), np.uint8)
        result[f"{part}_labels"] = rng.integers(0, classes, (n, columns)).astype(np.uint8)
    return result


def publish(root, name="pneumoniamnist.npz", content=None, compressed=True):
    root.mkdir(exist_ok=True)
    (np.savez_compressed if compressed else np.savez)(root / name, **(content or arrays()))
    return root


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.mark.parametrize("compressed", [True, False])
def test_samples_are_the_published_rows(tmp_path, raw, compressed):
    content = arrays()
    root = publish(tmp_path / "mnist", content=content, compressed=compressed)
    data = Data(root=str(root))
    assert data.task == "multiclass"
    samples = list(data.samples(raw))
    assert Counter(s.official_split for s in samples) == COUNTS
    assert samples[7].sample_id == samples[7].patient_id == "val_000001"
    flat = np.concatenate([content[f"{p}_images"] for p in COUNTS])
    labels = np.concatenate([content[f"{p}_labels"] for p in COUNTS])[:, 0]
    for sample, image, label in zip(samples, flat, labels, strict=True):
        assert np.array_equal(sample.read(), image)
        assert type(sample.read()) is np.ndarray  # a copy: a view would keep the whole file mapped
        assert sample.labels == (("normal", "pneumonia")[label],)


def test_chest_is_multilabel_in_the_published_order(tmp_path, raw):
    content = arrays(columns=14)
    content["train_labels"][:2] = 0
    content["train_labels"][1, [0, 12, 13]] = 1
    root = publish(tmp_path / "mnist", "chestmnist.npz", content)
    data = Data(root=str(root), flag="chestmnist")
    assert data.task == "multilabel"
    samples = list(data.samples(raw))
    assert samples[0].labels == ()
    assert samples[1].labels == ("atelectasis", "pleural", "hernia")


def test_chest_labels_are_0_and_1(tmp_path, raw):
    content = arrays(columns=14)
    content["val_labels"][1, 3] = 2
    root = publish(tmp_path / "mnist", "chestmnist.npz", content)
    with pytest.raises(DatasetError, match="val_labels: row 1 holds 2; it must be 0 to 1"):
        Data(root=str(root), flag="chestmnist").fetch(raw)


def test_size_is_in_the_file_name_and_checked(tmp_path, raw):
    root = publish(tmp_path / "mnist", "bloodmnist_64.npz", arrays(size=64, classes=8, channels=3))
    data = Data(root=str(root), flag="bloodmnist", size=64)
    assert next(data.samples(raw)).read().shape == (64, 64, 3)
    with pytest.raises(DatasetError, match=r"holds no bloodmnist_128\.npz \(flag bloodmnist, size 128\)"):
        Data(root=str(root), flag="bloodmnist", size=128).fetch(raw)
    publish(tmp_path / "mnist", "bloodmnist.npz", arrays(size=64, classes=8, channels=3))
    with pytest.raises(DatasetError, match=r"train_images: uint8 \[6, 64, 64, 3\]; expected uint8 \[N, 28, 28\]"):
        Data(root=str(root), flag="bloodmnist").fetch(raw)


def test_record(tmp_path, raw):
    root = publish(tmp_path / "mnist")
    record = Data(root=str(root)).fetch(raw)
    assert json.loads(json.dumps(record)) == record
    assert record["images"] == COUNTS
    assert record["md5"] == hashlib.md5((root / "pneumoniamnist.npz").read_bytes()).hexdigest()
    assert record["as_published"] is False
    assert record["differs_from_published"]["test"] == {"found": 4, "published": 624}


def test_images_are_unpacked_once_and_anew_for_another_file(tmp_path, raw):
    root = publish(tmp_path / "mnist")
    data = Data(root=str(root))
    data.fetch(raw)
    before = {p.name: p.stat().st_mtime_ns for p in raw.glob("*.npy")}
    data.fetch(raw)
    list(data.samples(raw))
    assert {p.name: p.stat().st_mtime_ns for p in raw.glob("*.npy")} == before
    other = arrays(seed=1)
    publish(tmp_path / "mnist", content=other)
    assert np.array_equal(next(data.samples(raw)).read(), other["train_images"][0])
    after = {p.name for p in raw.iterdir()}
    assert len(after) == 3
    assert not after & set(before)


def test_images_are_not_held_in_memory(tmp_path, raw):
    data = Data(root=str(publish(tmp_path / "mnist")))
    for sample in data.samples(raw):
        (images, _index) = sample.read.args
        assert isinstance(images, np.memmap)


def test_goes_through_preprocess_in_colour(tmp_path, raw):
    root = publish(tmp_path / "mnist", "bloodmnist.npz", content := arrays(classes=8, channels=3))
    data = Data(root=str(root), flag="bloodmnist")
    settings = Preprocess(size=28, channels=3, clahe={"enabled": False}, threads=2)
    result = prepare_all(data.samples(raw), data.classes, data.task, settings, tmp_path / "images.npy")
    assert len(result.samples) == 12
    assert np.array_equal(np.load(tmp_path / "images.npy")[:6], content["train_images"])


def replaced(**changes):
    return arrays() | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (replaced(val_images=np.zeros((2, 28, 28), np.float32)), r"val_images: float32 \[2, 28, 28\]; expected uint8"),
        (replaced(val_labels=np.zeros((3, 1), np.uint8)), r"val_labels: uint8 \[3, 1\]; expected .*\[2, 1\]"),
        (replaced(val_labels=np.zeros((2, 14), np.uint8)), r"val_labels: uint8 \[2, 14\]; expected .*\[2, 1\]"),
        (
            replaced(test_labels=np.array([[0], [1], [2], [0]], np.uint8)),
            r"test_labels: row 2 holds 2; it must be 0 to 1",
        ),
        (replaced(train_labels=np.zeros((6, 1))), "train_labels: float64"),
        ({k: v for k, v in arrays().items() if k != "test_images"}, "no array test_images; it holds test_labels.npy"),
        (replaced(val_labels=np.array([[None], [1]], object)), "not a MedMNIST file, or damaged .*allow_pickle"),
        (replaced(train_images=np.array([[None]], object)), "not a MedMNIST file, or damaged"),
        (replaced(val_images=np.zeros((0, 28, 28), np.uint8)), "val_images: no images; expected at least one"),
    ],
)
def test_arrays_that_are_not_the_set_are_named(tmp_path, raw, content, message):
    root = publish(tmp_path / "mnist", content=content)
    with pytest.raises(DatasetError, match=message):
        Data(root=str(root)).fetch(raw)


def test_pickled_labels_are_not_run(tmp_path, raw):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    content = arrays()
    content["train_labels"] = np.array([Bomb()], dtype=object)
    root = publish(tmp_path / "mnist", content=content)
    with pytest.raises(DatasetError, match="damaged"):
        list(Data(root=str(root)).samples(raw))
    assert not (tmp_path / "ran").exists()


def test_damaged_archive_leaves_no_array(tmp_path, raw):
    root = publish(tmp_path / "mnist", compressed=False)
    path = root / "pneumoniamnist.npz"
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        offset = archive.getinfo("train_images.npy").header_offset
    data[offset + 1000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="or damaged"):
        Data(root=str(root)).fetch(raw)
    assert not list(raw.glob("*.npy"))
    path.write_bytes(data[:500])
    with pytest.raises(DatasetError, match="or damaged"):
        Data(root=str(root)).fetch(raw)


def test_without_root_the_pinned_file_is_fetched(tmp_path, raw, monkeypatch):
    asked = []

    def fetch_files(files, folder, otherwise):
        asked.extend(files)
        publish(folder, files[0].name, arrays(columns=14, size=64))
        return [Fetched(folder / files[0].name, 1, "md5", files[0].md5)]

    monkeypatch.setattr(medmnist, "fetch_files", fetch_files)
    data = Data(flag="chestmnist", size=64)
    with pytest.raises(DatasetError, match="run stage download"):
        list(data.samples(raw))
    record = data.fetch(raw)
    (file,) = asked
    assert file.url == "https://zenodo.org/records/10519652/files/chestmnist_64.npz?download=1"
    assert file.md5 == record["md5"] == "9de6cd0b934ebb5b7426cfba5efbae16"
    assert record["as_published"] is True
    assert len(list(data.samples(raw))) == 12


def test_every_set_is_described():
    assert set(SETS) == set(get_args(Flag))
    digests = [digest for known in SETS.values() for digest in known.md5]
    assert len(set(digests)) == len(digests) == 12 * len(get_args(Size))
    assert all(len(d) == 32 and set(d) <= set("0123456789abcdef") for d in digests)
    classes = {flag: len(Data(flag=flag).classes) for flag in get_args(Flag)}
    assert classes == {
        "pathmnist": 9,
        "chestmnist": 14,
        "dermamnist": 7,
        "octmnist": 4,
        "pneumoniamnist": 2,
        "retinamnist": 5,
        "breastmnist": 2,
        "bloodmnist": 8,
        "tissuemnist": 8,
        "organamnist": 11,
        "organcmnist": 11,
        "organsmnist": 11,
    }
    assert sum(SETS["chestmnist"].counts) == 112120
    assert sum(SETS["pneumoniamnist"].counts) == 5856
    assert sum(SETS["bloodmnist"].counts) == 17092


def test_dermamnist_has_its_own_licence():
    assert Data(flag="dermamnist").licence == "CC BY-NC 4.0"
    assert Data(flag="bloodmnist").licence == "CC BY 4.0"


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="flag"):
        Data(flag="mnist")
    with pytest.raises(ValueError, match="size"):
        Data(size=32)
