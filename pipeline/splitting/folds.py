"""Method ``folds``: all images dealt to folds of whole groups, one of which is tested, for cross-validation."""

from __future__ import annotations

import pandas as pd

from pipeline.splitting.labels import known_positives
from pipeline.splitting.settings import Split
from pipeline.splitting.stratify import stratify

_INNER = 2**31
"""Added to the seed of the parts within a fold: no `split.seed` is that large, so that no stream is used twice."""


def deal(samples: pd.DataFrame, classes: list[str], settings: Split) -> pd.Series:
    """Deal all images to `settings.folds` folds of whole groups, stratified by class.

    Parameters
    ----------
    samples : DataFrame
        As from `pipeline.study.prepared.read_samples`; group_id and the class columns are read.
    classes : list of str
        Class names.
    settings : Split
        `fold` says which deal is meant: 1 to `folds` are the folds of the first, `folds` + 1 to 2 `folds` those of the
        second, and so on. The first is dealt under `seed`, the second under `seed` + 1.

    Returns
    -------
    Series of int
        Fold of each image, numbered as `settings.fold` is, indexed as `samples`.
    """
    repeat, count = (settings.fold - 1) // settings.folds, settings.folds
    names = {str(repeat * count + i + 1): 1 / count for i in range(count)}
    labels = known_positives(samples, classes)
    dealt = stratify(samples["group_id"].tolist(), labels, names, settings.seed + repeat)
    return pd.Series(dealt.astype(int), index=samples.index, dtype="int64", name="fold")


def by_fold(samples: pd.DataFrame, classes: list[str], settings: Split) -> pd.Series:
    """Test fold `settings.fold`, and split the others into training and validation.

    Parameters
    ----------
    samples, classes
        As for `deal`.
    settings : Split
        `validation` is a fraction of the images outside of the tested fold; `test` is not used.

    Returns
    -------
    Series of str
        Part of each row, indexed as `samples`.
    """
    tested = deal(samples, classes, settings) == settings.fold
    parts = pd.Series("test", index=samples.index, dtype="str", name="part")
    others = samples[~tested]
    fractions = {"train": 1 - settings.validation, "val": settings.validation}
    seed = _INNER + settings.seed * settings.folds + settings.fold
    labels = known_positives(others, classes)
    parts[~tested] = stratify(others["group_id"].tolist(), labels, fractions, seed)
    return parts
