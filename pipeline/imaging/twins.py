"""Pairs of thumbnails that correlate, found without their perceptual hashes.

The hash of an image turns on frequencies that lie near their median: two exposures of one view, a scan with and
without a caliper, differ in more of its bits than a search by hash allows. Here every pair is found whose correlation
is high enough, by geometry: for vectors of mean 0 and length 1, a correlation of r is a distance of sqrt(2 - 2 r), and
a projection onto fewer dimensions makes no distance longer. The projections find the candidates, the thumbnails
themselves decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

BORDERLINE = 0.005
"""So much below what is enough begin the correlations of borderline pairs."""
_MOST_BORDERLINE = 1000
_LOW = 8
"""Frequencies of the cosine transform, along each side, that the projection looks at."""
_DIMENSIONS = 32
"""Of the projections: those of the largest spread among the low frequencies."""
_AT_ONCE = 2048
_COLUMNS_AT_ONCE = 8192
_PAIRS_AT_ONCE = 2**16


Pair = tuple[int, int, int, float]
"""Two positions, the first smaller, differing bits of their hashes, and their correlation."""


def finer_pairs(
    hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], joined: Sequence[Pair], least: float
) -> tuple[list[Pair], list[Pair]]:
    """Find the images that correlate and that `joined` does not join.

    Parameters
    ----------
    hashes : uint64 [N]
        Perceptual hashes, equal where thumbnails are.
    thumbnails : uint8 [N, h, w]
        Small images of the same pictures.
    joined : sequence of Pair
        Those that were found by their hashes; equal thumbnails are among them.
    least : float
        Correlation that joins two images, in (0.5, 1).

    Returns
    -------
    joining : list of Pair
        As many pairs as join what correlates.
    beside : list of Pair
        Pairs that correlate by less than `BORDERLINE` less, the highest correlations first: one for two groups.
    """
    parent = list(range(len(hashes)))

    def join(i: int, j: int) -> bool:
        roots = []
        for k in (i, j):
            while parent[k] != k:
                parent[k] = parent[parent[k]]
                k = parent[k]
            roots.append(k)
        parent[max(roots)] = min(roots)
        return roots[0] != roots[1]

    for first, second, _, _ in joined:
        join(first, second)
    seen: dict[bytes, int] = {}
    for place, picture in enumerate(thumbnails):
        seen.setdefault(picture.tobytes(), place)
    alone = np.array(list(seen.values()), np.int64)
    i, j, r = correlated(thumbnails[alone], least - BORDERLINE)
    i, j = alone[i], alone[j]
    joining: list[Pair] = []
    beside: list[Pair] = []
    for k in np.argsort(-r, kind="stable").tolist():
        if len(beside) == _MOST_BORDERLINE:
            break
        if join(int(i[k]), int(j[k])):
            bits = int(np.bitwise_count(hashes[i[k]] ^ hashes[j[k]]))
            (joining if r[k] >= least else beside).append((int(i[k]), int(j[k]), bits, float(r[k])))
    return joining, beside


def correlated(
    thumbnails: NDArray[np.uint8], least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Find the pairs of thumbnails whose Pearson correlation is at least `least`.

    Parameters
    ----------
    thumbnails : uint8 [N, h, w]
        Of different content; one of a single grey level has no correlation and is in no pair.
    least : float
        In (0, 1).

    Returns
    -------
    first, second : int64 [P]
        Positions, first < second, sorted.
    correlation : float64 [P]
    """
    places = np.flatnonzero(thumbnails.max(axis=(1, 2)) > thumbnails.min(axis=(1, 2)))
    found: list[tuple[NDArray[np.int64], ...]] = []
    if len(places) > 1:
        unit = _unit(thumbnails[places])
        for i, j in _candidates(_projected(unit), np.sqrt(2 - 2 * least) + 1e-4):
            r = np.einsum("np,np->n", _flat(unit[i]), _flat(unit[j]), dtype=np.float64)
            sure = r >= least
            found.append((places[i[sure]], places[j[sure]], r[sure]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    first, second, r = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((second, first))
    return first[order], second[order], np.minimum(r[order], 1.0)


def _flat(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    return pictures.reshape(len(pictures), -1)


def _unit(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the thumbnails with mean 0 and length 1."""
    unit = np.empty(thumbnails.shape, np.float32)
    for start in range(0, len(thumbnails), _AT_ONCE):
        block = thumbnails[start : start + _AT_ONCE].astype(np.float64)
        block -= block.mean(axis=(1, 2), keepdims=True)
        unit[start : start + _AT_ONCE] = block / np.sqrt((block**2).sum(axis=(1, 2), keepdims=True))
    return unit


def _projected(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Project onto the directions of largest spread among the low frequencies; both steps are orthonormal."""
    low = np.concatenate(
        [
            dctn(unit[start : start + _AT_ONCE].astype(np.float64), axes=(1, 2), norm="ortho")[:, :_LOW, :_LOW]
            for start in range(0, len(unit), _AT_ONCE)
        ]
    ).reshape(len(unit), -1)
    _, directions = np.linalg.eigh(np.cov(low, rowvar=False))  # ascending
    return np.asarray(low @ directions[:, -_DIMENSIONS:], np.float32)


def _candidates(points: NDArray[np.float32], radius: float) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield i < j of all points that are at most `radius` apart, in blocks.

    Products of matrices compare all with all. Below a million images that is faster than a tree, which leaves out
    little in so many dimensions: 20,000 blends of radiographs take 2.1 s of CPU time, with a k-d tree 7.9 s.
    """
    halves = (points**2).sum(axis=1) / 2
    # |a - b|^2 <= r^2, with one more coordinate, is a product of vectors and a threshold for each row.
    ones = np.ones((len(points), 1), np.float32)
    left, right = np.hstack([points, ones]), np.hstack([points, -halves[:, None]])
    least = halves - radius**2 / 2
    for start in range(0, len(points), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        for begin in range(start, len(points), _COLUMNS_AT_ONCE):
            near = left[rows] @ right[begin : begin + _COLUMNS_AT_ONCE].T >= least[rows, None]
            i, j = (places.astype(np.int64) for places in np.nonzero(near))
            i, j = i + start, j + begin
            later = j > i
            i, j = i[later], j[later]
            for first in range(0, len(i), _PAIRS_AT_ONCE):
                yield i[first : first + _PAIRS_AT_ONCE], j[first : first + _PAIRS_AT_ONCE]
