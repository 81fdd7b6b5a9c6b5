"""Patients guessed from the names of files."""

import hashlib
import itertools
import re
import uuid
from collections import defaultdict

import pytest

from pipeline.datasets import open_dataset
from pipeline.planning.patients import copies, guess, patients_of


def _two(name, patients=30):
    """Two images of each patient: `name` is called with the patient and the image, both from 0."""
    return [(name(p, i), str(p)) for p, i in itertools.product(range(patients), range(2))]


def _uuid(text):
    return str(uuid.UUID(hashlib.md5(str(text).encode()).hexdigest()))


HABITS = {
    # A way of naming: paths, each with whom it shows. A patient is never parted; nobody is joined but where it is said.
    "number_image": _two(lambda p, i: f"c{i}/{p:08d}_{i:03d}.png"),
    "letters": _two(lambda p, i: f"c{i}/HB{100 + p}_{i:02d}.jpeg"),
    "dashes": _two(lambda p, i: f"train/NORMAL/IM-{p:04d}-{i:04d}.jpeg"),
    "number_more": [
        *_two(lambda p, i: f"n/NORMAL2-IM-{p:04d}-{i:04d}.jpeg"),
        ("n/NORMAL2-IM-0007-0001-0001.jpeg", "7"),
        ("n/NORMAL2-IM-0007-0001-0002.jpeg", "7"),
    ],
    "kind_after": _two(lambda p, i: f"x/person{p}_bacteria_{i}.jpeg"),
    "word": _two(lambda p, i: f"c/patient_{p:03d}_slice{i + 11}.png"),
    "word_last": _two(lambda p, i: f"c/slice{i + 11}_patient_{p:03d}.png"),
    "word_spaces": _two(lambda p, i: f"c/patient {p} image {i}.tif"),
    "word_case": _two(lambda p, i: f"c/{('Patient', 'patient')[i]}_{p:0{i + 2}d}_x.png"),
    "word_id": _two(lambda p, i: f"c/view{i}_patientID{p}.png"),
    "letter_last": _two(lambda p, i: f"c/frame_{i:04d}_P{p}.png"),
    "views": _two(lambda p, i: f"c{i}/P{p}_{('L_CC', 'R_MLO')[i]}.png"),
    "sides": _two(lambda p, i: f"c{i}/case{p}-{('left', 'right')[i]}.png"),
    "eyes": _two(lambda p, i: f"c{i}/{p}_{('left', 'right')[i]}.jpeg"),
    "glued_eyes": _two(lambda p, i: f"c{i}/{p:04d}{('OD', 'OS')[i]}.jpg"),
    "bids": _two(lambda p, i: f"c/sub-{p:02d}_ses-{i}_T1w.png"),
    "folder": _two(lambda p, i: f"c{i}/P{p:03d}/{i}.png"),
    "folder_of_test": _two(lambda p, i: f"test/c{i}/A{p:03d}/left{i}.png"),
    "studies": _two(lambda p, i: f"c/{p + 200}/study{i}/series1/{i:04d}.png"),
    "uid_of_series": _two(lambda p, i: f"c/A{p + 200}/1.2.840.{p}.{i}.7/1.2.840.{p}.{i}.png"),
    "shelves": _two(lambda p, i: f"c/p1{p % 12}/p1{p % 12}0{p:04d}/s{i}{p}/{_uuid((p, i))}.jpg"),
    "batches": _two(lambda p, i: f"c/batch{i * 12 + p % 12}/HB{p}_{i}.png"),
    "day_of_folder": _two(lambda p, i: f"c/2021-03-{p % 14 + i + 1:02d}/HB{p}_{i}.png"),
    "date_first": _two(lambda p, i: f"c/202103{p % 14 + i + 1:02d}_HB{p}_{i}.png"),
    "date_last": _two(lambda p, i: f"c/HB{p}_2021-03-{p % 14 + i + 1:02d}.png"),
    "uuid": _two(lambda p, i: f"c/{_uuid(p)}_{i}.png"),
    "hash": _two(lambda p, i: f"c/{hashlib.md5(str(p).encode()).hexdigest()}-{i}.png"),
    "tcga": _two(lambda p, i: f"c/TCGA-AR-A{p:03d}-01Z-00-DX{i}.png"),
    "slice_number": _two(lambda p, i: f"c/HB{p}_slice{i}_1.png"),
    "no_suffix": _two(lambda p, i: f"c/HB{p}_{i}"),
}
JOINED = {
    # Patients who share a number: nothing in the names tells whether they are one.
    "kinds": [(f"x/person{p}_{kind}_{i}.jpeg", f"{p}{kind}") for p in range(30) for kind in ("a", "b") for i in (1, 2)],
    "sites": [(f"x/s{s}/P{p}_{i}.png", f"{s} {p}") for s in ("a", "b") for p in range(30) for i in (1, 2)],
}
NOT_TOLD = {
    "running": [f"c{i % 2}/IMG_{i:04d}.png" for i in range(90)],
    "copies": [*(f"c/IMG{i:04d}.png" for i in range(90)), *(f"c/IMG{i:04d} (2).png" for i in range(0, 90, 30))],
    "class_and_number": [f"COVID/COVID-{i}.png" for i in range(90)],
    "brackets": [f"benign/benign ({i}).png" for i in range(90)],
    "numbers": [f"a/{i}.png" for i in range(90)],
    "words_of_a_class": [f"WBC/WBC-Malignant-{i % 3}-{i:03d}.jpg" for i in range(90)],
    "numbered_classes": [f"class{i % 12}/class{i % 12}_{i:03d}.png" for i in range(240)],
    "hashes": [f"a/{i * 7919 % 65536:04x}{i:02x}f.png" for i in range(90)],
    "uuids": [f"a/{_uuid(i)}.png" for i in range(90)],
    "dates": [f"a/202103{i // 3 + 1:02d}_{i:03d}.png" for i in range(90)],
    "two_patients": [f"a/P{i % 2}_{i}.png" for i in range(90)],
    "nine_patients": [f"a/P{i % 9}_visit{i}_{j}.png" for i in range(90) for j in (1, 2)],
    "numbered_devices": [f"a/scanner{i % 12}/{i:04d}.png" for i in range(90)],
}


