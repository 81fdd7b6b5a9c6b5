import hashlib
import json
import re
import zipfile
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.datasets import DatasetError, dataset_class
from pipeline.datasets.paediatric_pneumonia import dataset as paediatric_pneumonia
from pipeline.datasets.paediatric_pneumonia.dataset import CLASSES, Data
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import Preprocess
from tests.datasets.shared.fetching.site import Site
from tests.tiny import DATA

V2 = {
    "train/NORMAL": ["IM-0115-0001.jpeg", "IM-0011-0001-0002.jpeg", "NORMAL2-IM-0373-0001.jpeg"],
    "train/PNEUMONIA": ["person1_bacteria_1.jpeg", "person1_bacteria_2.jpeg", "person1_virus_6.jpeg"],
    "test/NORMAL": ["NORMAL2-IM-0115-0001.jpeg"],
    "test/PNEUMONIA": ["person2_bacteria_3.jpeg", "person88_virus_163_2.jpeg"],
}
V3 = {
    "train/NORMAL": ["NORMAL-28501-0001.jpeg"],
    "train/PNEUMONIA": ["BACTERIA-1008087-0001.jpeg", "BACTERIA-1008087-0002.jpeg", "VIRUS-1008087-0001.jpeg"],
    "test/NORMAL": ["NORMAL-28502-0001.jpeg"],
    "test/PNEUMONIA": ["VIRUS-7-0001.jpeg"],
}


def publish(root, files):
    for folder, names in files.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / folder / name).write_bytes(f"{folder}/{name}".encode())
    return root


@pytest.fixture
def v2(tmp_path):
    return publish(tmp_path / "chest_xray", V2)


def test_is_a_data_set():
    assert dataset_class("paediatric_pneumonia") is Data
    assert Data().version == "v3"
    assert Data().classes == ("normal", "bacteria", "virus")


def test_names_of_version_2(v2, tmp_path):
    samples = {s.sample_id: s for s in Data(root=str(v2), version="v2").samples(tmp_path)}
    assert {name: (s.patient_id, s.labels[0], s.official_split) for name, s in samples.items()} == {
        "IM-0115-0001.jpeg": ("IM-0115", "normal", "train"),
        "IM-0011-0001-0002.jpeg": ("IM-0011", "normal", "train"),
        "NORMAL2-IM-0373-0001.jpeg": ("NORMAL2-IM-0373", "normal", "train"),
        "person1_bacteria_1.jpeg": ("person1_bacteria", "bacteria", "train"),
        "person1_bacteria_2.jpeg": ("person1_bacteria", "bacteria", "train"),
        "person1_virus_6.jpeg": ("person1_virus", "virus", "train"),
        "NORMAL2-IM-0115-0001.jpeg": ("NORMAL2-IM-0115", "normal", "test"),
        "person2_bacteria_3.jpeg": ("person2_bacteria", "bacteria", "test"),
        "person88_virus_163_2.jpeg": ("person88_virus", "virus", "test"),
    }
    assert samples["IM-0115-0001.jpeg"].read() == b"train/NORMAL/IM-0115-0001.jpeg"


def test_names_of_version_3(tmp_path):
    root = publish(tmp_path / "CellData" / "chest_xray", V3).parents[1]
    samples = list(Data(root=str(root)).samples(tmp_path))
    assert [(s.patient_id, s.labels) for s in samples] == [
        ("NORMAL-28501", ("normal",)),
        ("BACTERIA-1008087", ("bacteria",)),
        ("BACTERIA-1008087", ("bacteria",)),
        ("VIRUS-1008087", ("virus",)),
        ("NORMAL-28502", ("normal",)),
        ("VIRUS-7", ("virus",)),
    ]


def test_root_may_be_the_folder_or_its_parent(v2, tmp_path):
    for root in (v2, v2.parent):
        assert Data(root=str(root), version="v2").fetch(tmp_path)["images"] == 9


