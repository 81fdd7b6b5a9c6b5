import tracemalloc
from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.imaging.decoding import decode
from pipeline.imaging.duplicates import COLUMNS, NearPairs, duplicates_of, find, groups, near_pairs
from pipeline.imaging.hashes import perceptual_hashes, pixel_hash, thumbnail
from pipeline.imaging.settings import Duplicates
from tests.tiny import DATA


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


def test_many_copies_of_one_patient_still_join_groups():
    assert set(groups(["b"] * 256 + ["a"], ["same"] * 257)) == {"a"}


def test_near_pairs_join_groups():
    near = NearPairs(np.array([0]), np.array([2]), np.array([1]), np.array([0.999]))
    assert groups(["p2", "p2", "p1", "p3"], ["a", "b", "c", "d"], near) == ["p1", "p1", "p1", "p3"]


def smooth(seed, shape=(200, 180)):
    """A picture of soft blobs with grain, different for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (9, 8)).astype(np.float32)
    image = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC) + rng.normal(0, 0.05, shape)
    return np.clip(110 + 45 * image, 0, 255).astype(np.uint8)


def fingerprint(image):
    small = thumbnail(image)
    return perceptual_hashes(small[None])[0], small


def phash(image):
    return fingerprint(image)[0]


def of_imagehash(image):
    imagehash = pytest.importorskip("imagehash", reason="imagehash is not installed")
    return int(str(imagehash.phash(Image.fromarray(image))), 16)


@pytest.mark.parametrize("shape", [(200, 180), (511, 700), (31, 64), (32, 32), (8, 3), (120, 90, 3), (300, 300, 3)])
def test_hash_is_that_of_imagehash(shape):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise = rng.integers(0, 256, shape, np.uint8)
        blobs = smooth(seed, shape[:2])
        for image in (noise, blobs if len(shape) == 2 else np.dstack([blobs, 255 - blobs, noise[..., 0]])):
            assert int(phash(image)) == of_imagehash(image)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_hash_of_a_constant_image_is_that_of_imagehash(value):
    image = np.full((70, 50), value, np.uint8)
    assert int(phash(image)) == of_imagehash(image)


def test_hash_of_large_images_is_that_of_imagehash_but_for_a_bit_now_and_then():
    bits = []
    for seed in range(40):
        image = smooth(seed, (1024, 900 + 8 * seed))
        bits.append((int(phash(image)) ^ of_imagehash(image)).bit_count())
    assert np.mean(bits) <= 1
    assert max(bits) <= 4


def test_hashes_of_many_are_those_of_each_of_flat_and_symmetric_pictures_too():
    """Where frequencies are equal or 0, rounding decides about their bits: it must not depend on the neighbours."""
    ramp = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (128, 1))
    images = [np.full((40, 40), grey, np.uint8) for grey in (0, 1, 128, 255)]
    images += [ramp, ramp.T.copy(), np.maximum(ramp, ramp[:, ::-1]), np.eye(64, dtype=np.uint8) * 200]
    images += [smooth(seed) for seed in range(40)]
    thumbnails = np.stack([thumbnail(image) for image in images])
    assert perceptual_hashes(thumbnails).tolist() == [of_imagehash(image) for image in images]
    assert len(perceptual_hashes(thumbnails[:0])) == 0


def test_fingerprint_survives_scaling_storing_and_windowing_but_not_another_picture():
    for seed in range(20):
        image = smooth(seed)
        changed = [
            cv2.resize(image, (90, 100), interpolation=cv2.INTER_AREA),
            cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0),
            np.clip(image * 0.8 + 20, 0, 255).astype(np.uint8),
        ]
        hashes, thumbnails = zip(*map(fingerprint, [image, *changed, smooth(seed + 100)]), strict=True)
        pairs = near_pairs(np.array(hashes), np.stack(thumbnails), 4, 0.995)
        assert set(pairs.first) | set(pairs.second) == {0, 1, 2, 3}


def by_hand(hashes, thumbnails, hamming, correlation):
    """All near pairs, one at a time."""
    found = set()
    for i, j in combinations(range(len(hashes)), 2):
        a, b = thumbnails[i].ravel().astype(float), thumbnails[j].ravel().astype(float)
        flat = a.std() == 0 or b.std() == 0
        r = float((a == b).all()) if flat else np.corrcoef(a, b)[0, 1]
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= hamming and r >= correlation:
            found.add((i, j))
    return found


def components(size, pairs):
    near = NearPairs(*np.array([*pairs, (0, 0)], np.int64).T, np.zeros(0, np.int64), np.zeros(0))
    return groups([f"{i:06d}" for i in range(size)], [f"{i:06d}" for i in range(size)], near)


@given(st.data())
def test_near_pairs_are_those_of_brute_force(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    hamming = data.draw(st.integers(0, 16))
    size = data.draw(st.integers(0, 40))
    families = rng.integers(0, 2**64, 6, np.uint64)
    bases = rng.integers(0, 256, (6, 8, 8)).astype(float)
    bases[0] = 0
    bases[1] = 255
    of = rng.integers(0, 6, size)
    hashes = families[of]
    for i in range(size):
        for bit in rng.choice(64, rng.integers(0, hamming + 3), replace=False):
            hashes[i] ^= np.uint64(1) << np.uint64(bit)
    grain = rng.normal(0, 1, (size, 8, 8)) * rng.choice([0, 4, 10], size)[:, None, None] * (of > 1)[:, None, None]
    thumbnails = np.clip(bases[of] + grain, 0, 255).astype(np.uint8)
    expected = by_hand(hashes, thumbnails, hamming, 0.99)
    found = near_pairs(hashes, thumbnails, hamming, 0.99)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert set(pairs) <= expected
    assert pairs == sorted(set(pairs))
    assert len(pairs) < max(size, 1)
    if size:
        assert components(size, pairs) == components(size, expected)
    for i, j, distance, r in zip(*found, strict=True):
        assert distance == (int(hashes[i]) ^ int(hashes[j])).bit_count()
        assert r == pytest.approx(
            1.0 if thumbnails[i].std() == 0 else np.corrcoef(*thumbnails[[i, j]].reshape(2, -1))[0, 1]
        )


def test_bits_that_differ_are_found_wherever_they_lie():
    rng = np.random.default_rng(0)
    thumbnail = rng.integers(0, 256, (1, 32, 32), np.uint8).repeat(2, axis=0)
    for hamming in (0, 1, 4, 7):
        for _ in range(50):
            base = rng.integers(0, 2**64, dtype=np.uint64)
            flips = sum(1 << int(bit) for bit in rng.choice(64, hamming + 1, replace=False))
            near, far = flips & (flips - 1), flips
            for mask, count in ((near, 1), (far, 0)):
                hashes = np.array([base, base ^ np.uint64(mask)])
                assert len(near_pairs(hashes, thumbnail, hamming, 0.9).first) == count


def test_thousands_of_blank_images_need_little_memory_and_form_one_group():
    size = 6000
    rng = np.random.default_rng(0)
    hashes = np.full(size, 1 << 63, np.uint64)
    thumbnails = np.zeros((size, 32, 32), np.uint8)
    thumbnails[-400:] = rng.integers(0, 2, (400, 32, 32))  # almost black, each with its own grain
    thumbnails[-1] = 3
    tracemalloc.start()
    found = near_pairs(hashes, thumbnails, 4, 0.995)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20
    assert len(found.first) == 5599
    assert (found.first == 0).all()
    np.testing.assert_array_equal(found.second, np.arange(1, 5600))


def test_thousands_of_almost_equal_images_form_one_group():
    size = 3000
    rng = np.random.default_rng(0)
    base = smooth(0, (32, 32)).astype(int)
    thumbnails = np.clip(base + rng.integers(-1, 2, (size, 32, 32)), 0, 255).astype(np.uint8)
    hashes = np.full(size, 77, np.uint64) ^ (np.uint64(1) << rng.integers(0, 64, size).astype(np.uint64))
    found = near_pairs(hashes, thumbnails, 4, 0.995)
    assert len(found.first) == size - 1
    assert set(components(size, zip(found.first.tolist(), found.second.tolist(), strict=True))) == {"000000"}


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="hamming = 64; it must be 0 to 63"):
        near_pairs(np.zeros(1, np.uint64), np.zeros((1, 2, 2), np.uint8), 64, 0.9)
    with pytest.raises(ValueError, match="thumbnails of 65536 pixels"):
        near_pairs(np.zeros(1, np.uint64), np.zeros((1, 256, 256), np.uint8), 4, 0.9)
    with pytest.raises(ValueError, match="1 hashes, 2 thumbnails"):
        near_pairs(np.zeros(1, np.uint64), np.zeros((2, 2, 2), np.uint8), 4, 0.9)


IDS = ["a", "b", "c", "d", "e"]
HASHES = ["x", "y", "x", "x", "y"]
TARGETS = np.array([[1, 0], [0, 0], [1, 0], [1, 1], [0, 0]], np.uint8)


def test_identical_pixels_under_other_labels_are_excluded():
    found = find(IDS, HASHES, None, TARGETS, Duplicates())
    assert found.excluded.tolist() == [True, False, True, True, False]
    assert found.reasons == {
        0: "identical pixels under other labels: d",
        2: "identical pixels under other labels: d",
        3: "identical pixels under other labels: a",
    }
    assert found.table.columns.tolist() == COLUMNS
    assert found.table.to_numpy().tolist() == [
        ["c", "a", "exact", 0, 1.0, 1, "excluded"],
        ["d", "a", "exact", 0, 1.0, 0, "excluded"],
        ["e", "b", "exact", 0, 1.0, 1, "grouped"],
    ]


def test_identical_pixels_under_other_labels_may_be_kept():
    found = find(IDS, HASHES, None, TARGETS, Duplicates(conflicting_labels="keep"))
    assert not found.excluded.any()
    assert found.reasons == {}
    assert found.table["labels_agree"].tolist() == [1, 0, 1]
    assert set(found.table["action"]) == {"grouped"}


def test_near_duplicates_are_listed_once_and_never_excluded():
    images = [smooth(1), smooth(2), smooth(1), np.clip(smooth(2) + 5.0, 0, 255).astype(np.uint8), smooth(3)]
    hashes, thumbnails = zip(*map(fingerprint, images), strict=True)
    near = np.array(hashes), np.stack(thumbnails)
    targets = np.array([[0], [0], [0], [1], [1]], np.uint8)
    found = find(IDS, [pixel_hash(i) for i in images], near, targets, Duplicates())
    assert found.table[["sample_id", "other_id", "kind", "labels_agree", "action"]].to_numpy().tolist() == [
        ["c", "a", "exact", 1, "grouped"],
        ["d", "b", "near", 0, "grouped"],
    ]
    assert found.near.first.tolist() == [1]
    assert found.near.second.tolist() == [3]
    assert not found.excluded.any()


def test_nothing_to_find():
    near = np.zeros(0, np.uint64), np.zeros((0, 32, 32), np.uint8)
    found = find([], [], near, np.zeros((0, 2), np.uint8), Duplicates())
    assert found.table.empty
    assert found.table.columns.tolist() == COLUMNS


NIH = DATA / "nih_chestxray14" / "images"


@pytest.mark.skipif(not NIH.is_dir(), reason=f"no real images: {NIH} does not exist (set MEDMATRIX_DATA)")
def test_copies_planted_among_real_films_are_found_and_nothing_else():
    films = [decode(path.read_bytes(), 1).pixels for path in sorted(NIH.glob("*.png"))[:300]]
    rng = np.random.default_rng(0)
    copied = rng.choice(len(films), 30, replace=False)
    copies = []
    for i in copied:
        small = cv2.resize(films[i], (160, 160), interpolation=cv2.INTER_AREA)
        copies.append(cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 0))
    images = films + copies
    assert [int(phash(i)) for i in images[::10]] == [of_imagehash(i) for i in images[::10]]
    hashes, thumbnails = zip(*map(fingerprint, images), strict=True)
    found = near_pairs(np.array(hashes), np.stack(thumbnails), 4, 0.995)
    planted = {(int(i), len(films) + k) for k, i in enumerate(copied)}
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == planted
