import hashlib
import json
import os
from pathlib import Path

import pytest

from pipeline.datasets import DatasetError, available, dataset_class
from pipeline.datasets.chestxray14 import Data

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,Original"
NAMES = [f"{patient:08d}_{follow_up:03d}.png" for patient in (1, 2, 3, 4) for follow_up in (0, 1)]
KAGGLE = {name: f"images_{1 + i // 4:03d}/images" for i, name in enumerate(NAMES)}


def publish(root, names=NAMES, folders=None, entries="Data_Entry_2017_v2020.csv", boxes=True):
    root.mkdir(exist_ok=True)
    labels = ["No Finding", "Mass|Edema"]
    rows = [f"{n},{labels[i % 2]},{int(n[9:12])},{int(n[:8])},{50 + i},F,AP,1,1,1,1" for i, n in enumerate(NAMES)]
    (root / entries).write_text("\n".join([HEADER, *rows]) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(NAMES[:6]))
    (root / "test_list.txt").write_text("\n".join(NAMES[6:]))
    if boxes:
        box = f"{NAMES[7]},Infiltrate,0,512,1024,256\n"
        (root / "BBox_List_2017.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n" + box)
    for name in names:
        folder = root / (folders or {}).get(name, "images")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return root


@pytest.fixture
def root(tmp_path):
    return publish(tmp_path / "nih")


def test_is_a_data_set():
    assert "chestxray14" in available()
    assert dataset_class("chestxray14") is Data


@pytest.mark.parametrize("folders", [None, KAGGLE], ids=["published", "kaggle"])
def test_samples_are_the_rows_in_order(tmp_path, folders):
    data = Data(root=str(publish(tmp_path / "nih", folders=folders)))
    samples = list(data.samples(tmp_path))
    assert [s.sample_id for s in samples] == NAMES
    assert [s.read() for s in samples] == [n.encode() for n in NAMES]
    assert [s.patient_id for s in samples] == [n[:8] for n in NAMES]
    assert [s.official_split for s in samples] == ["train"] * 6 + ["test"] * 2
    assert samples[0].labels == ()
    assert samples[1].labels == ("Mass", "Edema")
    assert samples[1].extra == {"age": 51, "sex": "F", "view": "AP", "follow_up": 1}


def test_fetch_records_what_is_there(root, tmp_path):
    (root / "images" / "00000009_000.png").write_bytes(b"not listed")
    (root / "images" / ".DS_Store").write_bytes(b"hidden")
    record = Data(root=str(root)).fetch(tmp_path)
    assert json.loads(json.dumps(record)) == record
    assert record["root"] == str(root)
    assert record["label_version"] == "v2020"
    assert (record["rows"], record["images"], record["boxes"]) == (8, 8, 1)
    assert record["missing"] == {"count": 0, "first": []}
    assert record["unlisted"] == {"count": 1, "first": ["00000009_000.png"]}
    assert record["bytes"] == 8 * 16
    entries = (root / "Data_Entry_2017_v2020.csv").read_bytes()
    assert record["metadata"]["Data_Entry_2017_v2020.csv"] == hashlib.sha256(entries).hexdigest()
    assert len(record["metadata"]) == 4


def test_fingerprint_changes_with_a_size_and_not_with_the_place(root, tmp_path):
    before = Data(root=str(root)).fetch(tmp_path)["fingerprint"]
    assert Data(root=str(publish(tmp_path / "copy"))).fetch(tmp_path)["fingerprint"] == before
    (root / "images" / NAMES[0]).write_bytes(b"shorter")
    assert Data(root=str(root)).fetch(tmp_path)["fingerprint"] != before


def test_labels_of_2017_are_named(tmp_path):
    root = publish(tmp_path / "nih", entries="Data_Entry_2017.csv")
    assert Data(root=str(root)).fetch(tmp_path)["label_version"] == "2017"


def test_name_in_two_folders_is_recorded(root, tmp_path):
    (root / "images_001" / "images").mkdir(parents=True)
    (root / "images_001" / "images" / NAMES[0]).write_bytes(b"other")
    data = Data(root=str(root))
    assert data.fetch(tmp_path)["in_two_folders"]["first"] == [NAMES[0]]
    assert next(iter(data.samples(tmp_path))).read() == NAMES[0].encode()


def test_missing_images_are_counted_and_raise_only_when_read(tmp_path):
    data = Data(root=str(publish(tmp_path / "nih", names=NAMES[:5])))
    record = data.fetch(tmp_path)
    assert record["missing"] == {"count": 3, "first": NAMES[5:]}
    samples = list(data.samples(tmp_path))
    assert len(samples) == 8
    with pytest.raises(FileNotFoundError):
        samples[7].read()


@pytest.mark.parametrize("count", [0, 3])
def test_mostly_missing_is_an_error(tmp_path, count):
    data = Data(root=str(publish(tmp_path / "nih", names=NAMES[:count])))
    with pytest.raises(DatasetError, match=f"{count} of the 8 images .* are there; expected there: .*images_001"):
        data.fetch(tmp_path)


def test_without_root_the_key_and_the_layout_are_named(tmp_path):
    with pytest.raises(
        DatasetError, match=r"datasets\.chestxray14\.root is not set.*not available yet.*expected there"
    ):
        Data().fetch(tmp_path)


def test_root_that_is_no_folder(tmp_path):
    with pytest.raises(DatasetError, match=r"'nowhere' is not a folder"):
        Data(root="nowhere").fetch(tmp_path)


@pytest.mark.parametrize("name", ["Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt"])
def test_missing_metadata_is_named(root, tmp_path, name):
    (root / name).unlink()
    with pytest.raises(DatasetError, match=name):
        Data(root=str(root)).fetch(tmp_path)


def test_patient_in_both_lists_is_found_by_fetch(root, tmp_path):
    (root / "train_val_list.txt").write_text("\n".join(NAMES[:7]))
    (root / "test_list.txt").write_text(NAMES[7])
    with pytest.raises(DatasetError, match="patient 00000004"):
        Data(root=str(root)).fetch(tmp_path)


def test_boxes_are_fractions_or_absent(root, tmp_path):
    boxes = Data(root=str(root)).boxes(tmp_path)
    assert boxes.to_numpy().tolist() == [[NAMES[7], "Infiltration", 0.0, 0.5, 1.0, 0.25]]
    (root / "BBox_List_2017.csv").unlink()
    assert Data(root=str(root)).boxes(tmp_path) is None


REAL = Path(os.environ.get("MEDMATRIX_DATA", Path(__file__).parents[3] / "shared" / "data")) / "nih_chestxray14"


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real images: {REAL} does not exist (set MEDMATRIX_DATA)")
def test_real_subset(tmp_path):
    data = Data(root=str(REAL))
    record = data.fetch(tmp_path)
    assert (record["rows"], record["images"], record["boxes"], record["label_version"]) == (1605, 1605, 60, "v2020")
    assert record["missing"]["count"] == record["unlisted"]["count"] == 0
    samples = list(data.samples(tmp_path))
    assert len({s.patient_id for s in samples}) == 1281
    assert sum("Pneumonia" in s.labels for s in samples) == 516
    assert sum("Hernia" in s.labels for s in samples) == 23
    assert sum(not s.labels for s in samples) == 600
    in_test = {s.patient_id for s in samples if s.official_split == "test"}
    assert not in_test & {s.patient_id for s in samples if s.official_split == "train"}
