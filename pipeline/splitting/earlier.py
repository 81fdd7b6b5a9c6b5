"""What a split changes against the last one that was made here for the same data set with the same settings.

Groups are dealt by their sizes and labels: one image more or less deals them anew. The split of unchanged images is
always the same, so that this is seen only where images were added, removed or labelled otherwise.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd

from pipeline.splitting.settings import LEAKS, Split
from pipeline.study.errors import UserError
from pipeline.study.files import read_table, write_csv

EARLIER = Path("tmp/split")
"""Parts by image, a table for each data set and settings. No stage reads them, and no result depends on them."""


def moved(dataset: str, samples: pd.DataFrame, table: pd.DataFrame, settings: Split) -> str | None:
    """Keep which part each image is in, and say how many were in another one when that was kept last.

    Parameters
    ----------
    dataset : str
        Its name.
    samples, table : DataFrame
        As for `pipeline.splitting.making.write_split`.
    settings : Split
        By which the split was made.

    Returns
    -------
    str or None
        None where nothing is known of an earlier split, or no image is in another part.
    """
    if settings.protocol == LEAKS:
        return None
    by = hashlib.sha256(json.dumps([dataset, settings.model_dump(mode="json")], sort_keys=True).encode()).hexdigest()
    path = EARLIER / f"{by[:32]}.csv"
    names = samples.set_index("row").loc[table["row"], "sample_id"]
    keys = [hashlib.sha256(str(name).encode()).hexdigest()[:32] for name in names]
    now = pd.DataFrame({"image": keys, "part": table["part"].tolist()})
    before = _read(path)
    write_csv(path, now)
    both = now.merge(before, on="image", suffixes=("", "_before"))
    changed = both[both["part"] != both["part_before"]]
    if changed.empty:
        return None
    seen = int(((changed["part_before"] == "test") & (changed["part"] == "train")).sum())
    return (
        f"images or labels have changed, and the split is dealt anew: {len(changed):,} of {len(both):,} images that "
        f"were in the split before are in another set now, and {seen:,} of its test images are trained on; results "
        "from before and after are of different test sets"
    )


def _read(path: Path) -> pd.DataFrame:
    """Return what was kept; nothing where nothing was, or it is damaged."""
    try:
        if path.exists():
            return read_table(path, ("image", "part"))[["image", "part"]]
    except (UserError, OSError, ValueError, KeyError):
        path.unlink(missing_ok=True)
    return pd.DataFrame({"image": pd.Series(dtype=str), "part": pd.Series(dtype=str)})
