import hashlib
import io
import json
import shutil
import tarfile

import pytest
from pydantic import ValidationError

from pipeline.datasets import DatasetError, available, dataset_class
from pipeline.datasets.chestxray14 import dataset as chestxray14
from pipeline.datasets.chestxray14.dataset import ARCHIVES, LISTS, Data
from tests.datasets.shared.fetching.site import Site
from tests.tiny import DATA

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


def test_the_label_version_is_pinned(tmp_path):
    root = publish(tmp_path / "nih", entries="Data_Entry_2017.csv")
    with pytest.raises(
        DatasetError, match=r"no Data_Entry_2017_v2020\.csv .*set datasets\.chestxray14\.labels to 2017"
    ):
        Data(root=str(root)).fetch(tmp_path)
    publish(tmp_path / "nih")
    assert Data(root=str(root)).fetch(tmp_path)["label_version"] == "v2020"
    for labels in ("2017", 2017):
        record = Data(root=str(root), labels=labels).fetch(tmp_path)
        assert record["label_version"] == "2017"
        assert "Data_Entry_2017.csv" in record["metadata"]
    with pytest.raises(ValidationError):
        Data(labels="2020")


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


def pack(root, order=NAMES, number=2, missing=()):
    """Put the images of a published folder into `number` archives, in the order given, and take the folder away."""
    share = -(-len(order) // number)
    for k in range(number):
        with tarfile.open(root / f"images_{k + 1:03d}.tar.gz", "w:gz") as archive:
            folder = tarfile.TarInfo("images")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            for name in order[k * share : (k + 1) * share]:
                if name not in missing:
                    info = tarfile.TarInfo(f"images/{name}")
                    info.size = len(name)
                    archive.addfile(info, io.BytesIO(name.encode()))
    shutil.rmtree(root / "images")
    return root


def facts(sample):
    return sample.sample_id, sample.patient_id, sample.labels, sample.official_split, sample.extra, sample.read()


def test_archives_give_the_same_samples_as_folders(root, tmp_path):
    packed = pack(publish(tmp_path / "packed"))
    expected = [facts(s) for s in Data(root=str(root)).samples(tmp_path)]
    assert [facts(s) for s in Data(root=str(packed)).samples(tmp_path)] == expected


def test_archives_are_read_in_their_order_and_missing_images_come_last(tmp_path):
    order = [NAMES[k] for k in (7, 2, 5, 0, 1, 3, 6, 4)]
    root = pack(publish(tmp_path / "nih"), order, missing=[NAMES[2], NAMES[3]])
    samples = list(Data(root=str(root)).samples(tmp_path))
    ids = [s.sample_id for s in samples]
    assert ids == [n for n in order if n not in (NAMES[2], NAMES[3])] + [NAMES[2], NAMES[3]]
    assert [s.read() for s in samples[:-2]] == [n.encode() for n in ids[:-2]]
    for sample in samples[-2:]:
        with pytest.raises(FileNotFoundError, match=sample.sample_id):
            sample.read()


def test_archives_are_read_only_as_far_as_samples_are_taken(tmp_path):
    root = pack(publish(tmp_path / "nih"))
    (root / "images_002.tar.gz").write_bytes(b"damaged")
    data = Data(root=str(root))
    assert data.fetch(tmp_path)["archives"]["images_002.tar.gz"] == {"bytes": 7}
    samples = data.samples(tmp_path)
    assert [next(samples).sample_id for _ in range(4)] == NAMES[:4]
    with pytest.raises(DatasetError, match=r"images_002\.tar\.gz: damaged"):
        next(samples)


def test_a_second_member_of_a_name_and_unlisted_members_are_passed_over(tmp_path):
    root = pack(publish(tmp_path / "nih"), [*NAMES, "00000009_000.png", NAMES[0]])
    assert [s.sample_id for s in Data(root=str(root)).samples(tmp_path)] == NAMES


def test_images_on_disk_come_before_those_in_archives(tmp_path):
    root = pack(publish(tmp_path / "nih"))
    (root / "images").mkdir()
    (root / "images" / NAMES[6]).write_bytes(b"on disk")
    data = Data(root=str(root))
    samples = list(data.samples(tmp_path))
    assert [s.sample_id for s in samples] == [NAMES[6], *NAMES[:6], NAMES[7]]
    assert samples[0].read() == b"on disk"
    assert data.fetch(tmp_path)["images"] == 1


def test_fetch_records_archives_of_a_local_copy(tmp_path):
    root = pack(publish(tmp_path / "nih"))
    record = Data(root=str(root)).fetch(tmp_path)
    assert json.loads(json.dumps(record)) == record
    sizes = {n: (root / n).stat().st_size for n in ("images_001.tar.gz", "images_002.tar.gz")}
    assert record["archives"] == {name: {"bytes": size} for name, size in sizes.items()}
    assert record["bytes"] == sum(sizes.values())
    assert record["not_as_published"] == list(ARCHIVES)
    assert "images" not in record


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A server with a small data set under the published names, whose sizes and checksums are the published ones."""
    root = pack(publish(tmp_path / "published"))
    names = ["images_001.tar.gz", "images_002.tar.gz"]

    def known(name, algorithm):
        content = (root / name).read_bytes()
        return "id-" + name, len(content), hashlib.new(algorithm, content).hexdigest()

    monkeypatch.setattr(chestxray14, "ARCHIVES", {name: known(name, "md5") for name in names})
    monkeypatch.setattr(chestxray14, "LISTS", {name: known(name, "sha256") for name in LISTS})
    with Site() as site:
        for name in (*names, *LISTS):
            site.files[name] = site.files[f"id-{name}"] = (root / name).read_bytes()
        monkeypatch.setattr(chestxray14, "ARCHIVE_ADDRESS", site.address + "/{id}")
        monkeypatch.setattr(chestxray14, "LIST_ADDRESS", site.address + "/{id}")
        yield site


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_published_files_are_fetched_and_streamed(published, tmp_path, monkeypatch, mirrored):
    folder = tmp_path / "raw"
    data = Data(mirror=published.address + "/") if mirrored else Data()
    with monkeypatch.context() as patch:
        patch.setattr(chestxray14, "iter_tar_members", lambda *_: pytest.fail("fetch streams the archives"))
        record = data.fetch(folder)
    assert all(name.startswith("id-") != mirrored for name, _ in published.seen)
    assert [name.removeprefix("id-") for name, _ in published.seen] == [*LISTS, *chestxray14.ARCHIVES]
    assert record["root"] is None
    assert record["not_as_published"] == []
    assert record["rows"] == 8
    assert record["boxes"] == 1
    for name, (_, size, md5) in chestxray14.ARCHIVES.items():
        assert record["archives"][name] == {"bytes": size, "md5": md5}
    for name, (_, _, sha256) in chestxray14.LISTS.items():
        assert record["metadata"][name] == sha256
    local = Data(root=str(publish(tmp_path / "local")))
    assert [facts(s) for s in data.samples(folder)] == [facts(s) for s in local.samples(folder)]
    assert data.boxes(folder).equals(local.boxes(folder))
    assert data.fetch(folder) == record
    assert len(published.seen) == len(LISTS) + 2


def test_a_lost_archive_does_not_become_excluded_images(published, tmp_path):
    folder = tmp_path / "raw"
    Data().fetch(folder)
    (folder / "images_002.tar.gz").unlink()
    with pytest.raises(DatasetError, match=r"images_002\.tar\.gz not there; run stage download again"):
        next(Data().samples(folder))
    Data().fetch(folder)
    assert len(list(Data().samples(folder))) == 8


def test_a_failed_fetch_names_the_alternative(published, tmp_path):
    published.files["id-images_002.tar.gz"] = b"<html>log in</html>"
    said = r"images_002\.tar\.gz: .*web page.*Or set datasets\.chestxray14\.root .*nih-chest-xrays/data.*expected there"
    with pytest.raises(DatasetError, match=said):
        Data().fetch(tmp_path / "raw")


def test_the_list_of_2017_is_not_fetched_but_used_where_it_was_put(published, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    with pytest.raises(DatasetError, match=r"labels: .*no longer published; put Data_Entry_2017\.csv .*raw"):
        Data(labels="2017").fetch(folder)
    assert published.seen == []
    source = publish(tmp_path / "other", entries="Data_Entry_2017.csv")
    shutil.copy(source / "Data_Entry_2017.csv", folder)
    assert Data(labels="2017").fetch(folder)["label_version"] == "2017"
    assert not (folder / "Data_Entry_2017_v2020.csv").exists()


def test_the_published_table():
    assert list(ARCHIVES) == [f"images_{k:03d}.tar.gz" for k in range(1, 13)]
    assert sum(size for _, size, _ in ARCHIVES.values()) == 45_079_862_784
    assert len({key for key, _, _ in (*ARCHIVES.values(), *LISTS.values())}) == 16
    assert all(len(md5) == 32 and len(key) == 32 for key, _, md5 in ARCHIVES.values())
    assert all(len(sha256) == 64 for _, _, sha256 in LISTS.values())
    # The lists hold names of 16 characters, one per line, the last without a line's end.
    assert LISTS["train_val_list.txt"][1] == 86_524 * 17 - 1
    assert LISTS["test_list.txt"][1] == 25_596 * 17 - 1


REAL = DATA / "nih_chestxray14"


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
