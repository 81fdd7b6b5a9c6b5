"""Which kinds of image a data set has, how many of each, and one picture of each for readers to look at."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.imaging.decoding import Facts
from pipeline.imaging.depth import to_8_bits
from pipeline.imaging.enhance import prepare, resize
from pipeline.imaging.settings import Preprocess
from pipeline.study.files import replaced

MOST = 64
"""Kinds of which a picture is kept: a data set may come from hundreds of devices."""
_SIDE = 256
"""Pixels of the pictures, at most."""


class Kind(NamedTuple):
    """How images were made and read: what `Facts` holds, without what differs within a kind."""

    format: str
    compression: str
    bits: int
    photometric: str
    maker: str
    reader: str
    window: str
    full_scale: int


class Pair(NamedTuple):
    """One image as decoded and as prepared, both uint8 [h, w] or [h, w, 3]."""

    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


def kind_of(facts: Facts) -> Kind:
    """Return the kind of an image."""
    return Kind(*(getattr(facts, name) for name in Kind._fields))


def pair(image: NDArray[Any], prepared: NDArray[Any], settings: Preprocess) -> Pair:
    """Return small pictures of an image without contrast enhancement and as it was prepared."""
    side = min(settings.size, _SIDE)
    plain = settings.model_copy(update={"clahe": settings.clahe.model_copy(update={"enabled": False}), "size": side})
    return Pair(to_8_bits(prepare(image, plain)), to_8_bits(resize(prepared, side)))


class Kinds:
    """Counts of every kind, in the order in which they first occur, and a picture of the first of each.

    `wanted` is asked by the threads that prepare images, `count` by one, in the data set's order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[Kind, int] = {}
        self._counts: dict[Kind, int] = {}
        self._pairs: dict[Kind, Pair] = {}

    def wanted(self, kind: Kind, position: int) -> bool:
        """Whether the image at `position` may be the first of its kind, so that a picture of it is needed."""
        with self._lock:
            new = self._first.get(kind, position) >= position
            if new:
                self._first[kind] = position
            return new

    def count(self, kind: Kind, picture: Pair | None) -> None:
        """Count an image of `kind`; of the first there is a picture."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._counts[kind] == 1 and len(self._pairs) < MOST and picture is not None:
            self._pairs[kind] = picture

    def table(self) -> list[dict[str, Any]]:
        """Return every kind with its images: `Kind`, then ``images``."""
        return [{**kind._asdict(), "images": count} for kind, count in self._counts.items()]

    def write_pictures(self, path: Path) -> None:
        """Write a .npz file with ``kinds`` (int64 [K], positions in `table`), ``before`` and ``after`` (uint8)."""
        places = [k for k, kind in enumerate(self._counts) if kind in self._pairs]
        pairs = list(self._pairs.values())
        with replaced(path) as partial:
            np.savez(
                partial,
                kinds=np.array(places, np.int64),
                before=np.stack([p.before for p in pairs]),
                after=np.stack([p.after for p in pairs]),
            )
