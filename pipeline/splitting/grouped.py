"""Method ``grouped``: new parts of whole groups, by fractions of the images."""

from __future__ import annotations

import pandas as pd

from pipeline.splitting.labels import known_positives
from pipeline.splitting.settings import Split
from pipeline.splitting.stratify import stratify


def grouped(samples: pd.DataFrame, classes: list[str], settings: Split) -> pd.Series:
    """Split all images into train, val and test, ignoring any published split.

    Parameters
    ----------
    samples : DataFrame
        As from `pipeline.study.prepared.read_samples`; group_id and the class columns are read.
    classes : list of str
        Class names.
    settings : Split
        `validation` and `test` are fractions of all images.

    Returns
    -------
    Series of str
        Part of each row, indexed as `samples`.
    """
    fractions = {
        "train": 1 - settings.validation - settings.test,
        "val": settings.validation,
        "test": settings.test,
    }
    labels = known_positives(samples, classes)
    parts = stratify(samples["group_id"].tolist(), labels, fractions, settings.seed)
    return pd.Series(parts, index=samples.index, dtype="str", name="part")