def test_val_folder_of_kaggle_is_training(v2, tmp_path):
    publish(v2, {"val/PNEUMONIA": ["person1946_bacteria_4874.jpeg"], "val/NORMAL": ["NORMAL2-IM-1427-0001.jpeg"]})
    data = Data(root=str(v2), version="v2")
    assert Counter(s.official_split for s in data.samples(tmp_path)) == {"train": 8, "test": 3}
    assert data.fetch(tmp_path)["counts"]["val"] == {"normal": 1, "bacteria": 1, "virus": 0}


def test_fetch_records_what_is_there(v2, tmp_path):
    publish(v2, {"train/NORMAL": [".DS_Store", "._IM-0115-0001.jpeg", "Thumbs.db"]})
    record = Data(root=str(v2), version="v2").fetch(tmp_path)
    assert json.loads(json.dumps(record)) == record
    assert record["images"] == 9
    assert record["patients"] == 8
    assert record["patients_in_train_and_test"] == 0
    assert record["counts"]["train"] == {"normal": 3, "bacteria": 2, "virus": 1}
    assert record["other_files"] == {
        "count": 3,
        "first": ["train/NORMAL/.DS_Store", "train/NORMAL/._IM-0115-0001.jpeg", "train/NORMAL/Thumbs.db"],
    }


def test_fingerprint_changes_with_a_name(v2, tmp_path):
    data = Data(root=str(v2), version="v2")
    before = data.fetch(tmp_path)["fingerprint"]
    (v2 / "test/PNEUMONIA/person2_bacteria_3.jpeg").rename(v2 / "test/PNEUMONIA/person3_bacteria_3.jpeg")
    assert data.fetch(tmp_path)["fingerprint"] != before


def test_patient_in_both_parts_is_counted_and_left_to_the_split(v2, tmp_path):
    publish(v2, {"test/PNEUMONIA": ["person1_virus_7.jpeg"]})
    data = Data(root=str(v2), version="v2")
    assert data.fetch(tmp_path)["patients_in_train_and_test"] == 1
    assert len(list(data.samples(tmp_path))) == 10


@pytest.mark.parametrize(("files", "version", "other"), [(V2, "v3", "v2"), (V3, "v2", "v3")])
def test_wrong_version_is_hinted_at(tmp_path, files, version, other):
    root = publish(tmp_path / "chest_xray", files)
    with pytest.raises(DatasetError, match=f"not a file name of version {version}; .*version to {other}"):
        Data(root=str(root), version=version).fetch(tmp_path)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_strange_name_is_named(tmp_path, version):
    root = publish(tmp_path / "chest_xray", V2 if version == "v2" else V3)
    publish(root, {"train/NORMAL": ["photo.jpeg"]})
    with pytest.raises(DatasetError, match=r"train/NORMAL/photo\.jpeg: not a file name of version .*move the file"):
        Data(root=str(root), version=version).fetch(tmp_path)


def test_name_that_contradicts_its_folder(v2, tmp_path):
    publish(v2, {"test/NORMAL": ["person9_virus_1.jpeg"]})
    with pytest.raises(DatasetError, match=r"test/NORMAL/person9_virus_1\.jpeg: the name says virus"):
        list(Data(root=str(v2), version="v2").samples(tmp_path))


def test_wrong_root(tmp_path):
    with pytest.raises(DatasetError, match="is not the data set; expected there: chest_xray"):
        Data(root=str(tmp_path)).fetch(tmp_path)


def test_empty_folders_are_an_error(tmp_path):
    publish(tmp_path / "chest_xray", {folder: [] for folder in V2})
    with pytest.raises(DatasetError, match="hold no images"):
        Data(root=str(tmp_path)).fetch(tmp_path)


def test_two_classes(v2, tmp_path):
    data = Data(root=str(v2), version="v2", n_classes=2)
    assert data.classes == ("normal", "pneumonia")
    three = list(Data(root=str(v2), version="v2").samples(tmp_path))
    for sample, other in zip(data.samples(tmp_path), three, strict=True):
        assert sample.labels == (("normal",) if other.labels == ("normal",) else ("pneumonia",))
        assert (sample.sample_id, sample.patient_id) == (other.sample_id, other.patient_id)
    assert Counter(s.labels[0] for s in data.samples(tmp_path)) == {"normal": 4, "pneumonia": 5}
    with pytest.raises(ValidationError):
        Data(n_classes=4)


