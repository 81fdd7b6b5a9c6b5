"""Images that show the same, and the groups of images that must stay in one part of the split.

Two images are *exact* duplicates when their decoded pixels are equal, and *near* duplicates when their perceptual
hashes differ in few bits and their thumbnails correlate: the same exposure stored, scaled or windowed anew. A second
search (`pipeline.imaging.twins`) finds those whose thumbnails correlate though their hashes differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.imaging.hashes import HASH_BITS
from pipeline.imaging.settings import Duplicates
from pipeline.imaging.twins import finer_pairs
from pipeline.study.unknown import differ

COLUMNS = ["sample_id", "other_id", "kind", "hamming", "correlation", "labels_agree", "action"]
"""Columns of duplicates.csv. `other_id` stands before `sample_id` in the data set; `kind` is exact, near or borderline;
`action` is "grouped" (both are kept, in one group), "excluded" (one of the two, or both, are in excluded.csv) or, for
borderline pairs of two groups, "apart": nearly alike enough to be grouped, and to be looked at."""

_PAIRS_AT_ONCE = 2**18
_THUMBNAILS_AT_ONCE = 2**9
_MOST_PIXELS = 2**15


class NearPairs(NamedTuple):
    """Pairs of near-duplicates, by position, sorted; of each pair `first` < `second`.

    Parameters
    ----------
    first, second : int64 [P]
        The two images.
    hamming : int64 [P]
        Differing bits of their perceptual hashes.
    correlation : float64 [P]
        Pearson correlation of their thumbnails.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    hamming: NDArray[np.int64]
    correlation: NDArray[np.float64]


class Found(NamedTuple):
    """What `find` found among N images.

    Parameters
    ----------
    table : DataFrame
        COLUMNS, in the data set's order.
    near : NearPairs
        Near-duplicates among all N.
    excluded : bool [N]
        Images that must not be used.
    reasons : dict of int to str
        Why, by position.
    """

    table: pd.DataFrame
    near: NearPairs
    excluded: NDArray[np.bool_]
    reasons: dict[int, str]


def near_pairs(
    hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], hamming: int, correlation: float
) -> NearPairs:
    """Find near-duplicates without comparing every image with every other.

    Hashes that differ in at most `hamming` bits are equal in one of `hamming` + 1 bands of bits, so only images that
    share a band are compared (M. Norouzi et al., "Fast search in Hamming space with multi-index hashing", CVPR 2012);
    then the thumbnails are. A thumbnail of one grey value has no correlation; two such thumbnails count as 1 if the
    value is the same, else as 0.

    Pairs are left out whose images are already joined through listed pairs: thousands of blank images give thousands
    of pairs and not millions. The groups that the pairs form are those of all pairs.

    Parameters
    ----------
    hashes : uint64 [N]
        Perceptual hashes.
    thumbnails : uint8 [N, h, w]
        Small images of the same pictures.
    hamming : int
        Most differing bits, 0 to 63.
    correlation : float
        Least Pearson correlation, in (0, 1].

    Returns
    -------
    NearPairs
        At most N - 1 pairs. The same for the same input.

    Raises
    ------
    ValueError
        If `hamming` is out of range, the arrays differ in length or thumbnails have more than 2^15 pixels.
    """
    if not 0 <= hamming < HASH_BITS:
        raise ValueError(f"hamming = {hamming}; it must be 0 to {HASH_BITS - 1}")
    if len(hashes) != len(thumbnails):
        raise ValueError(f"{len(hashes)} hashes, {len(thumbnails)} thumbnails")
    pictures = _Thumbnails(thumbnails)
    if pictures.pixels > _MOST_PIXELS:
        raise ValueError(f"thumbnails of {pictures.pixels} pixels; they must have at most {_MOST_PIXELS}")
    hashes = np.ascontiguousarray(hashes, np.uint64)
    forest = _Forest(len(hashes))
    listed = [(first, i, 0, 1.0) for first, i in _equal(hashes, pictures.flat)]
    for first, later, _, _ in listed:
        forest.join(first, later)
    forest.settle()
    # What equals an earlier image is near to whatever that one is near to.
    alone = np.setdiff1d(np.arange(len(hashes)), np.array([later for _, later, _, _ in listed], np.int64))
    for i, j in _candidates(hashes[alone], hamming + 1):
        i, j = alone[i], alone[j]
        apart = forest.apart(i, j)
        i, j = i[apart], j[apart]
        distance = np.bitwise_count(hashes[i] ^ hashes[j]).astype(np.int64)
        close = distance <= hamming
        i, j, distance = i[close], j[close], distance[close]
        for start in range(0, len(i), _THUMBNAILS_AT_ONCE):
            part = slice(start, start + _THUMBNAILS_AT_ONCE)
            # Most of a large group is joined by its first comparisons: the rest need no correlation.
            apart = forest.apart(i[part], j[part])
            a, b, d = i[part][apart], j[part][apart], distance[part][apart]
            r = pictures.correlation(a, b)
            sure = r >= correlation
            near = zip(a[sure].tolist(), b[sure].tolist(), d[sure].tolist(), r[sure].tolist(), strict=True)
            listed += [pair for pair in near if forest.join(pair[0], pair[1])]
            forest.settle()
    listed.sort()
    return _as_pairs(listed)


