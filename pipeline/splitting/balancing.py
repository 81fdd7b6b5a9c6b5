"""How often training images are drawn in an epoch, so that classes are seen equally often: one function per method.

Every function takes the training rows of the samples table, the class names and section ``split`` of params.yaml, and
returns the draws per epoch of each row. An image that is drawn several times is not seen several times alike: training
augments every draw anew (``train.augment``). Whether that changes anything is not known here: with all of its ranges at
0, repeated draws are repeated images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.splitting.labels import known_positives, single_label
from pipeline.splitting.settings import Split

_STREAM = 1
"""Second number of the random seed, so that draws and parts are independent though split.seed is one."""
_OVERSAMPLE = "set split.balance.method to oversample, which is defined for such data, or to none"


def none(training: pd.DataFrame, classes: list[str], settings: Split) -> NDArray[np.int64]:
    """Draw every image once."""
    return np.ones(len(training), np.int64)


def undersample(training: pd.DataFrame, classes: list[str], settings: Split) -> NDArray[np.int64]:
    """Draw as many images of each class as the smallest has, the others (chosen by split.seed) never.

    Refused for multi-label data: an image that is left out for its common class takes its rare ones with it, and what
    shrinks first is the images without a class, the negatives of every class.

    Raises
    ------
    SplitError
        If an image has no class or several.
    """
    label = single_label(training, classes, "split.balance.method: undersample", _OVERSAMPLE)
    return _to(_present(label, len(classes)).min(initial=len(label)), label, training, settings)


def oversample(training: pd.DataFrame, classes: list[str], settings: Split) -> NDArray[np.int64]:
    """Draw every image at least once, those of smaller classes so often that each class has the draws of the largest.

    Where images have several classes, an image is drawn as often as its rarest class asks for: the largest class's
    images over its own, what is left after the decimal point by chance (split.seed). Every class then has about the
    draws of the largest or more; classes that occur together with rarer ones have more, so that their frequencies come
    near each other and do not meet. Images without a class are drawn once. This is the repeat factor of Gupta, Dollár
    and Girshick (LVIS, CVPR 2019, arXiv 1908.03195) with the frequency of the largest class as threshold and without
    the square root, which makes it the same rule as for images of one class.
    """
    labels = known_positives(training, classes).astype(np.int64)
    if (labels.sum(axis=1) == 1).all():
        label = labels.argmax(axis=1)
        return _to(_present(label, len(classes)).max(initial=0), label, training, settings)
    counts = labels.sum(axis=0)
    factors = np.maximum(1.0, (labels * (counts.max() / np.maximum(counts, 1))).max(axis=1))
    chance = np.empty(len(labels))
    chance[_order(training)] = np.random.default_rng([settings.seed, _STREAM]).random(len(labels))
    return np.floor(factors).astype(np.int64) + (chance < factors % 1)


def augment_to(training: pd.DataFrame, classes: list[str], settings: Split) -> NDArray[np.int64]:
    """Draw every class exactly split.balance.to times: more often than it has images, or only a part of them.

    Refused for multi-label data, where draws of one class are draws of others and no number can be met exactly.

    Raises
    ------
    SplitError
        If an image has no class or several.
    """
    label = single_label(training, classes, "split.balance.method: augment_to", _OVERSAMPLE)
    assert settings.balance.to is not None  # Balance refuses augment_to without it
    return _to(settings.balance.to, label, training, settings)


BALANCES: dict[str, Callable[[pd.DataFrame, list[str], Split], NDArray[np.int64]]] = {
    "none": none,
    "undersample": undersample,
    "oversample": oversample,
    "augment_to": augment_to,
}


def spread(number: int, over: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Divide `number` over `over` places as evenly as whole numbers allow; `rng` chooses who has one more.

    Returns
    -------
    int64 [over]
        Summing to `number`; no two differ by more than 1.
    """
    each, more = divmod(number, over)
    return each + (rng.permutation(over) < more)


def _to(draws: int, label: NDArray[np.int64], training: pd.DataFrame, settings: Split) -> NDArray[np.int64]:
    """Spread `draws` over the images of each class; a class without images stays without draws."""
    rng = np.random.default_rng([settings.seed, _STREAM])
    order = _order(training)
    draws_per_epoch = np.zeros(len(label), np.int64)
    for which in np.unique(label):
        members = order[label[order] == which]
        draws_per_epoch[members] = spread(int(draws), len(members), rng)
    return draws_per_epoch


def _present(label: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Images of each class that has any."""
    counts = np.bincount(label, minlength=classes)
    return counts[counts > 0]


def _order(training: pd.DataFrame) -> NDArray[np.int64]:
    """Positions by sample_id: what is drawn must not depend on the order of the table."""
    return np.argsort(training["sample_id"].to_numpy(str), kind="stable")
