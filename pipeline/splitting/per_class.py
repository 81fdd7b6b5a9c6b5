"""Method ``per_class``: a number of images of each class in each part, by whole groups."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.splitting.errors import SplitError
from pipeline.splitting.labels import single_label
from pipeline.splitting.settings import Split


def per_class(samples: pd.DataFrame, classes: list[str], settings: Split) -> pd.Series:
    """Draw the same number of images of every class into a part; the rest is unused.

    Groups are dealt at random, those of the class with the fewest images first (a patient with images of several
    classes must not find the common ones full), each to the part that lacks the greatest share of its classes among
    those that it fits into: what a part lacks does not depend on the size of the group, so that patients with many
    images are spread as the others are. No part ever gets more than asked. Where every group has one class, a part
    then lacks less than the largest group of the class: a part that lacks as much would have been open to every group,
    and all images would have been dealt. Groups of single images give exact numbers.

    Parameters
    ----------
    samples : DataFrame
        As from `pipeline.study.prepared.read_samples`; group_id and the class columns are read.
    classes : list of str
        Class names; every image must have exactly one.
    settings : Split
        `per_class` and `seed` are read; `validation` and `test` are not.

    Returns
    -------
    Series of str
        Part of each row, indexed as `samples`; independent of the order of the rows.

    Raises
    ------
    SplitError
        If an image has no class or several, a class has fewer images than asked, or groups that mix classes leave a
        part short of a class by its largest group or more.
    """
    label = single_label(samples, classes, "split.method: per_class")
    asked = {"train": settings.per_class.train, "val": settings.per_class.validation, "test": settings.per_class.test}
    available = np.bincount(label, minlength=len(classes))
    total = sum(asked.values())
    few = [
        f"class '{name}' has {count} images; split.per_class asks for {total} ({_listed(asked)})"
        for name, count in zip(classes, available.tolist(), strict=True)
        if count < total
    ]
    if few:
        raise SplitError("\n".join(few) + "\nlower split.per_class, or set split.method to grouped")

    names, group = np.unique(samples["group_id"].to_numpy(str), return_inverse=True)
    held = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(held, (group, label), 1)
    wanted = np.array(list(asked.values()))[:, None]
    lacking = np.repeat(wanted, len(classes), axis=1)
    part_of = np.full(len(names), len(asked))
    shuffled = np.random.default_rng(settings.seed).permutation(len(names))
    tightest = np.where(held > 0, available, available.max()).min(axis=1)  # images of a group's smallest class
    for member in shuffled[np.argsort(tightest[shuffled], kind="stable")]:
        fits = (held[member] <= lacking).all(axis=1)
        if not fits.any():
            continue
        need = (lacking / wanted)[:, held[member] > 0].mean(axis=1)
        part = int(np.argmax(np.where(fits, need, -np.inf)))
        part_of[member] = part
        lacking[part] -= held[member]

    short = lacking >= np.maximum(held.max(axis=0), 1)
    if short.any():
        part, column = (int(i) for i in np.argwhere(short)[0])
        name, number = list(asked.items())[part]
        raise SplitError(
            f"part '{name}' lacks {lacking[part, column]} of the {number} images of class '{classes[column]}' that "
            f"split.per_class asks for: groups with images of several classes fit nowhere without exceeding another "
            f"class; lower split.per_class, or set split.method to grouped"
        )
    parts = np.array([*asked, "unused"])[part_of[group]]
    return pd.Series(parts, index=samples.index, dtype="str", name="part")


def _listed(asked: dict[str, int]) -> str:
    return ", ".join(f"{part} {number}" for part, number in asked.items())
