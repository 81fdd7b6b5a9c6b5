import json
import re
import sys
import types
from collections import Counter
from importlib.machinery import ModuleSpec

import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.covid_radiography.dataset import PUBLISHED, Data
from pipeline.datasets.shared import local

CLASSES = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
TOP = "COVID-19_Radiography_Dataset"


def publish(root, classes=CLASSES, count=3, kinds=("images", "masks")):
    for label in classes:
        for kind in kinds:
            place = root / label / kind
            place.mkdir(parents=True, exist_ok=True)
            for i in range(1, count + 1):
                (place / f"{label}-{i}.png").write_bytes(f"{kind} of {label}-{i}".encode())
    return root


@pytest.fixture
def root(tmp_path):
    return publish(tmp_path / "data" / TOP).parent


class Sheet:
    def __init__(self, rows):
        self.rows = rows

    def iter_rows(self, values_only):
        assert values_only
        return iter(self.rows)


@pytest.fixture
def spreadsheets(monkeypatch):
    """Stand in for openpyxl, which the project does not require: file name to rows."""
    tables = {}

    def load_workbook(path, read_only, data_only):
        if path.name not in tables:
            raise KeyError("There is no item named '[Content_Types].xml' in the archive")
        return types.SimpleNamespace(worksheets=[Sheet(tables[path.name])], close=lambda: None)

    module = types.ModuleType("openpyxl")
    module.load_workbook = load_workbook
    module.__spec__ = ModuleSpec("openpyxl", None)
    monkeypatch.setitem(sys.modules, "openpyxl", module)
    return tables


def test_masks_are_no_images(root, tmp_path):
    samples = list(Data(root=str(root)).samples(tmp_path))
    assert Counter(s.labels for s in samples) == {(c,): 3 for c in CLASSES}
    assert all(s.read().startswith(b"images of ") for s in samples)
    assert all(s.patient_id == s.sample_id and s.official_split == "" and s.extra == {} for s in samples)


def test_order_is_by_class_and_number(tmp_path):
    root = publish(tmp_path / TOP, count=11)
    ids = [s.sample_id for s in Data(root=str(root)).samples(tmp_path)]
    assert ids[:11] == [f"COVID-{i}.png" for i in range(1, 12)]
    assert ids[-1] == "Viral Pneumonia-11.png"


def test_three_classes_leave_out_lung_opacity(root, tmp_path):
    data = Data(root=str(root), n_classes=3)
    assert data.classes == ("COVID", "Normal", "Viral Pneumonia")
    assert {s.labels[0] for s in data.samples(tmp_path)} == set(data.classes)
    assert data.fetch(tmp_path)["images"] == 9


def test_release_with_three_classes_is_told_how_to_go_on(tmp_path):
    root = publish(tmp_path / TOP, classes=("COVID", "Normal", "Viral Pneumonia"))
    with pytest.raises(DatasetError, match="n_classes: 3 does without Lung_Opacity"):
        Data(root=str(root)).fetch(tmp_path)
    assert Data(root=str(root), n_classes=3).fetch(tmp_path)["images"] == 9


def test_other_numbers_of_classes_are_refused():
    with pytest.raises(ValueError, match="n_classes"):
        Data(n_classes=2)


def test_older_layout_without_images_folder(tmp_path):
    for folder, name in (("COVID-19", "COVID (1).png"), ("NORMAL", "Normal-1.png"), ("Viral Pneumonia", "V-1.png")):
        (tmp_path / "old" / folder).mkdir(parents=True)
        (tmp_path / "old" / folder / name).write_bytes(b"x")
    samples = list(Data(root=str(tmp_path / "old"), n_classes=3).samples(tmp_path))
    assert [s.labels[0] for s in samples] == ["COVID", "Normal", "Viral Pneumonia"]


def test_root_may_be_the_folder_itself(root, tmp_path):
    assert Data(root=str(root / TOP)).fetch(tmp_path)["images"] == 12


def test_record(root, tmp_path):
    (root / TOP / "COVID" / "images" / "._COVID-1.png").write_bytes(b"x")
    (root / TOP / "Normal" / "images" / "Thumbs.db").write_bytes(b"x")
    record = Data(root=str(root)).fetch(tmp_path)
    assert json.loads(json.dumps(record)) == record
    assert record["counts"] == dict.fromkeys(CLASSES, 3)
    assert record["differs_from_published"] == {c: {"found": 3, "published": n} for c, n in PUBLISHED.items()}
    assert sum(PUBLISHED.values()) == 21165
    assert record["metadata"] == "none"
    assert record["kaggle"] is None
    assert record["other_files"] == {"count": 2, "first": ["COVID/images/._COVID-1.png", "Normal/images/Thumbs.db"]}


def test_fingerprint_sees_a_shortened_file(root, tmp_path):
    data = Data(root=str(root))
    before = data.fetch(tmp_path)["fingerprint"]
    (root / TOP / "COVID" / "images" / "COVID-1.png").write_bytes(b"")
    assert data.fetch(tmp_path)["fingerprint"] != before


def test_published_counts_raise_no_difference(monkeypatch, root, tmp_path):
    monkeypatch.setattr("pipeline.datasets.covid_radiography.dataset.PUBLISHED", dict.fromkeys(CLASSES, 3))
    assert Data(root=str(root)).fetch(tmp_path)["differs_from_published"] == {}