PREFIX = {"v2": "chest_xray", "v3": "CellData/chest_xray"}


def pack(path, files, version):
    """Write the archive of a version, with what else the published ones hold, in an order that is not sorted."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("CellData/OCT/train/NORMAL/NORMAL-1-1.jpeg", b"a retinal scan")
        for folder, names in reversed(files.items()):
            archive.writestr(f"{PREFIX[version]}/{folder}/", b"")
            for name in reversed(names):
                archive.writestr(f"{PREFIX[version]}/{folder}/{name}", f"{folder}/{name}".encode())
                archive.writestr(f"__MACOSX/{PREFIX[version]}/{folder}/._{name}", b"shadow")
                archive.writestr(f"__MACOSX/{PREFIX[version]}/{folder}/{name}", b"shadow")
        archive.writestr(f"{PREFIX[version]}/train/NORMAL/.DS_Store", b"hidden")
    return path


def facts(sample):
    return sample.sample_id, sample.patient_id, sample.labels, sample.official_split, sample.read()


@pytest.mark.parametrize(("files", "version"), [(V2, "v2"), (V3, "v3")], ids=["v2", "v3"])
def test_an_archive_gives_the_same_samples_and_record_as_folders(tmp_path, files, version):
    folders = publish(tmp_path / "folders" / "chest_xray", files).parent
    publish(folders / "chest_xray", {"train/NORMAL": []})
    (folders / "chest_xray/train/NORMAL/.DS_Store").write_bytes(b"hidden")
    packed = tmp_path / "packed"
    packed.mkdir()
    pack(packed / paediatric_pneumonia.FILES[version].name, files, version)
    one, other = (Data(root=str(root), version=version) for root in (folders, packed))
    assert [facts(s) for s in other.samples(tmp_path)] == [facts(s) for s in one.samples(tmp_path)]
    assert other.fetch(tmp_path) == one.fetch(tmp_path) | {"root": str(packed)}
    assert one.fetch(tmp_path)["other_files"] == {"count": 1, "first": ["train/NORMAL/.DS_Store"]}


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A server with small archives under the published names."""
    with Site() as site:
        table = {}
        for version, files in (("v2", V2), ("v3", V3)):
            known = paediatric_pneumonia.FILES[version]
            content = pack(tmp_path / "archive", files, version).read_bytes()
            site.files[known.name] = content
            table[version] = replace(known, url=f"{site.address}/{known.name}", size_range=(100, 10_000))
            if version == "v2":
                digest = hashlib.sha256(content).hexdigest()
                table[version] = replace(table[version], size=len(content), sha256=digest)
        monkeypatch.setattr(paediatric_pneumonia, "FILES", table)
        yield site


@pytest.mark.parametrize(("files", "version"), [(V2, "v2"), (V3, "v3")], ids=["v2", "v3"])
def test_the_published_archive_is_fetched_and_stays_packed(published, tmp_path, files, version):
    folder = tmp_path / "raw"
    data = Data(version=version)
    record = data.fetch(folder)
    name = paediatric_pneumonia.FILES[version].name
    assert record["archive"] == {
        "name": name,
        "bytes": len(published.files[name]),
        "sha256": hashlib.sha256(published.files[name]).hexdigest(),
        "checksum": {"v2": "as published", "v3": "as it came"}[version],
    }
    assert record["images"] == sum(map(len, files.values()))
    expected = [f"{part}/{name}".encode() for part, names in files.items() for name in sorted(names)]
    assert [s.read() for s in data.samples(folder)] == expected
    assert sorted(p.name for p in folder.iterdir()) == [".verified.json", name]
    assert data.fetch(folder) == record
    assert [asked for asked, _ in published.seen] == [name]


def test_a_mirror(published, tmp_path):
    published.files["set/ChestXRay2017.zip"] = published.files.pop("ChestXRay2017.zip")
    data = Data(version="v2", mirror=published.address + "/set/")
    assert data.fetch(tmp_path / "raw")["archive"]["checksum"] == "as published"


