"""Images of an external set that the study has, too: the same prepared pixels, or all but the same thumbnail.

Both sides are compared as the networks get them, so that the same exposure in two file formats is found.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from pipeline.imaging.hashes import pixel_hash, thumbnail
from pipeline.imaging.settings import Duplicates

COLUMNS = ["row", "sample_id", "kind", "correlation", "part", "study_row", "study_id"]
"""Columns of overlap.csv: `row` and `sample_id` of the external image; part, row and id of the study's. `kind` is exact
or near; an image has one line, of the training part before validation before test, exact before near."""
SEEN = ("train", "val")
"""Parts of the study of which no image may be tested on."""
SEEN_REASON = "the study has trained or validated on this picture"
_AT_ONCE = 1024
"""Images of one side that are compared with all of the other at a time."""


def overlap(
    images: np.ndarray,
    samples: pd.DataFrame,
    study_images: np.ndarray,
    study_samples: pd.DataFrame,
    settings: Duplicates,
) -> pd.DataFrame:
    """Find the external images that the study has, too.

    Parameters
    ----------
    images, study_images : uint8 or uint16 [N, H, W] or [N, H, W, 3]
        Prepared alike.
    samples : DataFrame
        row and sample_id of the external images to look at.
    study_samples : DataFrame
        row, sample_id and part of the study's images; parts other than train, val and test are passed over.
    settings : Duplicates
        Section ``preprocess.duplicates``: whether near-duplicates are looked for, and from which correlation on.

    Returns
    -------
    DataFrame
        `COLUMNS`, in the order of `samples`.
    """
    order = {part: place for place, part in enumerate((*SEEN, "test"))}
    studied = study_samples[study_samples["part"].isin(order)]
    studied = studied.assign(rank=studied["part"].map(order)).sort_values(["rank", "row"])
    studied = studied.drop_duplicates("row", ignore_index=True)  # augmented copies may be in another part
    if samples.empty or studied.empty:
        return pd.DataFrame(columns=COLUMNS)
    rank = studied["rank"].to_numpy(np.int64)
    first: dict[str, int] = {}
    for place, row in enumerate(studied["row"].tolist()):
        first.setdefault(pixel_hash(np.asarray(study_images[row])), place)
    same = [first.get(pixel_hash(np.asarray(images[row]))) for row in samples["row"].tolist()]
    found: dict[int, tuple[int, str, float]] = {i: (j, "exact", 1.0) for i, j in enumerate(same) if j is not None}
    if settings.near:
        for i, (j, correlation) in _near(images, samples, study_images, studied, settings.correlation).items():
            # A near-duplicate of a part that was learned from matters more than a copy of a test image.
            if i not in found or rank[j] < rank[found[i][0]]:
                found[i] = j, "near", correlation
    rows = [
        (
            *samples[["row", "sample_id"]].iloc[i],
            kind,
            round(float(correlation), 6),
            *studied[["part", "row", "sample_id"]].iloc[j],
        )
        for i, (j, kind, correlation) in sorted(found.items())
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _near(
    images: np.ndarray, samples: pd.DataFrame, study_images: np.ndarray, studied: pd.DataFrame, least: float
) -> dict[int, tuple[int, float]]:
    """Return, of each external image with a near-duplicate, the place of the first such image of `studied`."""
    theirs, ours = (
        _thumbnails(pictures, table["row"].to_numpy())
        for pictures, table in ((images, samples), (study_images, studied))
    )
    found = {}
    for start in range(0, len(theirs), _AT_ONCE):
        close = theirs[start : start + _AT_ONCE] @ ours.T
        for i in np.flatnonzero(close.max(axis=1) >= least).tolist():
            j = int(np.argmax(close[i] >= least))  # the first: `studied` begins with the training part
            found[start + i] = j, float(close[i, j])
    return found


def _thumbnails(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Shrink images to 32 x 32 grey values of mean 0 and length 1, float32 [n, 1024]; all 0 where flat."""
    small = np.stack([thumbnail(np.asarray(images[row])) for row in rows.tolist()]).reshape(len(rows), -1)
    centred = small - small.mean(axis=1, keepdims=True, dtype=np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred, dtype=np.float32), where=length > 1e-3)


def seen_rows(copies: pd.DataFrame) -> pd.Series:
    """Return the rows of the external images that the study has trained or validated on, by what `overlap` found."""
    return copies.loc[copies["part"].isin(SEEN), "row"]


def counted(copies: pd.DataFrame) -> dict[str, int]:
    """Count what `overlap` found, by part and kind."""
    return dict(sorted(Counter(f"{part} {kind}" for part, kind in zip(copies["part"], copies["kind"])).items()))
