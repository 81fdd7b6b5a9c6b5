"""In which order images are split and multiplied: the honest one, and the one that published studies went wrong with.

A protocol takes the samples table, the class names and section ``split`` of params.yaml, and returns the content of
split.csv: one line per entry with its `row`, `part`, `copies` (draws per epoch, 1 outside of the training part) and
`augmented` (0 = the image itself, k = its k-th augmented copy, see `pipeline.learning.images.loader.augmented_copy`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from pipeline.splitting.balancing import BALANCES, spread
from pipeline.splitting.by_time import by_time
from pipeline.splitting.errors import SplitError
from pipeline.splitting.folds import by_fold
from pipeline.splitting.grouped import grouped
from pipeline.splitting.labels import single_label
from pipeline.splitting.official import official
from pipeline.splitting.per_class import per_class
from pipeline.splitting.settings import LEAKS, Split
from pipeline.splitting.unstratified import unstratified

METHODS: dict[str, Callable[[pd.DataFrame, list[str], Split], pd.Series]] = {
    "official": official,
    "grouped": grouped,
    "per_class": per_class,
    "global": unstratified,
    "time": by_time,
    "folds": by_fold,
}


def split_first(samples: pd.DataFrame, classes: list[str], settings: Split) -> pd.DataFrame:
    """Split by `settings.method`, then balance the training part alone. Every row is one entry.

    Raises
    ------
    SplitError
        As the method and the balancing do.
    """
    parts = METHODS[settings.method](samples, classes, settings)
    draws_per_epoch = pd.Series(1, index=samples.index)
    training = parts == "train"
    draws_per_epoch[training] = BALANCES[settings.balance.method](samples[training], classes, settings)
    return pd.DataFrame({"row": samples["row"], "part": parts, "copies": draws_per_epoch, "augmented": 0})


def augment_before_split(samples: pd.DataFrame, classes: list[str], settings: Split) -> pd.DataFrame:
    """Multiply the images of small classes, then deal images and copies at random: a leak, re-created for study.

    Copies of one image land in several parts, and the model is tested on what it was trained on. So did a published
    leukaemia study: 744 of its 4,000 images were augmented copies, written into the class folders that were then
    shuffled and split (README and notebooks of its repository, 3,256 images of doi.org/10.34740/KAGGLE/DSV/2175623).
    Nothing else is changed, so that the same settings with `split_first` show what the leak is worth.

    Parameters
    ----------
    samples : DataFrame
        As from `pipeline.study.prepared.read_samples`; every image must have exactly one class.
    classes : list of str
        Class names.
    settings : Split
        `method` must be global; patients and identical images are ignored, as they were. Classes are made up to
        `balance.to` images with `balance.method` augment_to, to those of the largest class with none; a class that
        has more keeps them.

    Raises
    ------
    SplitError
        If the method is not global, the balancing is another, or an image has no class or several.
    """
    if settings.method != "global":
        raise SplitError(
            f"split.protocol: {LEAKS} deals single images at random, which split.method '{settings.method}' does not; "
            f"set split.method to global, or split.protocol to split_first"
        )
    if settings.balance.method not in ("none", "augment_to"):
        raise SplitError(
            f"split.protocol: {LEAKS} makes every class up before the split; split.balance.method "
            f"'{settings.balance.method}' cannot be used with it; it must be none (to the largest class) or augment_to"
        )
    label = single_label(samples, classes, f"split.protocol: {LEAKS}", "set split.protocol to split_first")
    counts = np.bincount(label, minlength=len(classes))
    target = settings.balance.to or counts.max(initial=0)
    rng = np.random.default_rng([settings.seed, 2])  # neither the stream of the parts nor that of the draws
    order = np.argsort(samples["sample_id"].to_numpy(str), kind="stable")
    added = np.zeros(len(samples), np.int64)
    for which in np.flatnonzero(counts):
        members = order[label[order] == which]
        added[members] = spread(max(0, int(target - counts[which])), len(members), rng)

    position = np.repeat(np.arange(len(samples)), added + 1)
    augmented = np.arange(len(position)) - np.repeat(np.cumsum(added + 1) - (added + 1), added + 1)
    entries = samples.iloc[position].reset_index(drop=True)
    alone = entries["sample_id"] + "\t" + pd.Series(augmented, dtype="str")  # each entry a group of its own
    parts = unstratified(entries.assign(group_id=alone), classes, settings)
    return pd.DataFrame({"row": entries["row"], "part": parts, "copies": 1, "augmented": augmented})


PROTOCOLS: dict[str, Callable[[pd.DataFrame, list[str], Split], pd.DataFrame]] = {
    "split_first": split_first,
    LEAKS: augment_before_split,
}


def entries_of(samples: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the line of `samples` that each entry of `table` (as a protocol returns it) stands for, indexed as it."""
    return samples.set_index("row", drop=False).loc[table["row"]].set_index(table.index)