def test_a_damaged_archive_without_a_published_checksum_is_seen(published, tmp_path):
    content = bytearray(published.files["ZhangLabData.zip"])
    where = content.index(b"VIRUS-7-0001.jpeg") + len("VIRUS-7-0001.jpeg") + 3
    content[where] ^= 255
    published.files["ZhangLabData.zip"] = bytes(content)
    with pytest.raises(DatasetError, match=r"ZhangLabData\.zip: damaged or cut off in member '.*VIRUS-7-0001"):
        Data().fetch(tmp_path / "raw")
    published.files["ZhangLabData.zip"] = bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"ZhangLabData\.zip: damaged or cut off"):
        Data().fetch(tmp_path / "raw2")


def test_a_failed_fetch_names_the_alternative(published, tmp_path):
    published.files["ZhangLabData.zip"] = b"short"
    with pytest.raises(DatasetError, match=r"offers 5 bytes.*Or set datasets\.paediatric_pneumonia\.root .*chest_xray"):
        Data().fetch(tmp_path / "raw")


def test_another_archive_and_a_name_twice(tmp_path):
    path = tmp_path / "ZhangLabData.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("CellData/OCT/train/NORMAL/NORMAL-1-1.jpeg", b"")
    with pytest.raises(DatasetError, match=r"ZhangLabData\.zip: not the data set; expected there: chest_xray"):
        Data().samples(tmp_path).__next__()
    with zipfile.ZipFile(path, "a") as archive:
        for prefix in ("a", "b"):
            archive.writestr(f"{prefix}/chest_xray/train/NORMAL/NORMAL-1-1.jpeg", b"")
    with pytest.raises(DatasetError, match=r"'b/chest_xray/.*' and 'a/chest_xray/.*' are both train/NORMAL"):
        list(Data().samples(tmp_path))


REAL = DATA / "kermany_chest_xray_224"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real images: {REAL} does not exist (set MEDMATRIX_DATA)")


@needs_real
def test_real_counts_and_patients(tmp_path):
    data = Data(root=str(REAL), version="v2")
    record = data.fetch(tmp_path)
    assert record["images"] == 5840
    assert record["counts"] == {
        "train": dict(zip(CLASSES, (1341, 2530, 1345), strict=True)),
        "test": dict(zip(CLASSES, (234, 242, 148), strict=True)),
    }
    assert record["patients"] == 4082
    assert record["patients_in_train_and_test"] == 0
    kinds, parts = defaultdict(set), defaultdict(set)
    for sample in data.samples(tmp_path):
        match = re.match(r"(person\d+)_(bacteria|virus)|(?:NORMAL2-)?(IM-\d+)", sample.patient_id)
        number = match[1] or match[3]
        parts[number].add(sample.official_split)
        kinds[number].add(match[2])
    # The bare numbers would put patients into both parts; the ids with their kind do not.
    assert sum(k == {"bacteria", "virus"} for k in kinds.values()) == 979
    assert sum(len(p) == 2 for n, p in parts.items() if n.startswith("person")) == 170
    assert sum(len(p) == 2 for n, p in parts.items() if n.startswith("IM")) > 90


@needs_real
def test_real_identical_images(tmp_path):
    data = Data(root=str(REAL), version="v2")
    settings = Preprocess(size=16)
    result = prepare_all(data.samples(tmp_path), data.classes, data.task, settings, tmp_path / "images.npy")
    samples = result.samples
    assert np.load(tmp_path / "images.npy", mmap_mode="r").shape == (5840, 16, 16)
    assert result.excluded.empty
    copies = samples[samples["duplicate_of"] != ""]
    assert copies["duplicate_of"].nunique() == 30
    assert len(copies) + copies["duplicate_of"].nunique() == 62
    first = samples.set_index("sample_id").loc[copies["duplicate_of"]]
    assert (first["official_split"].to_numpy() == copies["official_split"].to_numpy()).all()
    assert (first[list(CLASSES)].to_numpy() == copies[list(CLASSES)].to_numpy()).all()
    assert samples["group_id"].nunique() == 4081
