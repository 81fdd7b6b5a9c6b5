"""CheXpert: what its tables say of an image, and every policy for what they leave open."""

import numpy as np
import pytest
import yaml

from pipeline import download, preprocess, split
from pipeline.datasets import DatasetError
from pipeline.datasets.chexpert.dataset import COMPETITION, OBSERVATIONS, Data
from pipeline.learning import losses
from pipeline.settings import load
from pipeline.study.params import ParamsError
from pipeline.study.parts import read_parts
from pipeline.study.prepared import read_dataset, read_published, read_samples
from tests.datasets.test_contract import chexpert, study
from tests.tiny import TINY

ABOUT = "Path,Sex,Age,Frontal/Lateral,AP/PA"
FIRST = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,40,Frontal,AP"


@pytest.fixture
def root(tmp_path):
    return chexpert(tmp_path / "published")["root"]


def samples(root, **settings):
    return list(Data(root=root, **settings).samples(None))


def change(root, name, old, new):
    path = f"{root}/CheXpert-v1.0-small/{name}"
    with open(path) as file:
        text = file.read()
    assert old in text
    with open(path, "w") as file:
        file.write(text.replace(old, new, 1))


def test_labels_are_read_as_published(root):
    first = samples(root)[0]
    assert first.sample_id == "train/patient00001/study1/view1_frontal.jpg"
    assert first.patient_id == "patient00001"
    assert first.official_split == "train"
    assert first.extra == {"sex": "F", "age": 40, "view": "AP"}
    by_kind = {name: ("0.0", "-1.0", "", "1.0")[k % 4] for k, name in enumerate(OBSERVATIONS[1:])}
    assert first.labels == tuple(name for name, cell in by_kind.items() if cell == "1.0")
    assert first.uncertain == tuple(name for name, cell in by_kind.items() if cell == "-1.0")
    assert first.unknown == tuple(name for name, cell in by_kind.items() if cell == "")


def test_the_official_validation_part_is_the_test_part(root):
    parts = [(s.sample_id.split("/")[0], s.official_split) for s in samples(root)]
    assert set(parts) == {("train", "train"), ("valid", "test")}
    assert not any(s.unknown or s.uncertain for s in samples(root) if s.official_split == "test")


def test_images_of_a_patient_share_the_patient_of_their_path(root):
    patients = [s.patient_id for s in samples(root)]
    assert patients[:5] == ["patient00001", "patient00001", "patient00002", "patient00002", "patient00003"]


@pytest.mark.parametrize(("views", "count"), [("all", 8), ("frontal", 7), ("lateral", 1)])
def test_views_are_chosen(root, views, count):
    chosen = samples(root, views=views)
    assert len(chosen) == count
    assert {s.extra["view"] for s in chosen} == (
        {"lateral"} if views == "lateral" else {s.extra["view"] for s in chosen}
    )


def test_no_finding_is_absent_where_something_else_is_found_or_suspected(root, tmp_path):
    rows = {
        "1.0" + "," * 13: ("labels", None),  # said to be there
        "," * 13: ("unknown", None),  # nothing is said at all
        "," * 13 + "1.0": ("unknown", None),  # a pacemaker is no finding
        ",,-1.0" + "," * 11: (None, "absent"),
        ",1.0" + "," * 12: (None, "absent"),
    }
    for cells, (where, _) in rows.items():
        header = ",".join([ABOUT, *OBSERVATIONS])
        (tmp_path / "published/CheXpert-v1.0-small/train.csv").write_text(f"{header}\n{FIRST},{cells}\n")
        first = samples(root)[0]
        found = {kind for kind in ("labels", "unknown", "uncertain") if "No Finding" in getattr(first, kind)}
        assert found == ({where} if where else set())


def test_what_is_not_mentioned_may_count_as_absent(root):
    for sample in samples(root, empty="negative"):
        assert sample.unknown == ()
    first = samples(root)[0], samples(root, empty="negative")[0]
    assert (first[0].labels, first[0].uncertain) == (first[1].labels, first[1].uncertain)


