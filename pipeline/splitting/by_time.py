"""Method ``time``: the latest examinations are the test part, those before them validation, the earliest training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipeline.splitting.errors import SplitError
from pipeline.splitting.settings import Split
from pipeline.study.parts import PARTS

DATE = "study_date"
"""Column of samples.csv with the date of the examination, ``YYYY-MM-DD``."""


def by_time(samples: pd.DataFrame, classes: list[str], settings: Split) -> pd.Series:
    """Cut the row of whole groups, ordered by their latest image, at two dates.

    A group goes where its latest image belongs, so that no patient is in two parts and every training image is older
    than the cut; earlier images of a patient with a late one are in the later part with it (`dates` counts them).
    Groups of one date are not divided: the cuts are the changes of date that come nearest to the fractions asked for.
    Groups without any date are unused.

    Parameters
    ----------
    samples : DataFrame
        As from `pipeline.study.prepared.read_samples`; group_id and `DATE` are read.
    classes : list of str
        Not read: every method is called alike.
    settings : Split
        `validation` and `test` are fractions of the images in groups with a date; `seed` is not used.

    Returns
    -------
    Series of str
        Part of each row, indexed as `samples`; independent of the order of the rows.

    Raises
    ------
    SplitError
        If there are no dates, or not as many as three parts need.
    """
    when = _dates(samples)
    latest = when.groupby(samples["group_id"]).transform("max")
    dated = latest.notna()
    counts = latest[dated].value_counts().sort_index()
    if len(counts) < len(PARTS) - 1:
        raise SplitError(
            f"split.method: time needs images of three dates at least, column '{DATE}' has {len(counts)}; name the "
            "column with the date (datasets.image_table.date_column), use DICOM files with StudyDate, or set "
            "split.method to grouped"
        )
    ends = np.cumsum(counts.to_numpy())[:-1]  # images up to each change of date
    total = int(counts.sum())
    # Two changes of date, each part with one date at least.
    last = int(np.argmin(np.abs(ends[1:] - total * (1 - settings.test)))) + 1
    first = int(np.argmin(np.abs(ends[:last] - total * (1 - settings.test - settings.validation))))
    dates = counts.index.to_numpy()
    parts = pd.Series("unused", index=samples.index, dtype="str", name="part")
    parts[dated & (latest <= dates[first])] = "train"
    parts[dated & (latest > dates[first]) & (latest <= dates[last])] = "val"
    parts[dated & (latest > dates[last])] = "test"
    return parts


def dates(samples: pd.DataFrame, parts: pd.Series) -> dict[str, Any] | None:
    """Count what a split by time is, from dates and parts alone.

    Returns
    -------
    dict or None
        ``parts`` (part: ``first`` and ``last`` date, None where there is none, and ``without_date``), and
        ``test_images_before_last_training``: test images that are not later than the latest training image. None where
        the data set has no dates.
    """
    if DATE not in samples or samples[DATE].isna().all():
        return None
    when = _dates(samples)
    described = {}
    for part in PARTS:
        here = when[parts == part]
        known = here.dropna()
        described[part] = {
            "first": min(known) if len(known) else None,
            "last": max(known) if len(known) else None,
            "without_date": int(here.isna().sum()),
        }
    last = described["train"]["last"]
    tested = when[parts == "test"].dropna()
    return {
        "parts": described,
        "test_images_before_last_training": int((tested <= last).sum()) if last is not None else 0,
    }


def _dates(samples: pd.DataFrame) -> pd.Series:
    """Dates as text, whose order is that of time; None where there is none."""
    if DATE not in samples:
        return pd.Series(None, index=samples.index, dtype=object)
    return samples[DATE].where(samples[DATE].notna(), None).astype(object)
