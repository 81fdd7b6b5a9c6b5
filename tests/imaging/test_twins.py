"""Pairs that correlate, against every pair correlated by numpy."""

import numpy as np
import pytest

from pipeline.imaging.duplicates import find
from pipeline.imaging.hashes import pixel_hash
from pipeline.imaging.settings import Duplicates
from pipeline.imaging.twins import correlated, finer_pairs


def pictures(count=60, seed=0):
    """Smooth pictures, of which some are noisy copies of others."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(0, np.pi, 32)
    waves = np.stack([np.cos(k * axis)[:, None] * np.cos(m * axis)[None] for k in range(4) for m in range(4)])
    smooth = np.tensordot(rng.normal(size=(count, 16)), waves, 1)
    smooth[1::3] = smooth[::3][: len(smooth[1::3])]
    smooth += rng.uniform(0.02, 0.4, (count, 1, 1)) * rng.normal(size=(count, 32, 32))
    scaled = (smooth - smooth.min()) / np.ptp(smooth)
    return np.rint(255 * scaled).astype(np.uint8)


@pytest.mark.parametrize("least", [0.7, 0.9, 0.985])
def test_all_pairs_are_found(least):
    thumbnails = np.concatenate([pictures(), np.full((2, 32, 32), 7, np.uint8)])  # flat ones have no correlation
    with np.errstate(invalid="ignore", divide="ignore"):
        every = np.nan_to_num(np.corrcoef(thumbnails.reshape(len(thumbnails), -1)), nan=0.0)
    expected = np.argwhere(np.triu(every >= least, 1))
    first, second, r = correlated(thumbnails, least)
    assert len(expected) > 3
    np.testing.assert_array_equal(np.column_stack([first, second]), expected)
    np.testing.assert_allclose(r, every[first, second], atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pictures(count):
    thumbnails = pictures(3)[:count]
    first, second, r = correlated(thumbnails, 0.99)
    assert len(first) == len(second) == len(r) == 0


def test_joined_once_and_borderline_apart():
    rng = np.random.default_rng(3)
    base = np.stack([pictures(3, seed)[0] for seed in range(4)]).astype(float)
    copies = np.concatenate([base, base[:1] + rng.normal(0, 3, (1, 32, 32)), base[1:2] + rng.normal(0, 7, (1, 32, 32))])
    thumbnails = np.clip(np.rint(copies), 0, 255).astype(np.uint8)
    every = np.corrcoef(thumbnails.reshape(len(thumbnails), -1))
    hashes = np.arange(6, dtype=np.uint64)
    least = every[1, 5] + 0.002  # so that this pair is borderline
    assert every[0, 4] > least > np.sort(every[np.triu_indices(6, 1)])[-3] + 0.005
    joining, beside = finer_pairs(hashes, thumbnails, [], least)
    assert [pair[:3] for pair in joining] == [(0, 4, 1)]
    assert [pair[:2] for pair in beside] == [(1, 5)]
    assert finer_pairs(hashes, thumbnails, [(0, 4, 1, 1.0)], least)[0] == []


def test_twins_with_other_hashes_are_grouped():
    thumbnails = np.stack([pictures(3)[0]] * 2)
    thumbnails[1, 0, 0] ^= 3
    ids, pixels = ["a", "b"], [pixel_hash(t) for t in thumbnails]
    near = np.array([0, 2**40 - 1], np.uint64), thumbnails
    labels = np.array([[1, 0], [0, 1]], np.uint8)
    with_finer = find(ids, pixels, near, labels, Duplicates())
    assert with_finer.table[["kind", "hamming", "action"]].to_numpy().tolist() == [["near", 40, "grouped"]]
    assert with_finer.near.first.tolist() == [0]
    assert find(ids, pixels, near, labels, Duplicates(finer=None)).table.empty
