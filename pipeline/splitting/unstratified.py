"""Method ``global``: whole groups at random, by fractions of all images, whatever their classes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.splitting.settings import Split


def unstratified(samples: pd.DataFrame, classes: list[str], settings: Split) -> pd.Series:
    """Shuffle all groups and cut the row of them at the fractions.

    Classes are spread by chance alone, as in studies that shuffle one list of all images. A group goes to the part
    that its middle falls in, so a part misses its share by at most the size of the largest group, and by less than one
    image where groups are single images.

    Parameters
    ----------
    samples : DataFrame
        As from `pipeline.study.prepared.read_samples`; group_id is read.
    classes : list of str
        Not read: every method is called alike.
    settings : Split
        `validation` and `test` are fractions of all images; `seed` shuffles.

    Returns
    -------
    Series of str
        Part of each row, indexed as `samples`; independent of the order of the rows.
    """
    names, group, sizes = np.unique(samples["group_id"].to_numpy(str), return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(settings.seed).permutation(len(names))
    middle = np.empty(len(names))
    middle[shuffled] = np.cumsum(sizes[shuffled]) - sizes[shuffled] / 2
    ends = np.cumsum([settings.test, settings.validation]) * len(samples)
    of_group = np.array(["test", "val", "train"])[np.searchsorted(ends, middle)]
    return pd.Series(of_group[group], index=samples.index, dtype="str", name="part")
