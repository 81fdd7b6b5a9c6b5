"""Patients guessed from the names of files."""

import re

import pytest

from pipeline.datasets import open_dataset
from pipeline.planning.patients import guess

TOLD = {
    # A way of naming: paths of 30 patients with two or three images each, and the patient of the first.
    "number_image": ([f"c{i % 2}/{i // 3:08d}_{i % 3:03d}.png" for i in range(90)], "00000000"),
    "letters": ([f"c{i % 2}/HB{100 + i // 3}_{i % 3:02d}.jpeg" for i in range(90)], "HB100"),
    "dashes": ([f"train/NORMAL/IM-{i // 2:04d}-{i % 2:04d}.jpeg" for i in range(90)], "IM-0000"),
    "kind_after": ([f"x/person{i // 2}_bacteria_{i % 2}.jpeg" for i in range(90)], "person0"),
    "folder": ([f"c{i % 2}/P{i // 3:03d}/{i}.png" for i in range(90)], "P000"),
    "folder_of_folders": ([f"test/c{i % 2}/P{i // 3:03d}/left.png" for i in range(60)], "P000"),
    "words": ([f"c/patient {i // 2} image {i % 2}.tif" for i in range(60)], "patient 0"),
}
NOT_TOLD = {
    "running": [f"c{i % 2}/IMG_{i:04d}.png" for i in range(90)],
    "class_and_number": [f"COVID/COVID-{i}.png" for i in range(90)],
    "brackets": [f"benign/benign ({i}).png" for i in range(90)],
    "numbers": [f"a/{i}.png" for i in range(90)],
    "words_of_a_class": [f"WBC/WBC-Malignant-{i % 3}-{i:03d}.jpg" for i in range(90)],
    "numbered_classes": [f"class{i % 12}/class{i % 12}_{i:03d}.png" for i in range(240)],
    "hashes": [f"a/{i * 7919 % 65536:04x}{i:02x}f.png" for i in range(90)],
    "one_odd_name": [*(f"a/P{i // 2}_{i % 2}.png" for i in range(90)), "a/cover.png"],
    "two_patients": [f"a/P{i % 2}_{i}.png" for i in range(90)],
}


@pytest.mark.parametrize("name", TOLD)
def test_patients_are_told_by_what_comes_before_the_image(name):
    paths, first = TOLD[name]
    found = guess(paths, classes=2)
    assert re.search(found.pattern, paths[0])["patient"] == first
    assert found.number == len({re.search(found.pattern, path)["patient"] for path in paths})
    assert len(found.examples) == 3
    assert all(re.search(found.pattern, path)["patient"] == patient for path, patient in found.examples)
    open_dataset("image_folder", {"root": "x", "patient_pattern": found.pattern})  # is one that the reader takes


@pytest.mark.parametrize("name", NOT_TOLD)
def test_what_only_counts_or_names_a_class_is_no_patient(name):
    paths = NOT_TOLD[name]
    found = guess(paths, classes=len({path.split("/")[0] for path in paths}))
    assert found.pattern is None
    assert found.examples == ()


def test_a_device_that_made_many_images_does_not_become_a_patient():
    paths = [f"n/NORMAL2-IM-{i // 2:04d}-{i % 2:04d}.jpeg" for i in range(400)]
    paths += [f"p/person{i // 3}_virus_{i % 3}.jpeg" for i in range(900)]
    found = guess(paths, classes=2)
    assert {re.search(found.pattern, path)["patient"] for path in paths[:4]} == {"NORMAL2-IM-0000", "NORMAL2-IM-0001"}


def test_the_examples_show_where_a_pattern_may_divide_a_patient():
    paths = [f"n/N2-IM-{i // 2:04d}-{i % 2:04d}.jpeg" for i in range(90)]
    paths += ["n/N2-IM-0020-0001-0001.jpeg", "n/N2-IM-0020-0001-0002.jpeg"]
    found = guess(paths)
    assert [patient for _, patient in found.examples[:2]] == ["N2-IM-0020", "N2-IM-0020-0001"]
    assert all(re.search(found.pattern, path)["patient"] == patient for path, patient in found.examples)


def test_patients_that_a_number_may_divide_are_counted():
    paths = [f"a/X1-IM-{i:03d}-{j}.png" for i in range(30) for j in (1, 2)]
    assert guess(paths).doubtful == 0
    found = guess([*paths, "a/X1-IM-007-1-1.png", "a/X1-IM-007-1-2.png"])
    assert found.doubtful == 1
    assert [name for _, name in found.examples[:2]] == ["X1-IM-007", "X1-IM-007-1"]
