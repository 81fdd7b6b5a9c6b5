"""Which test images are shown and checked: by rule, never by hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.checking.mistakes import Decisions

QUANTILES = (0.1, 0.5, 0.9)
"""Of the probability within each kind of decision, at which an image is shown."""
KINDS = ("true positive", "false positive", "false negative", "true negative")


class Example(NamedTuple):
    """An image that is shown for a class: its place in the part, which class and kind, and the quantile."""

    place: int
    k: int
    kind: str
    quantile: float


def examples(made: Decisions) -> list[Example]:
    """Choose images by the quantiles of their probability, for each class and kind of decision.

    Of n images in order of probability the one at ``round(q * (n - 1))`` stands for quantile q, so that a kind with few
    images has some of them once. True negatives, which are most, are shown by the one that comes closest to a call.
    """
    chosen: list[Example] = []
    for k in range(len(made.classes)):
        truth, called = made.truth[:, k], made.mostly_called[:, k]
        absent = made.absent[:, k]
        kinds = (truth & called, absent & called, truth & ~called, absent & ~called)
        for kind, inside in zip(KINDS, kinds):
            places = np.flatnonzero(inside)
            ordered = places[np.argsort(made.mean[places, k], kind="stable")]
            seen: set[int] = set()
            for q in QUANTILES if kind != KINDS[-1] else (1.0,):
                at = round(q * (len(ordered) - 1)) if len(ordered) else 0
                if len(ordered) and at not in seen:
                    seen.add(at)
                    chosen.append(Example(int(ordered[at]), k, kind, q))
    return chosen


def spread_out(probability: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose at most n images, evenly over the order of their highest probability, each with that class.

    Parameters
    ----------
    probability : float [N, K]
        Of the test images.
    n : int
        At most.

    Returns
    -------
    places, classes : int64 [M]
    """
    order = np.argsort(probability.max(axis=1), kind="stable")
    places = order[np.unique(np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(np.int64))]
    return places.astype(np.int64), probability[places].argmax(axis=1).astype(np.int64)