def _equal(hashes: NDArray[np.uint64], flat: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield, for every image with both hash and thumbnail of an earlier one, the earliest such and itself."""
    if len(hashes) == 0:
        return
    keys: dict[bytes, int] = {}
    order = np.argsort(hashes, kind="stable")
    same = hashes[order][1:] == hashes[order][:-1]
    shared = np.concatenate(([False], same)) | np.concatenate((same, [False]))
    for i in np.sort(order[shared]).tolist():
        key = hashlib.blake2b(flat[i].tobytes(), digest_size=16, key=hashes[i].tobytes()).digest()
        first = keys.setdefault(key, i)
        if first != i:
            yield first, i


def _candidates(hashes: NDArray[np.uint64], bands: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield i < j of all images that are equal in a band of bits, each pair once, in blocks of _PAIRS_AT_ONCE or less.

    Parameters
    ----------
    hashes : uint64 [N]
        Perceptual hashes.
    bands : int
        Into how many bands the bits are cut, 1 to 64.
    """
    edges = np.linspace(0, HASH_BITS, bands + 1).astype(int)
    earlier: list[np.uint64] = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        key = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.concatenate(([True], np.diff(key[order]) != 0)))
        sizes = np.diff(np.concatenate((starts, [len(key)]))) if len(key) else np.zeros(0, int)
        # The partners of the image at a place of `order` are those behind it in its bucket.
        partners = np.repeat(starts + sizes, sizes) - np.arange(len(key)) - 1
        ends = np.cumsum(partners)
        total = int(ends[-1]) if len(ends) else 0
        for begin in range(0, total, _PAIRS_AT_ONCE):
            pair = np.arange(begin, min(begin + _PAIRS_AT_ONCE, total))
            place = np.searchsorted(ends, pair, side="right")
            partner = place + 1 + pair - (ends[place] - partners[place])
            # A stable sort leaves the images of a bucket in their order, so i < j.
            i, j = order[place], order[partner]
            differing = hashes[i] ^ hashes[j]
            new = np.ones(len(i), bool)
            for mask in earlier:
                new &= (differing & mask) != 0
            yield i[new], j[new]
        earlier.append(np.uint64((1 << high) - (1 << low)))