def test_class_without_images(root, tmp_path):
    for path in (root / TOP / "Normal" / "images").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"no images of class 'Normal'"):
        Data(root=str(root)).fetch(tmp_path)


def test_name_in_two_classes(root, tmp_path):
    (root / TOP / "Normal" / "images" / "COVID-1.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"'COVID-1.png' lies in COVID/images/ and in Normal/images/"):
        Data(root=str(root)).fetch(tmp_path)


def test_wrong_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DatasetError, match=r"datasets\.covid_radiography\.root: '.*elsewhere' is not the data set"):
        Data(root=str(tmp_path / "elsewhere")).fetch(tmp_path)


def test_metadata_is_ignored_without_openpyxl(root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (root / TOP / "COVID.metadata.xlsx").write_bytes(b"never read")
    data = Data(root=str(root))
    assert data.fetch(tmp_path)["metadata"] == "ignored: reading the 1 .metadata.xlsx files needs the package openpyxl"
    assert all(s.extra == {} for s in data.samples(tmp_path))


def test_metadata_names_the_source(root, tmp_path, spreadsheets):
    for label in CLASSES:
        (root / TOP / f"{label}.metadata.xlsx").write_bytes(b"x")
        # The published tables write NORMAL-1 and leave out the suffix.
        rows = [(f"{label.upper()}-{i}", "PNG", "256*256", f"https://{i}") for i in (1, 2)]
        spreadsheets[f"{label}.metadata.xlsx"] = [("FILE NAME", "FORMAT", "SIZE", "URL"), *rows]
    data = Data(root=str(root))
    extras = {s.sample_id: s.extra for s in data.samples(tmp_path)}
    assert extras["Normal-1.png"] == {"source_url": "https://1"}
    assert extras["Viral Pneumonia-2.png"] == {"source_url": "https://2"}
    assert extras["COVID-3.png"] == {"source_url": None}
    assert data.fetch(tmp_path)["metadata"] == "read: 4 files, 8 rows"


def test_strange_metadata_is_named(root, tmp_path, spreadsheets):
    path = root / TOP / "COVID.metadata.xlsx"
    path.write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"COVID\.metadata\.xlsx: not a spreadsheet"):
        list(Data(root=str(root)).samples(tmp_path))
    spreadsheets[path.name] = [("name", "address")]
    with pytest.raises(DatasetError, match=re.escape("columns ['NAME', 'ADDRESS']; expected FILE NAME")):
        list(Data(root=str(root)).samples(tmp_path))


def test_metadata_as_a_real_spreadsheet(root, tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="reading .metadata.xlsx needs openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["FILE NAME", "FORMAT", "SIZE", "URL"])
    book.active.append(["COVID-1", "PNG", "256*256", "https://sirm.org"])
    book.save(root / TOP / "COVID.metadata.xlsx")
    samples = {s.sample_id: s for s in Data(root=str(root)).samples(tmp_path)}
    assert samples["COVID-1.png"].extra == {"source_url": "https://sirm.org"}
    assert samples["Normal-1.png"].extra == {"source_url": None}


def test_without_root_the_copy_from_kaggle_is_used(tmp_path, monkeypatch):
    folder = tmp_path / "raw"
    folder.mkdir()
    with pytest.raises(DatasetError, match="run stage download"):
        list(Data().samples(folder))

    def fetch_kaggle(handle, into, setting):
        assert (handle, into) == ("tawsifurrahman/covid19-radiography-database", folder)
        assert setting == "datasets.covid_radiography.root"
        version = into / "kagglehub" / "datasets" / handle / "versions" / "5"
        publish(version / TOP)
        # Another version that an earlier call left behind must not be taken.
        publish(version.with_name("4") / TOP, count=1)
        return version

    monkeypatch.setattr(local, "fetch_kaggle", fetch_kaggle)
    record = Data().fetch(folder)
    assert record["kaggle"] == "kagglehub/datasets/tawsifurrahman/covid19-radiography-database/versions/5"
    assert record["images"] == 12 == len(list(Data().samples(folder)))


def test_notes_warn_of_the_sources():
    text = " ".join(Data.notes)
    for word in ("source", "children", "RSNA", "ChestX-ray14", "Kermany", "no external test"):
        assert word in text
    assert not Data().patients_known


def test_masks_of_the_lungs_lie_beside_the_images(root, tmp_path):
    data = Data(root=str(root), task="segmentation", n_classes=3)
    assert (data.task, data.classes) == ("segmentation", ("lungs",))
    samples = list(data.samples(tmp_path))
    assert len(samples) == 9
    assert {s.labels for s in samples} == {("lungs",)}
    (mask,) = samples[0].masks()
    assert mask.content == b"masks of COVID-1"
    assert mask.rescaled  # published at 256 px, the images at 299
    assert data.fetch(tmp_path)["counts"] == {"COVID": 3, "Normal": 3, "Viral Pneumonia": 3}
    (root / TOP / "COVID" / "masks" / "COVID-1.png").unlink()
    with pytest.raises(FileNotFoundError):
        samples[0].masks()
