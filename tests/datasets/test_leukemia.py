import json
from collections import Counter

import pytest

from pipeline.datasets import DatasetError, open_dataset
from pipeline.datasets.leukemia.dataset import PUBLISHED, Data
from pipeline.datasets.shared import local
from pipeline.study.params import ParamsError

STEMS = {"Benign": "WBC-Benign", "Early": "WBC-Malignant-Early", "Pre": "WBC-Malignant-Pre", "Pro": "WBC-Malignant-Pro"}


def publish(root, count=2):
    for version in ("Original", "Segmented"):
        for label, stem in STEMS.items():
            (root / version / label).mkdir(parents=True, exist_ok=True)
            for i in range(1, count + 1):
                (root / version / label / f"{stem}-{i:03d}.jpg").write_bytes(f"{version} {stem} {i}".encode())
    return root


@pytest.fixture
def root(tmp_path):
    return publish(tmp_path / "leukemia")


@pytest.mark.parametrize(("images", "first"), [("original", b"Original"), ("segmented", b"Segmented")])
def test_one_of_the_two_versions(root, tmp_path, images, first):
    samples = list(Data(root=str(root), images=images).samples(tmp_path))
    assert Counter(s.labels[0] for s in samples) == dict.fromkeys(STEMS, 2)
    assert all(s.read().startswith(first) for s in samples)
    assert samples[2].sample_id == samples[2].patient_id == "WBC-Malignant-Early-001.jpg"
    assert [s.labels[0] for s in samples] == [c for c in STEMS for _ in range(2)]


def test_record(root, tmp_path):
    (root / "Original" / "Pre" / ".DS_Store").write_bytes(b"x")
    (root / "Original" / "Pre" / "notes.txt").write_bytes(b"x")
    record = Data(root=str(root)).fetch(tmp_path)
    assert json.loads(json.dumps(record)) == record
    assert record["images"] == 8
    assert record["version"] == "original"
    assert record["differs_from_published"]["Benign"] == {"found": 2, "published": 504}
    assert sum(PUBLISHED.values()) == 3256
    assert record["other_files"] == {"count": 2, "first": ["Pre/.DS_Store", "Pre/notes.txt"]}


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Benign", "aug_0.jpg"),
        ("Early", "WBC-Malignant-Pre-001.jpg"),
        ("Pro", "WBC-Malignant-Pro-001 (1).jpg"),
        ("Pre", "WBC-Malignant-Pre-001.jpg.png"),
    ],
)
def test_files_that_were_added_are_refused(root, tmp_path, folder, name):
    (root / "Original" / folder / name).write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"not a published name of class .*such as augmented copies") as caught:
        Data(root=str(root)).fetch(tmp_path)
    assert name in str(caught.value)


def test_version_that_is_not_there(root, tmp_path):
    (root / "Segmented").rename(tmp_path / "away")
    assert Data(root=str(root)).fetch(tmp_path)["images"] == 8
    with pytest.raises(DatasetError, match=r"datasets\.leukemia\.root: '.*' holds no Segmented/"):
        Data(root=str(root), images="segmented").fetch(tmp_path)


def test_root_may_be_the_version_or_a_folder_above(root, tmp_path):
    for place in (root / "Original", root, root.parent):
        assert Data(root=str(place)).fetch(tmp_path)["images"] == 8


def test_empty_class(root, tmp_path):
    for path in (root / "Original" / "Pro").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no images of class 'Pro'"):
        Data(root=str(root)).fetch(tmp_path)


def test_without_root_the_copy_from_kaggle_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "fetch_kaggle", lambda handle, folder, setting: folder / "kagglehub" / handle)
    folder = tmp_path / "raw"
    publish(folder / "kagglehub" / "mehradaria" / "leukemia")
    assert Data().fetch(folder)["kaggle"] == "kagglehub/mehradaria/leukemia"
    assert len(list(Data().samples(folder))) == 8


def test_fetched_copy_that_is_gone(tmp_path, monkeypatch):
    folder = tmp_path / "raw"
    publish(folder / "copy")
    monkeypatch.setattr(local, "fetch_kaggle", lambda handle, folder, setting: folder / "copy")
    Data().fetch(folder)
    (folder / "copy").rename(tmp_path / "moved")
    with pytest.raises(DatasetError, match=r"run stage download, or set datasets\.leukemia\.root"):
        list(Data().samples(folder))


def test_notes_state_that_patients_are_unknown():
    assert not Data().patients_known
    assert "near-duplicates" in Data().notes[0]
    assert "too good" in Data().notes[0]
    assert "blocks of 50" in Data(groups="blocks of 50").notes[1]


def test_masks_are_what_the_segmented_version_leaves_in_colour(root, tmp_path):
    data = Data(root=str(root), task="segmentation")
    assert (data.task, data.classes) == ("segmentation", ("blasts",))
    samples = list(data.samples(tmp_path))
    assert all(s.labels == ("blasts",) and s.read().startswith(b"Original") for s in samples)
    (mask,) = samples[2].masks()
    assert mask.content == b"Segmented WBC-Malignant-Early 1"
    assert mask.above == 25
    assert data.fetch(tmp_path)["counts"] == dict.fromkeys(STEMS, 2)
    with pytest.raises(ParamsError, match="images: 'segmented' with task: segmentation"):
        open_dataset("leukemia", {"root": str(root), "task": "segmentation", "images": "segmented"})