class _Forest:
    """Which images are joined already; `apart` may lag behind `join` until `settle`."""

    def __init__(self, size: int) -> None:
        self.parent = np.arange(size)

    def root(self, i: int) -> int:
        parent = self.parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    def join(self, i: int, j: int) -> bool:
        """Join two images; False if they were joined already."""
        a, b = self.root(i), self.root(j)
        self.parent[max(a, b)] = min(a, b)
        return a != b

    def settle(self) -> None:
        """Let every image point at its root."""
        while True:
            further = self.parent[self.parent]
            if (further == self.parent).all():
                return
            self.parent = further

    def apart(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self.parent[i] != self.parent[j]


class _Thumbnails:
    """Pearson correlation of pairs of thumbnails, exact but for the last division."""

    def __init__(self, thumbnails: NDArray[np.uint8]) -> None:
        self.pixels = int(np.prod(thumbnails.shape[1:]))
        self.flat = np.ascontiguousarray(thumbnails).reshape(len(thumbnails), self.pixels)
        sums, squares = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for start in range(0, len(self.flat), _THUMBNAILS_AT_ONCE):
            block = self.flat[start : start + _THUMBNAILS_AT_ONCE].astype(np.int64)
            sums.append(block.sum(axis=1))
            squares.append((block * block).sum(axis=1))
        self.sums = np.concatenate(sums)
        self.spread = self.pixels * np.concatenate(squares) - self.sums**2

    def correlation(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        # 1024 products of two bytes stay far below 2^31.
        products = np.einsum("np,np->n", self.flat[i].astype(np.int32), self.flat[j].astype(np.int32))
        shared = self.pixels * products.astype(np.int64) - self.sums[i] * self.sums[j]
        flat = (self.spread[i] == 0) | (self.spread[j] == 0)
        scale = np.sqrt(self.spread[i].astype(np.float64)) * np.sqrt(self.spread[j].astype(np.float64))
        result = np.minimum(shared / np.where(flat, 1.0, scale), 1.0)
        both = (self.spread[i] == 0) & (self.spread[j] == 0) & (self.sums[i] == self.sums[j])
        return np.where(flat, both.astype(np.float64), result)


def find(
    sample_ids: Sequence[str],
    hashes: Sequence[str],
    near: tuple[NDArray[np.uint64], NDArray[np.uint8]] | None,
    targets: NDArray[np.uint8],
    settings: Duplicates,
) -> Found:
    """Find exact and near duplicates and decide which images cannot be used.

    Identical pixels under different labels contradict each other and nothing says which label is right: with
    ``conflicting_labels: exclude`` all images with those pixels go. Multilabel samples agree only if all their labels
    do. Near duplicates are never excluded: a later radiograph of the same patient may truly show something else.

    Parameters
    ----------
    sample_ids, hashes : sequence of str [N]
        Id and `pixel_hash` of each image.
    near : (uint64 [N], uint8 [N, 32, 32]) or None
        `perceptual_hashes` and `thumbnail` of each image; None to look for exact duplicates only.
    targets : uint8 [N, K]
        Labels as 0/1, or as the codes of `pipeline.study.unknown`: what is not known contradicts nothing.
    settings : Duplicates
        Section ``preprocess.duplicates``.

    Returns
    -------
    Found
    """
    first = _first_with(hashes)
    excluded, reasons = np.zeros(len(first), bool), {}
    if settings.conflicting_labels == "exclude":
        reasons = _contradictions(sample_ids, first, targets)
        excluded[list(reasons)] = True
    none = np.zeros(0, np.int64)
    pairs = apart = NearPairs(none, none, none, none.astype(np.float64))
    if near is not None:
        distinct = np.flatnonzero(first == np.arange(len(first)))
        pairs = near_pairs(near[0][distinct], near[1][distinct], settings.hamming, settings.correlation)
        if settings.finer is not None:
            columns = [column.tolist() for column in pairs]
            joined = sorted(zip(*columns, strict=True))
            joining, beside = finer_pairs(near[0][distinct], near[1][distinct], joined, settings.finer)
            pairs, apart = _as_pairs(sorted([*joined, *joining])), _as_pairs(sorted(beside))
        pairs = pairs._replace(first=distinct[pairs.first], second=distinct[pairs.second])
        apart = apart._replace(first=distinct[apart.first], second=distinct[apart.second])
    copies = np.flatnonzero(first != np.arange(len(first)))
    later = np.concatenate((copies, pairs.second, apart.second))
    earlier = np.concatenate((first[copies], pairs.first, apart.first))
    kinds = ["exact"] * len(copies) + ["near"] * len(pairs.first) + ["borderline"] * len(apart.first)
    gone = excluded[later] | excluded[earlier]
    actions = np.where(gone, "excluded", np.where(np.array(kinds, dtype=object) == "borderline", "apart", "grouped"))
    ids = np.asarray(sample_ids, dtype=object)
    # With names of their own mypy, which tries every overload, takes a second less.
    hamming = np.concatenate((np.zeros(len(copies), np.int64), pairs.hamming, apart.hamming))
    correlation = np.concatenate((np.ones(len(copies)), pairs.correlation, apart.correlation)).round(6)
    labels_agree = (~differ(targets[later], targets[earlier])).all(axis=1).astype(np.uint8)
    table = pd.DataFrame(
        {
            "sample_id": pd.Series(ids[later], dtype="str"),
            "other_id": pd.Series(ids[earlier], dtype="str"),
            "kind": kinds,
            "hamming": hamming,
            "correlation": correlation,
            "labels_agree": labels_agree,
            "action": actions,
        },
        columns=COLUMNS,
    )
    return Found(table.iloc[np.lexsort((earlier, later))].reset_index(drop=True), pairs, excluded, reasons)


def _as_pairs(listed: Sequence[tuple[int, int, int, float]]) -> NearPairs:
    columns = np.array(listed, np.float64).reshape(-1, 4)
    first, second, bits = (columns[:, c].astype(np.int64) for c in range(3))
    return NearPairs(first, second, bits, columns[:, 3])


def _contradictions(sample_ids: Sequence[str], first: NDArray[np.int64], targets: NDArray[np.uint8]) -> dict[int, str]:
    """Reason for each image whose pixels occur under other labels too; it names the first such image."""
    other = np.asarray(differ(targets, targets[first]).any(axis=1))
    against: dict[int, int] = {}
    for i in np.flatnonzero(other).tolist():
        against.setdefault(int(first[i]), i)
    reasons = {}
    for i in np.flatnonzero(np.isin(first, list(against))).tolist():
        opponent = int(first[i]) if other[i] else against[int(first[i])]
        reasons[i] = f"identical pixels under other labels: {sample_ids[opponent]}"
    return reasons


def _first_with(hashes: Sequence[str]) -> NDArray[np.int64]:
    """Position of the first image with the same pixels, [N]."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(pixels, i) for i, pixels in enumerate(hashes)], np.int64)


def groups(patient_ids: Sequence[str], hashes: Sequence[str], near: NearPairs | None = None) -> list[str]:
    """Group images so that neither a patient nor a picture is in two groups.

    Groups are the connected components of the graph that joins every image with its patient, with its pixels and with
    its near-duplicates: two patients who share one picture form one group with all their images.

    Parameters
    ----------
    patient_ids, hashes : sequence of str [N]
        Patient and `pixel_hash` of each image.
    near : NearPairs, optional
        Near-duplicates among the N images.

    Returns
    -------
    list of str [N]
        Group of each image, named after the smallest patient id in it.
    """
    if len(patient_ids) == 0:
        return []
    patients, patient = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
    pictures, picture = np.unique(np.asarray(hashes, dtype=str), return_inverse=True)
    nodes = len(patients) + len(pictures)
    left, right = patient, len(patients) + picture
    if near is not None:
        left, right = np.concatenate((left, patient[near.first])), np.concatenate((right, patient[near.second]))
    edges = coo_array((np.ones(len(left), bool), (left, right)), shape=(nodes, nodes))  # sums of bool cannot overflow
    _, component = connected_components(edges.tocsr(), directed=False)
    # `patients` is sorted, so the first patient of a component is its smallest.
    _, first = np.unique(component[: len(patients)], return_index=True)
    names = dict(zip(component[first].tolist(), patients[first].tolist(), strict=True))
    return [names[c] for c in component[patient].tolist()]


def duplicates_of(sample_ids: Sequence[str], hashes: Sequence[str]) -> list[str]:
    """Name, for each image, the first image with the same pixels.

    Parameters
    ----------
    sample_ids, hashes : sequence of str [N]
        Id and `pixel_hash` of each image.

    Returns
    -------
    list of str [N]
        Id of the first image with the same pixels, "" for that image itself.
    """
    return ["" if i == j else sample_ids[j] for i, j in enumerate(_first_with(hashes).tolist())]
