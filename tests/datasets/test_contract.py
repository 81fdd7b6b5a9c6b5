"""What every data set promises the rest of the pipeline, tested on a miniature copy in its published layout."""

import json
import shutil

import cv2
import numpy as np
import pytest

from pipeline.datasets import Dataset, DatasetError, available, dataset_class, open_dataset
from pipeline.datasets.chexpert.dataset import OBSERVATIONS
from pipeline.datasets.shared import inputs
from pipeline.download import download
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Preprocess
from pipeline.settings import parse
from pipeline.study.errors import UserError
from pipeline.study.files import CONTENT, SOURCE, raw_folder
from pipeline.study.params import ParamsError
from tests.tiny import TINY

SIDE = 24
LOSSES = {"multilabel": {"bce": {}, "zlpr": {}}, "multiclass": {"ce": {}, "focal": {}}}


def picture(seed, suffix=".png", channels=1):
    """Encode noise: no two such pictures are duplicates of each other."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, channels), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def write(root, paths, channels=1):
    for seed, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(picture(seed, "." + path.rsplit(".", 1)[1], channels))
    return str(root)


def phantom(folder):
    return dict(TINY["datasets"]["phantom"])


def chestxray14(folder):
    names = [f"{patient:08d}_{visit:03d}.png" for patient in (1, 2, 3, 4) for visit in (0, 1)]
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    labels = ["No Finding", "Mass|Edema", "Hernia"]
    rows = [f"{n},{labels[i % 3]},{int(n[9:12])},{int(n[:8])},5{i},F,PA,1,1,1,1" for i, n in enumerate(names)]
    root = write(folder, [f"images/{n}" for n in names])
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "train_val_list.txt").write_text("\n".join(names[:6]))
    (folder / "test_list.txt").write_text("\n".join(names[6:]))
    return {"root": root}


def chexpert(folder):
    base, about = folder / "CheXpert-v1.0-small", "Path,Sex,Age,Frontal/Lateral,AP/PA"
    header = ",".join([about, *OBSERVATIONS])
    rows = {"train.csv": [], "valid.csv": []}
    for i in range(8):
        part = "train" if i < 5 else "valid"
        frontal = i != 3
        view = "Frontal,AP" if frontal else "Lateral,"
        name = f"{part}/patient{i // 2 + 1 if i < 5 else 60000 + i:05d}/study{i % 2 + 1}/view1"
        path = f"{name}_{'frontal' if frontal else 'lateral'}.jpg"
        cells = [("1.0", "0.0", "-1.0", "")[(i + k) % 4] for k in range(1, 14)]
        if part == "valid":
            cells = [("1.0", "0.0")[(i + k) % 2] for k in range(1, 14)]
        nothing = "" if part == "train" else "0.0"
        rows[f"{part}.csv"].append(f"CheXpert-v1.0-small/{path},Female,{40 + i},{view},{nothing}," + ",".join(cells))
        write(base, [path])
        (base / path).write_bytes(picture(100 + i, ".jpg"))
    for name, lines in rows.items():
        (base / name).write_text("\n".join([header, *lines]) + "\n")
    return {"root": str(folder)}


def paediatric_pneumonia(folder):
    names = ["NORMAL/NORMAL-1-0001.jpeg", "PNEUMONIA/BACTERIA-2-0001.jpeg", "PNEUMONIA/VIRUS-3-0001.jpeg"]
    test = ["NORMAL/NORMAL-4-0001.jpeg", "PNEUMONIA/BACTERIA-5-0001.jpeg", "PNEUMONIA/VIRUS-6-0001.jpeg"]
    write(folder / "chest_xray", [*(f"train/{n}" for n in names), *(f"test/{n}" for n in test)])
    return {"root": str(folder), "version": "v3"}


def covid_radiography(folder):
    classes = ["COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"]
    files = [f"{c}/{kind}/{c}-{i}.png" for c in classes for kind in ("images", "masks") for i in (1, 2)]
    write(folder / "COVID-19_Radiography_Dataset", files)
    return {"root": str(folder)}


def joined(folder):
    first, second = (image_table(folder / name) for name in ("one", "two"))
    (folder / "two/labels.csv").write_text("id,d,age\n0,1,50\n1,0,51\n2,1,\n")
    own = {key: second[key] for key in ("image_column", "suffix")}
    sets = {
        "one": {"dataset": "image_table", **first},
        "two": {"dataset": "image_table", **own, "class_columns": ["d"]},
    }
    for name in sets:
        sets[name] |= {"root": f"{name}/images", "table": f"{name}/labels.csv"}
    for seed in range(6):
        (folder / f"two/images/{seed}.png").write_bytes(picture(200 + seed))
    return {"root": str(folder), "of": sets}


def leukemia(folder):
    stems = {"Benign": "WBC-Benign", **{c: f"WBC-Malignant-{c}" for c in ("Early", "Pre", "Pro")}}
    files = [f"{v}/{c}/{s}-00{i}.jpg" for v in ("Original", "Segmented") for c, s in stems.items() for i in (1, 2)]
    return {"root": write(folder, files, channels=3)}


def medmnist(folder):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part, count in (("train", 6), ("val", 2), ("test", 4)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28, 3), np.uint8)
        arrays[f"{part}_labels"] = rng.integers(0, 8, (count, 1), np.uint8)
    np.savez_compressed(folder / "bloodmnist.npz", **arrays)
    return {"root": str(folder), "flag": "bloodmnist"}


def image_folder(folder):
    files = [f"{part}/{c}/{i}.png" for part in ("train", "test") for c in ("cat", "dog") for i in (1, 2)]
    return {"root": write(folder, files)}


def image_table(folder):
    root = write(folder / "images", [f"{i}.png" for i in range(6)])
    rows = [f"{i},{'ab'[i % 2]}|c,p{i // 2},{40 + i}" for i in range(6)]
    (folder / "labels.csv").write_text("\n".join(["id,labels,patient,age", *rows]))
    return {
        "root": root,
        "table": str(folder / "labels.csv"),
        "image_column": "id",
        "suffix": ".png",
        "label_column": "labels",
        "separator": "|",
        "patient_column": "patient",
        "extra_columns": ["age"],
    }


MINIATURES = {
    f.__name__: f
    for f in (
        chestxray14,
        chexpert,
        covid_radiography,
        image_folder,
        image_table,
        joined,
        leukemia,
        medmnist,
        paediatric_pneumonia,
        phantom,
    )
}
"""Writes the data set into a folder and returns its settings."""

every = pytest.mark.parametrize("name", available())


def study(tiny, name, settings):
    task = dataset_class(name).model_validate(settings).task
    losses = LOSSES[task]
    tiny |= {"dataset": name, "datasets": {name: settings}, "losses": losses}
    tiny["study"]["losses"] = list(losses)
    return parse(tiny)


@pytest.fixture
def published(request, tmp_path, name, tiny, monkeypatch):
    """The miniature of a data set as `(dataset, params)`, with an empty working directory."""
    monkeypatch.chdir(tmp_path)
    if name == "phantom":  # drawn by the download of `prepared_once`
        shutil.copytree(request.getfixturevalue("prepared_once") / raw_folder(name), raw_folder(name))
    params = study(tiny, name, MINIATURES[name](tmp_path / "published"))
    return open_dataset(name, params.datasets[name]), params


def test_every_data_set_has_a_miniature():
    assert set(MINIATURES) == set(available())


@every
def test_says_what_it_is(name, published):
    dataset, _ = published
    assert isinstance(dataset, Dataset)
    assert dataset.name == name
    assert dataset.task in ("multilabel", "multiclass")
    for text in (dataset.title, dataset.licence, dataset.citation, *dataset.notes):
        assert text.strip() == text != ""
    assert dataset.url.startswith("https://") or not dataset.url
    local = name in ("image_folder", "image_table", "joined", "phantom")
    assert bool(dataset.url) or local
    assert all(note.endswith(".") for note in dataset.notes)


@every
def test_download_records_the_source(name, published):
    dataset, params = published
    folder = download(params)
    assert folder == raw_folder(name)
    written = json.loads(SOURCE.read_text())
    assert written["name"] == name
    assert written["licence"] == dataset.licence
    assert written["citation"] == dataset.citation
    assert written["source"]
    again = dataset.fetch(folder)
    assert json.loads(json.dumps(again)) == again == written["source"]


@every
def test_what_can_change_is_digested(name, published):
    dataset, params = published
    folder = download(params)
    content = json.loads(SOURCE.read_text())["content"]
    ids = [sample.sample_id for sample in dataset.samples(folder)]
    if dataset.checked_by_fetch and getattr(dataset, "root", None) is None:
        assert content is None
        assert CONTENT.read_text() == ""
    else:
        assert content["samples"] == len(ids)
        assert [line.sample_id for line in inputs.read_content()] == ids
        # Read again, everything is as it was.
        assert [s.sample_id for s in inputs.verified(dataset.samples(folder), inputs.read_content(), dataset)] == ids
        inputs.check_other(dataset, folder, content["other"])


@every
def test_samples_keep_the_interface(name, published):
    dataset, params = published
    folder = download(params)
    classes = dataset.classes
    assert len(set(classes)) == len(classes) >= 2
    samples = list(dataset.samples(folder))
    assert len({s.sample_id for s in samples}) == len(samples) > 1
    keys = list(samples[0].extra)
    for sample in samples:
        assert isinstance(sample.sample_id, str)
        assert isinstance(sample.patient_id, str)
        assert sample.patient_id
        assert set(sample.labels) <= set(classes)
        assert len(set(sample.labels)) == len(sample.labels)
        assert dataset.task == "multilabel" or len(sample.labels) == 1
        assert sample.official_split in ("", "train", "val", "test")
        assert list(sample.extra) == keys
    assert {label for s in samples for label in s.labels}


@every
def test_order_is_stable(name, published):
    dataset, params = published
    folder = download(params)

    def seen():
        return [(s.sample_id, s.patient_id, s.labels, s.official_split, dict(s.extra)) for s in dataset.samples(folder)]

    assert seen() == seen()


@every
def test_read_gives_bytes_or_pixels(name, published):
    dataset, params = published
    folder = download(params)
    for sample in dataset.samples(folder):
        image = sample.read()
        if isinstance(image, np.ndarray):
            assert image.dtype == np.uint8
            assert image.ndim == 2 or image.shape[2] == 3
        else:
            assert isinstance(image, bytes)


@every
def test_goes_through_preprocess(name, published, tmp_path):
    dataset, params = published
    folder = download(params)
    settings = Preprocess(size=16, channels=1, threads=1)
    path = tmp_path / "images.npy"
    result = prepare_all(list(dataset.samples(folder)), dataset.classes, dataset.task, settings, path)
    images = np.load(path)
    count = sum(1 for _ in dataset.samples(folder))
    assert len(result.samples) + len(result.excluded) == count
    assert images.shape == (len(result.samples), 16, 16)
    # Only the phantom has faults planted; noise has no twins and every file decodes.
    assert result.excluded.empty or name == "phantom"
    assert images.std() > 1
    labels = result.samples[list(dataset.classes)].astype(float).to_numpy()
    assert (labels == 1).any()
    assert np.isin(labels[~np.isnan(labels)], (0, 1, -1)).all()
    assert dataset.task == "multilabel" or (labels.sum(axis=1) == 1).all()
    boxes = dataset.boxes(folder)
    if boxes is not None:
        assert list(boxes.columns) == ["sample_id", "class", "x", "y", "width", "height"]


@every
def test_unknown_setting_is_refused(name, tiny):
    tiny |= {"dataset": name, "datasets": {name: {"rooot": "here"}}}
    with pytest.raises(ParamsError, match=rf"datasets\.{name}\.rooot: unknown key.*use one of: "):
        open_dataset(name, parse(tiny).datasets[name])


@every
def test_root_that_is_not_there_is_named(name, tmp_path):
    cls = dataset_class(name)
    if "root" not in cls.model_fields:
        assert name == "phantom"  # drawn: nothing to look for
        return
    settings = MINIATURES[name](tmp_path / "published") | {"root": str(tmp_path / "nowhere")}
    for call in (lambda d: d.fetch(tmp_path), lambda d: list(d.samples(tmp_path))):
        with pytest.raises(DatasetError, match=rf"datasets\.{name}\.root.*nowhere") as caught:
            call(cls.model_validate(settings))
        assert isinstance(caught.value, UserError)


@every
def test_empty_root_is_refused(name, tmp_path):
    cls = dataset_class(name)
    if "root" not in cls.model_fields:
        assert name == "phantom"
        return
    settings = MINIATURES[name](tmp_path / "published")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty"):
        cls.model_validate(settings | {"root": str(tmp_path / "empty")}).fetch(tmp_path)


def test_unknown_data_set_is_named_with_those_there_are():
    with pytest.raises(DatasetError, match=r"'mnist' is not a data set; use one of: .*image_folder"):
        dataset_class("mnist")
