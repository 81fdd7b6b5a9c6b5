"""The one class of every image, where there is exactly one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.splitting.errors import SplitError


def known_positives(samples: pd.DataFrame, classes: list[str]) -> NDArray[np.uint8]:
    """Return which classes each image is known to have, 0/1 [N, K]: an unknown label counts for nothing."""
    return (samples[classes].to_numpy() == 1).astype(np.uint8)


def single_label(samples: pd.DataFrame, classes: list[str], setting: str, instead: str = "") -> NDArray[np.int64]:
    """Return the class of each image as a position in `classes`.

    Parameters
    ----------
    samples : DataFrame
        sample_id and the class columns (0/1) are read.
    classes : list of str
        Class names.
    setting : str
        What asks for it, in params.yaml; named in the error.
    instead : str, optional
        What to set where it cannot be had; the default advises another method.

    Returns
    -------
    int64 [N]

    Raises
    ------
    SplitError
        If an image has no class or several: it would count for no class or for several at once, and "n images of each
        class" has no meaning.
    """
    labels = known_positives(samples, classes)
    wrong = np.flatnonzero(labels.sum(axis=1) != 1)
    if len(wrong):
        image = samples["sample_id"].iloc[wrong[0]]
        raise SplitError(
            f"{setting} counts images class by class, but this data set is multi-label: {len(wrong)} of {len(labels)} "
            f"images have no class or several ('{image}' has {labels[wrong[0]].sum()}), so that numbers of the classes "
            f"cannot be set one by one; {instead or 'set split.method to grouped, which stratifies'}"
        )
    return labels.argmax(axis=1).astype(np.int64)