def test_the_five_of_the_published_results(root):
    assert Data(root=root, observations="competition").classes == COMPETITION
    assert all(set(s.labels) <= set(COMPETITION) for s in samples(root, observations="competition"))
    assert Data(root=root, observations=["Edema", "Fracture"]).classes == ("Edema", "Fracture")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("observations", ["Edema", "Hernia"], "'Hernia' is none; must be among No Finding, "),
        ("observations", ["Edema"], "at least two"),
        ("uncertain", {"Hernia": "positive"}, "'Hernia' is not a class; must be among No Finding, "),
        ("uncertain", "maybe", "uncertain"),
        ("uncertain", 1.5, "uncertain"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(root, key, value, said):
    with pytest.raises(ValueError, match=said):
        Data(root=root, **{key: value})


def test_without_a_copy_address_and_terms_are_named(tmp_path):
    with pytest.raises(
        DatasetError, match=r"root is not set.*stanfordmlgroup\.github\.io.*non-commercial research use"
    ):
        Data().fetch(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",Frontal,AP", ",Lateral,", r"train\.csv: line 2: Frontal/Lateral is 'Lateral'"),
        ("train/patient00001", "train/00001", r"line 2: Path is '.*00001.*expected .*patient00001/study1"),
        ("0.0,-1.0", "2.0,-1.0", r"line 2: Enlarged Cardiomediastinum is '2\.0'; it must be 1, 0, -1 or empty"),
        ("Pleural Other", "Pleura", "column 'Pleural Other' is not there"),
        ("patient00001/study2", "patient00001/study1", r"occurs already in train\.csv, line 2"),
    ],
)
def test_tables_that_are_not_the_published_ones_are_refused_by_line(root, old, new, said):
    change(root, "train.csv", old, new)
    with pytest.raises(DatasetError, match=said):
        samples(root)


@pytest.mark.parametrize(
    ("policy", "as_edema", "as_mass"),
    [
        ("ignore", np.nan, np.nan),
        ("positive", 1.0, 1.0),
        ("negative", 0.0, 0.0),
        (0.7, 0.7, 0.7),
        ({"Edema": 0.7, "Lung Lesion": "positive"}, 0.7, 1.0),
        ({"Lung Lesion": "negative"}, np.nan, 0.0),
    ],
)
def test_every_policy_reaches_training_and_no_scored_part(root, tmp_path, monkeypatch, policy, as_edema, as_mass):
    monkeypatch.chdir(tmp_path)
    tiny = TINY | {"dataset": "chexpert", "datasets": {"chexpert": {"root": root, "uncertain": policy}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny))
    download.download(load())
    preprocess.main()
    split.main()
    published, scored, classes = read_published(), read_samples(), list(read_dataset().classes)
    assert set(np.unique(published[classes].to_numpy()[:5])) >= {-1, 0, 1}
    assert not (scored[classes] == -1).any(axis=None)
    parts = read_parts(["train", "val", "test"])
    for name, part in parts.items():
        labels = published.set_index("row").loc[part.rows]
        for of, value in (("Edema", as_edema), ("Lung Lesion", as_mass)):
            uncertain = (labels[of] == -1).to_numpy()
            taken = part.targets[uncertain, classes.index(of)]
            assert taken.tolist() == pytest.approx([value if name == "train" else np.nan] * len(taken), nan_ok=True)
            settled = labels[of].isin([0, 1]).to_numpy()
            assert part.targets[settled, classes.index(of)].tolist() == labels.loc[settled, of].tolist()
    assert np.isin(parts["test"].targets, (0, 1)).all()
    loss = losses.for_training("zlpr", {}, "multilabel", parts["train"].targets, parts["train"].draws, "none")
    assert loss._partial


def test_soft_labels_are_refused_at_the_start_beside_a_loss_without_them(root, tiny):
    given = study(tiny, "chexpert", {"root": root, "uncertain": {"Edema": 0.6}})
    given.losses["focal"] = {}
    from pipeline.settings.checks import check

    changed = given.model_copy(update={"study": given.study.model_copy(update={"losses": ["focal"]})})
    with pytest.raises(ParamsError, match=r"datasets\.chexpert\.uncertain: losses\.focal is defined for labels of 0"):
        check(changed)
