"""The drawn data set: reproducible, as prevalent and correlated as it says, true about its lesions and faults."""

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.datasets import dataset_class
from pipeline.datasets.phantom import dataset
from pipeline.datasets.phantom.cohort import (
    BAD_KINDS,
    COUNTS,
    UNREADABLE,
    Case,
    Cohort,
    pair_counts,
    sample_cohort,
    target_prevalence,
)
from pipeline.datasets.phantom.dataset import Data
from pipeline.datasets.phantom.drawing import draw
from pipeline.datasets.phantom.files import write_all
from pipeline.datasets.shared.nih_layout import FINDINGS

SMALL = Data(images=240, size=96)


def digest(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    SMALL.fetch(folder)
    return folder


@pytest.fixture(scope="module")
def default_cohort() -> Cohort:
    return sample_cohort(Data(), np.random.SeedSequence(Data().seed))


@pytest.fixture(scope="module")
def large_cohort() -> Cohort:
    return sample_cohort(Data(images=25_000, min_prevalence=0), np.random.SeedSequence(5))


def labels_of(cohort: Cohort) -> np.ndarray:
    return np.array([[f in case.findings for f in FINDINGS] for case in cohort.cases])


def test_it_is_the_data_set_called_phantom():
    assert dataset_class("phantom") is Data
    assert Data().classes == FINDINGS
    assert Data.synthetic
    assert any("synthetic" in note for note in Data().notes)


@pytest.mark.parametrize("setting", [{"images": 50}, {"size": 32}, {"min_prevalence": 0.9}, {"unknown": 1}])
def test_settings_have_ranges(setting):
    with pytest.raises(ValidationError):
        Data(**setting)


def test_same_bytes_for_any_number_of_processes(drawn, tmp_path):
    for processes in (1, 3):
        folder = tmp_path / str(processes)
        write_all(folder, SMALL, processes)
        expected = digest(drawn)
        expected.pop("phantom.json")
        assert digest(folder) == expected


def test_fetch_again_draws_nothing(drawn, monkeypatch):
    first = json.loads((drawn / "phantom.json").read_text())["found"]
    monkeypatch.setattr(dataset, "write_all", lambda *_: pytest.fail("drawn again"))
    assert SMALL.fetch(drawn) == first
    assert first["images"] == 240
    assert str(drawn) not in json.dumps(first)


def test_other_settings_interruption_and_lost_files_draw_again(drawn, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(drawn, folder)
    (folder / "notes.txt").write_text("mine")
    other = Data(images=200, size=64, seed=8, duplicates=0, bad_files=False)
    found = other.fetch(folder)
    assert found["images"] == 200 == len(list((folder / "images").iterdir()))
    assert found["planted_duplicates"] == found["planted_bad_files"] == 0
    assert (folder / "notes.txt").read_text() == "mine"
    whole = digest(folder)
    # A kill before the end leaves files and no stamp.
    (folder / "phantom.json").unlink()
    (folder / "images" / "00099999_000.png").write_bytes(b"left over")
    other.fetch(folder)
    assert digest(folder) == whole
    next((folder / "images").iterdir()).unlink()
    other.fetch(folder)
    assert digest(folder) == whole


def test_a_kill_while_drawing_leaves_no_stamp(drawn, tmp_path, monkeypatch):
    folder = tmp_path / "set"
    shutil.copytree(drawn, folder)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "write_all", killed)
    with pytest.raises(KeyboardInterrupt):
        Data(images=200, size=64).fetch(folder)
    assert not (folder / "phantom.json").exists()


def test_another_seed_is_another_set(drawn):
    cohort = sample_cohort(SMALL.model_copy(update={"seed": 8}), np.random.SeedSequence(8))
    assert {c.name for c in cohort.cases} != {p.name for p in (drawn / "images").iterdir()}
    mine = sample_cohort(SMALL, np.random.SeedSequence(7)).cases[0]
    assert not np.array_equal(draw(cohort.cases[0], 64)[0], draw(mine, 64)[0])


def test_rows_and_lists(drawn):
    samples = list(SMALL.samples(drawn))
    assert len(samples) == 240 == len(list((drawn / "images").iterdir()))
    assert [s.sample_id for s in samples] == sorted(s.sample_id for s in samples)
    part = {split: {s.patient_id for s in samples if s.official_split == split} for split in ("train", "test")}
    assert not part["train"] & part["test"]
    test_share = np.mean([s.official_split == "test" for s in samples])
    assert abs(test_share - 0.25) < 0.06
    for finding in FINDINGS:
        for split in ("train", "test"):
            assert any(finding in s.labels for s in samples if s.official_split == split), (finding, split)
    assert {s.extra["view"] for s in samples} == {"PA", "AP"}
    assert samples[0].extra.keys() == {"age", "sex", "view", "follow_up"}
    assert samples[0].read()[:4] == b"\x89PNG"


def test_default_cohort_has_positives_to_count_on(default_cohort):
    unreadable = {name for name, kind in default_cohort.bad.items() if kind in UNREADABLE}
    count = {True: Counter(), False: Counter()}
    for case in default_cohort.cases:
        if case.name not in unreadable:
            count[case.patient in default_cohort.test_patients].update(case.findings)
    assert min(count[True][f] for f in FINDINGS) >= 6
    assert min(count[False][f] for f in FINDINGS) >= 20
    assert len(default_cohort.cases) + len(default_cohort.copies) == 1500
    visits = Counter(case.patient for case in default_cohort.cases)
    assert 350 <= len(visits) <= 550
    assert max(visits.values()) <= 12


@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize("least", [0.0, 0.03])
def test_prevalence_is_the_published_one(seed, least):
    settings = Data(seed=seed, min_prevalence=least)
    share = labels_of(sample_cohort(settings, np.random.SeedSequence(seed))).mean(0)
    np.testing.assert_allclose(share, target_prevalence(least), atol=0.5 / 1400)
    assert target_prevalence(0)[FINDINGS.index("Infiltration")] == pytest.approx(19_894 / 112_120)


def test_no_finding_and_views(large_cohort):
    labels = labels_of(large_cohort)
    assert 0.49 < (labels.sum(1) == 0).mean() < 0.58
    supine = np.array([case.view == "AP" for case in large_cohort.cases])
    assert supine.mean() == pytest.approx(0.40, abs=0.03)
    edema = labels[:, FINDINGS.index("Edema")]
    assert edema[supine].mean() > 3 * edema[~supine].mean()


def test_cooccurrence_is_the_published_one(large_cohort):
    labels = labels_of(large_cohort)
    together, alone = labels.T.astype(float) @ labels, labels.sum(0)
    strongest = list(pair_counts().items())[:15]
    strongest += [(pair, pair_counts()[pair]) for pair in [("Pneumothorax", "Emphysema"), ("Pneumonia", "Edema")]]
    for (a, b), count in strongest:
        i, j = FINDINGS.index(a), FINDINGS.index(b)
        lift = together[i, j] * len(labels) / (alone[i] * alone[j])
        published = count * 112_120 / (COUNTS[a] * COUNTS[b])
        assert 0.65 < lift / published < 1.6, (a, b, lift, published)


def test_follow_ups_resemble_each_other(default_cohort):
    labels = labels_of(default_cohort)
    patients = np.array([case.patient for case in default_cohort.cases])
    same = (patients[1:] == patients[:-1]) & labels[:-1, 3]
    assert labels[1:][same, 3].mean() > 2 * labels[:, 3].mean()
    assert not labels[1:][same, 3].all()


def test_boxes_are_inside_and_labelled(drawn):
    boxes = SMALL.boxes(drawn)
    labels = {s.sample_id: s.labels for s in SMALL.samples(drawn)}
    assert (boxes[["x", "y"]] >= 0).all().all()
    assert (boxes[["width", "height"]] > 0).all().all()
    assert (boxes["x"] + boxes["width"] <= 1 + 1e-9).all()
    assert (boxes["y"] + boxes["height"] <= 1 + 1e-9).all()
    assert all(row["class"] in labels[row["sample_id"]] for _, row in boxes.iterrows())
    planted = json.loads((drawn / "planted.json").read_text())
    unreadable = {bad["name"] for bad in planted["bad_files"] if not bad["readable"]}
    boxed = set(zip(boxes["sample_id"], boxes["class"]))
    for name, findings in labels.items():
        for finding in findings:
            assert ((name, finding) in boxed) == (name not in unreadable), (name, finding)


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_is_drawn_inside_its_boxes(finding):
    size = 192
    for k, view in enumerate(("PA", "AP", "PA", "AP")):
        body, film = np.random.SeedSequence([FINDINGS.index(finding), k]).spawn(2)
        case = Case(1, 0, 50, "MF"[k // 2], view, (finding,), body, film)
        with_it, boxes = draw(case, size)
        without, none = draw(replace(case, findings=()), size)
        assert not none
        assert boxes
        change = np.abs(with_it.astype(float) - without)
        inside = np.zeros((size, size), bool)
        for name, x, y, w, h in boxes:
            assert name == finding
            left, top = max(int(x * size) - 3, 0), max(int(y * size) - 3, 0)
            inside[top : round((y + h) * size) + 3, left : round((x + w) * size) + 3] = True
        # Overinflated lungs move the ribs and widen the chest, the other findings stay in the lungs.
        assert change[inside].sum() > (0.7 if finding == "Emphysema" else 0.9) * change.sum()
        assert change.max() > 20
        assert change[inside].mean() > 2


def test_a_drawing_is_repeatable_and_other_findings_do_not_move(default_cohort):
    case = next(c for c in default_cohort.cases if len(c.findings) >= 2)
    first, boxes = draw(case, 96)
    assert np.array_equal(first, draw(case, 96)[0])
    assert first.dtype == np.uint8
    assert first.shape == (96, 96)
    assert {b[0] for b in boxes} == set(case.findings)


def test_planted_duplicates_are_pixel_equal(drawn):
    samples = {s.sample_id: s for s in SMALL.samples(drawn)}
    pairs = json.loads((drawn / "planted.json").read_text())["duplicates"]
    assert len(pairs) == 12
    for pair in pairs:
        original, copy = samples[pair["original"]], samples[pair["copy"]]
        assert original.read() == copy.read()
        assert original.labels == copy.labels
        assert pair["same_patient"] == (original.patient_id == copy.patient_id)
        assert pair["crosses_lists"] == (original.official_split != copy.official_split)
    assert sum(pair["same_patient"] for pair in pairs) == 6
    assert sum(pair["crosses_lists"] for pair in pairs) == 3
    contents = Counter(s.read() for s in samples.values() if s.read())
    bad_texts = 1
    assert sum(n > 1 for n in contents.values()) == 12 + bad_texts


def test_planted_bad_files_are_bad_as_described(drawn):
    bad = json.loads((drawn / "planted.json").read_text())["bad_files"]
    assert Counter(b["kind"] for b in bad) == dict.fromkeys(BAD_KINDS, 2)
    for entry in bad:
        data = (drawn / "images" / entry["name"]).read_bytes()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
        match entry["kind"]:
            case "rgba":
                assert image.shape == (96, 96, 4)
            case "16-bit":
                assert image.dtype == np.uint16
                assert image.max() > 255
            case "empty":
                assert data == b""
            case "text":
                assert image is None
            case "truncated":
                assert data.startswith(b"\x89PNG")
                assert b"IEND" not in data
                # OpenCV may return the upper part; the rest of such an image is blank.
                assert image is None or not image[-20:].any()
        assert entry["readable"] == (entry["kind"] in ("rgba", "16-bit"))
    ordinary = {p.name for p in (drawn / "images").iterdir()} - {b["name"] for b in bad}
    for name in sorted(ordinary)[:30]:
        image = cv2.imread(str(drawn / "images" / name), cv2.IMREAD_UNCHANGED)
        assert image.shape == (96, 96)
        assert image.dtype == np.uint8
        assert 20 < image.mean() < 230
        assert image.std() > 20


def test_published_headers(drawn):
    first = (drawn / "Data_Entry_2017_v2020.csv").read_text().splitlines()[0]
    assert first.endswith("View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]")
    boxes = (drawn / "BBox_List_2017.csv").read_text()
    assert boxes.startswith("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
    assert ",Infiltrate," in boxes
    assert ",Infiltration," not in boxes
