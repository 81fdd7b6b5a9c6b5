"""What became of the images and boxes of a data set, for stage ``preprocess`` to write down and to say."""

from __future__ import annotations

import re
from collections import Counter

import pandas as pd

from pipeline.imaging.enhance import KeepAspect, map_boxes
from pipeline.imaging.prepare import FLAT, Prepared

BOX_COLUMNS = ["row", "sample_id", "class", "x", "y", "width", "height"]


def boxes_in_pixels(boxes: pd.DataFrame, samples: pd.DataFrame, size: int, keep_aspect: KeepAspect) -> pd.DataFrame:
    """Map boxes to the prepared images; drop those of images that were not kept and those that were cropped away.

    Parameters
    ----------
    boxes : DataFrame
        From `Dataset.boxes`, fractions of the image.
    samples : DataFrame
        Columns row, sample_id, width and height (pixels as published) of the images kept.
    size : int
        Pixels per side of the prepared images.
    keep_aspect : {"stretch", "pad", "crop"}
        How they became square.

    Returns
    -------
    DataFrame
        BOX_COLUMNS; x, y, width and height in pixels of the prepared image, in the order of `boxes`.
    """
    images = samples[["row", "sample_id", "width", "height"]].rename(columns={"width": "of_x", "height": "of_y"})
    kept = boxes.merge(images, on="sample_id", how="inner", validate="many_to_one")
    sides = ["x", "y", "width", "height"]
    kept[sides] = map_boxes(kept[sides].to_numpy(float), kept["of_x"], kept["of_y"], size, keep_aspect).round(3)
    return kept.loc[(kept["width"] > 0) & (kept["height"] > 0), BOX_COLUMNS].reset_index(drop=True)


def flat_remark(prepared: Prepared) -> list[str]:
    """Say how many of the images kept are all but of one grey level; nothing where none is."""
    return (
        [
            f"{prepared.flat:,} of {len(prepared.samples):,} images kept are all but of one grey level: at the size of "
            f"a thumbnail their values span at most {FLAT} of 255, as those of masks and of a wrong scale do"
        ]
        if prepared.flat
        else []
    )


def summary(prepared: Prepared) -> str:
    """Count what was kept, excluded (by reason) and found twice."""
    kinds = prepared.duplicates["kind"].value_counts()
    lines = [
        f"{len(prepared.samples)} images kept, {len(prepared.excluded)} excluded",
        f"duplicates: {kinds.get('exact', 0)} exact, {kinds.get('near', 0)} near",
    ]
    # The reason of a contradiction names its image; they are counted together.
    reasons = Counter(re.sub("(mask of) .*", r"\1 an image", r.split(":")[0]) for r in prepared.excluded["reason"])
    return "\n".join(lines[:1] + [f"  {count} x {reason}" for reason, count in reasons.most_common()] + lines[1:])