def _counted(shown):
    """Patients parted between groups, and patients joined with others, of a guess about (path, patient) pairs."""
    paths, people = zip(*shown, strict=True)
    found = guess(paths, 1 + any(path.startswith("c1/") for path in paths))
    assert found.pattern is not None
    groups, of = patients_of(found.pattern, paths), (defaultdict(set), defaultdict(set))
    for group, person in zip(groups, people, strict=True):
        of[0][person].add(group)
        of[1][group].add(person)
    assert found.number == len(of[1])
    return sum(len(g) > 1 for g in of[0].values()), sum(len(p) for p in of[1].values() if len(p) > 1), found


@pytest.mark.parametrize("name", HABITS)
def test_no_way_of_naming_parts_or_joins_patients(name):
    parted, joined, found = _counted(HABITS[name])
    assert (parted, joined) == (0, 0), found
    assert len(found.examples) == 3
    assert all(re.search(found.pattern, path)["patient"] == patient for path, patient in found.examples)
    open_dataset("image_folder", {"root": "x", "patient_pattern": found.pattern})  # is one that the reader takes


@pytest.mark.parametrize("name", JOINED)
def test_where_a_name_may_mean_two_things_patients_are_joined_and_never_parted(name):
    parted, joined, found = _counted(JOINED[name])
    assert (parted, joined) == (0, 60), found


@pytest.mark.parametrize("name", NOT_TOLD)
def test_what_only_counts_or_names_a_class_is_no_patient(name):
    paths = NOT_TOLD[name]
    found = guess(paths, classes=len({path.split("/")[0] for path in paths}))
    assert (found.pattern, found.examples) == (None, ())


def test_published_parts_that_keep_a_finer_name_apart_speak_for_it():
    # As many patients have a number in common as not; the publisher divided by number and kind.
    shown = [
        (f"{part}/x/person{p}_{kind}_{i}.jpeg", part)
        for p in range(40)
        for kind, part in (("bacteria", "train"), ("virus", "test"))
        for i in (1, 2)
    ]
    paths, parts = zip(*shown, strict=True)
    assert guess(paths, 1).number == 40
    assert guess(paths, 1, parts).number == 80
    # Parts that part both say nothing.
    assert guess(paths, 1, ["train", "test"] * 80).number == 40


def test_a_device_that_made_many_images_does_not_become_a_patient():
    paths = [f"n/NORMAL2-IM-{i // 2:04d}-{i % 2:04d}.jpeg" for i in range(400)]
    paths += [f"p/person{i // 3}_virus_{i % 3}.jpeg" for i in range(900)]
    found = guess(paths, classes=2)
    assert {re.search(found.pattern, path)["patient"] for path in paths[:4]} == {"NORMAL2-IM-0000", "NORMAL2-IM-0001"}


def test_patients_whose_names_are_nearly_the_same_are_counted_and_shown_first():
    paths = [f"a/HB{i}_{j}.png" for i in range(30) for j in (1, 2)]
    assert guess(paths).doubtful == 0
    found = guess([*paths, "a/hb007_1.png", "a/hb007_2.png"])
    assert found.doubtful == 1
    assert {name for _, name in found.examples[:2]} == {"HB7", "hb007"}


def test_copies_are_counted():
    assert copies(["a/x.png", "a/x (2).png", "a/y (1).png", "a/y - Copy.png", "b/y.png"]) == 3


def test_no_word_of_a_name_gets_into_a_pattern():
    paths = [f"c/Smith_slice{i}_{p}_1.png" for p in range(30) for i in range(2)]
    found = guess(paths)
    assert found.number == 30
    assert "Smith" not in found.pattern


@pytest.mark.parametrize("odd", ["a/cover.png", "x.png"])
@pytest.mark.parametrize("name", ["a/P{p}_{i}.png", "a/{p}/{i}.png", "a/IM-{p:04d}-{i}.png"])
def test_one_odd_name_hides_no_patient(name, odd):
    paths = [name.format(p=i // 3 + 1, i=i % 3) for i in range(90)]
    found, alone = guess([*paths, odd]), guess(paths)
    assert alone.number == found.number == 30
    assert found.pattern is not None
    assert len(set(patients_of(found.pattern, paths))) == 30
    assert patients_of(found.pattern, [odd]) is None
