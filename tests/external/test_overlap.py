"""Images that the study and an external set have in common."""

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.external.overlap import overlap
from pipeline.imaging.settings import Duplicates

RNG = np.random.default_rng(0)


def pictures(n, seed):
    small = np.random.default_rng(seed).integers(0, 256, (n, 8, 8), dtype=np.uint8)
    return np.stack([cv2.resize(each, (64, 64), interpolation=cv2.INTER_CUBIC) for each in small])


@pytest.fixture
def study():
    images = pictures(6, 1)
    parts = ["train", "train", "val", "test", "test", "unused"]
    return images, pd.DataFrame({"row": range(6), "sample_id": [f"s{i}" for i in range(6)], "part": parts})


def samples(n):
    return pd.DataFrame({"row": range(n), "sample_id": [f"e{i}" for i in range(n)]})


def test_copies_and_near_copies_are_found_and_named_with_their_part(study):
    images, own = study
    theirs = pictures(6, 2)
    theirs[1] = images[0]
    theirs[2] = np.clip(images[2].astype(int) + RNG.integers(-2, 3, (64, 64)), 0, 255)  # as another JPEG of it
    theirs[4] = images[3]
    theirs[5] = images[5]  # of a part that nothing was learned from or tested on
    found = overlap(theirs, samples(6), images, own, Duplicates())
    assert found[["sample_id", "kind", "part", "study_id"]].to_numpy().tolist() == [
        ["e1", "exact", "train", "s0"],
        ["e2", "near", "val", "s2"],
        ["e4", "exact", "test", "s3"],
    ]
    assert found["correlation"].between(0.995, 1).all()


def test_without_near_only_exact_copies_are_found_and_none_among_strangers(study):
    images, own = study
    theirs = pictures(3, 2)
    assert overlap(theirs, samples(3), images, own, Duplicates()).empty
    theirs[0] = images[1] ^ 1
    assert len(overlap(theirs, samples(3), images, own, Duplicates())) == 1
    assert overlap(theirs, samples(3), images, own, Duplicates(near=False)).empty


def test_a_copy_of_a_test_image_that_is_nearly_one_of_training_counts_as_training(study):
    images, own = study
    images[0] = images[3] ^ 1
    found = overlap(images[3:4], samples(1), images, own, Duplicates())
    assert found[["kind", "part"]].to_numpy().tolist() == [["near", "train"]]


def test_flat_images_are_no_near_copies(study):
    images, own = study
    images[0], theirs = 7, np.full((1, 64, 64), 9, np.uint8)
    assert overlap(theirs, samples(1), images, own, Duplicates()).empty
