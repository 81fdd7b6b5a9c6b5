import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.imaging.duplicates import duplicates_of, groups, pixel_hash


def test_hash_depends_on_pixels_and_shape():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert pixel_hash(image) == pixel_hash(image.copy())
    assert len({pixel_hash(i) for i in (image, image.reshape(4, 3), image + 1, image[..., None])}) == 4


def test_hash_of_a_view_is_that_of_its_pixels():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert pixel_hash(image[::2, ::2]) == pixel_hash(np.ascontiguousarray(image[::2, ::2]))


def test_groups_follow_chains_of_patients_and_pictures():
    patients = ["p3", "p2", "p2", "p1", "p9", "p9"]
    hashes = ["a", "a", "b", "b", "c", "d"]
    assert groups(patients, hashes) == ["p1", "p1", "p1", "p1", "p9", "p9"]


def test_no_images_no_groups():
    assert groups([], []) == []
    assert duplicates_of([], []) == []


def test_duplicates_name_the_first():
    assert duplicates_of(["x", "y", "z", "w"], ["a", "b", "a", "a"]) == ["", "", "x", "x"]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=40))
def test_groups_are_the_finest_that_keep_patients_and_pictures_whole(rows):
    patients, hashes = [f"{p:03d}" for p, _ in rows], [f"h{h}" for _, h in rows]
    named = groups(patients, hashes)
    # by hand: merge labels until nothing changes
    labels = list(patients)
    changed = True
    while changed:
        changed = False
        for i in range(len(rows)):
            for j in range(len(rows)):
                if (patients[i] == patients[j] or hashes[i] == hashes[j]) and labels[j] > labels[i]:
                    labels[j], changed = labels[i], True
    assert named == labels
