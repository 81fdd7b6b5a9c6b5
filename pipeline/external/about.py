"""What about.json of an external test set says: the data set, how its classes are mapped, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.external.classes import ClassMap
from pipeline.external.overlap import counted
from pipeline.external.scoring import Classes
from pipeline.study.files import EXCLUDED, read_table
from pipeline.study.prepared import DatasetInfo


def about(
    info: DatasetInfo,
    classes: Sequence[str],
    mapping: ClassMap,
    on_both: Classes,
    samples: pd.DataFrame,
    prepared: Path,
    targets: NDArray[Any],
    groups: NDArray[Any],
    copies: pd.DataFrame,
) -> dict[str, Any]:
    """Put together what was tested on, as it is written into about.json.

    Parameters
    ----------
    info : DatasetInfo
        The external data set.
    classes : sequence of str
        Of the study.
    mapping, on_both
        How the classes of both are mapped, and which of them are compared.
    samples : DataFrame
        One row per prepared image; ``reason`` says why it was left out, empty for none.
    prepared : Path
        Where the set is prepared: it has a list of the files that could not be.
    targets : array of shape (N, K)
        0 or 1 of the images used, by the study's classes; NaN where a label is not known.
    groups : array of shape (N,)
        Of the images used.
    copies : DataFrame
        Pictures that the study has, too: ``part`` there, and ``kind`` of likeness.
    """
    return {
        "dataset": {**info.record(), "source": None},
        "mapping": {key: list(getattr(mapping, key)) for key in ("shared", "only_here", "only_there")},
        "pairs": dict(mapping.pairs),
        "unmapped": mapping.unmapped,
        "compared": list(on_both.compared),
        "not_compared": on_both.left_out,
        "images": images_of(samples, prepared, groups),
        "positives": {each: int((targets[:, k] == 1).sum()) for k, each in enumerate(classes)},
        "known": {each: int((~np.isnan(targets[:, k])).sum()) for k, each in enumerate(classes)},
        "overlap": counted(copies),
    }


def images_of(samples: pd.DataFrame, prepared: Path, groups: NDArray[Any]) -> dict[str, Any]:
    """Count the images of a set: prepared, unreadable, left out by reason, used, and their groups; see `about`."""
    reasons = samples["reason"].value_counts().items()
    return {
        "prepared": len(samples),
        "unreadable": len(read_table(prepared / EXCLUDED.name, ("file", "reason"))),
        "left_out": {reason: int(n) for reason, n in reasons if reason},
        "used": len(groups),
        "groups": len(np.unique(groups)),
    }
