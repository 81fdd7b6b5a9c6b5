"""Several data sets as one: the union of their classes, and who and what is kept apart."""

import pytest
import yaml

from pipeline import download, preprocess, probe, split
from pipeline.datasets import DatasetError, open_dataset
from pipeline.datasets.joined.dataset import Data
from pipeline.scoring.subgroups import subgroups_of
from pipeline.settings import load
from pipeline.study.params import ParamsError
from pipeline.study.prepared import read_dataset, read_published, read_samples
from tests.datasets.test_contract import chexpert, joined
from tests.tiny import TINY


@pytest.fixture
def given(tmp_path):
    return joined(tmp_path / "published")


def test_classes_are_the_union_and_unknown_where_a_set_has_none(given):
    data = Data(**given)
    assert data.classes == ("a", "b", "c", "d")
    found = {s.sample_id: s for s in data.samples("raw")}
    assert len(found) == 9
    assert (found["one/0.png"].labels, found["one/0.png"].unknown) == (("a", "c"), ("d",))
    assert (found["two/1.png"].labels, found["two/1.png"].unknown) == ((), ("a", "b", "c"))
    assert found["two/0.png"].labels == ("d",)


def test_columns_are_the_union_and_the_source_is_one(given):
    extra = [s.extra for s in Data(**given).samples("raw")]
    assert {tuple(of) for of in extra} == {("source", "age")}
    assert [of["source"] for of in extra] == ["one"] * 6 + ["two"] * 3
    assert [of["age"] for of in extra[-3:]] == [50, 51, None]


def test_nobody_is_in_two_sets_unless_that_is_said(given):
    for name in ("one", "two"):
        given["of"][name]["patient_column"] = "id"
    apart, same = ({s.patient_id for s in Data(**given, same_patients=said).samples("raw")} for said in (False, True))
    assert (len(apart), len(same)) == (9, 6)
    assert Data(**given).patients_known


def test_each_set_keeps_its_settings(given, tmp_path):
    chexpert(tmp_path / "published" / "stanford")
    given["of"]["stanford"] = {
        "dataset": "chexpert",
        "root": "stanford",
        "uncertain": {"Edema": 0.7},
        "views": "frontal",
    }
    data = Data(**given)
    assert data.uncertain_as["Edema"] == 0.7
    assert data.uncertain_as["d"] is None
    of_it = [s for s in data.samples("raw") if s.extra["source"] == "stanford"]
    assert len(of_it) == 7
    assert {s.official_split for s in of_it} == {"train", "test"}
    assert all({"a", "b", "c", "d"} <= set(s.unknown) for s in of_it)
    assert "stanford: Stanford University" in data.licence
    assert any(note.startswith("stanford: Training labels were mined") for note in data.notes)


def test_sets_that_disagree_on_what_is_uncertain_are_refused(given):
    for name, rule in (("one", "positive"), ("two", "ignore")):
        given["of"][name] = {"dataset": "image_table", "class_columns": ["d"], "uncertain": rule}
        given["of"][name] |= {"root": "two/images", "table": "two/labels.csv"}
    with pytest.raises(DatasetError, match=r"joined\.of\.two\.uncertain: another for 'd' than in a set before it"):
        assert Data(**given).uncertain_as


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": "mnist"}, r"joined: of\.two\.dataset: 'mnist' is not a data set; use one of: .*chexpert"),
        ({"dataset": "joined"}, r"of\.two\.dataset: 'joined' is not a data set"),
        ({"root": "/somewhere"}, r"of\.two\.root: '/somewhere' does not lie below root; must be relative to it"),
        ({"table": "../labels.csv"}, r"of\.two\.table: '\.\./labels\.csv' does not lie below root"),
    ],
)
def test_sets_that_cannot_be_are_refused_by_key(given, changes, said):
    given["of"]["two"] |= changes
    with pytest.raises(ParamsError, match=said):
        open_dataset("joined", given)


def test_errors_of_a_set_name_its_key_here(given, tmp_path):
    given["of"]["two"]["clas_columns"] = ["d"]
    with pytest.raises(ParamsError, match=r"datasets\.joined\.of\.two\.clas_columns: unknown key"):
        assert open_dataset("joined", given).classes
    del given["of"]["two"]["clas_columns"]
    given["of"]["two"]["root"] = "two/nowhere"
    with pytest.raises(DatasetError, match=r"datasets\.joined\.of\.two\.root: '.*two/nowhere' does not exist"):
        Data(**given).fetch(tmp_path / "raw")
    with pytest.raises(DatasetError, match=r"joined\.of: names 1 sets; there must be at least two"):
        assert Data(root=".", of={"one": given["of"]["one"]}).classes
    with pytest.raises(DatasetError, match=r"joined\.root is not set; must be the folder that of\.one\.root begins at"):
        assert Data(of=given["of"]).classes


def test_the_source_is_probed_and_a_subgroup(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny = TINY | {"dataset": "joined", "datasets": {"joined": given}, "split": TINY["split"] | {"method": "grouped"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny))
    download.download(load())
    preprocess.main()
    split.main()
    samples, classes = read_published(), list(read_dataset().classes)
    assert samples[classes].isna().sum().tolist() == [3, 3, 3, 6]
    assert probe.features(samples["row"].to_numpy())["source"].shape == (9, 2)
    assert sorted(set(subgroups_of(read_samples()["row"].to_numpy())["source"])) == ["one", "two"]
