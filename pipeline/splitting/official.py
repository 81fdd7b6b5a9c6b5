"""Method ``official``: the published test part as it is, validation cut from the published training part."""

from __future__ import annotations

import pandas as pd

from pipeline.splitting.errors import SplitError
from pipeline.splitting.labels import known_positives
from pipeline.splitting.settings import Split
from pipeline.splitting.stratify import stratify

_PRECEDENCE = ("test", "val", "train")
"""A group with rows in several published parts stays in the first of these; its other rows become unused."""


def official(samples: pd.DataFrame, classes: list[str], settings: Split) -> pd.Series:
    """Use the published parts.

    The test part is left exactly as published, so that results compare with other work; what the training part shares
    with it (a patient, or an identical image under another name) becomes unused. A published validation part is used
    as it is; otherwise one is cut from the training part by whole groups. Rows without a published part are unused.

    Parameters
    ----------
    samples : DataFrame
        As from `pipeline.study.prepared.read_samples`; group_id, official_split and the class columns are read.
    classes : list of str
        Class names.
    settings : Split
        `validation` is a fraction of the published training images; `test` is not used.

    Returns
    -------
    Series of str
        Part of each row, indexed as `samples`.

    Raises
    ------
    SplitError
        If the data set has no published test or training part.
    """
    published = samples["official_split"]
    absent = [part for part in ("train", "test") if not (published == part).any()]
    if absent:
        raise SplitError(
            f"split.method: official needs a published split, and this data set has no published "
            f"{' and no '.join(absent)} part; set split.method to grouped"
        )
    parts = pd.Series("unused", index=samples.index, dtype="str", name="part")
    taken = pd.Series(False, index=samples.index)
    for part in _PRECEDENCE:
        parts[(published == part) & ~taken] = part
        taken |= samples["group_id"].isin(samples.loc[published == part, "group_id"])
    training = parts == "train"
    if not (published == "val").any() and training.any():
        rest = samples[training]
        fractions = {"train": 1 - settings.validation, "val": settings.validation}
        labels = known_positives(rest, classes)
        parts[training] = stratify(rest["group_id"].tolist(), labels, fractions, settings.seed)
    return parts
